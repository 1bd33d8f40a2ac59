"""Servers and workers in processes of their own, some with a change to their code."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio.lowlevel

from mcp_jobs.execution import host
from mcp_jobs.service.assembly import LOCAL_OWNER, Core, _assemble
from mcp_jobs.service.requests import StartJob
from tests import prepared
from tests.stores import open_store
from tests.support import BOUND_S, Place
from tests.system.station import _SERVER, ROOT, Server, Shown, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    import pytest

LEASE_S: Final = 1.0
ROUND_S: Final = 0.1

SHORT_LEASE: Final = f"""
from mcp_jobs.engine import recovery
from mcp_jobs.execution import owner_locks
owner_locks.LEASE_S = recovery.LEASE_S = {LEASE_S}
recovery._ADOPT_EVERY_S = {ROUND_S}
"""
"""A change under which an owner that stands still is found out soon."""

Process = subprocess.Popen[bytes] | prepared.Process


def shorten_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the change `SHORT_LEASE` in this process."""
    for name in ("mcp_jobs.execution.owner_locks.LEASE_S", "mcp_jobs.engine.recovery.LEASE_S"):
        monkeypatch.setattr(name, LEASE_S)
    monkeypatch.setattr("mcp_jobs.engine.recovery._ADOPT_EVERY_S", ROUND_S)


@contextmanager
def server_in(
    place: Place, *requests: Shown, change: str = "", prefix: tuple[str, ...] = ()
) -> Iterator[Server]:
    """Like `station.server`, with `change` made to its code and run by the command `prefix`."""
    command = [*prefix, sys.executable, "-c", change + _SERVER] if prefix or change else []
    with serving(place, command, _environment(place), requests) as started:
        yield started


@contextmanager
def worker(place: Place, *arguments: str, change: str = "", **environ: str) -> Iterator[Process]:
    """Run `mcp-jobs worker`; it is killed at the end of the context."""
    with Path(os.devnull).open("r+b") as nothing, Path("/dev/stderr").open("ab") as stderr:
        process = prepared.start(
            ["worker", *arguments],
            code=_changed(change) if change else None,
            cwd=place.project,
            env=_environment(place, **environ),
            streams=(nothing, nothing, stderr),
        )
    with process:
        try:
            yield process
        finally:
            process.kill()


def run_command(
    place: Place, *arguments: str, change: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run `mcp-jobs` to its end."""
    if not change:
        return prepared.run(
            arguments, cwd=place.project, env=_environment(place), given="", timeout_s=BOUND_S
        )
    return subprocess.run(
        [sys.executable, "-c", _changed(change), *arguments],
        env=_environment(place),
        cwd=place.project,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=BOUND_S,
        check=False,
    )


@asynccontextmanager
async def idle_core(place: Place, **settings: Any) -> AsyncIterator[Core]:
    """Open the home in this process without working on its jobs."""
    chosen = place.settings(**settings)
    host.prepare_home(chosen)
    store = await open_store(chosen.database)
    try:
        core = await _assemble(chosen, store, host.raise_file_limit())
        # Nobody works here, so there is nobody whom the launcher should know of.
        core.service._care = anyio.lowlevel.checkpoint
        yield core
    finally:
        await store.close()


async def accept(place: Place, *requests: Shown) -> list[str]:
    """Accept jobs that nobody works on yet; returns their ids."""
    ids = []
    async with idle_core(place) as core:
        for request in requests:
            shown = await core.service.start(LOCAL_OWNER, StartJob(**request))
            ids.append(str(shown["job_id"]))
    return ids


def assert_refused_plainly(done: subprocess.CompletedProcess[str], *parts: str) -> None:
    """Hold that a command ended with one sentence that has all `parts`, and exit code 1."""
    assert done.returncode == 1, done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith("mcp-jobs: ")
    assert [part for part in parts if part not in line] == [], line


def _changed(change: str) -> str:
    return f"{change}\nfrom mcp_jobs.__main__ import main\nmain()"


def _environment(place: Place, **more: str) -> dict[str, str]:
    path = os.environ.get("PATH", os.defpath)
    return place.environment(PYTHONPATH=str(ROOT), **{"PATH": path, **more})
