"""What is shown of a job is one look at one moment: its row, its output, and what to do now."""

from __future__ import annotations

import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from mcp_jobs import output
from mcp_jobs.domain.clock import SystemClock
from mcp_jobs.domain.gates import Pause
from mcp_jobs.domain.states import Status
from mcp_jobs.execution.launcher import layout
from mcp_jobs.execution.launcher.spool import Spool
from mcp_jobs.service.reading import Reader
from mcp_jobs.service.requests import CheckJob
from mcp_jobs.service.shares import Shares
from mcp_jobs.settings import Settings
from mcp_jobs.store import Store
from tests.executors import local_executor
from tests.stores import NOW, claimed, created, ending, in_state, open_store, progress

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.gates import Obstacles
    from mcp_jobs.domain.models import Job


PAUSE = Pause(kind="all", name="", paused_by="ann", why=None, at_ms=NOW)


class StoppedClock(SystemClock):
    """A clock that shows one time."""

    def __init__(self, now_ms: int) -> None:
        self._now_ms = now_ms

    def now_ms(self) -> int:
        return self._now_ms


class Shelf:
    """A reader, its store, and the output of its jobs."""

    def __init__(self, home: Path, store: Store) -> None:
        self.store = store
        self.settings = Settings(home=home)
        self.reader = self.reader_of()

    def reader_of(self, *, clock: Clock | None = None, **settings: Any) -> Reader:
        return Reader(
            store=self.store,
            executor=local_executor(self.settings, self.store),
            settings=self.settings.model_copy(update=settings),
            clock=clock or SystemClock(),
            shares=Shares(),
        )

    def prints(self, job: Job, text: str) -> None:
        directory = self.settings.jobs_dir / job.id / layout.OUTPUT
        directory.parent.mkdir(parents=True, exist_ok=True)
        spool = Spool(str(directory), 1 << 20)
        spool.write(text.encode())
        spool.close()


@pytest.fixture
async def shelf(tmp_path: Path) -> AsyncIterator[Shelf]:
    store = await open_store(tmp_path / "jobs.db")
    yield Shelf(tmp_path, store)
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


async def test_a_job_with_output_is_not_shown_as_waiting(shelf: Shelf) -> None:
    seen_before = await created(shelf.store)
    running = await claimed(shelf.store)
    shelf.prints(running, "hi\n")

    shown = await shelf.reader.look(seen_before)

    assert (shown["status"], shown["output"]["text"]) == ("running", "hi\n")
    assert shown["started_at"] is not None
    assert "waits for its turn" not in shown["next_step"]
    assert (await shelf.reader.show(seen_before))["status"] == "running"


