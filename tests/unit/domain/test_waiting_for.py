"""What a job waits for is what must be gone first."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mcp_jobs.domain.gates import Obstacles, Pause, WaitingFor, WaitKind, waiting_for
from mcp_jobs.domain.states import Status
from tests.unit.domain.test_job_object import JOB, NOW_MS

if TYPE_CHECKING:
    from mcp_jobs.domain.models import Job

DUE = replace(JOB, created_at_ms=NOW_MS - 5000, run_at_ms=NOW_MS)
LATER = replace(DUE, run_at_ms=NOW_MS + 1)
PAUSE = Pause(kind="lock", name="gpu", paused_by="ann", why=None, at_ms=NOW_MS - 1000)


def wait(job: Job, slot_free: bool = True, **obstacles: Any) -> WaitingFor | None:
    return waiting_for(job, Obstacles(**obstacles), slot_free=slot_free, now_ms=NOW_MS)


EVERYTHING: dict[str, Any] = {
    "open_parents": ("a", "b"),
    "pauses": (PAUSE,),
    "taken_locks": ("gpu",),
    "holders": ("c",),
}


def test_a_job_with_nothing_in_its_way_waits_for_nothing() -> None:
    assert wait(DUE) is None


def test_of_several_obstacles_the_one_that_must_be_gone_first_is_told() -> None:
    left, seen = dict(EVERYTHING), []
    for gone in ("open_parents", "pauses", "run_at", "taken_locks", ""):
        job = LATER if "taken_locks" in left and gone != "taken_locks" else DUE
        found = wait(job, slot_free=False, **left)
        assert found is not None
        seen.append(found.kind)
        left.pop(gone, None)
    assert seen == ["after", "paused", "delay", "lock", "capacity"]


def test_each_obstacle_has_its_names_its_jobs_and_its_beginning_where_that_is_known() -> None:
    assert wait(DUE, open_parents=("a", "b")) == WaitingFor(
        kind=WaitKind.AFTER, job_ids=("a", "b"), since_ms=DUE.created_at_ms
    )
    assert wait(DUE, pauses=(PAUSE,)) == WaitingFor(
        kind=WaitKind.PAUSED, names=("lock:gpu",), since_ms=PAUSE.at_ms
    )
    assert wait(DUE, taken_locks=("gpu",), holders=("c",)) == WaitingFor(
        kind=WaitKind.LOCK, names=("gpu",), job_ids=("c",)
    )
    assert wait(LATER) == WaitingFor(kind=WaitKind.DELAY, since_ms=DUE.created_at_ms)
    assert wait(replace(LATER, schedule="nightly")) == WaitingFor(
        kind=WaitKind.SCHEDULE, names=("nightly",), since_ms=DUE.created_at_ms
    )
    assert wait(DUE, slot_free=False) == WaitingFor(kind=WaitKind.CAPACITY)


def test_a_pause_from_before_a_job_holds_it_since_it_was_accepted() -> None:
    early = replace(PAUSE, kind="all", name="", at_ms=DUE.created_at_ms - 9)
    found = wait(DUE, pauses=(early, PAUSE))
    assert found is not None
    assert (found.names, found.since_ms) == (("all", "lock:gpu"), DUE.created_at_ms)


def test_since_when_a_job_waits_for_another_attempt_is_not_known() -> None:
    retrying = replace(LATER, status=Status.RETRYING, attempt=1)
    for found in (wait(retrying), wait(retrying, pauses=(PAUSE,))):
        assert found is not None
        assert found.since_ms is None


def test_a_job_that_asks_waits_for_a_person() -> None:
    asking = replace(DUE, status=Status.INPUT_REQUIRED, claimed_by="")
    assert wait(asking, **EVERYTHING) == WaitingFor(
        kind=WaitKind.APPROVAL, since_ms=DUE.created_at_ms
    )
    middle = replace(asking, attempt=1, claimed_by="server")
    assert wait(middle) == WaitingFor(kind=WaitKind.INPUT)
    assert wait(replace(middle, cancel_requested_at_ms=1)) is None


@pytest.mark.parametrize("status", ["running", "completed", "failed", "cancelled"])
def test_whatever_does_not_wait_waits_for_nothing(status: str) -> None:
    assert wait(replace(DUE, status=Status(status)), slot_free=False, **EVERYTHING) is None
