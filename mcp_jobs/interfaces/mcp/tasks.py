"""The Tasks extension of 2026-07-28: a job, seen as the task of the call that started it.

The rules are those of https://modelcontextprotocol.io/seps/2663-tasks-extension. The id of a task
is the id of its job, so it is valid in every server process on this home.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mcp.shared.exceptions import MCPError
from mcp.shared.inbound import MCP_NAME_HEADER, decode_header_value
from mcp_types import (
    HEADER_MISMATCH,
    INVALID_PARAMS,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    CallToolResult,
    RequestParams,
    TextContent,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from mcp_jobs.domain import display
from mcp_jobs.domain.errors import InvalidInputError, UnknownJobError
from mcp_jobs.domain.job_object import failed_tests, job_object, progress_message, rfc3339
from mcp_jobs.domain.limits import CANCEL_GRACE_S
from mcp_jobs.domain.states import Reason, Status
from mcp_jobs.interfaces.mcp import fence, rendering
from mcp_jobs.service.next_step import TOLD, for_whom_is_told

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp.server.context import ServerRequestContext
    from mcp.server.lowlevel import Server

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.job_object import JobObject
    from mcp_jobs.domain.models import Job, Question
    from mcp_jobs.interfaces.mcp.callers import OwnerOf
    from mcp_jobs.interfaces.mcp.notices import Notices
    from mcp_jobs.service.job_service import JobService

EXTENSION: Final = "io.modelcontextprotocol/tasks"

TaskObject = dict[str, Any]

_OF_START: Final = ("existing", "warning")
"""What only the reply to a start says of a job."""

_READ: Final = (
    "check_job has told you of this end already, so nothing is new here; it shows the output again."
)

_FIRST_POLL_MS: Final = 500
_LONGEST_POLL_MS: Final = 15_000
_POLLS_OF_AGE: Final = 10
_FOLLOWED: Final = 1000
_NAMES_SHOWN: Final = 3

_STATUS: Final = {
    Status.PENDING: "working",
    Status.RUNNING: "working",
    Status.RETRYING: "working",
    Status.INPUT_REQUIRED: "input_required",
    Status.COMPLETED: "completed",
    Status.FAILED: "completed",
    Status.CANCELLED: "cancelled",
}
"""A failed job is a completed task: its result is a tool error. `failed` means a protocol fault."""


class TaskParams(RequestParams):
    """What tasks/get and tasks/cancel take."""

    task_id: str


class UpdateTaskParams(TaskParams):
    """What tasks/update takes."""

    input_responses: dict[str, Any]


def declared(context: ServerRequestContext[Any, Any]) -> bool:
    """Say whether this very request declares that its sender understands tasks."""
    if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
        return False
    capabilities = context.session.client_capabilities
    return capabilities is not None and EXTENSION in (capabilities.extensions or {})


def require_declared(context: ServerRequestContext[Any, Any]) -> None:
    """Refuse a request that needs tasks and does not declare them."""
    if not declared(context):
        raise MCPError(
            code=MISSING_REQUIRED_CLIENT_CAPABILITY,
            message=f"This needs the extension {EXTENSION}, which the request does not declare.",
            data={"requiredCapabilities": {"extensions": {EXTENSION: {}}}},
        )


class Tasks:
    """Serves tasks/get, tasks/update and tasks/cancel to the owner of each request."""

    def __init__(
        self,
        *,
        service: JobService,
        clock: Clock,
        owner_of: OwnerOf,
        notices: Notices | None = None,
    ) -> None:
        self._service = service
        self._clock = clock
        self._owner_of = owner_of
        self._notices = notices
        self._followed: dict[str, None] = {}

    def add_to(self, server: Server[Any]) -> None:
        """Advertise the extension. Its methods have names that 2025-11-25 has too, but for one."""
        server.extensions[EXTENSION] = {}
        server.add_request_handler("tasks/update", UpdateTaskParams, self.update)

    async def get(
        self, context: ServerRequestContext[Any, Any], params: TaskParams
    ) -> dict[str, Any]:
        """Answer tasks/get: all there is to know, with the result once there is one."""
        owner = self._admit(context, params)
        try:
            task = await self.detailed(owner, params.task_id)
            # Also those of an earlier server, whose client goes on asking for them.
            self._follows(params.task_id)
            return {"resultType": "complete", **task}
        except UnknownJobError as error:
            raise _unknown(error) from None

    async def update(
        self, context: ServerRequestContext[Any, Any], params: UpdateTaskParams
    ) -> dict[str, Any]:
        """Answer tasks/update: pass on answers. Unknown and answered keys are ignored."""
        owner = self._admit(context, params)
        try:
            for key, response in params.input_responses.items():
                given = response if isinstance(response, dict) else {}
                await self._service.answer(owner, params.task_id, key, given)
        except UnknownJobError as error:
            raise _unknown(error) from None
        except InvalidInputError as error:
            raise MCPError(code=INVALID_PARAMS, message=rendering.shortened(str(error))) from None
        return {"resultType": "complete"}

    async def cancel(
        self, context: ServerRequestContext[Any, Any], params: TaskParams
    ) -> dict[str, Any]:
        """Answer tasks/cancel: the order is given; tasks/get tells when the job is gone."""
        owner = self._admit(context, params)
        try:
            await self._service.begin_cancel(owner, params.task_id, grace_s=CANCEL_GRACE_S)
        except UnknownJobError as error:
            raise _unknown(error) from None
        return {"resultType": "complete"}

    def fields(self, job: Job) -> TaskObject:
        """Return what every task says."""
        return self._fields(job, _STATUS[job.status])

    async def created(self, owner: str, job_id: str) -> dict[str, Any]:
        """Return the task that a call answers with instead of its result."""
        job = await self._service.find(owner, job_id)
        fields = self.fields(job)
        fields["statusMessage"] = f"{fields['statusMessage']}. {TOLD}"
        self._follows(job_id)
        return {"resultType": "task", **fields}

    def telling(self, context: ServerRequestContext[Any, Any], shown: JobObject) -> JobObject:
        """Return a reply that sends nobody to wait for a job of whose end his client tells him."""
        if shown.get("job_id") not in self._followed or not declared(context):
            return shown
        return {**shown, "next_step": for_whom_is_told(shown["next_step"])}

    def _follows(self, job_id: str) -> None:
        """Remember that the one client of this server follows the task of a job."""
        if self._notices is not None:
            self._followed[job_id] = None
            if len(self._followed) > _FOLLOWED:
                del self._followed[next(iter(self._followed))]

    async def detailed(self, owner: str, job_id: str) -> TaskObject:
        """Return a task as tasks/get and notifications/tasks have it.

        Raises `UnknownJobError`.
        """
        job = await self._service.find(owner, job_id)
        if job.status is Status.CANCELLED and self._notices is not None:
            self._notices.saw(job_id)
        if job.status is Status.INPUT_REQUIRED:
            asked = await self._service.questions(owner, job_id)
            if not asked:
                # Everything is answered, and the job has not yet gone on.
                return self._fields(job, "working")
            return {
                **self._fields(job, "input_required"),
                "inputRequests": _input_requests(asked),
            }
        fault = _fault(job)
        if fault is not None:
            return {**self._fields(job, "failed"), "error": fault}
        task = self.fields(job)
        if task["status"] == "completed":
            result = await self._result_of_task(job)
            task["result"] = result.model_dump(by_alias=True, mode="json", exclude_none=True)
        return task

    async def result_of(
        self,
        owner: str,
        job_id: str,
        *,
        started: JobObject | None = None,
        as_reply: bool = False,
    ) -> CallToolResult:
        """Return what a call that started a job, which has ended, says. A failed job is an error.

        What `started`, the reply to its start, says of the start is kept. With `as_reply`, a line
        that the job returned is the reply, as of any tool, and has no label. Raises `MCPError` for
        a job that raised a protocol fault, and `UnknownJobError`.
        """
        job = await self._service.find(owner, job_id)
        fault = _fault(job)
        if fault is not None:
            raise MCPError(code=fault["code"], message=fault["message"])
        return await self._result(job, started or {}, as_reply=as_reply)

    async def _result_of_task(self, job: Job) -> CallToolResult:
        """Return the result of the task of an ended job.

        It is short when the agent of this connection has read the end in a reply of check_job.
        """
        if self._notices is None or not self._notices.is_told(job.id):
            return await self._result(job, {})
        shown = {**job_object(job, now_ms=self._clock.now_ms()), "next_step": _READ}
        return CallToolResult(
            content=[TextContent(text=rendering.job_text(shown))],
            structured_content=shown,
            is_error=job.status is Status.FAILED,
        )

    async def _result(
        self, job: Job, started: JobObject, *, as_reply: bool = False
    ) -> CallToolResult:
        if self._notices is not None:
            self._notices.saw(job.id)
        report, ending = await self._service.report(job)
        shown: JobObject = {**report}
        shown |= {name: started[name] for name in _OF_START if name in started}
        texts = []
        if isinstance(job.result, str):
            alone = as_reply and "\n" not in job.result
            texts.append(display.lines(job.result) if alone else fence.told("Result", job.result))
        texts.append(rendering.wake_text(shown, ending))
        return CallToolResult(
            content=[TextContent(text=text) for text in texts],
            structured_content=shown,
            is_error=job.status is Status.FAILED,
        )

    # -- small things ----------------------------------------------------------------------------

    def _admit(self, context: ServerRequestContext[Any, Any], params: TaskParams) -> str:
        if context.protocol_version not in MODERN_PROTOCOL_VERSIONS:
            raise MCPError(code=METHOD_NOT_FOUND, message="Method not found", data=context.method)
        require_declared(context)
        if context.request is not None:
            named = decode_header_value(context.request.headers.get(MCP_NAME_HEADER))
            if named != params.task_id:
                raise MCPError(
                    code=HEADER_MISMATCH,
                    message="The header Mcp-Name must be the taskId of the request.",
                )
        return self._owner_of(context)

    def _fields(self, job: Job, status: str) -> TaskObject:
        now_ms = self._clock.now_ms()
        return {
            "taskId": job.id,
            "status": status,
            "statusMessage": status_message(job, now_ms=now_ms),
            "createdAt": rfc3339(job.created_at_ms),
            "lastUpdatedAt": rfc3339(_updated_at_ms(job)),
            # How long a job is kept depends on its end and on the number of jobs.
            "ttlMs": None,
            "pollIntervalMs": poll_interval_ms(job, now_ms=now_ms),
        }


def poll_interval_ms(job: Job, *, now_ms: int) -> int:
    """Return how long to wait before the next look: a tenth of the job's age, within bounds.

    A job that is not due yet is not worth a look before.
    """
    if job.ended:
        return _FIRST_POLL_MS
    begun_ms = max(job.run_at_ms, job.created_at_ms)
    if begun_ms > now_ms:
        return min(_LONGEST_POLL_MS, max(_FIRST_POLL_MS, begun_ms - now_ms))
    age_ms = now_ms - begun_ms
    return min(_LONGEST_POLL_MS, max(_FIRST_POLL_MS, age_ms // _POLLS_OF_AGE))


def _fault(job: Job) -> dict[str, Any] | None:
    """Return the protocol fault that a Python job raised; None when it raised none."""
    if job.reason is not Reason.EXCEPTION or not isinstance(job.result, dict):
        return None
    # A server starts the sooner without it.
    from mcp_jobs.job_types.python.context import FAULT  # noqa: PLC0415

    fault = job.result.get(FAULT)
    return fault if isinstance(fault, dict) else None


def _updated_at_ms(job: Job) -> int:
    known = (
        job.created_at_ms,
        job.attempt_started_at_ms,
        job.cancel_requested_at_ms,
        job.finished_at_ms,
        None if job.progress is None else job.progress.updated_at_ms,
    )
    return max(moment for moment in known if moment is not None)


def status_message(job: Job, *, now_ms: int) -> str:
    """Say in one line what matters most: whom the job waits for, what failed, how far it is."""
    if job.status is Status.INPUT_REQUIRED:
        return f"Waits for a person, who runs: mcp-jobs approve {job.id}"
    told = [part for part in (job.error, _failing_tests(job)) if part]
    if told:
        return display.line(rendering.shortened(" ".join(told)))
    if not job.ended and (said := progress_message(job, now_ms)):
        return said
    return f"{display.line(job.title)}: {job.status}"


def _failing_tests(job: Job) -> str:
    """Name the first tests that failed; empty where there is no summary that says so."""
    bad = failed_tests(job)
    tests = job.result.get("tests") if isinstance(job.result, dict) else None
    if not bad or not isinstance(tests, dict):
        return ""
    # A Python job may return anything under these names.
    given = tests.get("failed_names")
    names = [each for each in given if isinstance(each, str)] if isinstance(given, list) else []
    shown = [display.line(name) for name in names[:_NAMES_SHOWN]]
    more = [f"and {bad - len(shown)} more"] if shown and bad > len(shown) else []
    counted = "1 test failed" if bad == 1 else f"{bad} tests failed"
    return f"{counted}: {', '.join([*shown, *more])}." if shown else f"{counted}."


def _input_requests(asked: Sequence[Question]) -> dict[str, Any]:
    return {
        question.key: {
            "method": "elicitation/create",
            "params": {
                "mode": "form",
                "message": question.message,
                "requestedSchema": dict(question.schema),
            },
        }
        for question in asked
    }


def _unknown(error: UnknownJobError) -> MCPError:
    return MCPError(code=INVALID_PARAMS, message=rendering.shortened(str(error)))
