"""The four tools: arguments in, service called, job objects out."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    InputRequiredResult,
    ListToolsResult,
    PaginatedRequestParams,
    Tool,
    ToolAnnotations,
    ToolExecution,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, ValidationError

from mcp_jobs.errors import JobsError, StoreError
from mcp_jobs.requests import CancelJob, CheckJob, ListJobs, StartJob
from mcp_jobs.server import missing, schemas, tasks, wire
from mcp_jobs.server.asking import Asking, RefusedError, refuse_unasked
from mcp_jobs.server.exposed import Exposed, start_of
from mcp_jobs.server.progress import ProgressReporter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mcp.server.context import ServerRequestContext

    from mcp_jobs.registry import JobType
    from mcp_jobs.server.callers import OwnerOf
    from mcp_jobs.server.notices import Notices
    from mcp_jobs.server.tasks import Tasks
    from mcp_jobs.service import JobService
    from mcp_jobs.views import JobObject
    from mcp_jobs.waiting import OnLook

    Call = Callable[[str, Any, OnLook], Awaitable[JobObject]]

logger = logging.getLogger(__name__)

_START: Final = """\
Start a background job (test suite, build, deploy, any slow command) and get its job_id at once. \
The job goes on when this call, the client or the server ends. Use it for everything that may take \
more than a few seconds. Afterwards go on with other work and wait for the end with check_job."""

_CHECK: Final = """\
Look at a job: status, progress, result and the end of its output. wait_seconds (up to 50) waits \
for the end; it returns early when the job ends. Output is read on with after=next_cursor or \
searched with grep. Use one waiting call instead of many quick ones."""

_CANCEL: Final = """\
End a job with all its processes: SIGTERM, then SIGKILL after grace_seconds. The reply says \
cancelled only when nothing is left of it. A job that has already ended is left as it is."""

_LIST: Final = """\
List jobs, newest first, also those of earlier sessions; find a job again after a restart. \
wait_for "any" or "all" with job_ids and wait_seconds waits for several jobs at once."""

_CHANGES: Final = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=True)
_READS: Final = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)

_START_TOOL: Final = Tool(
    name="start_job",
    title="Start a background job",
    description=_START,
    input_schema=schemas.START_INPUT,
    output_schema=schemas.JOB_RESULT,
    annotations=_CHANGES,
    execution=ToolExecution(task_support="optional"),
)
_CHECK_TOOL: Final = Tool(
    name="check_job",
    title="Look at a job",
    description=_CHECK,
    input_schema=schemas.CHECK_INPUT,
    output_schema=schemas.JOB_RESULT,
    annotations=_READS,
)
_CANCEL_TOOL: Final = Tool(
    name="cancel_job",
    title="End a job",
    description=_CANCEL,
    input_schema=schemas.CANCEL_INPUT,
    output_schema=schemas.JOB_RESULT,
    annotations=_CHANGES,
)
_LIST_TOOL: Final = Tool(
    name="list_jobs",
    title="List jobs",
    description=_LIST,
    input_schema=schemas.LIST_INPUT,
    output_schema=schemas.LIST_RESULT,
    annotations=_READS,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Entry:
    tool: Tool
    model: type[BaseModel]
    call: Call
    text: Callable[[JobObject], str]
    starts: bool = False
    """Whether a call starts a job, which may then be a task."""
    asks: bool = False
    """Whether the user may be asked in a call what the job asks."""


class Tools:
    """Serves tools/list and tools/call for the owner of each request."""

    def __init__(
        self,
        service: JobService,
        *,
        tasks: Tasks,
        owner_of: OwnerOf,
        notices: Notices | None = None,
    ) -> None:
        self._owner_of = owner_of
        self._service = service
        self._tasks = tasks
        self._notices = notices
        self._asking = Asking(service)
        self._entries = {entry.tool.name: entry for entry in _entries(service)}
        self._exposed = Exposed(service, taken=self._entries)

    async def list(
        self, context: ServerRequestContext[Any, Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        """Answer tools/list; the list changes only with the job types."""
        del context, params
        own = [entry.tool for entry in self._entries.values()]
        return ListToolsResult(tools=[*own, *self._exposed.tools()])

    def starts(self, name: str) -> bool:
        """Say whether a call of the tool can be a task."""
        job_type = self._exposed.get(name)
        if job_type is not None:
            return job_type.tasks != "never"
        return name in self._entries and self._entries[name].starts

    async def start_task(
        self, context: ServerRequestContext[Any, Any], params: CallToolRequestParams
    ) -> str:
        """Call a tool that starts a job, for a client that asks for a task; return its id.

        Raises `MCPError` for what a call would refuse.
        """
        result = await self.call(context, params, as_task=True)
        if isinstance(result, dict):
            return str(result["taskId"])
        text = "".join(getattr(block, "text", "") for block in getattr(result, "content", ()))
        raise MCPError(code=INVALID_PARAMS, message=text or "The job was not started.")

    async def call(
        self,
        context: ServerRequestContext[Any, Any],
        params: CallToolRequestParams,
        *,
        as_task: bool = False,
    ) -> CallToolResult | InputRequiredResult | dict[str, Any]:
        """Answer tools/call. Whatever is wrong with the arguments is a tool error with advice.

        A started job that has not ended is a task to whoever declares tasks.
        """
        job_type = self._exposed.get(params.name)
        entry = self._entries["start_job"] if job_type else self._entries.get(params.name)
        if entry is None:
            names = [*self._entries, *(tool.name for tool in self._exposed.tools())]
            raise MCPError(
                code=INVALID_PARAMS,
                message=wire.shortened(
                    f"Unknown tool {params.name!r}; the tools are {', '.join(names)}."
                ),
            )
        try:
            if job_type is not None:
                request = await self._request_of(job_type, context, params)
                if isinstance(request, InputRequiredResult):
                    return request
            else:
                request = entry.model.model_validate(params.arguments or {})
            return await self._call(
                entry, request, context, params, job_type=job_type, as_task=as_task
            )
        except RefusedError as error:
            return wire.failure(str(error))
        except ValidationError as error:
            return wire.failure(wire.problem_text(entry.model, error))
        except JobsError as error:
            return wire.failure(str(error))
        except OSError as error:
            # The home is full, read-only or gone: the caller can do something about it.
            logger.warning("%s failed: %s", params.name, error)
            return wire.failure(f"The files of mcp-jobs cannot be used: {error}. Nothing was lost.")

    async def _request_of(
        self,
        job_type: JobType,
        context: ServerRequestContext[Any, Any],
        params: CallToolRequestParams,
    ) -> BaseModel | InputRequiredResult:
        """Return the start that a call of a job type's own tool is."""
        if job_type.tasks == "required" and context.protocol_version in MODERN_PROTOCOL_VERSIONS:
            tasks.require_declared(context)
        if params.request_state is not None:
            # The call is repeated for what its job asks.
            return start_of(job_type, params.arguments or {})
        arguments = await missing.completed(context, params, job_type)
        if isinstance(arguments, InputRequiredResult):
            return arguments
        return start_of(job_type, arguments)

    async def _call(
        self,
        entry: _Entry,
        request: BaseModel,
        context: ServerRequestContext[Any, Any],
        params: CallToolRequestParams,
        *,
        job_type: JobType | None,
        as_task: bool,
    ) -> CallToolResult | InputRequiredResult | dict[str, Any]:
        owner = self._owner_of(context)
        look = ProgressReporter(context)
        begun = await self._asking.resumed(owner, params) if entry.asks else None
        if begun is not None and entry.starts:
            shown = await self._shown_again(owner, begun, request, look)
        else:
            shown = await entry.call(owner, request, look)
        may_be_task = entry.starts and (job_type is None or job_type.tasks != "never")
        if may_be_task and (as_task or (not shown["finished_at"] and tasks.declared(context))):
            return await self._tasks.created(owner, shown["job_id"])
        if entry.asks:
            asked = await self._asking.ask(context, owner, shown, repeated=begun is not None)
            if isinstance(asked, InputRequiredResult):
                return asked
            if asked:
                shown = await self._shown_again(owner, shown["job_id"], request, look)
        if entry.starts:
            refuse_unasked(shown)
        result = wire.result(shown, entry.text(shown))
        if job_type is not None and shown["finished_at"] is not None:
            result = await self._tasks.result_of(owner, shown["job_id"])
        return await self._noticed(result)

    async def _noticed(self, result: CallToolResult) -> CallToolResult:
        """Add to a reply what else has ended."""
        shown = result.structured_content
        if self._notices is None or not isinstance(shown, dict):
            return result
        self._notices.saw_in(shown)
        try:
            taken = await self._notices.take()
        except StoreError:
            taken = []
        return wire.with_notices(result, taken) if taken else result

    async def _shown_again(
        self, owner: str, job_id: str, request: BaseModel, look: OnLook
    ) -> JobObject:
        """Return a job after its questions were answered; a start waits as it was asked to."""
        wait_s = request.wait_seconds if isinstance(request, StartJob) else 0
        again = CheckJob(job_id=job_id, wait_seconds=wait_s)
        shown = await self._service.check(owner, again, on_look=look)
        if isinstance(request, StartJob):
            shown.pop("attempts", None)
        return shown


def _entries(service: JobService) -> list[_Entry]:
    async def cancel(owner: str, request: CancelJob, on_look: OnLook) -> JobObject:
        del on_look
        return await service.cancel(owner, request)

    def looking(operation: Callable[..., Awaitable[JobObject]]) -> Call:
        async def call(owner: str, request: BaseModel, on_look: OnLook) -> JobObject:
            return await operation(owner, request, on_look=on_look)

        return call

    return [
        _Entry(
            tool=_START_TOOL,
            model=StartJob,
            call=looking(service.start),
            text=wire.job_text,
            starts=True,
            asks=True,
        ),
        _Entry(
            tool=_CHECK_TOOL,
            model=CheckJob,
            call=looking(service.check),
            text=wire.job_text,
            asks=True,
        ),
        _Entry(tool=_CANCEL_TOOL, model=CancelJob, call=cancel, text=wire.job_text),
        _Entry(tool=_LIST_TOOL, model=ListJobs, call=looking(service.list), text=wire.list_text),
    ]
