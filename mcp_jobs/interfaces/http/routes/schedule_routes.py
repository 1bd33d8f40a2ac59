"""The routes of schedules. Each is a thin adapter over `service.schedule_service`."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from mcp_jobs.interfaces.http.routes import bodies
from mcp_jobs.interfaces.http.routes.dependencies import ROUTES, Visit, Visitor, problems
from mcp_jobs.interfaces.mcp.access import no_scope
from mcp_jobs.service.assembly import LOCAL_OWNER
from mcp_jobs.service.schedule_requests import AddSchedule
from mcp_jobs.service.schedule_service import Reach

ADMIN = "admin"
"""The scope that reaches the schedules of others."""

schedules = APIRouter(tags=["schedules"], dependencies=list(ROUTES))

Named = Annotated[str, Path(min_length=1, max_length=100, description="Name or id of a schedule.")]
Whose = Annotated[bodies.WhoseQuery, Query()]
_SHOWN = {200: {"model": bodies.Schedule}, **problems(400, 404, 422, 503)}
_CHANGED = {200: {"model": bodies.Schedule}, **problems(400, 404, 413, 422, 503)}


@schedules.get(
    "/schedules", responses={200: {"model": bodies.ScheduleList}, **problems(400, 422, 503)}
)
async def list_schedules(whose: Whose, visit: Visitor) -> Response:
    """List the schedules: when they fire next, how their jobs ended, what they missed."""
    return JSONResponse(await visit.parts.schedules.list(_reach(visit, whose)))


@schedules.post(
    "/schedules",
    status_code=201,
    responses={201: {"model": bodies.Schedule}, **problems(400, 413, 422, 503)},
)
async def add_schedule(body: AddSchedule, visit: Visitor) -> Response:
    """Start a job again and again, by the clock."""
    # What others are offered here may have other names elsewhere.
    shared = visit.owner != LOCAL_OWNER
    shown = await visit.parts.schedules.add(visit.owner, body, shared=shared)
    return JSONResponse(shown, 201, {"location": f"/schedules/{shown['schedule_id']}"})


@schedules.get("/schedules/{schedule}", responses={**_SHOWN})
async def show_schedule(schedule: Named, whose: Whose, visit: Visitor) -> Response:
    """Show one schedule."""
    return JSONResponse(await visit.parts.schedules.show(_reach(visit, whose), schedule))


@schedules.delete("/schedules/{schedule}", responses={**_SHOWN})
async def remove_schedule(schedule: Named, whose: Whose, visit: Visitor) -> Response:
    """Forget a schedule, and answer with what it was; its jobs stay."""
    return JSONResponse(await visit.parts.schedules.remove(_reach(visit, whose), schedule))


@schedules.post("/schedules/{schedule}/pause", responses={**_CHANGED})
async def pause_schedule(
    schedule: Named, whose: Whose, visit: Visitor, body: bodies.HoldBody | None = None
) -> Response:
    """Hold a schedule. What comes meanwhile is not made up for."""
    why = None if body is None else body.why
    by = visit.principal.name
    reach = _reach(visit, whose)
    return JSONResponse(await visit.parts.schedules.pause(reach, schedule, by=by, why=why))


@schedules.post("/schedules/{schedule}/resume", responses={**_CHANGED})
async def resume_schedule(schedule: Named, whose: Whose, visit: Visitor) -> Response:
    """Let a schedule go on with the next of its times."""
    return JSONResponse(await visit.parts.schedules.resume(_reach(visit, whose), schedule))


@schedules.post(
    "/schedules/{schedule}/run",
    status_code=201,
    responses={201: {"model": bodies.Job}, **problems(400, 404, 413, 422, 503)},
)
async def run_schedule(schedule: Named, whose: Whose, visit: Visitor) -> Response:
    """Start the job of a schedule now."""
    job = await visit.parts.schedules.run(_reach(visit, whose), schedule)
    shown = await visit.parts.service.glance(job.owner, job.id)
    return JSONResponse(shown, 201, {"location": f"/jobs/{job.id}"})


def _reach(visit: Visit, whose: bodies.WhoseQuery) -> Reach:
    """Return whose schedules are meant; others' are for those alone who look after the home."""
    if whose.everybody and ADMIN not in visit.principal.scopes:
        raise HTTPException(403, no_scope(repr(ADMIN), visit.principal.scopes))
    return Reach(owner=visit.owner, everybody=whose.everybody)
