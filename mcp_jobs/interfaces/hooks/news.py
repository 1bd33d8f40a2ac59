"""What an agent is told of jobs: short, and nothing that a job wrote passes for words of ours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mcp_jobs.domain import display
from mcp_jobs.domain.job_object import counted_tests, summary_in
from mcp_jobs.domain.states import Status
from mcp_jobs.interfaces.mcp import fence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp_jobs.domain.job_object import JobObject
    from mcp_jobs.domain.models import Job
    from mcp_jobs.service.job_service import JobService

_TITLE_CHARS: Final = 100
_EXCERPT_CHARS: Final = 1000
_DETAILED: Final = 3
"""Jobs that are told with what failed; beyond them a line each."""
_MOST: Final = 20


async def of_ended(service: JobService, jobs: Sequence[Job], asking: Sequence[Job] = ()) -> str:
    """Return what is told of jobs that have ended, or wait for an answer; nothing without any.

    Those that failed come first.
    """
    ranked = sorted(jobs, key=lambda job: job.status is Status.COMPLETED)[:_MOST]
    parts = [await _asked(service, job) for job in asking[:_MOST]]
    for number, job in enumerate(ranked):
        shown, ending = await service.report(job)
        parts.append(_ended(shown, ending) if number < _DETAILED else _line(shown))
    if ranked:
        parts.append(_pointer([job.id for job in ranked], len(jobs) - len(ranked)))
    return "\n".join(parts)


async def _asked(service: JobService, job: Job) -> str:
    shown = await service.show(job.owner, job.id)
    return f"{_line(shown)}\nA person must answer it first: mcp-jobs show {job.id}"


def _pointer(job_ids: Sequence[str], beyond: int) -> str:
    more = f" {beyond} more have ended." if beyond else ""
    if len(job_ids) == 1:
        return f'Its output: check_job {{"job_id": "{job_ids[0]}"}}.'
    return f"Their output: check_job, for each by its id.{more}"


def line_of(shown: JobObject) -> str:
    """Return one line that says where a job is, for a list."""
    return f"{shown['job_id']} {_state(shown)}: {_title(shown)}"


def _line(shown: JobObject) -> str:
    return f"Background job {line_of(shown)}"


def _ended(shown: JobObject, ending: str) -> str:
    lines = [_line(shown)]
    tests = summary_in(shown["result"])
    if tests is not None:
        lines.append(f"Tests: {counted_tests(tests)}.")
    if shown["error"] and shown["reason"] != "exit_code":
        lines.append(fence.told("Error", str(shown["error"])[:_EXCERPT_CHARS]))
    failing = str(shown.get("failing") or "")
    if failing:
        lines.append(fence.fenced("What seems to have failed", failing[:_EXCERPT_CHARS]))
    elif ending:
        lines.append(fence.fenced("Last lines", ending[-_EXCERPT_CHARS:]))
    return "\n".join(lines)


def _state(shown: JobObject) -> str:
    status, reason = str(shown["status"]), shown["reason"]
    if reason == "exit_code":
        status += f" (exit code {shown['exit_code']})"
    elif reason:
        status += f" ({reason})"
    spent = shown["duration_seconds"]
    joined = "after" if shown["finished_at"] else "for"
    return status if spent is None else f"{status} {joined} {spent:.0f} s"


def _title(shown: JobObject) -> str:
    title = display.line(str(shown["title"]))
    return title if len(title) <= _TITLE_CHARS else f"{title[:_TITLE_CHARS]}…"
