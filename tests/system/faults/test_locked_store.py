"""A database that others keep locked, or a disk that is full, holds up no answer and no end."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from mcp_jobs.domain.errors import StoreBusyError, StoreError, StoreUnsureError
from mcp_jobs.domain.models import JobFilter
from mcp_jobs.store.sqlite import connection as sqlite
from tests.raw import RawServer
from tests.stores import OWNER, created, new_job, open_store
from tests.support import Place, alive, ended, error_of, job_of, open_client, start, until
from tests.system.faults.test_faults_of_the_database import locked
from tests.system.faults.test_faults_of_the_disk import fill, mounts, small_home
from tests.system.station import pids_in, station

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["mounts", "small_home"]

_EVERYTHING = JobFilter(statuses=None, type=None, cwd=None, job_ids=None)
ANSWER_S = 15
CANCELLED = ("cancelled", "cancelled_by_user")


# -- locked --------------------------------------------------------------------------------------


async def test_every_call_is_answered_while_the_database_is_locked(place: Place) -> None:
    async with open_client(place) as client:
        job_id = (await start(client, "echo $$ > pids; exec sleep 1000"))["job_id"]
        (pid,) = await pids_in(place.project / "pids")
        call: dict[str, Any] = {"params": {"command": "echo >> ran"}}
        refusals: list[str] = []
        shown: dict[str, Any] = {}

        async def begin() -> None:
            refusals.append(error_of(await client.call_tool("start_job", call)))

        async def cancel() -> None:
            shown.update(job_of(await client.call_tool("cancel_job", {"job_id": job_id})))

        with locked(place, "NORMAL"):
            with anyio.fail_after(ANSWER_S):
                async with anyio.create_task_group() as tasks:
                    for _ in range(20):
                        tasks.start_soon(begin)
                    tasks.start_soon(cancel)
                    running = job_of(await client.call_tool("check_job", {"job_id": job_id}))
                    listed = job_of(await client.call_tool("list_jobs", {}))
            gone = not alive(pid)
        job = await ended(client, job_id)
        jobs = job_of(await client.call_tool("list_jobs", {}))["jobs"]

    assert (running["status"], len(listed["jobs"])) == ("running", 1)
    assert len(refusals) == 20
    assert all("locked" in text and "Nothing was changed" in text for text in refusals)
    assert gone
    assert shown["cancel_requested"]
    assert "could not be stored" in shown["next_step"]
    assert (job["status"], job["reason"]) == CANCELLED
    assert [each["job_id"] for each in jobs] == [job_id]
    assert not (place.project / "ran").exists()


async def test_a_cancel_of_a_queued_job_holds_though_it_could_not_be_stored(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_jobs.store.sqlite.connection._BUSY_TIMEOUT_MS", 500)
    async with station(place, capacity=1) as jobs:
        first = await jobs.start("exec sleep 1000")
        await jobs.reaches(first, "running")
        queued = await jobs.start("echo >> ran")
        with locked(place, "NORMAL"):
            told = await jobs.cancel(queued)
        still = await jobs.check(queued)
        await jobs.cancel(first)
        job = await jobs.ended(queued)

    assert "could not be stored" in told["next_step"]
    assert still["status"] in ("pending", "running", "cancelled")
    assert (job["status"], job["reason"]) == CANCELLED
    assert not (place.project / "ran").exists()


async def test_what_was_refused_as_locked_is_not_done_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_jobs.store.sqlite.connection._BUSY_TIMEOUT_MS", 500)
    store = await open_store(tmp_path / "jobs.db")
    other = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        refused = 0

        async def begin() -> None:
            nonlocal refused
            with pytest.raises(StoreBusyError):
                await store.create(new_job())
            refused += 1

        async with anyio.create_task_group() as tasks:
            for _ in range(10):
                tasks.start_soon(begin)
        other.execute("ROLLBACK")
        # Behind everything that may still wait for its turn.
        job = await created(store)
        page = await store.list(OWNER, _EVERYTHING, limit=50, cursor=None)
    finally:
        other.close()
        await store.close()

    assert refused == 10
    assert [each.id for each in page.jobs] == [job.id]


async def test_a_lock_that_is_given_up_in_time_is_waited_for(tmp_path: Path) -> None:
    store = await open_store(tmp_path / "jobs.db")
    other = sqlite3.connect(tmp_path / "jobs.db", isolation_level=None, check_same_thread=False)
    try:
        other.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.5, other.execute, ("ROLLBACK",))
        timer.start()
        job = await created(store)
        timer.join()
    finally:
        other.close()
        await store.close()

    assert job.status == "pending"


# -- a disk that does not answer -----------------------------------------------------------------


@contextmanager
def hanging(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Let every INSERT of a job wait for an event, as a commit waits for its disk."""
    released = threading.Event()
    execute = sqlite.Punctual.execute

    def slowly(self: Any, sql: str, parameters: Any = (), /) -> Any:
        cursor: Any = execute(self, sql, parameters)
        if sql.startswith("INSERT INTO jobs"):
            cursor = _Done(cursor.fetchall())
            released.wait(30)
        return cursor

    monkeypatch.setattr(sqlite.Punctual, "execute", slowly)
    try:
        yield released
    finally:
        released.set()


