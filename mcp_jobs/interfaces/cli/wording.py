"""Say what a job is: the words of lists, lines and pages, made of the job object."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from mcp_jobs.domain.job_object import counted_tests, summary_in
from mcp_jobs.interfaces.cli.screen import clean

if TYPE_CHECKING:
    from mcp_jobs.domain.job_object import JobObject

STYLES: Final = {
    "pending": "yellow",
    "running": "cyan",
    "retrying": "yellow",
    "input_required": "bold magenta",
    "completed": "green",
    "failed": "bold red",
    "cancelled": "dim",
}
_MINUTE_S: Final = 60
_HOUR_S: Final = 3600
_DAY_S: Final = 86_400
_SHORT_S: Final = 10


def status_of(job: JobObject) -> str:
    """Return the state with what is most worth knowing about it."""
    status, reason = str(job["status"]), job["reason"]
    if status == "failed" and reason == "exit_code":
        return f"failed ({job['exit_code']})"
    if (status == "failed" and reason) or reason in ("superseded", "dependency_failed"):
        return f"{status} ({reason})"
    if job["cancel_requested"] and not job["finished_at"]:
        return f"{status}, stopping"
    wait = job["waiting_for"]
    if wait is not None and (in_the_way := _in_the_way(wait)):
        return f"{status} ({in_the_way})"
    if status == "pending" and job["queue_position"]:
        return f"pending (no. {job['queue_position']})"
    return status


def _in_the_way(wait: JobObject) -> str:
    """Return what a job waits for that neither its state nor its place nor its time says."""
    if wait["kind"] == "lock":
        return f"lock {', '.join(clean(str(name)) for name in wait['names'])}"
    if wait["kind"] == "after":
        count = len(wait["job_ids"])
        return f"after {wait['job_ids'][0]}" if count == 1 else f"after {count} jobs"
    return "paused" if wait["kind"] == "paused" else ""


def wait_of(job: JobObject) -> str:
    """Return what a job waits for, where neither its state nor its time says it."""
    wait = job["waiting_for"]
    if wait is None:
        return ""
    names, ids = clean(", ".join(map(str, wait["names"]))), ", ".join(wait["job_ids"])
    if wait["kind"] == "lock":
        what = "lock" if len(wait["names"]) == 1 else "locks"
        return f"the {what} {names}, held by {ids or 'others'}"
    if wait["kind"] == "capacity":
        return f"a free slot; of yours run: {ids}" if ids else "a free slot"
    told = {"after": f"the end of {ids}", "paused": f"mcp-jobs resume ({names})"}
    return told.get(str(wait["kind"]), "")


def progress_of(job: JobObject) -> str:
    """Return how far it is, in a few characters."""
    progress = job["progress"]
    if not progress:
        return ""
    parts = []
    if progress["percent"] is not None:
        parts.append(f"{progress['percent']:.0f}%")
    elif progress["current"] is not None:
        total = f"/{progress['total']:g}" if progress["total"] is not None else ""
        parts.append(f"{progress['current']:g}{total}")
    if progress["message"]:
        parts.append(clean(str(progress["message"])))
    return " ".join(parts)


def span(seconds: float | None) -> str:
    """Return a length of time for people."""
    if seconds is None:
        return ""
    if seconds < _SHORT_S:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < _MINUTE_S:
        return f"{whole}s"
    if whole < _HOUR_S:
        return f"{whole // _MINUTE_S}m{whole % _MINUTE_S:02d}s"
    if whole < _DAY_S:
        return f"{whole // _HOUR_S}h{whole % _HOUR_S // _MINUTE_S:02d}m"
    return f"{whole // _DAY_S}d{whole % _DAY_S // _HOUR_S:02d}h"


def ago(moment: str | None) -> str:
    """Return how long ago an RFC 3339 time was; a time to come begins with "in"."""
    if moment is None:
        return ""
    seconds = (datetime.now(UTC) - datetime.fromisoformat(moment)).total_seconds()
    if seconds < 0:
        return f"in {span(-seconds)}"
    return f"{span(max(seconds, 0))} ago"


def start_of(job: JobObject) -> str:
    """Return how long ago a job began, or when it will; nothing when it ended before."""
    if job["started_at"] or job["finished_at"]:
        return ago(job["started_at"])
    due = ago(job["run_at"])
    return due if due.startswith("in ") else "not yet"


def local(moment: str) -> str:
    """Return an RFC 3339 time as a clock on the wall here shows it."""
    return datetime.fromisoformat(moment).astimezone().strftime("%Y-%m-%d %H:%M:%S")


def title_of(job: JobObject) -> str:
    """Return the title, safe to print."""
    return clean(str(job["title"]))


def end_of(job: JobObject) -> str:
    """Return one line that says how a job ended."""
    spent = f" after {span(job['duration_seconds'])}" if job["duration_seconds"] is not None else ""
    line = f"{job['job_id']} {status_of(job)}{spent}: {title_of(job)}"
    tests = summary_in(job["result"])
    if tests is not None:
        line += f" ({counted_tests(tests)})"
    return line


def failing_tests(job: JobObject, most: int = 10) -> list[str]:
    """Return the names of the tests that failed, and a line for those beyond `most`."""
    tests = summary_in(job["result"]) or {}
    names = [clean(str(name)) for name in tests.get("failed_names") or ()]
    more = ["… and more"] if len(names) > most or tests.get("failed_names_truncated") else []
    return [*names[:most], *more]
