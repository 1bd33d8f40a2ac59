"""A few rows are read in the calling thread, and by another where that cannot be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mcp_jobs.domain.models import JobFilter
from mcp_jobs.domain.states import Status
from mcp_jobs.store.sqlite import connection
from mcp_jobs.store.sqlite.sqlite_store import SqliteStore
from tests.stores import OWNER, in_state, open_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

RUNNING = JobFilter(statuses=(Status.RUNNING,))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    opened = await open_store(tmp_path / "jobs.db")
    yield opened
    await opened.close()


@pytest.fixture
def trips(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The statements that were sent to another thread."""
    found: list[str] = []
    run = connection.run

    async def counted(*arguments: object) -> object:
        found.append(str(arguments[2]))
        return await run(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(connection, "run", counted)
    return found


async def seen(store: SqliteStore) -> tuple[list[str], int, str | None]:
    page = await store.list(OWNER, RUNNING, limit=1, cursor=None)
    return [job.id for job in page.jobs], await store.running_count(), page.next_cursor


async def test_what_a_waiting_job_is_told_takes_no_trip_to_another_thread(
    store: SqliteStore, trips: list[str]
) -> None:
    both = [await in_state(store, Status.RUNNING) for _ in range(2)]
    _, newer = sorted(both, key=lambda job: job.id)
    trips.clear()

    assert await seen(store) == ([newer.id], 2, newer.id)
    assert trips == []


async def test_a_glance_that_fails_shows_the_same_by_another_thread(
    store: SqliteStore, trips: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    await in_state(store, Status.RUNNING)
    expected = await seen(store)
    monkeypatch.setattr(connection.Glance, "rows", lambda *_: None)
    trips.clear()

    assert await seen(store) == expected
    assert len(trips) == 2


@pytest.mark.parametrize(
    ("where", "limit"), [(RUNNING, 100), (JobFilter(type="shell", cwd="/work"), 1)]
)
async def test_many_jobs_and_those_that_are_searched_for_do_not_keep_the_caller_s_thread(
    store: SqliteStore, trips: list[str], where: JobFilter, limit: int
) -> None:
    await in_state(store, Status.RUNNING)
    trips.clear()

    await store.list(OWNER, where, limit=limit, cursor=None)

    assert len(trips) == 1