async def test_a_job_that_ends_while_it_is_read_is_shown_with_its_last_line(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await in_state(shelf.store, Status.RUNNING)
    shelf.prints(job, "first\n")

    async def end() -> None:
        shelf.prints(job, "last\n")
        assert await shelf.store.settle(job, ending(Status.COMPLETED)) is not None

    after_reading(monkeypatch, end)
    shown = await shelf.reader.look(job)

    assert (shown["status"], shown["output"]["text"]) == ("completed", "first\nlast\n")


async def test_the_progress_shown_is_at_least_as_new_as_the_output(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await in_state(shelf.store, Status.RUNNING)
    shelf.prints(job, "50%\n")
    after_reading(monkeypatch, partial(shelf.store.set_progress, job, progress(50)))

    assert (await shelf.reader.look(job))["progress"]["percent"] == 50


async def test_an_order_to_end_that_could_not_be_stored_is_shown(shelf: Shelf) -> None:
    job = await in_state(shelf.store, Status.RUNNING)
    ordered = replace(job, cancel_requested_at_ms=1)

    assert (await shelf.reader.look(ordered))["cancel_requested"] is True

    assert await shelf.store.settle(job, ending(Status.COMPLETED)) is not None
    assert (await shelf.reader.look(ordered))["cancel_requested"] is False


async def test_any_reader_knows_since_when_a_running_job_is_quiet(
    shelf: Shelf, tmp_path: Path
) -> None:
    """Also one that has just adopted it: the files of the output say it."""
    job = await in_state(shelf.store, Status.RUNNING)
    now_ms = NOW + 60_000
    reader = shelf.reader_of(clock=StoppedClock(now_ms))
    assert (await reader.row(job))["quiet_seconds"] == 60

    shelf.prints(job, "hi\n")
    (segment,) = (shelf.settings.jobs_dir / job.id / layout.OUTPUT).iterdir()
    os.utime(segment, ns=((now_ms - 7500) * 1_000_000,) * 2)
    assert (await reader.row(job))["quiet_seconds"] == 7.5
    assert (await reader.look(job))["quiet_seconds"] == 7.5


async def test_a_link_in_the_place_of_output_dates_nothing(shelf: Shelf, tmp_path: Path) -> None:
    job = await in_state(shelf.store, Status.RUNNING)
    reader = shelf.reader_of(clock=StoppedClock(NOW + 5000))
    shelf.prints(job, "hi\n")
    (segment,) = (shelf.settings.jobs_dir / job.id / layout.OUTPUT).iterdir()
    segment.unlink()
    segment.symlink_to(tmp_path)

    assert (await reader.row(job))["quiet_seconds"] == 5


async def test_what_seems_to_have_failed_comes_first(shelf: Shelf) -> None:
    job = await in_state(shelf.store, Status.RUNNING)
    shelf.prints(job, "fine\n" * 99 + "error: no such thing\n" + "a\n" * 99)
    failed = await shelf.store.settle(job, ending(Status.FAILED))
    assert failed is not None

    shown = await shelf.reader.look(failed)

    assert list(shown)[:3] == ["job_id", "status", "failing"]
    assert "error: no such thing" in shown["failing"]
    assert "error" not in shown["output"]["text"]
    assert (shown["output"]["lines_shown"], shown["output"]["lines_total"]) == (40, 199)
    assert f'{{"job_id": "{job.id}", "grep": "(?i)error|fail"}}' in shown["next_step"]
    # Whoever asks for a part gets that part.
    part = CheckJob(job_id=job.id, after=0)
    assert "failing" not in await shelf.reader.look(failed, part)


async def test_what_the_output_begins_with_is_not_said_twice(shelf: Shelf) -> None:
    job = await in_state(shelf.store, Status.RUNNING)
    shelf.prints(job, "error: no such thing\n")
    failed = await shelf.store.settle(job, ending(Status.FAILED))
    assert failed is not None

    shown = await shelf.reader.look(failed)

    assert "failing" not in shown
    assert "grep" not in shown["next_step"]


async def test_tests_that_failed_in_a_job_that_completed_are_shown(shelf: Shelf) -> None:
    job = await in_state(shelf.store, Status.RUNNING)
    shelf.prints(job, "fine\n" * 99 + "FAILED t.py::a\n" + "a\n" * 99)
    done = await shelf.store.settle(job, ending(Status.COMPLETED, result={"tests": {"failed": 1}}))
    assert done is not None

    assert "FAILED t.py::a" in (await shelf.reader.look(done))["failing"]


async def test_a_report_of_a_job_that_printed_nothing_reads_nothing(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = await in_state(shelf.store, Status.FAILED)
    expected = output.output_object(
        output.read_after(shelf.reader.output_of(failed.id), cursor=0, limit_bytes=1000)
    )
    monkeypatch.delattr(output, "excerpt")

    shown, last = await shelf.reader.report(failed)

    assert (shown["output"], last) == (expected, "")
    assert "failing" not in shown


async def test_a_report_of_a_failure_that_nothing_explains_has_its_last_lines(shelf: Shelf) -> None:
    job = await in_state(shelf.store, Status.RUNNING)
    shelf.prints(job, "a\nb\n")
    failed = await shelf.store.settle(job, ending(Status.FAILED))
    assert failed is not None

    shown, last = await shelf.reader.report(failed)

    assert last == "a\nb"
    assert "failing" not in shown


async def test_only_a_job_that_finds_no_room_waits_for_its_turn(shelf: Shelf) -> None:
    reader = shelf.reader_of(capacity=2)
    mine = await in_state(shelf.store, Status.RUNNING, title="make")
    waiting = await created(shelf.store)
    assert "Accepted; starts now." in (await reader.accepted(waiting, 1))["next_step"]
    # One place is left, and another job of his is before it.
    behind = await created(shelf.store)
    assert "as number 2;" in (await reader.accepted(behind, 2))["next_step"]

    assert await claimed(shelf.store) is not None
    hidden = await created(shelf.store, owner="somebody else", title="secret plans")
    second = await created(shelf.store)
    step = (await reader.accepted(hidden, 1))["next_step"]
    assert "waits for its turn as number 1; 2 may run at once. Running now: 2 of others." in step
    step = (await reader.look(second))["next_step"]
    assert f'{mine.id} ("make")' in step
    assert "secret" not in step


async def test_a_place_that_those_before_it_cannot_take_is_for_the_next_one(shelf: Shelf) -> None:
    reader = shelf.reader_of(capacity=2)
    await in_state(shelf.store, Status.RUNNING, locks=("build",))
    blocked = await created(shelf.store, locks=("build",))
    free = await created(shelf.store)

    first, second = await reader.rows([blocked, free])
    assert (first["waiting_for"]["kind"], first["waiting_for"]["names"]) == ("lock", ["build"])
    assert (second["waiting_for"], second["queue_position"]) == (None, 2)
    assert "starts now" in (await reader.accepted(free, 2))["next_step"]


async def test_a_job_waits_for_the_capacity_with_those_of_its_owner_that_run(shelf: Shelf) -> None:
    reader = shelf.reader_of(capacity=2)
    mine = await in_state(shelf.store, Status.RUNNING)
    await created(shelf.store, owner="somebody else")
    assert await claimed(shelf.store) is not None
    waiting = await created(shelf.store)

    for shown in (await reader.row(waiting), await reader.look(waiting)):
        assert shown["waiting_for"] == {
            "kind": "capacity", "names": [], "job_ids": [mine.id], "since": None,
        }  # fmt: skip


async def test_a_job_that_begins_while_its_obstacles_are_read_is_shown_as_running(
    shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    waiting = await created(shelf.store)
    gates = shelf.store.gates
    obstacles = gates.obstacles
    begun: list[Job] = []

    async def late(job_ids: Sequence[str]) -> Mapping[str, Obstacles]:
        if not begun:
            begun.append(await claimed(shelf.store))
            assert await gates.pause(PAUSE)
        return await obstacles(job_ids)

    monkeypatch.setattr(gates, "obstacles", late)
    shown = await shelf.reader.look(waiting)

    assert (shown["status"], shown["waiting_for"]) == ("running", None)
    assert "paused" not in shown["next_step"]


async def test_in_a_list_what_has_moved_on_since_waits_for_nothing(shelf: Shelf) -> None:
    moved = await created(shelf.store, max_attempts=2)
    running = await claimed(shelf.store)
    assert await shelf.store.settle(running, ending(Status.RETRYING)) is not None
    still = await created(shelf.store)
    assert await shelf.store.gates.pause(PAUSE)

    first, second = await shelf.reader.rows([moved, still])

    assert first["waiting_for"] is None
    assert (second["waiting_for"]["kind"], second["waiting_for"]["names"]) == ("paused", ["all"])


async def test_an_attempt_is_not_shown_as_ended_in_a_job_that_still_runs_it(shelf: Shelf) -> None:
    job = await in_state(shelf.store, Status.RUNNING, max_attempts=3)
    assert await shelf.store.settle(job, ending(Status.RETRYING)) is not None
    again = await claimed(shelf.store)
    retried = await shelf.store.settle(again, ending(Status.RETRYING))
    assert retried is not None

    reader = shelf.reader
    ended = await reader._ended_attempts(retried)
    assert [attempt.number for attempt in ended] == [1, 2]
    assert [attempt.number for attempt in await reader._ended_attempts(again)] == [1]
