"""A worker that the launcher starts for nothing is not started for ever."""

from __future__ import annotations

import os
import signal
import sqlite3
import time
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.execution.launcher import drain_worker
from mcp_jobs.execution.launcher_client import Drain, drain_command
from tests.support import Place, until
from tests.system.attempts import client_of
from tests.system.fleet import accept, run_command
from tests.system.station import ROOT, launchers, shell

if TYPE_CHECKING:
    from collections.abc import Mapping

NEWER = 10_000


async def _leave_to(place: Place, command: Drain) -> None:
    """Be an owner that dies, so that the launcher starts `command`."""
    link = await client_of(place).attach(command)
    await link.aclose()


def _environment(place: Place) -> Mapping[str, str]:
    return {"PATH": os.environ["PATH"], **place.environment(PYTHONPATH=str(ROOT))}


def _make_newer(place: Place) -> None:
    with sqlite3.connect(place.home / "jobs.db") as database:
        database.execute(f"PRAGMA user_version = {NEWER}")
    database.close()


async def test_a_worker_that_refuses_the_home_is_started_once(place: Place) -> None:
    started = place.root / "started"
    code = f"echo >> {started}; exit {drain_worker.REFUSED}"
    await _leave_to(place, Drain(argv=("/bin/sh", "-c", code), environ={}))
    await until(started.exists)
    await until(lambda: not place.processes())

    assert started.read_text() == "\n"


async def test_a_launcher_of_a_home_with_a_newer_schema_leaves(place: Place) -> None:
    await accept(place, shell(place, "true"))
    _make_newer(place)
    await _leave_to(place, drain_command(_environment(place)))
    await until(lambda: "schema version" in (place.home / "launcher.log").read_text())
    await until(lambda: not launchers(place))

    log = (place.home / "launcher.log").read_text()
    assert log.count(f"schema version {NEWER}") == 1


async def test_a_newer_schema_ends_a_worker_with_a_code_of_its_own(place: Place) -> None:
    await accept(place, shell(place, "true"))
    _make_newer(place)
    done = run_command(place, "worker", "--drain")

    assert done.returncode == drain_worker.REFUSED
    assert done.stderr.startswith("mcp-jobs: The job database has schema version")
    assert done.stderr.count("\n") == 1


async def test_draining_a_home_that_was_removed_does_not_make_it_anew(place: Place) -> None:
    place.home.rmdir()
    done = run_command(place, "worker", "--drain")

    assert (done.returncode, done.stderr) == (0, "")
    assert not place.home.exists()


# -- how often -----------------------------------------------------------------------------------


class _Keeper(drain_worker.DrainKeeper):
    """A keeper whose worker is a number."""

    def run_worker(self, status: int) -> None:
        """Be a worker that is due, and ends."""
        assert self.due_in_s() is not None
        self._due_s = None
        self._started_s = time.monotonic()
        self.pid = 1
        self.ended(1, status)


def _abandoned() -> _Keeper:
    keeper = _Keeper()
    connection: object = object()
    keeper.attached(connection, {"argv": ["true"], "environ": {}})  # type: ignore[arg-type]
    keeper.left(connection)  # type: ignore[arg-type]
    return keeper


@pytest.mark.parametrize("status", [1 << 8, signal.SIGKILL], ids=["exit 1", "killed"])
def test_a_worker_that_dies_again_and_again_is_given_up(status: int) -> None:
    keeper = _abandoned()
    pauses = []
    while keeper.busy():
        keeper.run_worker(status)
        pauses.append(keeper.due_in_s() or 0)

    assert len(pauses) == drain_worker._MOST_TRIES + 1
    assert max(pauses) <= drain_worker._LONGEST_PAUSE_S


def test_a_worker_that_lived_long_or_ended_well_is_no_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    keeper = _abandoned()
    keeper.run_worker(1 << 8)
    first = keeper._failures
    monkeypatch.setattr(drain_worker, "_LONGEST_PAUSE_S", 0.0)
    keeper.run_worker(1 << 8)

    assert (first, keeper._failures) == (1, 1)


def test_a_new_owner_gives_the_worker_new_tries() -> None:
    keeper = _abandoned()
    for _ in range(drain_worker._MOST_TRIES):
        keeper.run_worker(1 << 8)
    server: object = object()
    keeper.attached(server, None)  # type: ignore[arg-type]
    keeper.left(server)  # type: ignore[arg-type]
    keeper.run_worker(1 << 8)

    assert keeper.busy()
