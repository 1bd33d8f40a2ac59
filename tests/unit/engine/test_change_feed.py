"""Every stored change reaches the bus once, in order, and never before it is stored."""

from __future__ import annotations

import sqlite3
from contextlib import asynccontextmanager, closing
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from mcp_jobs.domain.errors import StoreError
from mcp_jobs.domain.events import InProcessBus, JobChanged
from mcp_jobs.domain.states import TERMINAL, Status
from mcp_jobs.engine.change_feed import ChangeFeed
from mcp_jobs.store import Store
from tests.stores import (
    OWNER,
    all_changes,
    claimed,
    created,
    ending,
    in_state,
    open_store,
    progress,
)
from tests.support import BOUND_S, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from mcp_jobs.domain.events import Event
    from mcp_jobs.store import Change


class Published:
    """A subscriber that looks into the database, by itself, at the moment of each event."""

    def __init__(self, bus: InProcessBus, path: Path) -> None:
        self.events: list[Event] = []
        self.early: list[Event] = []
        self._path = path
        bus.subscribe(self._listen)

    def has(self, count: int) -> bool:
        return len(self.events) == count

    def _listen(self, event: Event) -> None:
        self.events.append(event)
        with closing(sqlite3.connect(self._path)) as database:
            count = database.execute("SELECT count(*) FROM changes").fetchone()[0]
        if count < len(self.events):
            self.early.append(event)


def as_event(change: Change) -> JobChanged:
    assert change.status is not None
    return JobChanged(
        job_id=change.job_id,
        owner=change.owner,
        status=change.status,
        created=change.created,
        ended=change.status in TERMINAL,
    )


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = await open_store(tmp_path / "jobs.db")
    yield opened
    await opened.close()


@pytest.fixture
async def other(store: Store, tmp_path: Path) -> AsyncIterator[Store]:
    """The same store as another process has it."""
    opened = await open_store(tmp_path / "jobs.db")
    yield opened
    await opened.close()


@pytest.fixture
def bus() -> InProcessBus:
    return InProcessBus()


@pytest.fixture
def published(bus: InProcessBus, tmp_path: Path) -> Published:
    return Published(bus, tmp_path / "jobs.db")


@pytest.fixture
async def feed(store: Store, bus: InProcessBus) -> ChangeFeed:
    feed = ChangeFeed(store, bus)
    await feed.start()
    return feed


@asynccontextmanager
async def running(feed: ChangeFeed) -> AsyncIterator[None]:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.run)
        yield
        tasks.cancel_scope.cancel()


async def live(store: Store) -> None:
    """Take a job through a whole life."""
    await created(store)
    job = await claimed(store)
    await store.set_progress(job, progress(50))
    await store.settle(job, ending(Status.COMPLETED))


async def test_own_changes_are_published_by_a_flush_once_and_in_order(
    store: Store, feed: ChangeFeed, published: Published
) -> None:
    await live(store)
    assert published.events == []

    await feed.flush()
    await feed.flush()

    assert published.events == [as_event(c) for c in await all_changes(store)]
    assert [e.created for e in published.events if isinstance(e, JobChanged)] == [True] + [
        False
    ] * 3
    assert published.early == []


async def test_changes_of_another_process_are_published_without_a_flush(
    other: Store, store: Store, feed: ChangeFeed, published: Published
) -> None:
    async with running(feed):
        await live(other)
        await until(lambda: len(published.events) >= 4)

    assert published.events == [as_event(c) for c in await all_changes(store)]
    assert published.early == []


async def test_a_nudge_publishes_before_the_next_poll(
    store: Store,
    feed: ChangeFeed,
    published: Published,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A poll would come too late for this test.
    monkeypatch.setattr("mcp_jobs.store.sqlite.sqlite_store.POLL_S", 10 * BOUND_S)
    async with running(feed):
        await anyio.wait_all_tasks_blocked()
        for count in (4, 8):
            await live(store)
            feed.nudge()
            feed.nudge()
            await until(partial(published.has, count))

    assert published.events == [as_event(c) for c in await all_changes(store)]


async def test_own_and_foreign_changes_together_are_one_stream_without_doubles(
    other: Store, store: Store, feed: ChangeFeed, published: Published
) -> None:
    async def write(to: Store, owner: str) -> None:
        for _ in range(15):
            await created(to, owner=owner)
            await feed.flush()

    async with running(feed):
        async with anyio.create_task_group() as tasks:
            for number, to in enumerate([store, other, store, other]):
                tasks.start_soon(write, to, f"owner-{number}")
        await until(lambda: len(published.events) >= 60)

    assert published.events == [as_event(c) for c in await all_changes(store)]
    assert published.early == []


async def test_what_was_stored_before_the_start_is_not_published(
    store: Store, bus: InProcessBus, published: Published
) -> None:
    await live(store)
    feed = ChangeFeed(store, bus)
    await feed.flush()
    await feed.start()
    await feed.flush()
    assert published.events == []

    await created(store)
    await feed.start()
    await feed.flush()
    assert len(published.events) == 1


async def test_a_change_that_was_refused_is_not_published(
    store: Store, feed: ChangeFeed, published: Published
) -> None:
    job = await in_state(store, Status.FAILED)
    await feed.flush()
    count = len(published.events)

    await store.request_cancel(OWNER, job.id, now_ms=1)
    await store.set_progress(job, progress(1))
    await feed.flush()

    assert len(published.events) == count > 0


async def test_more_changes_than_one_batch_are_all_published(
    store: Store, feed: ChangeFeed, published: Published, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_jobs.engine.change_feed._BATCH", 2)
    for _ in range(7):
        await created(store)

    await feed.flush()

    assert published.events == [as_event(c) for c in await all_changes(store)]


async def test_a_flush_that_is_cancelled_loses_nothing(
    store: Store, feed: ChangeFeed, published: Published
) -> None:
    await live(store)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await feed.flush()
    assert scope.cancelled_caught
    assert published.events == []

    await feed.flush()

    assert published.events == [as_event(c) for c in await all_changes(store)]


async def test_a_store_that_fails_for_a_while_delays_changes_and_loses_none(
    store: Store,
    feed: ChangeFeed,
    published: Published,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    real = store.changes_after
    failures = [StoreError("out of order")] * 2
    failed_twice = anyio.Event()

    async def changes_after(seq: int, *, limit: int) -> Sequence[Change]:
        if failures:
            raise failures.pop()
        failed_twice.set()
        return await real(seq, limit=limit)

    monkeypatch.setattr(store, "changes_after", changes_after)
    async with running(feed):
        with anyio.fail_after(BOUND_S):
            while not failed_twice.is_set():
                # Each write wakes the poll once.
                await created(store)
                await anyio.sleep(0.01)
        await until(lambda: published.events)
        await feed.flush()

    assert published.events == [as_event(c) for c in await all_changes(store)]
    assert "cannot read what changed: out of order" in caplog.text


async def test_a_change_is_published_although_no_later_one_follows_a_failed_read(
    store: Any,
    feed: ChangeFeed,
    published: Published,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = store.changes_after
    failures = [StoreError("out of order")]

    async def changes_after(seq: int, *, limit: int) -> Sequence[Change]:
        if failures:
            raise failures.pop()
        found: Sequence[Change] = await real(seq, limit=limit)
        return found

    monkeypatch.setattr(store, "changes_after", changes_after)
    await store.changed_elsewhere()
    await created(store)
    async with running(feed):
        await until(lambda: published.events, bound_s=3)

    assert len(published.events) == 1
