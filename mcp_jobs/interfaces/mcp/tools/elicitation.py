"""Ask the user what a job asks, in the way that the call at hand allows.

The store has the questions and the answers; this only carries them. In the handshake era the server
sends `elicitation/create` while the call is open; for a task of 2025-11-25 while `tasks/result` is.
At 2026-07-28 the call returns `input_required` and the client repeats it with the answers
(SEP-2322). Whoever can do neither is told how a person approves, and so is whoever got no answer:
hosts that run without a person answer `cancel` by themselves.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, cast

from mcp.shared.exceptions import MCPError
from mcp.shared.message import ServerMessageMetadata
from mcp_types import (
    CallToolRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
    RequestParamsMeta,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.ids import is_id
from mcp_jobs.domain.models import CONFIRM_KEY
from mcp_jobs.domain.states import Status
from mcp_jobs.interfaces.mcp.callers import may_answer, may_read

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp.server.context import ServerRequestContext

    from mcp_jobs.domain.job_object import JobObject
    from mcp_jobs.domain.models import Question
    from mcp_jobs.service.job_service import JobService

    Context = ServerRequestContext[Any, Any]

logger = logging.getLogger(__name__)

RELATED_TASK: Final = "io.modelcontextprotocol/related-task"


@dataclass(frozen=True, slots=True)
class Resumed:
    """The job that a repeated call is about."""

    job_id: str
    answered: bool
    """Whether the call brought an answer; what was put away is none."""


class RefusedError(Exception):
    """A job waits for an approval that its caller cannot obtain; the text says who can."""


class Asking:
    """Carries questions and answers for the calls of one server."""

    def __init__(self, service: JobService) -> None:
        self._service = service
        self._open: set[tuple[str, str]] = set()
        """Questions that a user is looking at just now."""

    async def resumed(
        self, context: Context, owner: str, params: CallToolRequestParams
    ) -> Resumed | None:
        """Take the answers of a repeated call; say which job the first call was about.

        None means that this is a first call. Whoever names a job here is shown it; to those who may
        not read, only one that asks something now. Raises `InvalidInputError` for answers that do
        not fit, and `UnknownJobError`.
        """
        job_id = params.request_state
        if job_id is None:
            return None
        if not is_id(job_id):
            raise InvalidInputError("requestState is not what an earlier reply of this tool said.")
        job = await self._service.find(owner, job_id)
        if job.status is not Status.INPUT_REQUIRED and not may_read(context):
            raise InvalidInputError(
                "The job that requestState names asks nothing now, and this token has no scope "
                "'read', which looking at it needs."
            )
        answered = False
        for key, response in (params.input_responses or {}).items():
            if isinstance(response, ElicitResult):
                answered |= await self._take(owner, job_id, key, response)
        return Resumed(job_id, answered)

    async def ask(
        self, context: Context, owner: str, shown: JobObject, *, repeated: bool
    ) -> InputRequiredResult | bool:
        """Ask what the job of a reply waits for.

        False means that nobody was asked, True that there are answers now. A call is sent back for
        input only once.
        """
        if shown["status"] != Status.INPUT_REQUIRED or not can_ask(context):
            return False
        job_id = str(shown["job_id"])
        asked = await self._service.questions(owner, job_id)
        if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
            return False if repeated or not asked else _requests(job_id, asked)
        return await self._elicit(context, owner, asked)

    async def ask_in_task(self, context: Context, owner: str, job_id: str) -> bool:
        """Ask what the job of a 2025-11-25 task waits for, until it waits for nothing more.

        False means that a question is left which nobody here has answered. One that another call
        has on the screen is not asked again, and may still be answered there.
        """
        while asked := await self._unasked(owner, job_id):
            if not can_ask(context):
                return False
            if not await self._elicit(context, owner, asked[:1], task_id=job_id):
                return False
        return True

    async def _unasked(self, owner: str, job_id: str) -> Sequence[Question]:
        asked = await self._service.questions(owner, job_id)
        return [each for each in asked if (each.job_id, each.key) not in self._open]

    async def _elicit(
        self,
        context: Context,
        owner: str,
        asked: Sequence[Question],
        *,
        task_id: str | None = None,
    ) -> bool:
        """Ask one question after the other, up to one that gets no answer; say if any got one."""
        answered = False
        for question in asked:
            place = (question.job_id, question.key)
            if place in self._open:
                # Another call of this client has it on the user's screen.
                continue
            self._open.add(place)
            try:
                response = await _asked(context, question, task_id)
                if not await self._take(owner, *place, response):
                    break
                answered = True
            except MCPError as error:
                logger.warning("the client did not ask the user: %s", error)
                break
            except InvalidInputError as error:
                waits = f"The job {question.job_id} goes on waiting for an answer."
                raise InvalidInputError(f"{error} {waits}") from error
            finally:
                self._open.discard(place)
        return answered

    async def _take(self, owner: str, job_id: str, key: str, response: ElicitResult) -> bool:
        """Pass a response on; say whether it is an answer."""
        given = {"action": response.action, "content": response.content or {}}
        await self._service.answer(owner, job_id, key, given)
        return response.action != "cancel"


async def _asked(context: Context, question: Question, task_id: str | None) -> ElicitResult:
    """Let the client show one question, on the stream of the call at hand."""
    meta = None if task_id is None else {RELATED_TASK: {"taskId": task_id}}
    params = ElicitRequestFormParams(
        message=question.message,
        requested_schema=dict(question.schema),
        _meta=cast("RequestParamsMeta | None", meta),
    )
    return await context.session.send_request(
        ElicitRequest(params=params),
        ElicitResult,
        metadata=ServerMessageMetadata(related_request_id=context.request_id),
    )


def refuse_unasked(shown: JobObject, *, can_ask: bool) -> None:
    """Raise `RefusedError` for a job that cannot begin without a person's approval.

    `can_ask`: the client was asked for it, and got no answer.
    """
    asked = shown.get("questions", ())
    if [question["key"] for question in asked] != [CONFIRM_KEY]:
        return
    job_id = shown["job_id"]
    # What it was given need not be told to whoever gave it; the person is shown all of it.
    about = asked[0]["message"].partition("\n")[0]
    why = "nobody answered when this client asked" if can_ask else "this client cannot ask for it"
    raise RefusedError(
        f"Not started: job {job_id} needs a person's approval ({about!r}), and {why}. "
        f"Tell the user to run `mcp-jobs approve {job_id}` in a terminal of their own; "
        "only a person may, so do not run it yourself. Then wait for the job with "
        f'check_job {{"job_id": "{job_id}", "wait_seconds": 50}}. '
        "cancel_job declines. Do not start it again."
    )


def can_ask(context: Context) -> bool:
    """Say whether the caller shows forms and may answer for those who read them.

    `elicitation: {}` alone shows them, one with `url` only does not.
    """
    if not may_answer(context):
        return False
    capabilities = context.session.client_capabilities
    elicitation = None if capabilities is None else capabilities.elicitation
    if elicitation is None or (elicitation.form is None and elicitation.url is not None):
        return False
    modern = context.protocol_version in MODERN_PROTOCOL_VERSIONS
    return modern or context.session.can_send_request


def _requests(job_id: str, asked: Sequence[Question]) -> InputRequiredResult:
    return InputRequiredResult(
        input_requests={
            question.key: ElicitRequest(
                params=ElicitRequestFormParams(
                    message=question.message, requested_schema=dict(question.schema)
                )
            )
            for question in asked
        },
        request_state=job_id,
    )
