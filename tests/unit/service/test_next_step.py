"""The sentence that says what to do now is true, and of use, in every state."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mcp_jobs.domain.gates import Obstacles, Pause, WaitingFor, WaitKind, waiting_for
from mcp_jobs.domain.states import Reason, Status
from mcp_jobs.domain.vocabulary import COMMANDS, REST
from mcp_jobs.service.next_step import Queue, Turn, for_whom_is_told, next_step
from tests.unit.domain.test_job_object import JOB, NOW_MS, STARTED

if TYPE_CHECKING:
    from mcp_jobs.domain.models import Job

DUE = replace(JOB, run_at_ms=NOW_MS)


def step(job: object, **options: object) -> str:
    return next_step(job, (), now_ms=NOW_MS, **options)  # type: ignore[arg-type]


def test_a_job_that_nothing_keeps_waiting_starts_now() -> None:
    assert step(DUE).startswith("Accepted; starts now. Go on with other work; later wait")
    assert step(replace(DUE, status=Status.RETRYING)).startswith("The next attempt starts now.")


def test_a_job_that_is_due_later_says_when() -> None:
    later = replace(JOB, run_at_ms=NOW_MS + 60_000)
    assert step(later).startswith("Accepted; starts at 2027-01-15T08:01:00.000Z.")
    retrying = replace(later, status=Status.RETRYING)
    assert step(retrying).startswith("The next attempt starts at 2027-01-15T08:01:00.000Z.")


def test_a_job_in_a_full_queue_says_who_holds_it() -> None:
    ours = replace(STARTED, title='say "hi"\n' + "x" * 99)
    queue = Queue(position=2, capacity=3, holders=[ours], others=2)
    assert step(DUE, turn=Turn(queue=queue)).startswith(
        "The job waits for its turn as number 2; 3 may run at once. Running now: "
        f'{ours.id} ("say \\"hi\\"\\u000a{"x" * 26}…"), 2 more. Go on'
    )


def test_jobs_of_others_that_hold_the_queue_are_only_counted() -> None:
    queue = Queue(position=None, capacity=1, holders=[], others=1)
    assert step(DUE, turn=Turn(queue=queue)).startswith(
        "The job waits for its turn; 1 may run at once. Running now: 1 of others. Go on"
    )


def held_up(job: Job, **obstacles: Any) -> Turn:
    found = Obstacles(**obstacles)
    wait = waiting_for(job, found, slot_free=True, now_ms=NOW_MS)
    return Turn(waiting_for=wait, obstacles=found)


def paused(**given: Any) -> Pause:
    fields = {"kind": "all", "name": "", "paused_by": "ann", "why": None, "at_ms": NOW_MS}
    return Pause(**{**fields, **given})


def test_a_job_that_waits_for_others_says_for_which() -> None:
    one = replace(DUE, after=("a",))
    assert step(one, turn=held_up(one, open_parents=("a",))).startswith(
        "The job waits for job a to complete. Go on with other work"
    )
    many = replace(DUE, after=("a", "b", "c", "d"), after_any_end=True)
    assert step(many, turn=held_up(many, open_parents=many.after)).startswith(
        "The job waits for 4 jobs a, b, c and 1 more to end. Go on"
    )
    # One whose place it takes need not complete.
    assert "job a to end." in step(DUE, turn=held_up(DUE, open_parents=("a",)))


def test_a_paused_job_says_who_has_paused_what_and_how_it_goes_on() -> None:
    turn = held_up(DUE, pauses=(paused(why="a demo\x1b[2J"),))
    assert step(DUE, turn=turn).startswith(
        "Everything is paused since 2027-01-15T08:00:00.000Z by ann, who says "
        '"a demo\\u001b[2J". A person lets it go on with `mcp-jobs resume`. Go on'
    )
    turn = held_up(DUE, pauses=(paused(kind="type", name="shell"),))
    assert "Its type is paused since" in step(DUE, turn=turn)
    assert 'POST /resume {"type": "shell"}' in step(DUE, turn=turn, say=REST)
    turn = held_up(DUE, pauses=(paused(kind="lock", name="the build"),))
    said = step(DUE, turn=turn, say=COMMANDS)
    assert said.startswith('The lock "the build" is paused since')
    assert "`mcp-jobs resume --lock 'the build'`" in said


def test_a_job_without_its_locks_says_which_and_who_holds_them() -> None:
    turn = held_up(DUE, taken_locks=("build",), holders=("a",))
    assert step(DUE, turn=turn).startswith(
        'The job waits for the lock "build", which is held by job a. Go on'
    )
    turn = held_up(DUE, taken_locks=("build", "x" * 300))
    assert step(DUE, turn=turn).startswith(
        f'The job waits for the locks "build", "{"x" * 100}…", which are held by a job of somebody '
        "else."
    )


def test_what_a_job_waits_for_is_told_whatever_else_is_in_its_way() -> None:
    queue = Queue(position=1, capacity=1, holders=[], others=1)
    turn = Turn(waiting_for=WaitingFor(kind=WaitKind.CAPACITY), queue=queue)
    assert "waits for its turn" in step(DUE, turn=turn)
    later = replace(DUE, run_at_ms=NOW_MS + 1000)
    assert step(later, turn=held_up(later)).startswith("Accepted; starts at")


def test_after_a_refusal_it_is_not_to_be_started_again() -> None:
    declined = replace(JOB, status=Status.CANCELLED, reason=Reason.DECLINED)
    assert step(declined) == "Its approval was declined; do not start it again unless asked."
    superseded = replace(declined, reason=Reason.SUPERSEDED, superseded_by="new")
    assert step(superseded).startswith(
        "A later start took its place; see how that goes with check_job"
    )
    assert '"new"' in step(superseded)
    doomed = replace(declined, reason=Reason.DEPENDENCY_FAILED)
    assert step(doomed).startswith(
        "It never began, since a job that it waited for did not complete"
    )
    cancelled = replace(declined, reason=Reason.CANCELLED_BY_USER)
    assert "none of its processes is left" in step(cancelled)


@pytest.mark.parametrize("partly", [True, False])
def test_of_what_failed_more_is_to_be_had_where_there_is_more(partly: bool) -> None:
    more = f'check_job {{"job_id": "{JOB.id}", "grep": "(?i)error|fail"}}'
    failed = replace(STARTED, status=Status.FAILED, reason=Reason.EXIT_CODE)
    hidden = replace(STARTED, status=Status.COMPLETED, result={"tests": {"failed": 1}})
    for job in (failed, hidden):
        assert (more in step(job, partly=partly)) is partly
    assert "grep" not in step(replace(hidden, result=None), partly=True)


def test_failed_tests_in_a_success_are_told_with_the_exit_code_that_it_had() -> None:
    ended = replace(STARTED, status=Status.COMPLETED, result={"tests": {"failed": 2}})
    assert "exit code 0, but 2 tests failed" in step(replace(ended, exit_code=0))
    taken = step(replace(ended, exit_code=1))
    assert "exit code 1, which its type takes for success, but 2 tests failed" in taken
    assert "hides" not in taken


def test_who_is_told_of_the_end_is_not_sent_to_wait_for_it() -> None:
    assert for_whom_is_told(step(DUE)) == (
        "Accepted; starts now. You will be told when it ends; do not poll."
    )
    failed = step(replace(STARTED, status=Status.FAILED, reason=Reason.EXIT_CODE))
    assert for_whom_is_told(failed) == failed
