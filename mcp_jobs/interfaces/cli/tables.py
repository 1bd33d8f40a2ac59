"""Tables and progress lines on a terminal."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, Protocol

from rich.cells import cell_len
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mcp_jobs.domain.ids import RANDOM_CHARS
from mcp_jobs.domain.job_object import job_object
from mcp_jobs.interfaces.cli import screen, wording

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from rich.console import RenderableType
    from rich.live import Live

    from mcp_jobs.domain.job_object import JobObject
    from mcp_jobs.domain.models import Job

COLUMNS: Final = ("JOB", "STATUS", "STARTED", "TIME", "PROGRESS", "TITLE")
_BAR_WIDTH: Final = 12
_SHORT_ID: Final = 8
_GAP: Final = 1
_ROOM_FOR_TITLE: Final = 20
"""A title has at least so much, where columns can be left out for it."""
_PROGRESS_MOST: Final = 40
_LEFT_OUT_FIRST: Final = ("PROGRESS", "TIME")


def cells(job: JobObject) -> tuple[str, ...]:
    """Return what a list says of a job."""
    return (
        str(job["job_id"]),
        wording.status_of(job),
        wording.start_of(job),
        wording.span(job["duration_seconds"]),
        wording.progress_of(job),
        wording.title_of(job),
    )


def table(jobs: Sequence[JobObject], width: int | None = None) -> Table:
    """Return jobs as a table with colours and bars, for a terminal of this width.

    Ids are cut to the end that tells them apart, which all commands understand; ids of one day
    share their beginning. State, start and id are always whole: the title is cut, and what is
    left out for it are the progress and then the time.
    """
    ids = _short_ids([str(job["job_id"]) for job in jobs])
    texts = [(short, *cells(job)[1:]) for short, job in zip(ids, jobs, strict=True)]
    widths = _widths(texts, screen.console().width if width is None else width)
    made = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for name, room in widths.items():
        made.add_column(name, no_wrap=True, overflow="ellipsis", width=room)
    for job, row in zip(jobs, texts, strict=True):
        styled = dict(zip(COLUMNS, _styled(job, row), strict=True))
        made.add_row(*(styled[name] for name in widths))
    return made


def _short_ids(ids: Sequence[str]) -> list[str]:
    """Return the ends of ids, as long as it takes to tell these jobs apart."""
    length = _SHORT_ID
    while length < RANDOM_CHARS and len({job_id[-length:] for job_id in ids}) < len(set(ids)):
        length += 1
    return [job_id[-length:] for job_id in ids]


def _widths(texts: Sequence[Sequence[str]], width: int) -> dict[str, int]:
    """Return the columns that there is room for, and how wide each is."""
    wanted = {
        name: max(cell_len(name), *(cell_len(row[at]) for row in texts), 0)
        for at, name in enumerate(COLUMNS)
    }
    wanted["PROGRESS"] = min(wanted["PROGRESS"] + _BAR_WIDTH + _GAP, _PROGRESS_MOST)
    title = wanted.pop("TITLE")
    for name in _LEFT_OUT_FIRST:
        if _room(wanted, width) < min(title, _ROOM_FOR_TITLE):
            del wanted[name]
    return {**wanted, "TITLE": max(1, min(title, _room(wanted, width)))}


def _room(widths: Mapping[str, int], width: int) -> int:
    """Return how much of the width is left for one more column."""
    return width - sum(widths.values()) - _GAP * len(widths)


def _styled(job: JobObject, row: Sequence[str]) -> tuple[RenderableType, ...]:
    short, status, started, spent, progress, title = row
    return (
        Text(short, style="dim" if job["finished_at"] else ""),
        Text(status, style=wording.STYLES[job["status"]]),
        Text(started),
        Text(spent),
        _bar(job) or Text(progress, style="dim"),
        Text(title),
    )


def counts_line(counts: dict[str, int]) -> str:
    """Return how many jobs there are in each state."""
    return " · ".join(f"{number} {status}" for status, number in counts.items() if number)


def others_line(shown: JobObject) -> str:
    """Return how many jobs a list leaves out by its scope, and how they are seen."""
    return f"{shown['others']} more outside of this scope: --scope all"


def _bar(job: JobObject) -> RenderableType | None:
    progress = job["progress"]
    if job["finished_at"] or not progress or progress["percent"] is None:
        return None
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=_BAR_WIDTH)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    bar = ProgressBar(total=100, completed=progress["percent"], width=_BAR_WIDTH)
    grid.add_row(bar, Text(wording.progress_of(job), style="dim"))
    return grid


class Display(Protocol):
    """Shows how far the jobs are while somebody waits."""

    def show(self, jobs: Sequence[Job]) -> None:
        """Show the jobs as they are now."""
        ...

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Make room for lines that stay."""
        yield


class _Silent:
    def show(self, jobs: Sequence[Job]) -> None:
        del jobs

    @contextmanager
    def aside(self) -> Iterator[None]:
        yield


class _Living:
    """A table on stderr that ticks, and is gone in the end."""

    def __init__(self) -> None:
        self._jobs: Sequence[Job] = ()
        self._live = self._started()

    def show(self, jobs: Sequence[Job]) -> None:
        self._jobs = [job for job in jobs if not job.ended]
        self._live.refresh()

    @contextmanager
    def aside(self) -> Iterator[None]:
        # Else the table, which may be on the same terminal, is drawn over the lines.
        self._live.stop()
        yield
        self._live = self._started()

    def close(self) -> None:
        self._live.stop()

    def _started(self) -> Live:
        """Return a display that owns no line yet: one that was stopped would erase those above."""
        from rich.live import Live

        live = Live(
            console=screen.errors(),
            transient=True,
            refresh_per_second=4,
            get_renderable=self._table,
        )
        live.start()
        return live

    def _table(self) -> RenderableType:
        from mcp_jobs.domain.clock import SystemClock

        if not self._jobs:
            return ""
        now_ms = SystemClock().now_ms()
        shown = [job_object(job, now_ms=now_ms) for job in self._jobs]
        return table(shown, screen.errors().width)


@contextmanager
def progress_display(*, enabled: bool) -> Iterator[Display]:
    """Show progress on stderr while the context lasts, when that is a terminal."""
    if not (enabled and screen.errors().is_terminal):
        yield _Silent()
        return
    living = _Living()
    try:
        yield living
    finally:
        living.close()
