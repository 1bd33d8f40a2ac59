"""`cancel` and `prune`: end jobs, and forget old ones."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from mcp_jobs.domain.clock import SystemClock
from mcp_jobs.engine.retention import Retention
from mcp_jobs.interfaces.cli import screen, session, wording
from mcp_jobs.interfaces.cli.exits import FAILED, OK
from mcp_jobs.interfaces.cli.options import JobParts, Json, seconds
from mcp_jobs.service.requests import CancelJob

_DAY_S = 86_400


def cancel(
    jobs: JobParts,
    *,
    grace: Annotated[
        str, typer.Option(metavar="TIME", help="Time between SIGTERM and SIGKILL.")
    ] = "5",
    as_json: Json = False,
) -> None:
    """End jobs with all their processes."""
    raise typer.Exit(session.run(_cancel, jobs, seconds(grace, "--grace"), as_json))


def prune(
    *,
    older_than: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Jobs that ended longer ago than this (7d)."),
    ] = None,
    keep: Annotated[
        int | None,
        typer.Option(min=1, help="Keep only this many jobs, the newest."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Remove ended jobs and their output now, by the retention settings or by these limits."""
    changes: dict[str, Any] = {}
    age_s = seconds(older_than, "--older-than")
    if age_s is not None:
        changes["retention_days"] = age_s / _DAY_S
    if keep is not None:
        changes["retention_jobs"] = keep
    removed = session.run(_prune, changes)
    if as_json:
        screen.write_json({"removed": removed})
    else:
        screen.write_line(f"{removed} {'job' if removed == 1 else 'jobs'} removed.")


async def _cancel(parts: list[str], grace_s: float, as_json: bool) -> int:
    wanted = session.request(
        CancelJob, {"grace_seconds": "--grace"}, {"job_id": "-", "grace_seconds": grace_s}
    )
    code = OK
    async with session.open_session() as opened:
        jobs = await opened.jobs_of(parts)
        if not all(job.ended for job in jobs):
            await opened.ensure_worker()
        for job in jobs:
            request = wanted.model_copy(update={"job_id": job.id})
            shown = await opened.core.service.cancel(session.OWNER, request)
            if as_json:
                screen.write_json(shown)
            elif job.ended:
                screen.write_line(f"{job.id} had already ended: {wording.status_of(shown)}")
            else:
                screen.write_line(wording.end_of(shown), wording.STYLES[shown["status"]])
            if not shown["finished_at"]:
                code = FAILED
                screen.note(f"{job.id} has not ended yet; mcp-jobs wait {job.id} waits for it.")
    return code


async def _prune(changes: dict[str, Any]) -> int:
    async with session.open_session() as opened:
        settings = opened.settings.model_copy(update=changes)
        clock = SystemClock()
        core = opened.core
        return await Retention(
            store=core.store, executor=core.executor, settings=settings, clock=clock
        ).run_once()
