"""What every `Store` does to a job on its way: retries, cancels, progress, a mended clock."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.domain.models import Attempt
from mcp_jobs.domain.states import LONGEST_PAUSE_MS, TERMINAL, Reason, Status
from tests.stores import (
    NOW,
    OWNER,
    all_changes,
    claim,
    claimed,
    created,
    ending,
    in_state,
    progress,
)

if TYPE_CHECKING:
    from mcp_jobs.store import Store

ENDS = sorted(TERMINAL)


# -- retry ---------------------------------------------------------------------------------------


async def test_a_retry_waits_for_its_time_and_starts_clean(store: Store) -> None:
    first = await in_state(store, Status.RUNNING)
    await store.set_progress(first, progress(70))
    waiting = await store.settle(first, ending(Status.RETRYING, run_at_ms=NOW + 500))

    assert waiting is not None
    assert (waiting.status, waiting.reason) == (Status.RETRYING, Reason.EXIT_CODE)
    assert waiting.finished_at_ms is None
    assert not waiting.ended
    assert await claim(store, now_ms=NOW + 499) is None
    second = await claimed(store, now_ms=NOW + 500)
    assert (second.id, second.attempt, second.launch_token) == (first.id, 2, second.claim_token)
    cleared = (second.reason, second.error, second.exit_code, second.progress)
    assert cleared == (None,) * 4
    assert second.started_at_ms == first.started_at_ms
    assert second.attempt_started_at_ms == NOW + 500


async def test_every_ended_attempt_is_kept_in_order(store: Store) -> None:
    job = await in_state(store, Status.RUNNING)
    await store.settle(job, ending(Status.RETRYING, exit_code=9, output_start=0))
    job = await claimed(store, now_ms=NOW + 50)
    end = ending(Status.COMPLETED, output_start=120, finished_at_ms=NOW + 90, cpu_s=None)
    await store.settle(job, end)

    first, second = await store.attempts(job.id)
    assert first == Attempt(
        number=1,
        started_at_ms=NOW,
        finished_at_ms=NOW + 1000,
        reason=Reason.EXIT_CODE,
        exit_code=9,
        error="It went wrong.",
        output_start=0,
        cpu_s=0.5,
        memory_peak_bytes=4096,
    )
    assert (second.number, second.reason, second.started_at_ms) == (2, None, NOW + 50)
    assert (second.output_start, second.cpu_s, second.finished_at_ms) == (120, None, NOW + 90)


async def test_only_a_retried_interruption_counts_as_one(store: Store) -> None:
    job = await in_state(store, Status.RUNNING)
    await store.settle(job, ending(Status.RETRYING, Reason.EXIT_CODE))
    job = await claimed(store)
    lost = await store.settle(job, ending(Status.RETRYING, Reason.INTERRUPTED))
    assert lost is not None
    assert lost.interrupts == 1
    end = await store.settle(await claimed(store), ending(Status.FAILED, Reason.INTERRUPTED))
    assert end is not None
    assert (end.interrupts, end.attempt) == (1, 3)


async def test_a_cancel_that_came_first_beats_a_retry(store: Store) -> None:
    job = await in_state(store, Status.RUNNING)
    marked = await store.request_cancel(OWNER, job.id, now_ms=NOW + 1)

    assert await store.settle(job, ending(Status.RETRYING)) is None
    assert await store.find(job.id) == marked
    ended = await store.settle(job, ending(Status.CANCELLED))
    assert ended is not None
    assert ended.status is Status.CANCELLED


async def test_a_cancel_that_came_after_a_retry_ends_the_job_at_once(store: Store) -> None:
    job = await in_state(store, Status.RETRYING)

    ended = await store.request_cancel(OWNER, job.id, now_ms=NOW + 1)

    assert ended is not None
    assert ended.status is Status.CANCELLED
    assert await claim(store, now_ms=NOW + 10**6) is None
    assert len(await store.attempts(job.id)) == 1


# -- cancel --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [Status.PENDING, Status.RETRYING])
async def test_a_waiting_job_is_cancelled_at_once(store: Store, status: Status) -> None:
    job = await in_state(store, status)

    ended = await store.request_cancel(OWNER, job.id, now_ms=NOW + 7)

    assert ended is not None
    assert (ended.status, ended.reason) == (Status.CANCELLED, Reason.CANCELLED_BY_USER)
    assert ended.finished_at_ms == ended.cancel_requested_at_ms == NOW + 7


async def test_a_running_job_is_only_marked_and_only_once(store: Store) -> None:
    job = await in_state(store, Status.RUNNING)

    marked = await store.request_cancel(OWNER, job.id, now_ms=NOW + 7)
    again = await store.request_cancel(OWNER, job.id, now_ms=NOW + 8)

    assert marked == replace(job, cancel_requested_at_ms=NOW + 7)
    assert again == marked


@pytest.mark.parametrize("status", ENDS)
async def test_an_ended_job_is_returned_as_it_is(store: Store, status: Status) -> None:
    job = await in_state(store, status)
    changes = await all_changes(store)

    assert await store.request_cancel(OWNER, job.id, now_ms=NOW + 7) == job
    assert await all_changes(store) == changes


# -- progress ------------------------------------------------------------------------------------


async def test_progress_is_stored_under_the_claim(store: Store) -> None:
    job = await in_state(store, Status.RUNNING)
    seen = progress(33.5, message="ä 1/3", total=None)

    moved = await store.set_progress(job, seen)

    assert moved == replace(job, progress=seen) == await store.find(job.id)
    end = await store.settle(job, ending(Status.COMPLETED))
    assert end is not None
    assert end.progress == seen


# -- a wall clock that was set back --------------------------------------------------------------


async def test_jobs_that_a_clock_set_back_would_keep_waiting_are_due_again(store: Store) -> None:
    retrying = await in_state(store, Status.RETRYING)
    immediate = await created(store)
    delayed = await created(store, run_at_ms=NOW + 10)
    before = NOW - LONGEST_PAUSE_MS - 1

    assert await store.reset_future_run_at(now_ms=before)
    assert not await store.reset_future_run_at(now_ms=before)

    assert {(await claimed(store, now_ms=before)).id for _ in range(2)} == {
        retrying.id,
        immediate.id,
    }
    assert await claim(store, now_ms=before) is None
    assert await store.find(delayed.id) == delayed


async def test_a_long_pause_that_a_job_asked_for_is_no_clock_that_was_set_back(
    store: Store,
) -> None:
    job = await in_state(store, Status.RUNNING)
    later = NOW + 10 * LONGEST_PAUSE_MS
    await store.settle(job, ending(Status.RETRYING, finished_at_ms=NOW, run_at_ms=later))

    assert not await store.reset_future_run_at(now_ms=NOW)
    assert await claim(store, now_ms=later - 1) is None
    assert await claim(store, now_ms=later) is not None


async def test_a_clock_that_was_not_set_back_mends_nothing(store: Store) -> None:
    await in_state(store, Status.RETRYING)
    await created(store)
    await created(store, run_at_ms=NOW + 10)
    changes = await all_changes(store)

    assert not await store.reset_future_run_at(now_ms=NOW)

    assert await all_changes(store) == changes
