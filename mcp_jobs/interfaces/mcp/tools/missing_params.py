"""Ask the user for parameters that a call leaves out, before there is a job."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mcp.shared.exceptions import MCPError
from mcp_types import (
    CallToolRequestParams,
    ElicitRequest,
    ElicitRequestFormParams,
    ElicitResult,
    InputRequiredResult,
)
from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.secrecy import is_secret, looks_secret
from mcp_jobs.interfaces.mcp.tools import schemas
from mcp_jobs.interfaces.mcp.tools.elicitation import can_ask

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    from mcp_jobs.job_types.registry import JobType

_KEY: Final = "params"


async def completed(
    context: ServerRequestContext[Any, Any], params: CallToolRequestParams, job_type: JobType
) -> dict[str, Any] | InputRequiredResult:
    """Return the arguments of a call with what the user added, or the request to ask.

    A client that cannot ask gets its arguments as they are. Raises `InvalidInputError` when the
    user declined, and when nobody answered.
    """
    given = dict(params.arguments or {})
    missing = [name for name in job_type.ask_for if name not in given]
    if missing:
        # The protocol lets no server ask for a secret in a form.
        schema = job_type.params.schema()
        fields = schema.get("properties", {})
        missing = [
            name
            for name in missing
            if not looks_secret(name) and not is_secret(fields.get(name, {}), schema)
        ]
    if not missing:
        return given
    answer = (params.input_responses or {}).get(_KEY)
    if isinstance(answer, ElicitResult):
        return _with_answer(given, missing, answer)
    if not can_ask(context):
        return given
    message, schema = _question(job_type, missing)
    if context.protocol_version in MODERN_PROTOCOL_VERSIONS:
        form = ElicitRequestFormParams(message=message, requested_schema=schema)
        return InputRequiredResult(input_requests={_KEY: ElicitRequest(params=form)})
    try:
        answer = await context.session.elicit_form(message, schema, context.request_id)
    except MCPError:
        return given
    return _with_answer(given, missing, answer)


def _with_answer(given: dict[str, Any], missing: list[str], answer: ElicitResult) -> dict[str, Any]:
    names = ", ".join(missing)
    if answer.action == "cancel":
        raise InvalidInputError(
            f"Not started: the user was asked for {names}, and nobody answered. Pass what is "
            "missing in the arguments, if you know what the user wants; else ask the user."
        )
    if answer.action == "decline":
        raise InvalidInputError(
            f"Not started: the user was asked for {names} and declined. Do not ask again unless "
            "the user wants it."
        )
    content = answer.content or {}
    return {**{name: content[name] for name in missing if name in content}, **given}


def _question(job_type: JobType, missing: list[str]) -> tuple[str, dict[str, Any]]:
    schema = schemas.simplified(job_type.params.schema())
    properties = schema.get("properties", {})
    required = [name for name in missing if name in schema.get("required", ())]
    asked = {name: properties.get(name, {"type": "string"}) for name in missing}
    message = f"{job_type.name} needs: {', '.join(missing)}"
    return message, {"type": "object", "properties": asked, "required": required}
