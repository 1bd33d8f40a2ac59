"""Several processes share one store: nothing is done twice, lost, torn, or refused for a lock."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from mcp_jobs.domain.errors import StoreBusyError
from mcp_jobs.domain.models import JobFilter
from mcp_jobs.domain.states import Status
from mcp_jobs.store import Store
from mcp_jobs.store.sqlite import connection as sqlite
from tests.stores import (
    NOW,
    OWNER,
    all_changes,
    claim,
    created,
    ending,
    in_state,
    open_store,
    progress,
    sqlite_store,
)
from tests.support import BOUND_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

PROJECT = Path(__file__).resolve().parents[3]
JOBS = 300
WORKERS = 6
CAPACITY = 5


class Program:
    """A program of store_programs.py that is ready to go."""

    def __init__(self, name: str, path: Path, number: int) -> None:
        run = ["-m", "tests.system.store_programs", name, str(path), str(number)]
        self.process = subprocess.Popen(
            [sys.executable, *run],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=PROJECT,
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
        )

    def line(self) -> str:
        """Return the next thing that it says."""
        assert self.process.stdout is not None
        text = self.process.stdout.readline()
        assert text, self.process.communicate()[1]
        said: str = json.loads(text)
        return said

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("go\n")
        self.process.stdin.flush()

    def rest(self) -> list[str]:
        """Wait for its end, which must be a good one, and return all that it said."""
        out, err = self.process.communicate(timeout=BOUND_S)
        assert (self.process.returncode, err) == (0, "")
        return [json.loads(line) for line in out.splitlines()]

    def kill(self) -> list[str]:
        """Kill it at whatever it does, and return what it had said."""
        assert self.process.stdout is not None
        self.process.send_signal(signal.SIGKILL)
        # Not `communicate`, which knows nothing of what `line` has read ahead.
        out = self.process.stdout.read()
        assert self.process.wait(BOUND_S) == -signal.SIGKILL
        whole = [line for line in out.splitlines(keepends=True) if line.endswith("\n")]
        return [json.loads(line) for line in whole]


@contextmanager
def programs(name: str, path: Path, number: int = 0, *, count: int = 1) -> Iterator[list[Program]]:
    """Start programs and wait until all are ready."""
    started = [Program(name, path, number) for _ in range(count)]
    try:
        for program in started:
            assert program.line() == "ready"
        yield started
    finally:
        for program in started:
            with program.process:
                program.process.kill()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[Store]:
    opened = await open_store(path)
    yield opened
    await opened.close()


async def everything(program: Program) -> list[str]:
    return await anyio.to_thread.run_sync(program.rest)


def assert_whole(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


# -- many workers --------------------------------------------------------------------------------


async def test_six_processes_claim_every_job_once_and_never_more_than_the_capacity_at_a_time(
    store: Store, path: Path
) -> None:
    jobs = [(await created(store)).id for _ in range(JOBS)]

    with programs("claim_all", path, CAPACITY, count=WORKERS) as workers:
        for worker in workers:
            worker.go()
        claimed = [await everything(worker) for worker in workers]

    assert sorted(job_id for ids in claimed for job_id in ids) == sorted(jobs)
    assert await store.counts(OWNER) == {Status.COMPLETED: JOBS}
    running: set[str] = set()
    most = 0
    order = []
    for change in await store.changes_after(0, limit=10 * JOBS):
        if change.status is Status.RUNNING:
            assert change.job_id not in running
            running.add(change.job_id)
            order.append(change.job_id)
        elif change.status is Status.COMPLETED:
            running.remove(change.job_id)
        most = max(most, len(running))
    assert most == CAPACITY
    assert order == jobs, "first in, first out, whoever claims"


async def test_six_writers_at_once_are_never_told_that_the_store_is_busy(
    store: Store, path: Path
) -> None:
    each = 25
    with programs("write_much", path, each, count=WORKERS) as writers:
        for writer in writers:
            writer.go()
        stored = [await everything(writer) for writer in writers]

    ids = {job_id for some in stored for job_id in some}
    assert len(ids) == WORKERS * each
    page = await store.list(OWNER, JobFilter(), limit=1000, cursor=None)
    assert {job.id for job in page.jobs} == ids
    assert await store.counts(OWNER) == {Status.COMPLETED: len(ids)}
    log = await all_changes(store)
    assert len(log) == 4 * len(ids)
    assert [change.seq for change in log] == list(range(1, len(log) + 1))


# -- a lock that somebody holds ------------------------------------------------------------------


async def test_a_reader_is_never_blocked_by_a_writer(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever had to wait for the lock would fail: it is held for longer.
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_MS", 500)
    async with sqlite_store(path) as store:
        job = await in_state(store, Status.RUNNING)
        seq = await store.last_change()
        with programs("stop_inside", path, 20_000) as (_,):
            with pytest.raises(StoreBusyError):
                await created(store)

            assert await store.get(OWNER, job.id) == await store.find(job.id) == job
            page = await store.list(OWNER, JobFilter(), limit=10, cursor=None)
            assert page.jobs == (job,)
            assert await store.counts(OWNER) == {Status.RUNNING: 1}
            assert await store.last_change() == seq
            assert await store.changes_after(seq, limit=10) == []
            await store.changed_elsewhere()
            async with sqlite_store(path) as second:
                assert await second.find(job.id) == job


async def test_a_lock_that_is_held_for_two_seconds_reaches_nobody_as_an_error(
    store: Store, path: Path
) -> None:
    job = await in_state(store, Status.RUNNING)
    with programs("hold_lock", path, 2000) as (holder,):
        holder.go()
        async with sqlite_store(path) as newcomer:
            waiting = await created(newcomer)
            ended = await store.settle(job, ending(Status.COMPLETED))
            assert holder.rest() == ["released"]
            assert ended is not None
            assert await newcomer.find(job.id) == ended
            assert await store.find(waiting.id) == waiting
            log = [change.job_id for change in await all_changes(store)]
            assert log[2:] == ["unfinished-0", waiting.id, job.id], "all of it came after the lock"


async def test_a_lock_that_is_held_too_long_is_explained_and_nothing_is_changed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_BUSY_TIMEOUT_MS", 500)
    async with sqlite_store(path) as store:
        running = await in_state(store, Status.RUNNING)
        waiting = await created(store)
        before = await all_changes(store)
        with programs("stop_inside", path, 1) as (holder,):
            for step in (
                lambda: created(store, idempotency_key="k"),
                lambda: claim(store),
                lambda: store.settle(running, ending(Status.COMPLETED)),
                lambda: store.set_progress(running, progress(5)),
                lambda: store.take_over(running, claimer="server-2"),
                lambda: store.request_cancel(OWNER, waiting.id, now_ms=NOW),
                lambda: store.prune_changes(before_ms=NOW * 2, limit=5),
            ):
                with pytest.raises(StoreBusyError) as error:
                    await step()
                for part in ("Another process", str(path), "Nothing was changed", "try again"):
                    assert part in str(error.value)
            holder.kill()

        assert await all_changes(store) == before
        assert [await store.find(job.id) for job in (running, waiting)] == [running, waiting]
        assert await claim(store) is not None


# -- one process, several openings ---------------------------------------------------------------


async def test_opening_the_store_again_in_one_process_takes_no_lock_from_the_first(
    store: Store, path: Path
) -> None:
    # POSIX locks belong to the process: closing any descriptor of a file drops all of them. Another
    # process then takes itself for the last user of the file and removes the log under our feet.
    job = await created(store)
    async with sqlite_store(path):
        pass
    with programs("write_much", path, 1) as (other,):
        other.go()
        (job_id,) = await everything(other)

    assert path.with_name("jobs.db-wal").exists(), "removed while a connection is open"
    again = await created(store)
    async with sqlite_store(path) as fresh:
        states = await fresh.states_of([job.id, job_id, again.id])
        assert set(states) == {job.id, job_id, again.id}


# -- sudden death --------------------------------------------------------------------------------


async def test_a_process_that_dies_inside_a_transaction_leaves_the_file_whole(
    store: Store, path: Path
) -> None:
    job = await created(store)
    # More than the page cache holds, so that uncommitted pages are in the file already.
    with programs("stop_inside", path, 20_000) as (victim,):
        assert path.with_name("jobs.db-wal").stat().st_size > 500_000
        victim.kill()

    assert_whole(path)
    assert await store.find(job.id) == job
    assert len(await all_changes(store)) == 1
    assert await claim(store) is not None


async def test_what_was_returned_as_stored_survives_the_death_of_its_writer(
    store: Store, path: Path
) -> None:
    with programs("create_for_ever", path, count=3) as victims:
        said = []
        for victim in victims:
            victim.go()
        for victim in victims:
            said += [victim.line() for _ in range(20)]
        for victim in victims:
            said += victim.kill()

    assert_whole(path)
    known = await store.states_of(said)
    assert known == dict.fromkeys(said, Status.PENDING)
    counts = await store.counts(OWNER)
    # A row may be stored and its writer killed before it could say so: one for each, at most.
    assert len(said) <= counts[Status.PENDING] <= len(said) + len(victims)
