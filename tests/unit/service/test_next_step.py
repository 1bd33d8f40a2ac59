"""The sentence that says what to do now is true, and of use, in every state."""

from __future__ import annotations

from dataclasses import replace

import pytest

from mcp_jobs.domain.states import Reason, Status
from mcp_jobs.service.next_step import Queue, for_whom_is_told, next_step
from tests.unit.domain.test_job_object import JOB, NOW_MS, STARTED

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
    assert step(DUE, queue=queue).startswith(
        "The job waits for its turn as number 2; 3 may run at once. Running now: "
        f'{ours.id} ("say \\"hi\\"\\u000a{"x" * 26}…"), 2 more. Go on'
    )


def test_jobs_of_others_that_hold_the_queue_are_only_counted() -> None:
    queue = Queue(position=None, capacity=1, holders=[], others=1)
    assert step(DUE, queue=queue).startswith(
        "The job waits for its turn; 1 may run at once. Running now: 1 of others. Go on"
    )


def test_after_a_refusal_it_is_not_to_be_started_again() -> None:
    declined = replace(JOB, status=Status.CANCELLED, reason=Reason.DECLINED)
    assert step(declined) == "Its approval was declined; do not start it again unless asked."
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
