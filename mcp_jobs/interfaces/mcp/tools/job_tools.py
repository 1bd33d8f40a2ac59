"""The four tools: arguments in, service called, job objects out."""

from __future__ import annotations

import logging
from contextlib import nullcontext
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
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import BaseModel, ValidationError

from mcp_jobs.domain.errors import JobsError, StoreError, in_words
from mcp_jobs.interfaces.mcp import rendering, tasks
from mcp_jobs.interfaces.mcp.progress_notices import ProgressReporter
from mcp_jobs.interfaces.mcp.tools import bounds, missing_params, schemas, type_tools
from mcp_jobs.interfaces.mcp.tools.elicitation import Asking, RefusedError, can_ask, refuse_unasked
from mcp_jobs.service.requests import CancelJob, CheckJob, ListJobs, StartJob

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from contextlib import AbstractContextManager

    from mcp.server.context import ServerRequestContext

    from mcp_jobs.domain.job_object import JobObject
    from mcp_jobs.domain.models import JobOrigin
    from mcp_jobs.interfaces.mcp.callers import OwnerOf
    from mcp_jobs.interfaces.mcp.notices import Notices
    from mcp_jobs.interfaces.mcp.tasks import Tasks
    from mcp_jobs.job_types.registry import JobType, Registry
    from mcp_jobs.service.job_service import JobService
    from mcp_jobs.service.waiting import OnLook

    Call = Callable[[str, JobOrigin, Any, OnLook | None], Awaitable[JobObject]]
    OriginOf = Callable[[ServerRequestContext[Any, Any]], JobOrigin]

logger = logging.getLogger(__name__)

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

_READS: Final = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)

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
    annotations=type_tools.CHANGES,
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
    """Of the request that `call` takes."""
    call: Call
    text: Callable[[JobObject], str]
    starts: bool = False
    """Whether a call starts a job, which may then be a task."""
    asks: bool = False
    """Whether the user may be asked in a call what the job asks."""
    job_type: JobType | None = None
    """The type whose own tool this is; its params are the arguments."""

    @property
    def may_be_task(self) -> bool:
        """Whether a call can be answered with a task."""
        return self.starts and (self.job_type is None or self.job_type.tasks != "never")

    def request(self, arguments: Mapping[str, Any]) -> tuple[BaseModel, str]:
        """Return the request that a call means, and what was cut down in it.

        Raises ValidationError.
        """
        if self.job_type is not None:
            arguments = type_tools.start_arguments(self.job_type, arguments)
        kept, warning = bounds.cut(self.model, arguments)
        return self.model.model_validate(kept), warning


