"""The experimental tasks of 2025-11-25, on the handshake era.

https://modelcontextprotocol.io/specification/2025-11-25/basic/utilities/tasks. The SDK has the
types and no runtime. A call that asks for a task is answered by a middleware, since the SDK would
take the answer for a malformed tool result.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    CallToolRequestParams,
    PaginatedRequestParams,
    ServerTasksCapability,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from mcp_jobs.domain import display
from mcp_jobs.domain.errors import InvalidInputError, JobsError, TooManyError, UnknownJobError
from mcp_jobs.domain.limits import CANCEL_GRACE_S
from mcp_jobs.domain.states import Status
from mcp_jobs.interfaces.mcp import rendering
from mcp_jobs.interfaces.mcp.callers import connection_of
from mcp_jobs.interfaces.mcp.calls import GONE_CODE, LEFT
from mcp_jobs.interfaces.mcp.progress_notices import percent_of
from mcp_jobs.interfaces.mcp.tasks import TaskParams
from mcp_jobs.interfaces.mcp.tools.elicitation import (
    RELATED_TASK,
    RefusedError,
    can_ask,
    refuse_unasked,
)
from mcp_jobs.interfaces.mcp.updates.queue import TaskChanged, UpdateQueue
from mcp_jobs.service.requests import CheckJob, ListJobs

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp.server.lowlevel import Server
    from mcp_types import CallToolResult

    from mcp_jobs.domain.models import Job
    from mcp_jobs.interfaces.mcp.callers import OwnerOf
    from mcp_jobs.interfaces.mcp.tasks import TaskObject, Tasks
    from mcp_jobs.interfaces.mcp.tools.job_tools import Tools
    from mcp_jobs.interfaces.mcp.updates.push import Push
    from mcp_jobs.interfaces.mcp.updates.queue import News
    from mcp_jobs.service.job_service import JobService

    Context = ServerRequestContext[Any, Any]

VERSION: Final = "2025-11-25"
CAPABILITY: Final = ServerTasksCapability.model_validate(
    {"list": {}, "cancel": {}, "requests": {"tools": {"call": {}}}}
)

_LOOK_S: Final = 10.0
"""How late a question may be seen that is asked just when another one was answered."""


class Tasks2025:
    """Serves tasks/get, tasks/result, tasks/list, tasks/cancel and calls that ask for a task."""

    def __init__(
        self, *, service: JobService, tasks: Tasks, tools: Tools, push: Push, owner_of: OwnerOf
    ) -> None:
        self._service = service
        self._tasks = tasks
        self._tools = tools
        self._push = push
        self._owner_of = owner_of

    def add_to(self, server: Server[Any]) -> None:
        """Serve the methods beside those of 2026-07-28, which have some of the same names."""
        server.middleware.append(self.intercept)
        server.add_request_handler("tasks/get", TaskParams, self._by_era(self.get, self._tasks.get))
        server.add_request_handler(
            "tasks/cancel", TaskParams, self._by_era(self.cancel, self._tasks.cancel)
        )
        server.add_request_handler("tasks/result", TaskParams, self._by_era(self.result, None))
        server.add_request_handler(
            "tasks/list", PaginatedRequestParams, self._by_era(self.list, None)
        )

    async def intercept(self, ctx: Context, call_next: CallNext) -> HandlerResult:
        """Answer a call that asks for a task; everything else goes on."""
        context = ctx
        if not _asks_for_task(context):
            return await call_next(context)
        if context.session.client_params is None:
            raise MCPError(code=INVALID_REQUEST, message="The connection is not initialized.")
        params = CallToolRequestParams.model_validate(context.params, by_name=False)
        if not self._tools.can_be_task(params.name):
            raise MCPError(
                code=METHOD_NOT_FOUND,
                message=rendering.shortened(
                    f"The tool {params.name!r} cannot be called as a task."
                ),
            )
        task_id = await self._tools.start_task(context, params)
        job = await self._service.find(self._owner_of(context), task_id)
        self._report_progress(context, job)
        return {"task": self._task(job)}

    async def get(self, context: Context, params: TaskParams) -> TaskObject:
        """Answer tasks/get."""
        return self._task(await self._find(context, params))

    async def list(self, context: Context, params: PaginatedRequestParams) -> dict[str, Any]:
        """Answer tasks/list: the caller's jobs, newest first."""
        owner = self._owner_of(context)
        try:
            page = await self._service.list(owner, ListJobs(cursor=params.cursor))
        except JobsError as error:
            raise MCPError(code=INVALID_PARAMS, message=rendering.shortened(str(error))) from None
        jobs = [await self._service.find(owner, shown["job_id"]) for shown in page["jobs"]]
        listed: dict[str, Any] = {"tasks": [self._task(job) for job in jobs]}
        if page["next_cursor"] is not None:
            listed["nextCursor"] = page["next_cursor"]
        return listed

    async def result(self, context: Context, params: TaskParams) -> dict[str, Any]:
        """Answer tasks/result: wait for the end, however long, and return the call's result.

        What the job asks meanwhile, the user is asked on this request. When that brings no answer,
        the result is what a call without a task says then: how a person approves.
        """
        owner = self._owner_of(context)
        job = await self._find(context, params)
        while not job.ended:
            try:
                if not await self._tools.asking.ask_in_task(context, owner, job.id):
                    return _related(await self._unanswered(context, owner, job.id), job)
                await self._service.check(owner, CheckJob(job_id=job.id, wait_seconds=_LOOK_S))
            except TooManyError as error:
                raise MCPError(code=INVALID_REQUEST, message=str(error)) from None
            except (InvalidInputError, UnknownJobError) as error:
                raise MCPError(
                    code=INVALID_PARAMS, message=rendering.shortened(str(error))
                ) from None
            job = await self._find(context, params)
            if self._service.leaving.is_set() and not job.ended:
                raise MCPError(code=GONE_CODE, message=LEFT)
        return _related(await self._tasks.result_of(owner, job.id), job)

    async def _unanswered(self, context: Context, owner: str, job_id: str) -> CallToolResult:
        """Return what to do about a job that waits for somebody who is not here."""
        shown = await self._service.check(owner, CheckJob(job_id=job_id))
        try:
            refuse_unasked(shown, can_ask=can_ask(context))
        except RefusedError as error:
            return rendering.failure(str(error))
        return rendering.result(shown, rendering.job_text(shown))

    async def cancel(self, context: Context, params: TaskParams) -> TaskObject:
        """Answer tasks/cancel; a task that has ended cannot be cancelled any more."""
        job = await self._find(context, params)
        if job.ended:
            raise MCPError(
                code=INVALID_PARAMS, message=f"The task has already ended: the job {job.status}."
            )
        await self._service.begin_cancel(self._owner_of(context), job.id, grace_s=CANCEL_GRACE_S)
        return self._task(await self._find(context, params))

    # -- small things ----------------------------------------------------------------------------

    def _by_era(
        self,
        here: Callable[[Context, Any], Awaitable[dict[str, Any]]],
        modern: Callable[[Context, Any], Awaitable[dict[str, Any]]] | None,
    ) -> Callable[[Context, Any], Awaitable[dict[str, Any]]]:
        async def serve(context: Context, params: Any) -> dict[str, Any]:
            if context.protocol_version == VERSION:
                return await here(context, params)
            if modern is None or context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
                raise MCPError(
                    code=METHOD_NOT_FOUND, message="Method not found", data=context.method
                )
            return await modern(context, params)

        return serve

    async def _find(self, context: Context, params: TaskParams) -> Job:
        try:
            return await self._service.find(self._owner_of(context), params.task_id)
        except UnknownJobError as error:
            raise MCPError(code=INVALID_PARAMS, message=rendering.shortened(str(error))) from None

    def _task(self, job: Job) -> TaskObject:
        fields = self._tasks.fields(job)
        fields["ttl"] = fields.pop("ttlMs")
        fields["pollInterval"] = fields.pop("pollIntervalMs")
        if job.status is Status.FAILED:
            # In this version a result that is a tool error makes a failed task.
            fields["status"] = "failed"
        return fields

    def _report_progress(self, context: Context, job: Job) -> None:
        """Go on with progress notifications, whose token is valid until the task has ended."""
        token = (context.meta or {}).get("progress_token")
        if token is None or job.ended:
            return
        connection, owner, last = connection_of(context), self._owner_of(context), 0.0
        queue = UpdateQueue(owner, lambda news: getattr(news, "job_id", None) == job.id)

        async def send(news: News) -> None:
            nonlocal last
            if not isinstance(news, TaskChanged):
                return
            now = await self._service.find(owner, job.id)
            percent = percent_of(now)
            if percent is not None and percent > last:
                last = percent
                message = now.progress.message if now.progress is not None else None
                said = None if message is None else display.line(message)
                params = {"progressToken": token, "progress": percent, "total": 100.0}
                meta = {RELATED_TASK: {"taskId": job.id}}
                more = {} if said is None else {"message": said}
                await connection.notify("notifications/progress", {**params, **more, "_meta": meta})
            if now.ended:
                stop()

        stop = self._push.deliver(queue, send)
        connection.exit_stack.callback(stop)


def _related(result: CallToolResult, job: Job) -> dict[str, Any]:
    """Return a result as tasks/result gives it."""
    dumped = result.model_dump(by_alias=True, mode="json", exclude_none=True)
    dumped.pop("resultType", None)
    return {**dumped, "_meta": {RELATED_TASK: {"taskId": job.id}}}


def _asks_for_task(context: Context) -> bool:
    """Say whether this is a call that is to be a task; a notification starts nothing."""
    return (
        context.method == "tools/call"
        and context.request_id is not None
        and context.protocol_version == VERSION
        and (context.params or {}).get("task") is not None
    )
