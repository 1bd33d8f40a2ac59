"""`wait`: block until jobs have ended, one line for each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import anyio
import typer

from mcp_jobs.domain.states import Reason, Status
from mcp_jobs.interfaces.cli import screen, session, wording
from mcp_jobs.interfaces.cli.exits import FAILED, OK, TIMED_OUT
from mcp_jobs.interfaces.cli.options import JobParts, Json, seconds
from mcp_jobs.interfaces.cli.tables import progress_display

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp_jobs.domain.models import Job


def wait(
    jobs: JobParts,
    *,
    any_one: Annotated[
        bool, typer.Option("--any", help="Return when the first has ended.")
    ] = False,
    timeout: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Wait no longer than this (90, 10m, 2h); exit code 124."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Wait until jobs have ended and print a line for each; exit 0 only if all completed."""
    limit_s = seconds(timeout, "--timeout")
    raise typer.Exit(session.run(_wait, jobs, any_one, limit_s, as_json))


async def _wait(parts: list[str], any_one: bool, limit_s: float | None, as_json: bool) -> int:
    async with session.open_session(reading=True) as opened:
        jobs = await opened.jobs_of(parts)
        with anyio.move_on_after(limit_s):
            return await wait_for(opened, jobs, stop_at_first=any_one, as_json=as_json)
        if not as_json:
            screen.note("The time is up; the jobs keep running.")
        return TIMED_OUT


async def wait_for(
    opened: session.Session, jobs: Sequence[Job], *, stop_at_first: bool, as_json: bool
) -> int:
    """Print each job when it ends and return the exit code; cancelling it harms no job."""
    left, code = list(jobs), OK
    if not all(job.ended for job in left):
        await opened.ensure_worker()
    told = set[str]()

    async def look(seen: Sequence[Job]) -> None:
        for job in seen:
            if job.status is Status.INPUT_REQUIRED and job.id not in told:
                told.add(job.id)
                screen.note(f"{job.id} waits for an answer: mcp-jobs show {job.id}")
        display.show(seen)

    with progress_display(enabled=not as_json) as display:
        while left:
            seen = await opened.wait_for_one(left, look)
            for job in (job for job in seen if job.ended):
                with display.aside():
                    await _tell(opened, job, as_json)
                code = code if job.status is Status.COMPLETED else FAILED
            left = [job for job in seen if not job.ended]
            if stop_at_first:
                break
    return code


async def _tell(opened: session.Session, job: Job, as_json: bool) -> None:
    shown = await opened.core.service.show(session.OWNER, job.id)
    if as_json:
        screen.write_json(shown)
        return
    screen.write_line(wording.end_of(shown), wording.STYLES[shown["status"]])
    if shown["reason"] == Reason.SPAWN_ERROR:
        # It has no output that would say which program it was.
        screen.write_line(f"  {screen.clean(shown['error'])}")
    for line in wording.failing_tests(shown):
        screen.write_line(f"  {line}")