class Tools:
    """Serves tools/list and tools/call for the owner of each request."""

    def __init__(
        self,
        service: JobService,
        *,
        registry: Registry,
        tasks: Tasks,
        owner_of: OwnerOf,
        origin_of: OriginOf,
        notices: Notices | None = None,
    ) -> None:
        self._service = service
        self._registry = registry
        self._tasks = tasks
        self._owner_of = owner_of
        self._origin_of = origin_of
        self._notices = notices
        self.asking = Asking(service)
        self._types: Mapping[str, JobType] | None = None
        self._entries: dict[str, _Entry] = {}
        self._list = ListToolsResult(tools=[])
        self._offered()

    def _offered(self) -> dict[str, _Entry]:
        """Return the tools by name, made anew when the job types have changed."""
        types = self._registry.types()
        if types is not self._types:
            self._types = types
            ours = _entries(self._service, types)
            taken = {entry.tool.name for entry in ours}
            own = [t for t in types.values() if t.expose and t.name not in taken]
            made = [*ours, *(_own_tool(self._service, job_type) for job_type in own)]
            self._entries = {entry.tool.name: entry for entry in made}
            self._list = ListToolsResult(tools=[entry.tool for entry in made])
        return self._entries

    def has(self, name: str) -> bool:
        """Say whether there is a tool of this name now."""
        return name in self._offered()

    async def list(
        self, context: ServerRequestContext[Any, Any], params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        """Answer tools/list; the list changes only with the declared job types."""
        del context, params
        self._offered()
        return self._list

    def can_be_task(self, name: str) -> bool:
        """Say whether a call of the tool can be a task."""
        entry = self._offered().get(name)
        return entry is not None and entry.may_be_task

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
        entry = self._entry(params.name)
        try:
            return await self._answer(entry, context, params, as_task=as_task)
        except RefusedError as error:
            return rendering.failure(str(error))
        except ValidationError as error:
            return rendering.failure(rendering.problem_text(entry.model, error))
        except JobsError as error:
            return rendering.failure(str(error))
        except OSError as error:
            # The home is full, read-only or gone: the caller can do something about it.
            logger.warning("%s failed: %s", params.name, error)
            problem = in_words(error)
            return rendering.failure(
                f"The files of mcp-jobs cannot be used: {problem}. Nothing was lost."
            )

    def _entry(self, name: str) -> _Entry:
        """Return what serves a tool. Raises `MCPError` for an unknown name."""
        entry = self._entries.get(name)
        if entry is None or entry.job_type is not None:
            # The others are always there: only for these it matters what is declared now.
            entry = self._offered().get(name)
        if entry is None:
            known = ", ".join(self._entries)
            raise MCPError(
                code=INVALID_PARAMS,
                message=rendering.shortened(f"Unknown tool {name!r}; the tools are {known}."),
            )
        return entry

    async def _answer(
        self,
        entry: _Entry,
        context: ServerRequestContext[Any, Any],
        params: CallToolRequestParams,
        *,
        as_task: bool,
    ) -> CallToolResult | InputRequiredResult | dict[str, Any]:
        arguments: dict[str, Any] | InputRequiredResult = params.arguments or {}
        job_type = entry.job_type
        if job_type is not None:
            modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
            if modern and job_type.tasks == "required":
                tasks.require_declared(context)
            if params.request_state is None:
                # Else the call is repeated for what its job asks.
                arguments = await missing_params.completed(context, params, job_type)
        if isinstance(arguments, InputRequiredResult):
            return arguments
        request, warning = entry.request(arguments)
        result = await self._call(entry, request, context, params, as_task=as_task)
        if warning and isinstance(result, CallToolResult):
            result = rendering.with_warning(result, warning)
        return result

    async def _call(
        self,
        entry: _Entry,
        request: BaseModel,
        context: ServerRequestContext[Any, Any],
        params: CallToolRequestParams,
        *,
        as_task: bool,
    ) -> CallToolResult | InputRequiredResult | dict[str, Any]:
        owner = self._owner_of(context)
        reporter = ProgressReporter(context)
        look = reporter if reporter.wanted else None
        begun = await self.asking.resumed(context, owner, params) if entry.asks else None
        if begun is not None and not begun.answered:
            # Its caller has something to tell the user, which is worth more than to wait.
            request = request.model_copy(update={"wait_seconds": 0})
        if begun is not None and entry.starts:
            shown = await self._shown_again(owner, begun.job_id, request, look)
        else:
            with self._leaving_out(request):
                origin = self._origin_of(context)
                shown = await entry.call(owner, origin, request, look)
                shown = self._tasks.telling(context, shown)
        if entry.may_be_task and (
            as_task or (shown["finished_at"] is None and tasks.declared(context))
        ):
            return await self._tasks.created(owner, shown["job_id"])
        if entry.asks:
            asked = await self.asking.ask(context, owner, shown, repeated=begun is not None)
            if isinstance(asked, InputRequiredResult):
                return asked
            if asked:
                shown = await self._shown_again(owner, shown["job_id"], request, look)
        if entry.starts:
            refuse_unasked(shown, can_ask=can_ask(context))
        if entry.starts and shown["finished_at"] is not None:
            return await self._noticed(await self._end_of_start(entry, owner, shown))
        if self._notices is not None and isinstance(request, CheckJob) and shown["finished_at"]:
            self._notices.read(request.job_id)
        return await self._noticed(rendering.result(shown, entry.text(shown)))

    async def _end_of_start(self, entry: _Entry, owner: str, shown: JobObject) -> CallToolResult:
        """Return what a start says of a job that has ended, as the task of that start would."""
        waits = entry.job_type is not None and entry.job_type.tasks == "never"
        result = await self._tasks.result_of(owner, shown["job_id"], started=shown, as_reply=waits)
        if entry.job_type is None:
            # Only the tool of a type gives a text that its function returned before the rest.
            return result.model_copy(update={"content": result.content[-1:]})
        return result

    def _leaving_out(self, request: BaseModel) -> AbstractContextManager[None]:
        """Keep the job that a call is about out of the notices of other calls."""
        if self._notices is None or not isinstance(request, CheckJob | CancelJob):
            return nullcontext()
        return self._notices.awaited(request.job_id)

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
        return rendering.with_notices(result, taken) if taken else result

    async def _shown_again(
        self, owner: str, job_id: str, request: BaseModel, look: OnLook | None
    ) -> JobObject:
        """Return a job after its questions were answered; a start waits as it was asked to."""
        wait_s = request.wait_seconds if isinstance(request, StartJob) else 0
        again = CheckJob(job_id=job_id, wait_seconds=wait_s)
        shown = await self._service.check(owner, again, on_look=look)
        if isinstance(request, StartJob):
            shown.pop("attempts", None)
        return shown


def builtin(types: Mapping[str, JobType]) -> list[Tool]:
    """Return the four tools, of which start_job lists these types."""
    return [type_tools.start_tool(types), _CHECK_TOOL, _CANCEL_TOOL, _LIST_TOOL]


def _starting(service: JobService) -> Call:
    async def call(
        owner: str, origin: JobOrigin, request: StartJob, on_look: OnLook | None
    ) -> JobObject:
        return await service.start(owner, request, on_look=on_look, origin=origin)

    return call


def _own_tool(service: JobService, job_type: JobType) -> _Entry:
    return _Entry(
        tool=type_tools.tool_of(job_type),
        model=StartJob,
        call=_starting(service),
        text=rendering.job_text,
        starts=True,
        asks=True,
        job_type=job_type,
    )


def _entries(service: JobService, types: Mapping[str, JobType]) -> list[_Entry]:
    async def cancel(
        owner: str, origin: JobOrigin, request: CancelJob, on_look: OnLook | None
    ) -> JobObject:
        del origin, on_look
        return await service.cancel(owner, request)

    def looking(operation: Callable[..., Awaitable[JobObject]]) -> Call:
        async def call(
            owner: str, origin: JobOrigin, request: BaseModel, on_look: OnLook | None
        ) -> JobObject:
            del origin
            return await operation(owner, request, on_look=on_look)

        return call

    async def list_jobs(
        owner: str, origin: JobOrigin, request: ListJobs, on_look: OnLook | None
    ) -> JobObject:
        return await service.list(owner, request, on_look=on_look, origin=origin)

    start_tool, check_tool, cancel_tool, list_tool = builtin(types)
    return [
        _Entry(
            tool=start_tool,
            model=StartJob,
            call=_starting(service),
            text=rendering.job_text,
            starts=True,
            asks=True,
        ),
        _Entry(
            tool=check_tool,
            model=CheckJob,
            call=looking(service.check),
            text=rendering.job_text,
            asks=True,
        ),
        _Entry(tool=cancel_tool, model=CancelJob, call=cancel, text=rendering.job_text),
        _Entry(tool=list_tool, model=ListJobs, call=list_jobs, text=rendering.list_text),
    ]
