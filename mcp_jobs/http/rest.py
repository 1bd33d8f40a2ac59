"""The REST routes. Each is a thin adapter over `service`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final

from fastapi import APIRouter, Depends, Header, Path, Query, Request, Response, Security
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPBearer
from starlette.exceptions import HTTPException

from mcp_jobs.http import bodies
from mcp_jobs.http.auth import principal_of
from mcp_jobs.http.metrics import CONTENT_TYPE
from mcp_jobs.http.problems import MEDIA_TYPE
from mcp_jobs.http.raw import raw_response
from mcp_jobs.http.sse import EventStream
from mcp_jobs.http.tokens import Principal
from mcp_jobs.requests import CancelJob, CheckJob, ListJobs, StartJob
from mcp_jobs.targets import webhook_url
from mcp_jobs.views import rfc3339

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp_jobs.http.parts import Parts
    from mcp_jobs.models import Delivery, OutboxMessage

OPEN_PATHS: Final = frozenset({"/healthz", "/readyz"})

_OCTETS: Final = {"text/plain": {"schema": {"type": "string"}}}
_EVENTS: Final = {"text/event-stream": {"schema": {"type": "string"}}}

JobId = Annotated[str, Path(min_length=1, max_length=100, description="Id of a job.")]
LastEventId = Annotated[
    str | None,
    Header(alias="Last-Event-ID", description="Id of the last event that was seen."),
]


def _problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {
        status: {"description": "A problem.", "content": {MEDIA_TYPE: _schema("ProblemBody")}}
        for status in (*statuses, 401, 403, 429)
    }


def _schema(name: str) -> dict[str, Any]:
    return {"schema": {"$ref": f"#/components/schemas/{name}"}}


def needs(scope: str) -> Callable[[Request], Principal]:
    """Return a dependency that lets in whoever has `scope`."""

    def check(request: Request) -> Principal:
        principal = principal_of(request.scope)
        if scope not in principal.scopes:
            has = ", ".join(sorted(principal.scopes)) or "none"
            raise HTTPException(403, f"This token has no scope {scope!r}; it has: {has}.")
        return principal

    return check


Reader = Annotated[Principal, Depends(needs("read"))]
Starter = Annotated[Principal, Depends(needs("start"))]
Canceller = Annotated[Principal, Depends(needs("cancel"))]
Operator = Annotated[Principal, Depends(needs("metrics"))]


def job_routes(parts: Parts) -> APIRouter:
    """Return what concerns jobs."""
    router = APIRouter(tags=["jobs"], dependencies=[Security(HTTPBearer(auto_error=False))])
    service = parts.service

    @router.post(
        "/jobs",
        status_code=201,
        responses={
            200: {"model": bodies.Job, "description": "The idempotency key has started it before."},
            201: {"model": bodies.Job},
            **_problems(400, 409, 413, 422, 503),
        },
    )
    async def start_job(body: bodies.StartBody, principal: Starter) -> Response:
        """Start a job. It is stored when the answer comes."""
        request = StartJob.model_construct(**_fields(body, StartJob))
        hooks: tuple[str, ...] = ()
        if body.webhook is not None:
            hooks = (webhook_url(body.webhook, hosts=parts.settings.webhook_hosts),)
        job = await service.start(principal.owner, request, webhooks=hooks)
        status = 200 if job.get("existing") else 201
        return JSONResponse(job, status, {"location": f"/jobs/{job['job_id']}"})

    @router.get("/jobs", responses={200: {"model": bodies.JobList}, **_problems(400, 422, 503)})
    async def list_jobs(query: Annotated[bodies.ListQuery, Query()], principal: Reader) -> Response:
        """List jobs, newest first."""
        request = ListJobs.model_construct(
            **_defaults(ListJobs),
            status=query.status or None,
            type=query.type,
            cwd=query.cwd,
            job_ids=query.job_id or None,
            limit=query.limit,
            cursor=query.cursor,
        )
        return JSONResponse(await service.list(principal.owner, request))

    @router.get(
        "/jobs/{job_id}", responses={200: {"model": bodies.Job}, **_problems(400, 404, 503)}
    )
    async def check_job(
        job_id: JobId, query: Annotated[bodies.CheckQuery, Query()], principal: Reader
    ) -> Response:
        """Look at a job."""
        request = CheckJob(
            job_id=job_id, wait_seconds=query.wait_seconds, tail_lines=query.tail_lines
        )
        return JSONResponse(await service.check(principal.owner, request))

    @router.post(
        "/jobs/{job_id}/cancel",
        responses={200: {"model": bodies.Job}, **_problems(400, 404, 413, 422, 503)},
    )
    async def cancel_job(
        job_id: JobId, principal: Canceller, body: bodies.CancelBody | None = None
    ) -> Response:
        """End a job with all its processes; the answer comes when they are gone."""
        grace_s = 5 if body is None else body.grace_seconds
        request = CancelJob(job_id=job_id, grace_seconds=grace_s)
        return JSONResponse(await service.cancel(principal.owner, request))

    @router.get(
        "/jobs/{job_id}/output",
        responses={200: {"model": bodies.Output}, **_problems(400, 404, 422, 503)},
    )
    async def read_output(
        job_id: JobId, query: Annotated[bodies.OutputQuery, Query()], principal: Reader
    ) -> Response:
        """Read output as text: its tail, what came after a cursor, or the lines that match."""
        request = CheckJob(job_id=job_id, **query.model_dump())
        return JSONResponse((await service.check(principal.owner, request))["output"])

    @router.get(
        "/jobs/{job_id}/output/raw",
        response_class=PlainTextResponse,
        responses={
            200: {"content": _OCTETS, "description": "Everything that is kept."},
            206: {"content": _OCTETS, "description": "The bytes of the range."},
            **_problems(400, 404, 416, 503),
        },
    )
    async def read_raw_output(
        job_id: JobId,
        principal: Reader,
        asked: Annotated[str | None, Header(alias="Range", max_length=200)] = None,
    ) -> Response:
        """Read the bytes of the output, or a range of them."""
        return await raw_response(await service.raw_output(principal.owner, job_id), asked)

    @router.get(
        "/jobs/{job_id}/deliveries",
        responses={200: {"model": bodies.Messages}, **_problems(400, 404, 503)},
    )
    async def list_deliveries(job_id: JobId, principal: Reader) -> Response:
        """List the webhook messages about a job, and each attempt to deliver them."""
        messages = await service.messages(principal.owner, job_id)
        return JSONResponse({"messages": [_message(each) for each in messages]})

    @router.get("/job-types", responses={200: {"model": bodies.JobTypes}, **_problems()})
    async def list_job_types(_: Reader) -> Response:
        """List the types of jobs that can be started."""
        return JSONResponse({"types": list(service.job_types())})

    return router


def live_routes(parts: Parts) -> APIRouter:
    """Return the event streams."""
    router = APIRouter(tags=["live"], dependencies=[Security(HTTPBearer(auto_error=False))])

    @router.get(
        "/jobs/{job_id}/events",
        response_class=EventStream,
        status_code=200,
        responses={
            200: {"content": _EVENTS, "description": "Events until the job has ended."},
            204: {"description": "The end of the job was seen already."},
            **_problems(400, 404, 503),
        },
    )
    @router.get("/jobs/{job_id}/stream", include_in_schema=False)
    async def follow_job(
        job_id: JobId, principal: Reader, last_event_id: LastEventId = None
    ) -> Response:
        """Follow one job: a snapshot, every change of its state, and its end."""
        owner = principal.owner
        await parts.service.find(owner, job_id)
        if last_event_id and await parts.live.finished(owner, job_id, last_event_id):
            # What makes an EventSource stop to come back.
            return Response(status_code=204)
        return _stream(parts, principal, job_id, last_event_id)

    @router.get(
        "/events",
        response_class=EventStream,
        status_code=200,
        responses={
            200: {"content": _EVENTS, "description": "Events until the client leaves."},
            **_problems(400, 503),
        },
    )
    async def follow_all(principal: Reader, last_event_id: LastEventId = None) -> Response:
        """Follow all jobs: a snapshot of the newest, then every change of any."""
        return _stream(parts, principal, None, last_event_id)

    return router


def health_routes(parts: Parts) -> APIRouter:
    """Return what tells how the server is."""
    router = APIRouter(tags=["health"])

    @router.get("/healthz", responses={200: {"model": bodies.Health}})
    async def healthz() -> Response:
        """Say that the process answers. Needs no token."""
        return JSONResponse({"status": "ok"})

    @router.get("/readyz", responses={200: {"model": bodies.Health}, 503: _problems(503)[503]})
    async def readyz() -> Response:
        """Say that the store answers too. Needs no token."""
        await parts.store.last_change()
        return JSONResponse({"status": "ok"})

    @router.get(
        "/metrics",
        response_class=PlainTextResponse,
        dependencies=[Security(HTTPBearer(auto_error=False))],
        responses={200: {"content": _OCTETS}, **_problems(503)},
    )
    async def metrics(_: Operator) -> Response:
        """Return numbers for Prometheus, over all owners. Needs the scope `metrics`."""
        return Response(await parts.metrics.page(), media_type=CONTENT_TYPE)

    return router


def _stream(
    parts: Parts, principal: Principal, job_id: str | None, last_id: str | None
) -> EventStream:
    return EventStream(
        parts.live.frames(
            principal.owner,
            job_id,
            last_id=last_id or None,
            still_valid=lambda: parts.authenticator.still_valid(principal),
        )
    )


def _fields(body: StartJob, model: type[StartJob]) -> dict[str, Any]:
    """Return the checked values of the fields that `model` has."""
    return {name: getattr(body, name) for name in model.model_fields}


def _defaults(model: type[ListJobs]) -> dict[str, Any]:
    return {"wait_for": None, "wait_seconds": model.model_fields["wait_seconds"].default}


def _message(message: OutboxMessage) -> dict[str, Any]:
    return {
        "id": message.id,
        "url": message.url,
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
