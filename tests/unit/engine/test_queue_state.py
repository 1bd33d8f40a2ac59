"""When a claim may bring a job, from events and answers alone."""

from __future__ import annotations

from typing import Any

import pytest

from mcp_jobs.domain.events import JobChanged
from mcp_jobs.domain.states import TERMINAL, Status
from mcp_jobs.engine.queue_state import QueueState
from mcp_jobs.store.base import Claimed, Due
from tests.stores import NOW, running

CAPACITY = 2


def happened(status: Status, **given: Any) -> JobChanged:
    fields: dict[str, Any] = {"job_id": "a", "owner": "local", "created": False, **given}
    return JobChanged(status=status, ended=status in TERMINAL, **fields)


def gave(queue: QueueState, *, now: int = 1, next_due_ms: int | None = NOW) -> None:
    claimed = Claimed(job=running(), next_due_ms=next_due_ms, running=now)
    queue.gave(claimed, capacity=CAPACITY)


def waiting(*, since_ms: int | None = None, next_ms: int | None = None, running: int = 0) -> Due:
    return Due(since_ms=since_ms, next_ms=next_ms, running=running)


def empty() -> QueueState:
    """Return what is known after a look that brought nothing and knows of nothing."""
    queue = QueueState()
    assert queue.may_give(NOW)
    queue.gave_nothing(waiting(), capacity=CAPACITY)
    return queue


def full() -> QueueState:
    """Return what is known when every slot is taken, and more jobs are due."""
    queue = QueueState()
    assert queue.may_give(NOW)
    gave(queue, now=CAPACITY)
    return queue


def test_at_first_anything_may_be_due() -> None:
    assert QueueState().may_give(NOW)


def test_an_empty_queue_is_not_asked_again() -> None:
    queue = empty()
    assert not queue.may_give(NOW)
    assert queue.due_in_s(NOW) is None


def test_a_job_that_was_accepted_is_looked_for() -> None:
    queue = empty()
    assert queue.hear(happened(Status.PENDING, created=True))
    assert queue.may_give(NOW)


def test_what_happens_while_the_queue_is_asked_counts_anew() -> None:
    queue = QueueState()
    assert queue.may_give(NOW)
    queue.hear(happened(Status.PENDING, created=True))
    queue.gave_nothing(waiting(), capacity=CAPACITY)
    assert queue.may_give(NOW)


def test_the_next_job_is_looked_for_when_it_is_due() -> None:
    queue = QueueState()
    gave(queue, next_due_ms=NOW + 1500)
    queue.may_give(NOW)
    queue.gave_nothing(waiting(next_ms=NOW + 1500), capacity=CAPACITY)
    assert not queue.may_give(NOW + 1499)
    assert queue.due_in_s(NOW) == 1.5
    assert queue.may_give(NOW + 1500)


def held_up(*, now: int) -> QueueState:
    """Return what is known when something is due that cannot begin, and so many jobs run."""
    queue = QueueState()
    assert queue.may_give(NOW)
    queue.gave_nothing(waiting(since_ms=NOW - 1, running=now), capacity=CAPACITY)
    return queue


def test_what_is_held_up_by_a_lock_is_asked_for_when_a_job_ends_and_not_before() -> None:
    queue = held_up(now=1)
    assert not queue.may_give(NOW)
    assert queue.hear(happened(Status.COMPLETED))
    queue.begin()
    assert queue.may_give(NOW)


def test_what_is_held_up_by_a_lock_keeps_no_other_job_waiting() -> None:
    queue = held_up(now=1)
    assert queue.hear(happened(Status.PENDING, created=True))
    queue = held_up(now=CAPACITY)
    assert not queue.hear(happened(Status.PENDING, created=True))


def test_without_a_free_slot_nothing_is_asked_whatever_is_due() -> None:
    queue = full()
    assert not queue.may_give(NOW + 1000)
    assert queue.due_in_s(NOW) is None
    assert not queue.hear(happened(Status.PENDING, created=True))


@pytest.mark.parametrize(
    "status", [*sorted(TERMINAL), Status.RETRYING, Status.INPUT_REQUIRED], ids=str
)
def test_a_slot_is_used_when_a_job_leaves_it(status: Status) -> None:
    queue = full()
    assert queue.hear(happened(status))
    assert queue.may_give(NOW)


def test_a_slot_that_was_used_before_the_feed_told_of_it_is_not_looked_for_again() -> None:
    queue = full()
    queue.note_freed("a")
    assert queue.may_give(NOW)
    gave(queue, now=CAPACITY)
    # The claim was of the same job: its next end is another one.
    assert queue.hear(happened(Status.COMPLETED))

    queue = full()
    queue.note_freed("b")
    gave(queue, now=CAPACITY)
    assert not queue.hear(happened(Status.COMPLETED, job_id="b"))
    assert not queue.may_give(NOW)


def test_a_slot_that_became_free_during_a_claim_is_used_by_the_next_look() -> None:
    queue = QueueState()
    assert queue.may_give(NOW)
    assert queue.hear(happened(Status.COMPLETED, job_id="b"))
    gave(queue, now=CAPACITY)
    queue.begin()
    assert queue.may_give(NOW)


def test_who_trusts_nothing_asks() -> None:
    for queue in (empty(), full()):
        queue.distrust()
        assert queue.may_give(NOW)


def test_ends_that_were_never_told_are_forgotten_in_time() -> None:
    queue = full()
    for number in range(1001):
        queue.note_freed(f"job {number}")
    assert queue.hear(happened(Status.COMPLETED, job_id="job 0"))
    assert not full().hear(happened(Status.RUNNING))
