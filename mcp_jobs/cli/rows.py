"""Tables and progress lines on a terminal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Protocol

from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mcp_jobs.cli import screen, words
from mcp_jobs.views import job_object

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rich.console import RenderableType

    from mcp_jobs.models import Job
    from mcp_jobs.views import JobObject

COLUMNS = ("JOB", "STATUS", "STARTED", "TIME", "PROGRESS", "TITLE")
_BAR_WIDTH = 12


def cells(job: JobObject) -> tuple[str, ...]:
    """Return what a list says of a job."""
    return (
        str(job["job_id"]),
        words.status_of(job),
        words.ago(job["started_at"] or job["run_at"]),
        words.span(job["duration_seconds"]),
        words.progress_of(job),
        words.title_of(job),
    )


def table(jobs: Sequence[JobObject]) -> Table:
    """Return jobs as a table with colours and bars."""
    made = Table(box=None, pad_edge=False, header_style="bold", expand=False)
    for name in COLUMNS:
        whole = name in ("JOB", "STATUS", "TIME")
        made.add_column(name, no_wrap=True, overflow="ellipsis", min_width=8 if not whole else None)
    for job in jobs:
        job_id, status, started, spent, progress, title = cells(job)
        made.add_row(
            Text(job_id, style="dim" if job["finished_at"] else ""),
            Text(status, style=words.STYLES[job["status"]]),
            Text(started),
            Text(spent),
            _bar(job) or Text(progress, style="dim"),
            Text(title),
        )
    return made


def counts_line(counts: dict[str, int]) -> str:
    """Return how many jobs there are in each state."""
    return " · ".join(f"{number} {status}" for status, number in counts.items() if number)


def _bar(job: JobObject) -> RenderableType | None:
    progress = job["progress"]
    if job["finished_at"] or not progress or progress["percent"] is None:
        return None
    grid = Table.grid(padding=(0, 1))
    bar = ProgressBar(total=100, completed=progress["percent"], width=_BAR_WIDTH)
    grid.add_row(bar, Text(words.progress_of(job), style="dim", no_wrap=True))
    return grid


class Display(Protocol):
    """Shows how far the jobs are while somebody waits."""

    def show(self, jobs: Sequence[Job]) -> None:
        """Show the jobs as they are now."""
        ...


class _Silent:
    def show(self, jobs: Sequence[Job]) -> None:
        del jobs


class _Living:
    def __init__(self) -> None:
        from rich.live import Live

        self.live = Live(console=screen.errors(), transient=True, refresh_per_second=8)

    def show(self, jobs: Sequence[Job]) -> None:
        from mcp_jobs.clock import SystemClock

        now_ms = SystemClock().now_ms()
        self.live.update(table([job_object(job, now_ms=now_ms) for job in jobs if not job.ended]))


@contextmanager
def progress_display(*, enabled: bool) -> Iterator[Display]:
    """Show progress on stderr while the context lasts, when that is a terminal."""
    if not (enabled and screen.errors().is_terminal):
        yield _Silent()
        return
    living = _Living()
    with living.live:
        yield living