class _Done:
    def __init__(self, rows: list[Any]) -> None:
        self._rows = rows

    def fetchall(self) -> list[Any]:
        return self._rows


async def test_a_start_that_was_stored_though_the_disk_did_not_answer_is_accepted(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_jobs.store.sqlite.sqlite_store._ANSWER_S", 0.2)
    async with station(place) as jobs:
        with hanging(monkeypatch):
            shown = await jobs.ask("echo fine")
        job = await jobs.ended(shown["job_id"])

    assert (job["status"], job["output"]["text"]) == ("completed", "fine\n")


async def test_a_start_of_which_nothing_is_known_says_so_and_keeps_its_files(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_jobs.store.sqlite.sqlite_store._ANSWER_S", 0.2)
    async with station(place) as jobs:
        with hanging(monkeypatch):
            monkeypatch.setattr(jobs.core.store, "find", _unknown)
            with pytest.raises(StoreUnsureError, match="not known whether") as caught:
                await jobs.ask("echo fine")
            monkeypatch.undo()
        (directory,) = (place.home / "jobs").iterdir()
        job = await jobs.ended(directory.name)

    assert directory.name in str(caught.value)
    assert (job["status"], job["output"]["text"]) == ("completed", "fine\n")


async def _unknown(job_id: str) -> None:
    raise StoreError("The disk is gone.")


async def test_a_start_that_failed_and_was_not_stored_leaves_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(*_: Any) -> None:
        raise StoreError("The database is full.")

    async with station(place) as jobs:
        monkeypatch.setattr(jobs.core.store, "create", fail)
        with pytest.raises(StoreError, match="is full"):
            await jobs.ask("true")

    assert list((place.home / "jobs").iterdir()) == []


# -- a full disk ---------------------------------------------------------------------------------


async def test_a_job_is_cancelled_on_a_full_disk(place: Place, small_home: Path) -> None:
    with RawServer(place) as raw:
        asked = raw.call("start_job", {"params": {"command": "echo $$ > pids; exec sleep 1000"}})
        job_id = asked["structuredContent"]["job_id"]
        (pid,) = await pids_in(place.project / "pids")
        filling = fill(place)
        told = raw.call("cancel_job", {"job_id": job_id})["structuredContent"]
        await until(lambda: not alive(pid))
        filling.unlink()
        check = {"job_id": job_id, "wait_seconds": 20}
        job = raw.call("check_job", check)["structuredContent"]
        raw.assert_alive()

    assert "could not be stored" in told["next_step"] or told["status"] == "cancelled"
    assert (job["status"], job["reason"]) == CANCELLED
