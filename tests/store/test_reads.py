"""What every `Store` shows: lists and pages, counts, places in the queue, the log of changes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from mcp_jobs.domain.ids import new_id
from mcp_jobs.domain.models import JobFilter, JobOrigin
from mcp_jobs.domain.states import Status
from tests.stores import (
    HERE,
    NOW,
    OWNER,
    STORES,
    all_changes,
    claim,
    claimed,
    created,
    ending,
    in_state,
    new_job,
    next_due_ms,
    progress,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from mcp_jobs.domain.models import Job
    from mcp_jobs.store import Store

EVERYTHING = JobFilter()
STATES = [
    Status.COMPLETED,
    Status.FAILED,
    Status.CANCELLED,
    Status.RUNNING,
    Status.PENDING,
]


@pytest.fixture(params=STORES)
async def two(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[tuple[Store, Store]]:
    """One store opened twice, as two servers do."""
    first, second = [await STORES[request.param](tmp_path) for _ in range(2)]
    yield first, second
    await first.close()
    await second.close()


async def some_jobs(store: Store) -> list[Job]:
    """Store jobs of different ages, states, types and directories; oldest first."""
    jobs = []
    for number, status in enumerate(STATES * 2):
        asked: dict[str, Any] = {
            "type": "shell" if number % 2 else "report",
            "cwd": f"/work/{number % 3}",
            "origin": JobOrigin(project=f"/{'ab'[number % 2]}", session=str(number % 3)),
        }
        if status is Status.PENDING:
            # Not due, so that no claim below takes it.
            asked["run_at_ms"] = NOW + 1000
        jobs.append(await in_state(store, status, created_at_ms=NOW - 100 + number, **asked))
    return jobs


async def pages(store: Store, where: JobFilter, *, limit: int) -> list[list[str]]:
    """Follow the cursors to the end."""
    found: list[list[str]] = []
    cursor = None
    while True:
        page = await store.list(OWNER, where, limit=limit, cursor=cursor)
        found.append([job.id for job in page.jobs])
        cursor = page.next_cursor
        if cursor is None:
            return found


# -- list ----------------------------------------------------------------------------------------


FILTERS = [
    EVERYTHING,
    JobFilter(statuses=(Status.RUNNING,)),
    JobFilter(statuses=(Status.PENDING, Status.FAILED)),
    JobFilter(statuses=tuple(Status)),
    JobFilter(statuses=(Status.INPUT_REQUIRED,)),
    JobFilter(statuses=()),
    JobFilter(type="report"),
    JobFilter(type="nothing"),
    JobFilter(cwd="/work/1"),
    JobFilter(type="shell", cwd="/work/1"),
    JobFilter(type="shell", statuses=(Status.FAILED, Status.COMPLETED)),
    JobFilter(cwd="/work/0", statuses=(Status.COMPLETED,)),
    JobFilter(project="/a"),
    JobFilter(project="/a", type="shell", statuses=(Status.COMPLETED, Status.RUNNING)),
    JobFilter(session="1", cwd="/work/1"),
    JobFilter(cwd="/work/0", type="report", statuses=(Status.COMPLETED, Status.RUNNING)),
]


def matches(job: Job, where: JobFilter) -> bool:
    return (
        (where.statuses is None or job.status in where.statuses)
        and where.type in (None, job.type)
        and where.cwd in (None, job.cwd)
        and where.project in (None, job.origin.project)
        and where.session in (None, job.origin.session)
        and (where.job_ids is None or job.id in where.job_ids)
    )


async def test_a_list_shows_what_matches_newest_first_on_pages_of_any_size(store: Store) -> None:
    jobs = await some_jobs(store)
    chosen = JobFilter(job_ids=(jobs[7].id, jobs[2].id, jobs[2].id, "unknown"))
    both = JobFilter(job_ids=tuple(job.id for job in jobs[2:6]), type="shell")

    for where in [*FILTERS, chosen, both, JobFilter(job_ids=())]:
        expected = [job.id for job in reversed(jobs) if matches(job, where)]
        for limit in (1, 3, 10, 100):
            cut = [expected[i : i + limit] for i in range(0, len(expected), limit)]
            assert await pages(store, where, limit=limit) == (cut or [[]]), where


async def test_a_listed_job_is_complete(store: Store) -> None:
    jobs = await some_jobs(store)

    page = await store.list(OWNER, EVERYTHING, limit=100, cursor=None)

    assert list(page.jobs) == jobs[::-1]


async def test_pages_stay_in_step_while_jobs_come_and_change(store: Store) -> None:
    jobs = [await created(store, created_at_ms=NOW - 9 + n) for n in range(9)]
    seen: list[str] = []
    cursor = None
    while True:
        page = await store.list(OWNER, EVERYTHING, limit=2, cursor=cursor)
        seen += [job.id for job in page.jobs]
        await created(store, created_at_ms=NOW + len(seen))
        await claimed(store)
        cursor = page.next_cursor
        if cursor is None:
            break

    assert seen == [job.id for job in reversed(jobs)]


# -- scopes --------------------------------------------------------------------------------------


A: Any = {"project": "/a", "session": "1"}
B: Any = {"project": "/b", "session": "2"}
SCOPES = [
    (JobFilter(), 4, 0),
    (JobFilter(project="/a"), 2, 2),
    (JobFilter(session="2"), 1, 3),
    (JobFilter(project="/a", session="1"), 1, 3),
    (JobFilter(project="/b", session="1"), 0, 4),
    (JobFilter(project="/a", statuses=(Status.FAILED,)), 0, 2),
    (JobFilter(project="/none"), 0, 4),
]


@pytest.mark.parametrize(("where", "listed", "others"), SCOPES)
async def test_a_page_counts_the_jobs_of_its_project_and_session(
    store: Store, where: JobFilter, listed: int, others: int
) -> None:
    for origin in (A, {**A, "session": "3"}, B, {}):
        await created(store, origin=JobOrigin(**origin))
    for _ in range(3):
        await created(store, owner="ann", origin=JobOrigin(**A))

    page = await store.list(OWNER, where, limit=10, cursor=None)

    # Which states are asked for changes the page, and not the counts.
    counted = 4 - others
    assert (len(page.jobs), page.others) == (listed, others)
    assert page.counts == ({Status.PENDING: counted} if counted else {})


async def test_the_counts_of_a_project_follow_every_move_and_forget_what_is_removed(
    store: Store,
) -> None:
    where = JobFilter(project="/a")
    job = await in_state(store, Status.RUNNING, origin=JobOrigin(**A))
    await created(store, origin=JobOrigin(**A), run_at_ms=NOW + 1)

    async def counts() -> Mapping[Status, int]:
        return (await store.list(OWNER, where, limit=1, cursor=None)).counts

    assert await counts() == {Status.PENDING: 1, Status.RUNNING: 1}
    await store.settle(job, ending(Status.FAILED))
    assert await counts() == {Status.PENDING: 1, Status.FAILED: 1}
    await store.remove_old(before_ms=NOW * 2, keep=100, limit=10)
    assert await counts() == {Status.PENDING: 1}


# -- owners --------------------------------------------------------------------------------------


async def test_an_owner_sees_and_moves_only_what_is_his(store: Store) -> None:
    mine = await created(store)
    his = await created(store, owner="ann")

    assert await store.get("ann", mine.id) is None
    assert await store.request_cancel("ann", mine.id, now_ms=NOW) is None
    assert await store.find(mine.id) == mine
    for where in (EVERYTHING, JobFilter(job_ids=(mine.id, his.id)), JobFilter(type="shell")):
        page = await store.list("ann", where, limit=10, cursor=None)
        assert [job.id for job in page.jobs] == [his.id]
    assert await store.counts("ann") == {Status.PENDING: 1}
    assert await store.recent_ids("ann", limit=10) == [his.id]
    assert await store.queue_position(his.id) == 1
    assert await store.counts("nobody") == {}
    assert await store.recent_ids("nobody", limit=10) == []
    assert await store.matching_ids("ann", his.id[-4:], limit=10) == [his.id]
    assert await store.matching_ids("nobody", his.id, limit=10) == []


async def test_a_cursor_of_another_owners_job_shows_nothing_of_it(store: Store) -> None:
    await created(store, created_at_ms=NOW - 2)
    his = await created(store, created_at_ms=NOW - 1, owner="ann")

    page = await store.list("ann", EVERYTHING, limit=5, cursor=new_id(NOW))
    assert [job.id for job in page.jobs] == [his.id]


# -- counts and places ---------------------------------------------------------------------------


async def test_counts_follow_every_move_and_leave_out_empty_states(store: Store) -> None:
    assert await store.counts(OWNER) == {}
    await created(store)
    job = await in_state(store, Status.RUNNING, run_at_ms=NOW - 1)
    assert await store.counts(OWNER) == {Status.PENDING: 1, Status.RUNNING: 1}
    await store.settle(job, ending(Status.FAILED))
    assert await store.counts(OWNER) == {Status.PENDING: 1, Status.FAILED: 1}


async def test_the_place_in_the_queue_counts_the_owners_jobs_that_are_due_earlier(
    store: Store,
) -> None:
    late = await created(store, run_at_ms=NOW + 10)
    first = await created(store)
    second = await created(store)
    await created(store, owner="ann", run_at_ms=NOW - 5)

    assert [await store.queue_position(job.id) for job in (first, second, late)] == [1, 2, 3]
    await claimed(store)
    await claimed(store)
    assert [await store.queue_position(job.id) for job in (second, late)] == [1, 2]


async def test_the_running_jobs_of_all_owners_are_counted_and_those_that_ask_are_not(
    store: Store,
) -> None:
    assert await store.running_count() == 0
    for status in Status:
        await in_state(store, status)
    await in_state(store, Status.RUNNING, owner="ann")

    assert await store.running_count() == 2


async def test_the_newest_ids_come_first_and_no_more_than_asked_for(store: Store) -> None:
    jobs = [await created(store, created_at_ms=NOW + n) for n in range(5)]

    assert await store.recent_ids(OWNER, limit=3) == [job.id for job in jobs[:1:-1]]


async def test_ids_are_found_by_their_beginning_or_end(store: Store) -> None:
    jobs = [await created(store, created_at_ms=NOW + n) for n in (0, 1)]
    newest_first = [jobs[1].id, jobs[0].id]

    assert await store.matching_ids(OWNER, jobs[0].id[:5], limit=10) == newest_first
    assert await store.matching_ids(OWNER, jobs[0].id[:5], limit=1) == newest_first[:1]
    for job in jobs:
        for part in (job.id, job.id[:9], job.id[-6:]):
            assert await store.matching_ids(OWNER, part, limit=10) == [job.id]
    for part in ("%", "_" * 25, jobs[0].id[1:5], jobs[0].id + "0"):
        assert await store.matching_ids(OWNER, part, limit=10) == []


async def test_the_next_due_time_is_that_of_waiting_jobs_of_the_locality(store: Store) -> None:
    assert await next_due_ms(store, HERE) is None
    await created(store, locality="machine-b", run_at_ms=NOW)
    await created(store, run_at_ms=NOW + 30)
    job = await in_state(store, Status.RUNNING, run_at_ms=NOW - 5)
    assert await next_due_ms(store, HERE) == NOW + 30

    await store.settle(job, ending(Status.RETRYING, run_at_ms=NOW + 20))
    assert await next_due_ms(store, HERE) == NOW + 20


async def test_states_are_told_of_the_ids_that_exist(store: Store) -> None:
    job = await in_state(store, Status.FAILED)
    other = await created(store, owner="ann")

    states = await store.states_of([job.id, "unknown", other.id])
    assert states == {job.id: Status.FAILED, other.id: Status.PENDING}
    assert await store.states_of([]) == {}


# -- the log of changes --------------------------------------------------------------------------


async def test_the_log_has_every_change_once_and_in_order(store: Store) -> None:
    job = await in_state(store, Status.RUNNING)
    await store.set_progress(job, progress(50))
    await store.request_cancel(OWNER, job.id, now_ms=NOW)
    await store.request_cancel(OWNER, job.id, now_ms=NOW)
    await store.settle(job, ending(Status.CANCELLED))
    await store.create(new_job(idempotency_key="k", owner="ann"))
    await store.create(new_job(idempotency_key="k", owner="ann"))

    log = await all_changes(store)

    assert [(c.owner, c.status, c.created) for c in log] == [
        (OWNER, Status.PENDING, True),
        (OWNER, Status.RUNNING, False),
        (OWNER, Status.RUNNING, False),
        (OWNER, Status.RUNNING, False),
        (OWNER, Status.CANCELLED, False),
        ("ann", Status.PENDING, True),
    ]
    assert {c.job_id for c in log[:5]} == {job.id}
    assert [c.seq for c in log] == sorted({c.seq for c in log})
    assert await store.last_change() == log[-1].seq
    assert await store.changes_after(log[3].seq, limit=100) == log[4:]


async def test_pruning_forgets_old_changes_and_never_the_newest(store: Store) -> None:
    for number in range(6):
        await created(store, created_at_ms=NOW + number)
    log = await all_changes(store)

    assert await store.prune_changes(before_ms=NOW, limit=100) == 0
    assert await store.prune_changes(before_ms=NOW + 4, limit=3) == 3
    assert await store.prune_changes(before_ms=NOW + 4, limit=3) == 1
    assert await store.prune_changes(before_ms=NOW + 4, limit=3) == 0
    assert await all_changes(store) == log[4:]
    assert await store.prune_changes(before_ms=NOW + 999, limit=100) == 1
    assert await store.last_change() == log[-1].seq

    await created(store)
    (newest,) = await store.changes_after(log[-1].seq, limit=100)
    assert newest.seq > log[-1].seq


async def test_another_opening_sees_each_change_and_knows_that_there_was_one(
    two: tuple[Store, Store],
) -> None:
    writer, watcher = two
    await watcher.wait_for_change(0)
    assert not await watcher.wait_for_change(0)

    job = await created(writer)

    assert await watcher.wait_for_change(0)
    assert not await watcher.wait_for_change(0)
    assert await watcher.get(OWNER, job.id) == job
    assert await all_changes(watcher) == await all_changes(writer)


async def test_a_job_claimed_by_one_opening_is_not_due_for_the_other(
    two: tuple[Store, Store],
) -> None:
    first, second = two
    await created(first)

    job = await claimed(second, claimer="server-2")

    assert await claim(first) is None
    assert await first.find(job.id) == job


# -- forgetting ----------------------------------------------------------------------------------


async def test_ended_jobs_are_forgotten_by_age_then_by_number_and_others_stay(
    store: Store,
) -> None:
    old = await in_state(store, Status.COMPLETED)
    young = []
    for _ in range(3):
        await created(store)
        job = await store.settle(
            await claimed(store), ending(Status.FAILED, finished_at_ms=NOW + 5000)
        )
        assert job is not None
        young.append(job)
    running = await in_state(store, Status.RUNNING)
    waiting = await created(store)

    assert await store.remove_old(before_ms=NOW + 2000, keep=100, limit=10) == [old.id]
    assert await store.remove_old(before_ms=NOW + 2000, keep=100, limit=10) == []
    assert await store.remove_old(before_ms=NOW + 2000, keep=3, limit=1) == [young[0].id]
    assert await store.remove_old(before_ms=NOW + 2000, keep=3, limit=10) == [young[1].id]
    assert await store.remove_old(before_ms=NOW + 2000, keep=0, limit=10) == [young[2].id]
    assert await store.remove_old(before_ms=NOW + 10**9, keep=0, limit=10) == []

    assert await store.counts(OWNER) == {Status.RUNNING: 1, Status.PENDING: 1}
    assert [await store.find(job.id) for job in (running, waiting)] == [running, waiting]
    assert await store.find(old.id) is None
    assert await store.attempts(old.id) == []
