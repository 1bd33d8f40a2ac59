"""The resources: all jobs, one job, one job's output, the schedules."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, NoReturn

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    ListResourcesResult,
    ListResourceTemplatesResult,
    PaginatedRequestParams,
    ReadResourceRequestParams,
    ReadResourceResult,
    Resource,
    ResourceTemplate,
    TextResourceContents,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from mcp_jobs.domain.errors import JobsError, UnknownJobError
from mcp_jobs.domain.ids import is_id
from mcp_jobs.domain.job_object import job_uri
from mcp_jobs.interfaces.mcp.rendering import shortened
from mcp_jobs.service.requests import ListJobs
from mcp_jobs.service.schedule_service import Reach

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    from mcp_jobs.domain.job_object import JobObject
    from mcp_jobs.interfaces.mcp.callers import OwnerOf
    from mcp_jobs.interfaces.mcp.notices import Notices
    from mcp_jobs.service.job_service import JobService
    from mcp_jobs.service.schedule_service import ScheduleService

SCHEME: Final = "jobs://"
ALL_JOBS: Final = "jobs://all"
SCHEDULES: Final = "jobs://schedules"
RESOURCE_NOT_FOUND: Final = -32002
"""Up to 2025-11-25; from 2026-07-28 on it is INVALID_PARAMS (-32602)."""

_JOB_PREFIX: Final = "jobs://job/"
_OUTPUT_SUFFIX: Final = "/output"
_LISTED: Final = 20
_JSON: Final = "application/json"


def output_uri(job_id: str) -> str:
    """Return the resource that a job's output is read at."""
    return job_uri(job_id) + _OUTPUT_SUFFIX


def job_id_of(uri: str) -> str | None:
    """Return the job that a resource belongs to; None when it is not a job's."""
    job_id = uri.removeprefix(_JOB_PREFIX).removesuffix(_OUTPUT_SUFFIX)
    return job_id if uri.startswith(_JOB_PREFIX) and is_id(job_id) else None


def not_found(
    context: ServerRequestContext[Any, Any], message: str, *, uri: str | None = None
) -> NoReturn:
    """Raise the error that this era has for a resource that does not exist."""
    modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
    code = INVALID_PARAMS if modern else RESOURCE_NOT_FOUND
    data = None if uri is None else {"uri": shortened(uri)}
    raise MCPError(code=code, message=shortened(message), data=data)


class Resources:
    """Serves resources/list, resources/templates/list and resources/read to each owner."""

    def __init__(
        self,
        service: JobService,
        schedules: ScheduleService,
        *,
        owner_of: OwnerOf,
        notices: Notices | None = None,
    ) -> None:
        self._service = service
        self._schedules = schedules
        self._owner_of = owner_of
        self._notices = notices

    async def list(
        self, context: ServerRequestContext[Any, Any], params: PaginatedRequestParams | None
    ) -> ListResourcesResult:
        """Answer resources/list: the lists of all jobs and schedules, then the newest jobs."""
        del params
        recent = await self._service.list(self._owner_of(context), ListJobs(limit=_LISTED))
        everything = Resource(
            uri=ALL_JOBS,
            name="all",
            title="All jobs",
            description="The newest jobs and how many there are in each state.",
            mime_type=_JSON,
        )
        jobs = [
            Resource(
                uri=job["uri"],
                name=job["job_id"],
                title=job["title"],
                description=f"{job['status']} in {job['cwd']}",
                mime_type=_JSON,
            )
            for job in recent["jobs"]
        ]
        schedules = Resource(
            uri=SCHEDULES,
            name="schedules",
            title="Schedules",
            description="What starts by the clock: next fires, last jobs, what was missed.",
            mime_type=_JSON,
        )
        return ListResourcesResult(resources=[everything, schedules, *jobs])

    async def templates(
        self, context: ServerRequestContext[Any, Any], params: PaginatedRequestParams | None
    ) -> ListResourceTemplatesResult:
        """Answer resources/templates/list."""
        del context, params
        return ListResourceTemplatesResult(
            resource_templates=[
                ResourceTemplate(
                    uri_template="jobs://job/{job_id}",
                    name="job",
                    title="A job",
                    description="One job as check_job shows it. Subscribe to be told when it ends.",
                    mime_type=_JSON,
                ),
                ResourceTemplate(
                    uri_template="jobs://job/{job_id}/output",
                    name="output",
                    title="The output of a job",
                    description="The end of a job's output. Subscribe to be told of more.",
                    mime_type="text/plain",
                ),
            ]
        )

    async def read(
        self, context: ServerRequestContext[Any, Any], params: ReadResourceRequestParams
    ) -> ReadResourceResult:
        """Answer resources/read."""
        uri = str(params.uri)
        try:
            kind, text = await self._read(self._owner_of(context), uri)
        except UnknownJobError as error:
            not_found(context, str(error), uri=uri)
        except JobsError as error:
            raise MCPError(code=INVALID_PARAMS, message=str(error)) from error
        if text is None:
            not_found(
                context,
                f"There is no resource {uri!r}. There are {ALL_JOBS}, {SCHEDULES}, "
                "jobs://job/<job_id> and jobs://job/<job_id>/output.",
                uri=uri,
            )
        contents = TextResourceContents(uri=uri, mime_type=kind, text=text)
        return ReadResourceResult(contents=[contents])

    async def _read(self, owner: str, uri: str) -> tuple[str, str | None]:
        if uri == ALL_JOBS:
            return _JSON, self._seen(await self._service.list(owner, ListJobs(limit=100)))
        if uri == SCHEDULES:
            return _JSON, json.dumps(await self._schedules.list(Reach(owner=owner)))
        job_id = job_id_of(uri)
        if job_id is None:
            return _JSON, None
        if uri.endswith(_OUTPUT_SUFFIX):
            return "text/plain", await self._service.output_text(owner, job_id)
        return _JSON, self._seen(await self._service.show(owner, job_id))

    def _seen(self, shown: JobObject) -> str:
        if self._notices is not None:
            self._notices.saw_in(shown)
        return json.dumps(shown)
