"""What is shown of a job is one look at one moment: its row, its output, and what to do now."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from mcp_jobs import output
from mcp_jobs.clock import SystemClock
from mcp_jobs.launcher import layout
from mcp_jobs.launcher.spool import Spool
from mcp_jobs.reading import Reader
from mcp_jobs.settings import Settings
from mcp_jobs.shares import Shares
from mcp_jobs.states import Status
from mcp_jobs.store import SqliteStore
from tests.executors import local_executor
from tests.stores import NOW, claimed, created, ending, in_state, progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from mcp_jobs.models import Job


class StoppedClock(SystemClock):
    """A clock that shows one time."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms


class Desk:
    """A reader, its store, and the output of its jobs."""

    def __init__(self, home: Path, store: SqliteStore) -> None:
        self.store = store
        self.settings = Settings(home=home)
        self.reader = Reader(
            store=store,
            executor=local_executor(self.settings, store),
            settings=self.settings,
            clock=SystemClock(),
            shares=Shares(),
        )

    def prints(self, job: Job, text: str) -> None:
        directory = self.settings.jobs_dir / job.id / layout.OUTPUT
        directory.parent.mkdir(parents=True, exist_ok=True)
        spool = Spool(str(directory), 1 << 20)
        spool.write(text.encode())
        spool.close()


@pytest.fixture
async def desk(tmp_path: Path) -> AsyncIterator[Desk]:
    store = await SqliteStore.open(tmp_path / "jobs.db")
    yield Desk(tmp_path, store)
    await store.close()


def after_reading(monkeypatch: pytest.MonkeyPatch, action: Callable[[], Awaitable[Any]]) -> None:
    """Let something happen once, right after output was read."""
    left, read = [action], output.tail

    async def tail(*arguments: Any, **options: Any) -> output.OutputSlice:
        found = await read(*arguments, **options)
        while left:
            await left.pop()()
        return found

    monkeypatch.setattr(output, "tail", tail)


async def test_a_job_with_output_is_not_shown_as_waiting(desk: Desk) -> None:
    seen_before = await created(desk.store)
    running = await claimed(desk.store)
    desk.prints(running, "hi\n")

    shown = await desk.reader.look(seen_before)

    assert (shown["status"], shown["output"]["text"]) == ("running", "hi\n")
    assert shown["started_at"] is not None
    assert "waits for its turn" not in shown["next_step"]
    assert (await desk.reader.show(seen_before))["status"] == "running"


async def test_a_job_that_ends_while_it_is_read_is_shown_with_its_last_line(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await in_state(desk.store, Status.RUNNING)
    desk.prints(job, "first\n")

    async def end() -> None:
        desk.prints(job, "last\n")
        assert await desk.store.settle(job, ending(Status.COMPLETED)) is not None

    after_reading(monkeypatch, end)
    shown = await desk.reader.look(job)

    assert (shown["status"], shown["output"]["text"]) == ("completed", "first\nlast\n")


async def test_the_progress_shown_is_at_least_as_new_as_the_output(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await in_state(desk.store, Status.RUNNING)
    desk.prints(job, "50%\n")
    after_reading(monkeypatch, partial(desk.store.set_progress, job, progress(50)))

    assert (await desk.reader.look(job))["progress"]["percent"] == 50


async def test_an_order_to_end_that_could_not_be_stored_is_shown(desk: Desk) -> None:
    job = await in_state(desk.store, Status.RUNNING)
    ordered = replace(job, cancel_requested_at_ms=1)

    assert (await desk.reader.look(ordered))["cancel_requested"] is True

    assert await desk.store.settle(job, ending(Status.COMPLETED)) is not None
    assert (await desk.reader.look(ordered))["cancel_requested"] is False


async def test_any_reader_knows_since_when_a_running_job_is_quiet(
    desk: Desk, tmp_path: Path
) -> None:
    """Also one that has just adopted it: the files of the output say it."""
    job = await in_state(desk.store, Status.RUNNING)
    now_ms = NOW + 60_000
    reader = Reader(
        store=desk.store,
        executor=local_executor(desk.settings, desk.store),
        settings=desk.settings,
        clock=StoppedClock(now_ms),
        shares=Shares(),
    )
    assert (await reader.row(job))["quiet_seconds"] == 60

    desk.prints(job, "hi\n")
    (segment,) = (desk.settings.jobs_dir / job.id / layout.OUTPUT).iterdir()
    os.utime(segment, ns=((now_ms - 7500) * 1_000_000,) * 2)
    assert (await reader.row(job))["quiet_seconds"] == 7.5
    assert (await reader.look(job))["quiet_seconds"] == 7.5


async def test_a_link_in_the_place_of_output_dates_nothing(desk: Desk, tmp_path: Path) -> None:
    job = await in_state(desk.store, Status.RUNNING)
    reader = Reader(
        store=desk.store,
        executor=local_executor(desk.settings, desk.store),
        settings=desk.settings,
        clock=StoppedClock(NOW + 5000),
        shares=Shares(),
    )
    desk.prints(job, "hi\n")
    (segment,) = (desk.settings.jobs_dir / job.id / layout.OUTPUT).iterdir()
    segment.unlink()
    segment.symlink_to(tmp_path)

    assert (await reader.row(job))["quiet_seconds"] == 5
