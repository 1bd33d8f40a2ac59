"""The job object: one and the same wherever a job is shown (DESIGN of the job object: docs)."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.domain import display
from mcp_jobs.domain.states import Status
from mcp_jobs.domain.time_left import with_estimate

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp_jobs.domain.models import Attempt, Job, Question

JobObject = dict[str, Any]

_TEST_COUNTS: Final = ("passed", "failed", "errors", "skipped")
_LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999: no later time can be written down."""


def job_uri(job_id: str) -> str:
    """Return the resource that a job is read at."""
    return f"jobs://job/{job_id}"


def rfc3339(time_ms: int | None) -> str | None:
    """Return a time as RFC 3339 in UTC, with milliseconds."""
    if time_ms is None:
        return None
    seconds, rest_ms = divmod(min(max(time_ms, 0), _LAST_MS), 1000)
    moment = datetime.fromtimestamp(seconds, UTC).replace(tzinfo=None).isoformat()
    return f"{moment}.{rest_ms:03d}Z"


def job_object(
    job: Job,
    *,
    now_ms: int,
    queue_position: int | None = None,
    printed_at_ms: int | None = None,
) -> JobObject:
    """Return the job without its output, as lists show it.

    `printed_at_ms` is when it printed something last, also in an earlier attempt.
    """
    return {
        "job_id": job.id,
        "type": job.type,
        "title": display.line(job.title),
        "status": job.status.value,
        "reason": None if job.reason is None else job.reason.value,
        "exit_code": job.exit_code,
        "error": _lines(job.error),
        "cwd": job.cwd,
        "created_at": rfc3339(job.created_at_ms),
        "run_at": rfc3339(job.run_at_ms),
        "started_at": rfc3339(job.started_at_ms),
        "finished_at": rfc3339(job.finished_at_ms),
        "duration_seconds": _duration_s(job, now_ms),
        "quiet_seconds": _quiet_s(job, now_ms, printed_at_ms),
        "attempt": job.attempt,
        "max_attempts": job.max_attempts + job.interrupts,
        "next_attempt_at": rfc3339(job.run_at_ms) if job.status == "retrying" else None,
        "cancel_requested": job.cancel_requested_at_ms is not None,
        "queue_position": queue_position,
        "progress": _progress(job, now_ms),
        "result": job.result,
        "uri": job_uri(job.id),
    }


def failed_tests(job: Job) -> int:
    """Return how many tests failed by the summary of the output; 0 where there is none."""
    tests = job.result.get("tests") if isinstance(job.result, dict) else None
    if not isinstance(tests, dict):
        return 0
    # A Python job may return anything under this name.
    counts = [tests.get(name) for name in ("failed", "errors")]
    return sum(number for number in counts if type(number) is int and number > 0)


def summary_in(result: object) -> JobObject | None:
    """Return the summary of test runs that is the result of a job, if it is that."""
    tests = result.get("tests") if isinstance(result, dict) else None
    if not isinstance(tests, dict) or not {"passed", "failed"} <= tests.keys():
        return None
    # A Python job may return anything under this name.
    counted = all(type(tests.get(name, 0)) is int for name in _TEST_COUNTS)
    names = tests.get("failed_names", [])
    return tests if counted and isinstance(names, list) else None


def counted_tests(tests: JobObject) -> str:
    """Return what a summary of test runs counted, in words."""
    counted = [f"{tests['passed']} passed", f"{tests['failed']} failed"]
    counted += [f"{tests[name]} {name}" for name in ("errors", "skipped") if tests.get(name)]
    return ", ".join(counted)


def attempt_objects(attempts: Sequence[Attempt]) -> list[JobObject]:
    """Return the ended attempts of a job."""
    return [
        {
            "attempt": attempt.number,
            "started_at": rfc3339(attempt.started_at_ms),
            "finished_at": rfc3339(attempt.finished_at_ms),
            "reason": None if attempt.reason is None else attempt.reason.value,
            "exit_code": attempt.exit_code,
            "error": _lines(attempt.error),
            "output_cursor": attempt.output_start,
            "cpu_seconds": attempt.cpu_s,
            "memory_peak_bytes": attempt.memory_peak_bytes,
        }
        for attempt in attempts
    ]


def question_objects(questions: Sequence[Question]) -> list[JobObject]:
    """Return what a job asks."""
    return [
        {
            "key": question.key,
            "message": question.message,
            "schema": dict(question.schema),
            "asked_at": rfc3339(question.asked_at_ms),
        }
        for question in questions
    ]


def _lines(text: str | None) -> str | None:
    return None if text is None else display.lines(text)


def _duration_s(job: Job, now_ms: int) -> float | None:
    if job.started_at_ms is None:
        return None
    end_ms = job.finished_at_ms if job.finished_at_ms is not None else now_ms
    return round(max(0, end_ms - job.started_at_ms) / 1000, 3)


def _quiet_s(job: Job, now_ms: int, printed_at_ms: int | None) -> float | None:
    """Return how long a running job has printed nothing; None for any other."""
    if job.status is not Status.RUNNING or job.attempt_started_at_ms is None:
        return None
    since_ms = max(job.attempt_started_at_ms, printed_at_ms or 0)
    # A clock that was set back, or a job that dates its own files, makes no negative time.
    return round(max(0, now_ms - since_ms) / 1000, 3)


def progress_message(job: Job, now_ms: int) -> str | None:
    """Return what a job says of its progress, with the time left as long as that is likely."""
    progress = job.progress
    if progress is None:
        return None
    left_ms = 0 if progress.ends_at_ms is None else progress.ends_at_ms - now_ms
    # An estimate that ran out was wrong; how wrong, nobody knows.
    told = job.status is Status.RUNNING and left_ms > 0
    said = with_estimate(progress.message, left_ms / 1000 if told else None)
    return None if said is None else display.line(said)


def _progress(job: Job, now_ms: int) -> JobObject | None:
    progress = job.progress
    if progress is None:
        return None
    shown = {
        "current": progress.current,
        "total": progress.total,
        "percent": progress.percent,
        "message": progress_message(job, now_ms),
        "updated_at": rfc3339(progress.updated_at_ms),
    }
    return shown if job.status is not Status.COMPLETED else _of_all(shown)


def _of_all(shown: JobObject) -> JobObject:
    """Return the progress of a job that is done: all of it, and no count that says otherwise."""
    if shown["percent"] is None:
        return shown
    if shown["total"] is not None and shown["current"] == shown["total"]:
        return {**shown, "percent": 100.0}
    return {**shown, "current": None, "total": None, "percent": 100.0}
