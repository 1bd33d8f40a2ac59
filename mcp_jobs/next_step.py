"""What whoever was shown a job should do now, in a sentence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mcp_jobs import outcomes, views
from mcp_jobs.models import CONFIRM_KEY
from mcp_jobs.states import Status

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp_jobs.models import Job, Question

_WAITING: Final = (Status.PENDING, Status.RETRYING)


def next_step(job: Job, asked: Sequence[Question]) -> str:
    """Return what to do about a job that asks these questions."""
    look = f'check_job {{"job_id": "{job.id}", "wait_seconds": 50}}'
    if job.status is Status.COMPLETED:
        return _after_completion(job)
    if job.status is Status.CANCELLED:
        if outcomes.none_left(job):
            return "The job is cancelled and none of its processes is left."
        return "The job is cancelled, and what could be found of its processes is gone; see error."
    if job.status is Status.FAILED:
        return "The job failed; see error and output, fix the cause and start it again."
    if job.cancel_requested_at_ms is not None:
        return f"The job is being stopped; see whether it is gone with {look}."
    if job.status is Status.INPUT_REQUIRED:
        return f"{_whom_to_ask(job, asked)} Then see how it goes on with {look}."
    if job.status in _WAITING:
        return f"The job waits for its turn. Go on with other work; later wait for it with {look}."
    return f"The job runs. Go on with other work; later wait for its end with {look}."


def _after_completion(job: Job) -> str:
    bad = views.failed_tests(job)
    if not bad:
        return "The job completed; nothing more to do."
    # As in `pytest | tail`: the exit code is that of the pipe's last program.
    counted = "1 test" if bad == 1 else f"{bad} tests"
    return (
        f"The command ended with exit code 0, but {counted} failed; see result. Something in it "
        "hides their exit code, as a pipe does."
    )


def _whom_to_ask(job: Job, asked: Sequence[Question]) -> str:
    by_hand = (
        f"That is for a person: tell the user to run `mcp-jobs approve {job.id}` in a terminal of "
        "their own, and do not run it yourself"
    )
    if [question.key for question in asked] == [CONFIRM_KEY]:
        return (
            f"The job waits for a person's approval and has not begun. {by_hand}; "
            "cancel_job declines."
        )
    return f"The job waits for a person's answer; see questions. {by_hand}."
