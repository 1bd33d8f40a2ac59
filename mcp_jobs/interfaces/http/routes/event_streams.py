"""The event streams, and what tells how the server is."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from mcp_jobs.interfaces.http.live.sse import EventStream
from mcp_jobs.interfaces.http.metrics import CONTENT_TYPE
from mcp_jobs.interfaces.http.opened import stay_of
from mcp_jobs.interfaces.http.problem_details import Problem
from mcp_jobs.interfaces.http.routes import bodies
from mcp_jobs.interfaces.http.routes.dependencies import (
    EVENTS,
    ROUTES,
    TEXT,
    JobId,
    Visit,
    Visitor,
    parts_of,
    problems,
)
from mcp_jobs.interfaces.http.routes.state import Parts

LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="Id of the last event that was seen."),
]

live = APIRouter(tags=["live"], dependencies=list(ROUTES))


@live.get(
    "/jobs/{job_id}/events",
    response_class=EventStream,
    status_code=200,
    responses={
        200: {"content": EVENTS, "description": "Events until the job has ended."},
        204: {"description": "The end of the job was seen already."},
        **problems(400, 404, 503),
    },
)
@live.get("/jobs/{job_id}/stream", include_in_schema=False)
async def follow_job(
    request: Request, job_id: JobId, visit: Visitor, last_event_id: LastEventId = None
) -> Response:
    """Follow one job: a snapshot, every change of its state, and its end."""
    await visit.parts.service.find(visit.owner, job_id)
    if last_event_id and await visit.parts.live.finished(visit.owner, job_id, last_event_id):
        # What makes an EventSource stop to come back.
        return Response(status_code=204)
    return _stream(request, visit, job_id, last_event_id)


@live.get(
    "/events",
    response_class=EventStream,
    status_code=200,
    responses={
        200: {"content": EVENTS, "description": "Events until the client leaves."},
        **problems(400, 503),
    },
)
async def follow_all(
    request: Request, visit: Visitor, last_event_id: LastEventId = None
) -> Response:
    """Follow all jobs: a snapshot of the newest, then every change of any."""
    return _stream(request, visit, None, last_event_id)


health = APIRouter(tags=["health"])


@health.get("/healthz", responses={200: {"model": bodies.Health}})
async def healthz() -> Response:
    """Say that the process answers. Needs no token."""
    return JSONResponse({"status": "ok"})


@health.get(
    "/readyz", responses={200: {"model": bodies.Health}, 503: problems(503, closed=False)[503]}
)
async def readyz(parts: Annotated[Parts, Depends(parts_of)]) -> Response:
    """Say that the store answers and every part of the server runs. Needs no token."""
    await parts.store.last_change()
    if failed := [fault.part for fault in parts.upkeep.faults()]:
        # Why is in the log; strangers need not see it.
        detail = f"Failed, and being started again: {', '.join(failed)}. The log says why."
        return Problem(503, "part_failed", detail, headers={"retry-after": "1"})
    return JSONResponse({"status": "ok"})


@health.get(
    "/metrics",
    response_class=PlainTextResponse,
    dependencies=list(ROUTES),
    responses={200: {"content": TEXT}, **problems(503)},
)
async def metrics(visit: Visitor) -> Response:
    """Return numbers for Prometheus, over all owners. Needs the scope `metrics`."""
    return Response(await visit.parts.metrics.page(), media_type=CONTENT_TYPE)


def _stream(request: Request, visit: Visit, job_id: str | None, last_id: str | None) -> EventStream:
    return EventStream(
        visit.parts.live.frames(
            visit.owner,
            job_id,
            last_id=last_id or None,
            stay=stay_of(request.scope),
        )
    )
