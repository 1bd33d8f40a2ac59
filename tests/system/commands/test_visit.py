"""A command that comes and goes leaves its jobs in good hands."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from mcp_jobs.service.assembly import visit
from mcp_jobs.service.requests import StartJob
from tests.stores import STORE_OF_A_HOME
from tests.support import BOUND_S, alive, until
from tests.system.commands.test_cli_jobs import good, shown

if TYPE_CHECKING:
    from mcp_jobs.store import Store
    from tests.support import Place


def launchers(place: Place) -> list[int]:
    return [
        pid for pid in place.processes() if b".sock\0" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


async def test_a_launcher_that_died_after_the_knock_does_not_strand_the_job(place: Place) -> None:
    async with visit(place.settings()) as core:
        await core.membership.ask_for_worker()
        (launcher,) = launchers(place)
        os.kill(launcher, signal.SIGKILL)
        await until(lambda: not alive(launcher))
        request = StartJob(params={"command": "echo ran"}, cwd=str(place.project))
        job = await core.service.start("local", request)
    # Nothing but the worker that the new launcher starts can run it.
    await until(lambda: shown(place, "show", job["job_id"])["status"] == "completed")
    assert good(place, "logs", job["job_id"]) == "ran\n"


async def test_a_visit_ends_though_its_database_cannot_be_closed(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    close = STORE_OF_A_HOME.close

    async def hang(_: Store) -> None:
        await anyio.sleep_forever()

    with anyio.fail_after(BOUND_S):
        async with visit(place.settings()) as core:
            monkeypatch.setattr(STORE_OF_A_HOME, "close", hang)
            store = core.store
    assert isinstance(store, STORE_OF_A_HOME)
    await close(store)


async def test_a_visit_that_accepts_nothing_starts_nothing(place: Place) -> None:
    async with visit(place.settings()) as core:
        assert await core.store.counts("local") == {}
    assert place.processes() == []
