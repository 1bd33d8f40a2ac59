"""Owners and scopes over HTTP: whoever checks a token admits its request here.

What each method needs stands in one table. A method without a row is refused, so that one which is
forgotten here is closed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any, Final

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_REQUEST, METHOD_NOT_FOUND

from mcp_jobs.interfaces.mcp import rendering
from mcp_jobs.interfaces.mcp.callers import ACCESS, READ, START, Access

if TYPE_CHECKING:
    from collections.abc import Mapping, MutableMapping

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

logger = logging.getLogger(__name__)

CANCEL: Final = "cancel"
OF_MCP: Final = frozenset({READ, START, CANCEL})
"""Who has one of these may speak MCP at all; the other scopes are for what is the whole home's."""

_ANY: Final = ""
_BY_TOOL: Final = "the tool"

METHODS: Final[Mapping[str, str]] = {
    "initialize": _ANY,
    "ping": _ANY,
    "server/discover": _ANY,
    "tools/list": _ANY,
    "tools/call": _BY_TOOL,
    "resources/list": READ,
    "resources/templates/list": READ,
    "resources/read": READ,
    "resources/subscribe": READ,
    "resources/unsubscribe": READ,
    "subscriptions/listen": READ,
    "tasks/get": READ,
    "tasks/list": READ,
    "tasks/result": READ,
    "tasks/cancel": CANCEL,
    "tasks/update": START,
}
"""The scope that each request needs."""

NOTIFICATIONS: Final = frozenset(
    {
        "notifications/initialized",
        "notifications/cancelled",
        "notifications/progress",
        "notifications/roots/list_changed",
    }
)
"""What a client may say without being answered."""

_OF_TOOL: Final = {"check_job": READ, "list_jobs": READ, "cancel_job": CANCEL}
"""Every other tool starts something: `start_job`, and the tools that job types are."""

_ANSWERS: Final = ("inputResponses", "requestState")
"""Whatever a call with one of these is about, it answers a question of a job."""


def admit(scope: MutableMapping[str, Any], *, user: str, access: Access) -> None:
    """Mark a request as one of `user`, who alone may go on with the sessions that it begins.

    With other scopes it is another user: a session does what the token that began it may do.
    """
    scope[ACCESS] = access
    scopes = sorted(access.scopes)
    # The SDK compares users; the token itself is of no use to it and stays out of its hands.
    scope["user"] = AuthenticatedUser(
        AccessToken(
            token="",
            client_id=f"{user} {' '.join(scopes)}",
            subject=access.owner,
            scopes=scopes,
        )
    )


def owner_by_token(context: ServerRequestContext[Any, Any]) -> str:
    """Answer for HTTP: the owner that belongs to the request's token."""
    return _access(context).owner


async def check_scope(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Refuse what the token has no scope for. It must see every message before anybody else."""
    params = ctx.params or {}
    scopes = _access(ctx).scopes
    if ctx.request_id is None:
        if ctx.method in NOTIFICATIONS and scopes & OF_MCP:
            return await call_next(ctx)
        logger.debug("dropped the notification %r", ctx.method)
        return None
    if ctx.method not in METHODS:
        raise MCPError(code=METHOD_NOT_FOUND, message="Method not found", data=ctx.method)
    lacking = [scope for scope in _needed(ctx.method, params) if not _has(scopes, scope)]
    if not lacking:
        return await call_next(ctx)
    message = no_scope(repr(lacking[0] or READ), scopes)
    if ctx.method == "tools/call" and "task" not in params:
        return rendering.failure(message)
    raise MCPError(code=INVALID_REQUEST, message=message)


def no_scope(wanted: str, scopes: frozenset[str]) -> str:
    """Say which scope a token has not, and which it has."""
    return f"This token has no scope {wanted}; it has: {', '.join(sorted(scopes)) or 'none'}."


def _needed(method: str, params: Mapping[str, Any]) -> list[str]:
    needed = METHODS[method]
    if needed == _BY_TOOL:
        needed = _OF_TOOL.get(str(params.get("name")), START)
    answers = any(params.get(name) is not None for name in _ANSWERS)
    return [needed, START] if answers else [needed]


def _has(scopes: frozenset[str], scope: str) -> bool:
    return bool(scopes & OF_MCP) if scope == _ANY else scope in scopes


def _access(context: ServerRequestContext[Any, Any]) -> Access:
    if context.request is None:
        raise MCPError(code=INVALID_REQUEST, message="This request came without a token.")
    access: Access = context.request.scope[ACCESS]
    return access
