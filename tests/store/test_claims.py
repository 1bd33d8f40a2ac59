"""What every `Store` does to one job: accept, claim, settle, adopt."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mcp_jobs.domain.errors import KeyConflictError
from mcp_jobs.domain.states import TERMINAL, Status
from mcp_jobs.store import Accepted
from tests.stores import (
    HERE,
    NOW,
    OWNER,
    all_changes,
    claim,
    claimed,
    created,
    ending,
    in_state,
    new_job,
    progress,
)

if TYPE_CHECKING:
    from mcp_jobs.store import Store

ENDS = sorted(TERMINAL)


# -- create --------------------------------------------------------------------------------------


async def test_a_new_job_is_stored_as_it_was_asked_for(store: Store) -> None:
    asked = new_job(
        params={"command": "echo ä\0", "deep": [1, None, {"x": 2.5}]},
        title="Ünïcode ✓ 'quoted'",
        run_at_ms=NOW + 5000,
        max_attempts=4,
        timeout_s=1.5,
        idle_timeout_s=0.25,
        retry_on_interrupt=True,
        idempotency_key="k",
    )

    accepted = await store.create(asked)

    job = accepted.job
    assert (accepted.existing, accepted.queue_position) == (False, 1)
    for name in asked.__slots__:
        if name not in ("idempotency_key", "webhooks", "launch", "likeness", "if_running"):
            assert getattr(job, name) == getattr(asked, name), name
    assert (job.status, job.attempt, job.interrupts, job.claim_token) == (Status.PENDING, 0, 0, 0)
    unset = (job.reason, job.result, job.progress, job.claimed_by, job.finished_at_ms)
    assert unset == (None,) * 5
    assert await store.get(OWNER, job.id) == await store.find(job.id) == job


async def test_the_same_key_and_arguments_return_the_first_job(store: Store) -> None:
    first = await created(store, idempotency_key="deploy")

    again = await store.create(new_job(idempotency_key="deploy", title="another"))

    assert again == Accepted(job=first, existing=True, queue_position=None)
    assert await store.counts(OWNER) == {Status.PENDING: 1}


async def test_the_same_key_finds_its_job_also_after_the_end(store: Store) -> None:
    first = await in_state(store, Status.COMPLETED, idempotency_key="deploy")

    again = await store.create(new_job(idempotency_key="deploy"))
    assert again == Accepted(job=first, existing=True, queue_position=None)


async def test_the_same_key_with_other_arguments_is_refused_and_stores_nothing(
    store: Store,
) -> None:
    first = await created(store, idempotency_key="deploy")

    with pytest.raises(KeyConflictError, match=f"'deploy' belongs to job {first.id}"):
        await store.create(new_job(idempotency_key="deploy", fingerprint="other"))

    assert await store.counts(OWNER) == {Status.PENDING: 1}
    assert await store.get(OWNER, first.id) == first


async def test_the_same_key_of_another_owner_is_another_key(store: Store) -> None:
    await created(store, idempotency_key="deploy")
    await created(store, idempotency_key="deploy", owner="ann", fingerprint="other")

    assert await store.counts("ann") == {Status.PENDING: 1}


async def test_jobs_without_a_key_never_meet(store: Store) -> None:
    await created(store)
    await created(store)

    assert await store.counts(OWNER) == {Status.PENDING: 2}


async def test_a_new_job_is_told_its_place_behind_all_that_is_due_no_later(store: Store) -> None:
    await created(store, owner="ann")
    await created(store, run_at_ms=NOW + 5)

    places = [(await store.create(new_job())).queue_position for _ in range(3)]

    assert places == [1, 2, 3]
    assert (await store.create(new_job(run_at_ms=NOW + 5))).queue_position == 5


# -- claim ---------------------------------------------------------------------------------------


async def test_jobs_of_one_millisecond_are_claimed_in_the_order_they_came(store: Store) -> None:
    jobs = [await created(store) for _ in range(12)]
    taken = [await claimed(store) for _ in jobs]

    assert [job.id for job in taken] == [job.id for job in jobs]
    assert [job.id for job in jobs] != sorted(job.id for job in jobs), "ids alone must not decide"
    assert await claim(store) is None


async def test_a_claim_starts_the_first_attempt(store: Store) -> None:
    waiting = await created(store)

    job = await claimed(store, claimer="server-7", now_ms=NOW + 30)

    assert job == replace(
        waiting,
        status=Status.RUNNING,
        attempt=1,
        claim_token=1,
        launch_token=1,
        claimed_by="server-7",
        started_at_ms=NOW + 30,
        attempt_started_at_ms=NOW + 30,
        claimed_in="home boot",
    )
    assert await store.find(job.id) == job


async def test_a_claim_tells_when_the_next_waiting_job_of_the_locality_is_due(
    store: Store,
) -> None:
    for run_at_ms in (NOW, NOW + 40, NOW + 30):
        await created(store, run_at_ms=run_at_ms)
    await created(store, locality="machine-b", run_at_ms=NOW + 1)
    asked: dict[str, Any] = {
        "claimer": "server-1",
        "locality": HERE,
        "incarnation": "home boot",
        "capacity": 9,
    }

    told = [await store.claim(**asked, now_ms=NOW + 50) for _ in range(4)]

    assert [found and found.next_due_ms for found in told] == [NOW + 30, NOW + 40, None, None]
    assert [found and found.running for found in told] == [1, 2, 3, None]


async def test_a_delayed_job_is_claimed_when_it_is_due_and_not_before(store: Store) -> None:
    late = await created(store, run_at_ms=NOW + 50)

    assert await claim(store, now_ms=NOW + 49) is None
    assert (await claimed(store, now_ms=NOW + 50)).id == late.id


async def test_the_job_that_was_due_first_is_claimed_first(store: Store) -> None:
    second = await created(store, run_at_ms=NOW + 20)
    first = await created(store, run_at_ms=NOW + 10)

    assert (await claimed(store, now_ms=NOW + 99)).id == first.id
    assert (await claimed(store, now_ms=NOW + 99)).id == second.id


async def test_a_job_of_another_locality_is_left_to_it(store: Store) -> None:
    await created(store, locality="machine-b")
    mine = await created(store)

    assert (await claimed(store)).id == mine.id
    assert await claim(store) is None
    assert await claim(store, locality="machine-b") is not None


async def test_capacity_counts_the_running_jobs_of_the_whole_store(store: Store) -> None:
    for locality, owner in [("machine-b", "ann"), (HERE, OWNER), (HERE, OWNER)]:
        await created(store, locality=locality, owner=owner)
    elsewhere = await claimed(store, locality="machine-b", claimer="server-2")

    assert await claim(store, capacity=1) is None
    assert await claim(store, capacity=2) is not None
    assert await claim(store, capacity=2) is None

    await store.settle(elsewhere, ending(Status.COMPLETED))
    assert await claim(store, capacity=2) is not None


async def test_a_capacity_of_nothing_claims_nothing(store: Store) -> None:
    job = await created(store)

    assert await claim(store, capacity=0) is None
    assert await store.find(job.id) == job


# -- settle --------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", ENDS)
async def test_an_end_is_stored_once_with_everything_known_about_it(
    store: Store, status: Status
) -> None:
    await created(store)
    job = await claimed(store)
    end = ending(status, result={"passed": [1, 2]}, started_at_ms=NOW + 3, exit_code=7)

    settled = await store.settle(job, end)

    assert settled is not None
    assert settled.ended
    assert (settled.status, settled.reason, settled.error) == (status, end.reason, end.error)
    assert (settled.exit_code, settled.result) == (7, {"passed": [1, 2]})
    assert settled.finished_at_ms == end.finished_at_ms
    assert settled.attempt_started_at_ms == NOW + 3
    assert settled.claimed_by is None
    assert await store.find(job.id) == settled
    for other in ENDS:
        assert await store.settle(job, ending(other)) is None
    assert await store.find(job.id) == settled


async def test_an_ended_job_is_neither_claimed_nor_adopted_nor_moved(store: Store) -> None:
    running = await in_state(store, Status.RUNNING)
    ended = await store.settle(running, ending(Status.COMPLETED))
    assert ended is not None

    assert await claim(store, now_ms=NOW + 10**9) is None
    assert await store.take_over(running, claimer="server-2") is None
    assert await store.set_progress(running, progress(50)) is None
    assert await store.request_cancel(OWNER, ended.id, now_ms=NOW) == ended
    assert await store.find(ended.id) == ended


async def test_progress_is_read_as_it_was_stored(store: Store) -> None:
    running = await in_state(store, Status.RUNNING)
    seen = progress(50, message="m", ends_at_ms=NOW + 40_000)
    stored = await store.set_progress(running, seen)
    assert stored is not None
    assert stored.progress == seen
    assert await store.find(running.id) == stored


async def test_a_job_that_waits_cannot_be_settled(store: Store) -> None:
    job = await created(store)

    assert await store.settle(job, ending(Status.COMPLETED)) is None
    assert await store.find(job.id) == job


async def test_a_writer_with_an_old_token_changes_nothing(store: Store) -> None:
    old = await in_state(store, Status.RUNNING)
    taken = await store.take_over(old, claimer="server-2")
    changes = await all_changes(store)

    for status in (*ENDS, Status.RETRYING):
        assert await store.settle(old, ending(status)) is None
    assert await store.set_progress(old, progress(10)) is None
    assert await store.take_over(old, claimer="server-3") is None
    assert await store.find(old.id) == taken
    assert await all_changes(store) == changes
    assert await store.attempts(old.id) == []


async def test_a_token_of_an_earlier_attempt_is_void_in_the_next(store: Store) -> None:
    first = await in_state(store, Status.RUNNING)
    await store.settle(first, ending(Status.RETRYING))
    second = await claimed(store)

    assert second.claim_token > first.claim_token
    assert await store.settle(first, ending(Status.COMPLETED)) is None
    assert await store.find(first.id) == second


# -- take over -----------------------------------------------------------------------------------


async def test_adoption_changes_the_owner_and_the_token_and_nothing_else(store: Store) -> None:
    job = await in_state(store, Status.RUNNING)

    taken = await store.take_over(job, claimer="server-2")

    assert taken == replace(job, claimed_by="server-2", claim_token=job.claim_token + 1)
    assert taken is not None
    assert taken.launch_token == job.launch_token
    assert await store.take_over(job, claimer="server-3") is None


@pytest.mark.parametrize("status", [Status.PENDING, Status.RETRYING, *ENDS])
async def test_a_job_that_does_not_run_cannot_be_adopted(store: Store, status: Status) -> None:
    job = await in_state(store, status)

    assert await store.take_over(job, claimer="server-2") is None
    assert await store.find(job.id) == job


async def test_only_running_jobs_are_listed_for_adoption_wherever_they_run(store: Store) -> None:
    for status in [*ENDS, Status.RETRYING]:
        await in_state(store, status, max_attempts=1)
    here = await claimed(store)
    await created(store, locality="machine-b")
    there = await claimed(store, locality="machine-b")
    await created(store)

    running = await store.running()
    assert sorted(running, key=lambda job: job.locality) == [here, there]
    # Of its own jobs an owner needs those that are to end.
    owner = str(here.claimed_by)
    assert await store.running(needing_care_of="nobody") == running
    assert await store.running(needing_care_of=owner) == [
        job for job in running if job.claimed_by != owner
    ]
    cancelled = await store.request_cancel(OWNER, here.id, now_ms=NOW)
    assert cancelled in await store.running(needing_care_of=owner)
    assert await store.unfinished(HERE) == 2
    assert await store.unfinished("machine-b") == 1
    assert await store.unfinished("machine-c") == 0
