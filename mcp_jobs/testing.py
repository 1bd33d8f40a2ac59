"""Run Python jobs in tests, without a server, and look at what they did.

    run = run_job(report, {"pages": 3}, answers={"Publish it?": True})
    assert run.result == {"pages": 3}

The function runs in the test's own process, with the parameters checked and the result turned into
JSON as for an agent; what only a process of its own has (limits, being killed) is not there.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mcp_jobs.job_types.python.context import (
    Asked,
    DeclinedError,
    JobContext,
    Retry,
    RetryableError,
)
from mcp_jobs.job_types.python.definitions import definition_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

Outcome = Literal["completed", "failed", "retrying", "cancelled"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """One call of `ctx.progress`."""

    current: float | None
    total: float | None
    message: str | None


@dataclass(slots=True, kw_only=True)
class JobRun:
    """What one attempt of a job did."""

    outcome: Outcome = "completed"
    """retrying: it raised `RetryableError`, and would be tried again if it has retries left."""
    result: Any = None
    """What it returned, as an agent gets it: plain JSON values."""
    error: BaseException | None = None
    """What it raised; None when it returned."""
    retry_after_s: float | None = None
    """The pause that `Retry` asked for."""
    progress: list[Progress] = field(default_factory=list)
    logs: list[str] = field(default_factory=list)
    questions: list[Asked] = field(default_factory=list)
    """What it asked, each key once."""
    workdir: Path
    """The job's `ctx.workdir`; pass it to another run to see what a further attempt finds."""

    def raise_error(self) -> None:
        """Raise what the job raised, if it did."""
        if self.error is not None:
            raise self.error


class UnansweredError(AssertionError):
    """A job asked something that the test gave no answer to."""


def run_job(
    function: Callable[..., Any],
    params: Mapping[str, Any] | None = None,
    *,
    answers: Mapping[str, Any] | None = None,
    attempt: int = 1,
    cancel_after: int | None = None,
    workdir: Path | None = None,
) -> JobRun:
    """Run one attempt of a decorated function, sync or async, and return what it did.

    `answers` maps messages or keys of questions to answers: True or False, the values of a form as
    a dict or an instance, False to decline. After `cancel_after` reports of progress the job is
    told to stop (0: from the start). Without `workdir` the run has a new one. Raises `TypeError`
    or `ValueError` for parameters that do not fit, and `UnansweredError`; what the job raises is
    in the run. Use `run_job_async` where an event loop runs already.
    """
    run, call = _prepared(
        function,
        params,
        answers=answers,
        attempt=attempt,
        cancel_after=cancel_after,
        workdir=workdir,
    )
    with _recording(run, call):
        value = call.function(**call.arguments)
        call.took(asyncio.run(value) if inspect.iscoroutine(value) else value)
    return run


async def run_job_async(
    function: Callable[..., Any],
    params: Mapping[str, Any] | None = None,
    *,
    answers: Mapping[str, Any] | None = None,
    attempt: int = 1,
    cancel_after: int | None = None,
    workdir: Path | None = None,
) -> JobRun:
    """Do as `run_job` in the event loop that runs already; a sync function holds it up."""
    run, call = _prepared(
        function,
        params,
        answers=answers,
        attempt=attempt,
        cancel_after=cancel_after,
        workdir=workdir,
    )
    with _recording(run, call):
        value = call.function(**call.arguments)
        call.took(await value if inspect.iscoroutine(value) else value)
    return run


@dataclass(slots=True, kw_only=True)
class _Call:
    """One call of a function on its way into a run."""

    function: Callable[..., Any]
    arguments: Mapping[str, Any]
    context: JobContext
    took: Callable[[Any], None]


def _prepared(
    function: Callable[..., Any],
    params: Mapping[str, Any] | None,
    *,
    answers: Mapping[str, Any] | None,
    attempt: int,
    cancel_after: int | None,
    workdir: Path | None,
) -> tuple[JobRun, _Call]:
    definition = definition_of(function)
    definition.check()
    run = JobRun(workdir=workdir or Path(tempfile.mkdtemp(prefix="mcp-jobs-")))
    channel = _Recorder(run, answers or {}, cancel_after)
    context = JobContext(channel=channel, job_id="test", attempt=attempt, workdir=run.workdir)
    channel.cancel = context.cancel
    channel.count()

    def took(value: Any) -> None:
        run.result = json.loads(definition.to_json(value))

    call = _Call(
        function=definition.function,
        # As they come from an agent: plain JSON values.
        arguments=definition.arguments(json.loads(json.dumps(dict(params or {}))), context),
        context=context,
        took=took,
    )
    return run, call


@contextmanager
def _recording(run: JobRun, call: _Call) -> Iterator[None]:
    """Keep what the job raises, and what it came to."""
    try:
        yield
    except UnansweredError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a job raises is what the test looks at
        run.error = error
        run.outcome = _outcome(error)
        run.retry_after_s = error.after_s if isinstance(error, Retry) else None
    if call.context.cancelled:
        run.outcome = "cancelled"


def _outcome(error: Exception) -> Outcome:
    if isinstance(error, RetryableError):
        return "retrying"
    return "cancelled" if isinstance(error, DeclinedError) else "failed"


class _Recorder:
    """The channel of a run: it keeps everything, and answers from what the test gave."""

    def __init__(self, run: JobRun, answers: Mapping[str, Any], cancel_after: int | None) -> None:
        self._run = run
        self._answers = answers
        self._cancel_after = cancel_after
        self._given: dict[str, Mapping[str, Any]] = {}
        self.cancel: Callable[[], None] = lambda: None

    def count(self) -> None:
        if len(self._run.progress) == self._cancel_after:
            self.cancel()

    def progress(self, line: Mapping[str, Any]) -> None:
        names = ("current", "total", "message")
        self._run.progress.append(Progress(**{name: line.get(name) for name in names}))
        self.count()

    def log(self, text: str) -> None:
        self._run.logs.append(text)

    def ask(self, question: Asked) -> None:
        self._run.questions.append(question)
        for name in (question.key, question.message):
            if name in self._answers:
                self._given[question.key] = _answer(self._answers[name])
                return
        raise UnansweredError(
            f"The job asked {question.message!r} (key {question.key!r}). Give run_job "
            f"answers={{{question.message!r}: ...}}."
        )

    def answer(self, key: str) -> Mapping[str, Any] | None:
        return self._given.get(key)


def _answer(given: Any) -> Mapping[str, Any]:
    if isinstance(given, bool):
        return {"action": "accept" if given else "decline", "content": {}}
    content = given.model_dump(mode="json") if hasattr(given, "model_dump") else dict(given)
    return {"action": "accept", "content": content}
