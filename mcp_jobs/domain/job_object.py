"""The job object: one and the same wherever a job is shown.

Each field is declared here and nowhere else, see `declaration`. This module has no `from __future__
import annotations`, as the declarations are read at run time.
"""

from collections.abc import Callable, Sequence
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Annotated, Any, Final, NamedTuple, TypedDict

from mcp_jobs.domain import display, models
from mcp_jobs.domain.declaration import Field, maker
from mcp_jobs.domain.gates import WaitingFor, WaitKind
from mcp_jobs.domain.states import Reason, Status
from mcp_jobs.domain.time_left import with_estimate

JobObject = dict[str, Any]

_TEST_COUNTS: Final = ("passed", "failed", "errors", "skipped")
_LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999: no later time can be written down."""


class Look(NamedTuple):
    """What is known of a job at one moment besides its row."""

    now_ms: int
    queue_position: int | None
    printed_at_ms: int | None
    """When it printed something last, also in an earlier attempt."""
    waiting_for: WaitingFor | None


def job_uri(job_id: str) -> str:
    """Return the resource that a job is read at."""
    return f"jobs://job/{job_id}"


@lru_cache(1024)
def rfc3339(time_ms: int | None) -> str | None:
    """Return a time as RFC 3339 in UTC, with milliseconds."""
    # Most jobs are due when they are accepted, and lists show the same times again.
    if time_ms is None:
        return None
    seconds, rest_ms = divmod(min(max(time_ms, 0), _LAST_MS), 1000)
    moment = datetime.fromtimestamp(seconds, UTC).isoformat()
    return f"{moment.removesuffix('+00:00')}.{rest_ms:03d}Z"


def failed_tests(job: models.Job) -> int:
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


def _error(ended: models.Job | models.Attempt, _: object) -> str | None:
    return None if ended.error is None else display.lines(ended.error)


def _reason(ended: models.Job | models.Attempt, _: object) -> str | None:
    return None if ended.reason is None else ended.reason.value


def _origin(job: models.Job, _: object) -> JobObject | None:
    if job.origin == models.UNKNOWN_ORIGIN:
        return None
    return _made_of_origin(_displayed(job.origin), None)


@lru_cache(256)
def _displayed(origin: models.JobOrigin) -> models.JobOrigin:
    told = {each.name: getattr(origin, each.name) for each in fields(origin)}
    shown = {name: display.line(text) for name, text in told.items() if text is not None}
    return replace(origin, **shown)


def _next_attempt_at(job: models.Job, _: object) -> str | None:
    return rfc3339(job.run_at_ms) if job.status is Status.RETRYING else None


def _max_attempts(job: models.Job, _: object) -> int:
    return job.max_attempts + job.interrupts


def _time(name: str) -> Callable[[object, object], str | None]:
    return lambda record, _: rfc3339(getattr(record, name))


def _duration_s(job: models.Job, look: Look) -> float | None:
    if job.started_at_ms is None:
        return None
    end_ms = job.finished_at_ms if job.finished_at_ms is not None else look.now_ms
    return round(max(0, end_ms - job.started_at_ms) / 1000, 3)


def _quiet_s(job: models.Job, look: Look) -> float | None:
    """Return how long a running job has printed nothing; None for any other."""
    if job.status is not Status.RUNNING or job.attempt_started_at_ms is None:
        return None
    since_ms = max(job.attempt_started_at_ms, look.printed_at_ms or 0)
    # A clock that was set back, or a job that dates its own files, makes no negative time.
    return round(max(0, look.now_ms - since_ms) / 1000, 3)


def progress_message(job: models.Job, now_ms: int) -> str | None:
    """Return what a job says of its progress, with the time left as long as that is likely."""
    progress = job.progress
    if progress is None:
        return None
    left_ms = 0 if progress.ends_at_ms is None else progress.ends_at_ms - now_ms
    # An estimate that ran out was wrong; how wrong, nobody knows.
    told = job.status is Status.RUNNING and left_ms > 0
    said = with_estimate(progress.message, left_ms / 1000 if told else None)
    return None if said is None else display.line(said)


def _names(wait: WaitingFor, _: object) -> list[str]:
    return [display.line(name) for name in wait.names]


def _waiting_for(_: models.Job, look: Look) -> JobObject | None:
    return None if look.waiting_for is None else _made_of_wait(look.waiting_for, None)


def _progress(job: models.Job, look: Look) -> JobObject | None:
    if job.progress is None:
        return None
    shown = _made_of_progress(job.progress, progress_message(job, look.now_ms))
    return shown if job.status is not Status.COMPLETED else _of_all(shown)


def _of_all(shown: JobObject) -> JobObject:
    """Return the progress of a job that is done: all of it, and no count that says otherwise."""
    if shown["percent"] is None:
        return shown
    if shown["total"] is not None and shown["current"] == shown["total"]:
        return {**shown, "percent": 100.0}
    return {**shown, "current": None, "total": None, "percent": 100.0}


class ProgressObject(TypedDict):
    """How far the current attempt is."""

    current: Annotated[float | None, Field("How much is done.")]
    total: Annotated[float | None, Field("Of how much.")]
    percent: Annotated[float | None, Field("The same from 0 to 100.")]
    message: Annotated[
        str | None, Field("The same in words, with the time left.", lambda _, said: said)
    ]
    updated_at: Annotated[str, Field("When that was so.", _time("updated_at_ms"))]


class OutputObject(TypedDict):
    """A part of the output."""

    text: Annotated[str, Field("The lines, as a terminal would show them.")]
    bytes_total: Annotated[int, Field("How much was printed so far.")]
    lines_total: Annotated[int, Field("How many lines that are.")]
    lines_shown: Annotated[int, Field("How many lines of the output are in `text`.", told=True)]
    first_cursor: Annotated[int, Field("Offset of the first byte shown.")]
    next_cursor: Annotated[int, Field("Pass as `after` to read on.", told=True)]
    dropped_bytes: Annotated[int, Field("Bytes that were printed and are not kept.")]
    truncated: Annotated[bool, Field("Whether it is less than what was asked for.")]


class OriginObject(TypedDict):
    """Whose wish a job was, in the words of the client."""

    client_name: Annotated[str | None, Field("The program; over REST the name of the token.")]
    client_version: Annotated[str | None, Field("Its version.")]
    project: Annotated[str | None, Field("The directory of its project.")]
    session: Annotated[str | None, Field("The session or thread of the client.")]


class AttemptObject(TypedDict):
    """An ended attempt."""

    attempt: Annotated[int, Field("Its number, from 1.", "number")]
    started_at: Annotated[str | None, Field("When it began.", _time("started_at_ms"))]
    finished_at: Annotated[str, Field("When it ended.", _time("finished_at_ms"))]
    reason: Annotated[Reason | None, Field("Why it did not complete.", _reason)]
    exit_code: Annotated[int | None, Field("Of its main process.")]
    error: Annotated[str | None, Field("The same as a sentence.", _error)]
    output_cursor: Annotated[int, Field("Where its output begins.", "output_start")]
    cpu_seconds: Annotated[float | None, Field("CPU time of its processes.", "cpu_s")]
    memory_peak_bytes: Annotated[int | None, Field("The most memory that it had at once.")]


class QuestionObject(TypedDict):
    """What a job asks a person."""

    key: Annotated[str, Field("Names the question within its job.")]
    message: Annotated[str, Field("The question.")]
    schema: Annotated[
        dict[str, Any],
        Field("What the answer must look like.", lambda asked, _: dict(asked.schema), told=True),
    ]
    asked_at: Annotated[str, Field("When it was asked.", _time("asked_at_ms"))]


class WaitingObject(TypedDict):
    """What a job waits for."""

    kind: Annotated[WaitKind, Field("What is in its way.", lambda wait, _: wait.kind.value)]
    names: Annotated[
        list[str],
        Field("Of the locks; or what is paused: `all`, `type:NAME`, `lock:NAME`.", _names),
    ]
    job_ids: Annotated[
        list[str],
        Field("Your jobs that are in its way.", lambda wait, _: list(wait.job_ids)),
    ]
    since: Annotated[str | None, Field("Since when, if that is known.", _time("since_ms"))]


class ListedJob(TypedDict):
    """A job without its output."""

    job_id: Annotated[str, Field("Names the job, here and everywhere.", "id")]
    type: Annotated[str, Field("`shell`, or a type that the project declares.")]
    title: Annotated[
        str, Field("A few words that name it.", lambda job, _: display.line(job.title))
    ]
    status: Annotated[Status, Field("Its state.", lambda job, _: job.status.value)]
    reason: Annotated[Reason | None, Field("Why it failed, was cancelled or is retried.", _reason)]
    exit_code: Annotated[int | None, Field("Of the main process of the last attempt.")]
    error: Annotated[str | None, Field("What went wrong, as a sentence.", _error)]
    cwd: Annotated[str, Field("The directory that it runs in.")]
    created_at: Annotated[str, Field("When it was accepted.", _time("created_at_ms"))]
    run_at: Annotated[str, Field("When it is or was due.", _time("run_at_ms"))]
    started_at: Annotated[
        str | None, Field("When its first attempt began.", _time("started_at_ms"))
    ]
    finished_at: Annotated[str | None, Field("When it ended.", _time("finished_at_ms"))]
    duration_seconds: Annotated[
        float | None, Field("From its start to its end, or until now.", _duration_s)
    ]
    quiet_seconds: Annotated[
        float | None,
        Field(
            "While it runs: since its last output, or since its start if there is none.",
            _quiet_s,
            told=True,
        ),
    ]
    attempt: Annotated[int, Field("How many attempts have begun.")]
    max_attempts: Annotated[int, Field("How many there can be.", _max_attempts, default=1)]
    next_attempt_at: Annotated[
        str | None, Field("While it is `retrying`: when it is tried again.", _next_attempt_at)
    ]
    cancel_requested: Annotated[
        bool,
        Field(
            "Whether somebody asked for its end.",
            lambda job, _: job.cancel_requested_at_ms is not None,
            default=False,
        ),
    ]
    queue_position: Annotated[
        int | None,
        Field("While it is due and waits: its place.", lambda _, look: look.queue_position),
    ]
    priority: Annotated[int, Field("-100 to 100; the higher, the sooner.", default=0)]
    locks: Annotated[
        list[str],
        Field(
            "What it holds while it runs.",
            lambda job, _: [display.line(name) for name in job.locks],
            default=[],
        ),
    ]
    after: Annotated[
        list[str],
        Field("Jobs that end before it begins.", lambda job, _: list(job.after), default=[]),
    ]
    waiting_for: Annotated[
        WaitingObject | None, Field("While it waits: what for.", _waiting_for, told=True)
    ]
    progress: Annotated[ProgressObject | None, Field("How far the current attempt is.", _progress)]
    result: Annotated[
        Any, Field("Test summary, or what the job returned; null if nothing.", told=True)
    ]
    origin: Annotated[OriginObject | None, Field("Whose wish it was.", _origin)]
    parent_job_id: Annotated[str | None, Field("The job that it was started from within.")]
    retry_of: Annotated[str | None, Field("The job that it does again.")]
    uri: Annotated[str, Field("The resource that it is read at.", lambda job, _: job_uri(job.id))]


class ShownJob(ListedJob, total=False):
    """A job with a part of its output."""

    failing: Annotated[
        str,
        Field("The part of the output that seems to say what failed.", told=True, default=""),
    ]
    output: Annotated[OutputObject, Field("A part of its output.")]
    existing: Annotated[
        bool,
        Field("The idempotency key belonged to this job already.", told=True, default=False),
    ]
    attempts: Annotated[
        list[AttemptObject], Field("The ended attempts, where there may be several.", default=[])
    ]
    questions: Annotated[list[QuestionObject], Field("What it waits to be told.", default=[])]
    next_step: Annotated[str, Field("What to do now.", told=True)]


class JobPage(TypedDict):
    """Jobs, newest first."""

    jobs: Annotated[list[ListedJob], Field("The jobs.")]
    next_cursor: Annotated[str | None, Field("Pass as `cursor` for those before them.")]
    counts: Annotated[
        dict[str, int], Field("How many jobs of the scope there are in each state.", told=True)
    ]
    others: Annotated[int, Field("How many more are outside of the scope.", told=True)]


_made_of_job = maker(ListedJob)
_made_of_origin = maker(OriginObject)
_made_of_progress = maker(ProgressObject)
_made_of_wait = maker(WaitingObject)
_made_of_attempt = maker(AttemptObject)
_made_of_question = maker(QuestionObject)


def job_object(
    job: models.Job,
    *,
    now_ms: int,
    queue_position: int | None = None,
    printed_at_ms: int | None = None,
    waiting_for: WaitingFor | None = None,
) -> JobObject:
    """Return the job without its output, as lists show it.

    `printed_at_ms` is when it printed something last, also in an earlier attempt.
    """
    return _made_of_job(job, Look(now_ms, queue_position, printed_at_ms, waiting_for))


def attempt_objects(attempts: Sequence[models.Attempt]) -> list[JobObject]:
    """Return the ended attempts of a job."""
    return [_made_of_attempt(attempt, None) for attempt in attempts]


def question_objects(questions: Sequence[models.Question]) -> list[JobObject]:
    """Return what a job asks."""
    return [_made_of_question(question, None) for question in questions]
