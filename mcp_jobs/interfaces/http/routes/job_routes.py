"""The routes of jobs. Each is a thin adapter over `service`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Header, Query, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.job_object import rfc3339
from mcp_jobs.domain.origin import told_origin
from mcp_jobs.domain.secrecy import shown_url
from mcp_jobs.domain.webhook_urls import webhook_url
from mcp_jobs.interfaces.http.routes import bodies
from mcp_jobs.interfaces.http.routes.dependencies import ROUTES, TEXT, JobId, Visitor, problems
from mcp_jobs.interfaces.http.routes.raw_output import raw_response
from mcp_jobs.service.requests import CancelJob, CheckJob, ListJobs, StartJob

if TYPE_CHECKING:
    from mcp_jobs.domain.models import Delivery, OutboxMessage
    from mcp_jobs.service.requests import Scope

jobs = APIRouter(tags=["jobs"], dependencies=list(ROUTES))

_STARTED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": bodies.Job, "description": "There was such a job already."},
    201: {"model": bodies.Job},
    # 404: there is no job that is to be started again.
    **problems(400, 404, 409, 413, 422, 503),
}


@jobs.post("/jobs", status_code=201, responses=_STARTED)
async def start_job(body: bodies.StartBody, visit: Visitor) -> Response:
    """Start a job. It is stored when the answer comes."""
    return await _started(_start(body), body, visit)


@jobs.post("/jobs/{job_id}/retry", status_code=201, responses=_STARTED)
async def retry_job(
    job_id: JobId, visit: Visitor, body: bodies.RetryBody | None = None
) -> Response:
    """Start an ended job again, as a new one; what is given overrides what it was started with."""
    given = bodies.RetryBody() if body is None else body
    if given.retry_of not in (None, job_id):
        raise InvalidInputError("retry_of is another job than that of the path; leave it out.")
    request = _start(given).model_copy(update={"retry_of": job_id})
    return await _started(request, given, visit)


async def _started(request: StartJob, body: bodies.StartBody, visit: Visitor) -> Response:
    hooks: tuple[str, ...] = ()
    if body.webhook is not None:
        hooks = (webhook_url(body.webhook, hosts=visit.parts.settings.webhook_hosts),)
    job = await visit.parts.service.start(visit.owner, request, webhooks=hooks, origin=visit.origin)
    status = 200 if job.get("existing") else 201
    return JSONResponse(job, status, {"location": f"/jobs/{job['job_id']}"})


@jobs.get("/jobs", responses={200: {"model": bodies.JobList}, **problems(400, 422, 503)})
async def list_jobs(query: Annotated[bodies.ListQuery, Query()], visit: Visitor) -> Response:
    """List jobs, newest first."""
    request = ListJobs(
        status=query.status or None,
        type=query.type,
        cwd=query.cwd,
        job_ids=query.job_id or None,
        scope=query.scope or _named(query),
        limit=query.limit,
        cursor=query.cursor,
    )
    # Whoever asks over REST works in no project here, but may name one.
    origin = told_origin(project=query.project, session=query.session)
    return JSONResponse(await visit.parts.service.list(visit.owner, request, origin=origin))


@jobs.get("/jobs/{job_id}", responses={200: {"model": bodies.Job}, **problems(400, 404, 503)})
async def check_job(
    job_id: JobId, query: Annotated[bodies.CheckQuery, Query()], visit: Visitor
) -> Response:
    """Look at a job."""
    request = CheckJob(job_id=job_id, wait_seconds=query.wait_seconds, tail_lines=query.tail_lines)
    return JSONResponse(await visit.parts.service.check(visit.owner, request))


@jobs.post(
    "/jobs/{job_id}/cancel",
    responses={200: {"model": bodies.Job}, **problems(400, 404, 413, 422, 503)},
)
async def cancel_job(
    job_id: JobId, visit: Visitor, body: bodies.CancelBody | None = None
) -> Response:
    """End a job with all its processes; the answer comes when they are gone."""
    grace_s = 5 if body is None else body.grace_seconds
    request = CancelJob(job_id=job_id, grace_seconds=grace_s)
    return JSONResponse(await visit.parts.service.cancel(visit.owner, request))


@jobs.get(
    "/jobs/{job_id}/output",
    responses={200: {"model": bodies.Output}, **problems(400, 404, 422, 503)},
)
async def read_output(
    job_id: JobId, query: Annotated[bodies.OutputQuery, Query()], visit: Visitor
) -> Response:
    """Read a part of the output: its tail, what came after a cursor, or what matches."""
    request = CheckJob(job_id=job_id, **query.model_dump())
    return JSONResponse((await visit.parts.service.check(visit.owner, request))["output"])


@jobs.get(
    "/jobs/{job_id}/output/raw",
    response_class=PlainTextResponse,
    responses={
        200: {"content": TEXT, "description": "Everything that is kept."},
        206: {"content": TEXT, "description": "The bytes of the range."},
        **problems(400, 404, 416, 503),
    },
)
async def read_raw_output(
    job_id: JobId,
    visit: Visitor,
    asked: Annotated[str | None, Header(alias="Range", max_length=200)] = None,
) -> Response:
    """Read the bytes of the output, or a range of them."""
    return await raw_response(await visit.parts.service.raw_output(visit.owner, job_id), asked)


@jobs.get(
    "/jobs/{job_id}/deliveries",
    responses={200: {"model": bodies.Messages}, **problems(400, 404, 503)},
)
async def list_deliveries(job_id: JobId, visit: Visitor) -> Response:
    """List the webhook messages about a job, and each attempt to deliver them."""
    messages = await visit.parts.service.messages(visit.owner, job_id)
    return JSONResponse({"messages": [_message(each) for each in messages]})


@jobs.get("/job-types", responses={200: {"model": bodies.JobTypes}, **problems()})
async def list_job_types(visit: Visitor) -> Response:
    """List the types of jobs that can be started."""
    return JSONResponse({"types": list(visit.parts.service.job_types())})


def _named(query: bodies.ListQuery) -> Scope:
    if query.session is not None:
        return "session"
    return "all" if query.project is None else "project"


def _start(body: bodies.StartBody) -> StartJob:
    """Return the checked request; what was not given stays for the type to say."""
    given = body.model_fields_set & StartJob.model_fields.keys()
    return StartJob.model_construct(given, **{name: getattr(body, name) for name in given})


def _message(message: OutboxMessage) -> dict[str, Any]:
    return {
        "id": message.id,
        "url": shown_url(message.url),
        "status": message.status,
        "created_at": rfc3339(message.created_at_ms),
        "next_attempt_at": rfc3339(message.next_attempt_at_ms),
        "attempts": [_delivery(each) for each in message.deliveries],
    }


def _delivery(delivery: Delivery) -> dict[str, Any]:
    return {
        "number": delivery.number,
        "started_at": rfc3339(delivery.started_at_ms),
        "finished_at": rfc3339(delivery.finished_at_ms),
        "http_status": delivery.http_status,
        "error": delivery.error,
        "next_attempt_at": rfc3339(delivery.next_attempt_at_ms),
    }
