"""Progress notifications while a call waits."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.domain import display
from mcp_jobs.domain.clock import SystemClock
from mcp_jobs.domain.job_object import progress_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp.server.context import ServerRequestContext

    from mcp_jobs.domain.models import Job

_ALL_PERCENT: Final = 100.0
_SMALLEST_STEP: Final = 0.001


class ProgressReporter:
    """Tells the caller how the awaited jobs go; silent when no progress token was sent.

    The protocol wants values that rise with every notification, also when the job stands still or
    says nothing of its progress, so that the value then grows by a thousandth of a percent, up to
    a hundred percent.
    """

    def __init__(self, context: ServerRequestContext[Any, Any]) -> None:
        self._context = context
        self.wanted = bool(context.meta and "progress_token" in context.meta)
        self._last = 0.0

    async def __call__(self, jobs: Sequence[Job]) -> None:
        if not self.wanted:
            return
        percent = _percent(jobs)
        value = max(percent or 0.0, self._last + _SMALLEST_STEP)
        if percent is not None and value > _ALL_PERCENT:
            return
        self._last = value
        await self._context.session.report_progress(
            value, None if percent is None else _ALL_PERCENT, _message(jobs)
        )


def _percent(jobs: Sequence[Job]) -> float | None:
    known = [percent_of(job) for job in jobs]
    if all(percent is None for percent in known):
        return None
    return sum(percent or 0.0 for percent in known) / len(known)


def percent_of(job: Job) -> float | None:
    """Return how far a job is; None when it does not say."""
    if job.ended:
        return _ALL_PERCENT
    return job.progress.percent if job.progress is not None else None


def _message(jobs: Sequence[Job]) -> str:
    if len(jobs) == 1:
        (job,) = jobs
        said = progress_message(job, SystemClock().now_ms())
        return said or f"{display.line(job.title)}: {job.status}"
    return f"{sum(job.ended for job in jobs)} of {len(jobs)} jobs have ended"
