"""Owners and scopes over HTTP: whoever checks a token admits its request here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_REQUEST

from mcp_jobs.server import wire

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext

_KEY: Final = "mcp_jobs.access"
_OF_TOOL: Final = {"check_job": "read", "list_jobs": "read", "cancel_job": "cancel"}
"""Every other tool starts something: `start_job`, and the tools that job types are."""

_OF_METHOD: Final = {"tasks/cancel": "cancel", "tasks/update": "start"}
_FREE: Final = frozenset({"initialize", "ping", "server/discover"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Whose jobs a request may see, and what it may do."""

    owner: str
    scopes: frozenset[str]


def admit(scope: MutableMapping[str, Any], *, user: str, access: Access) -> None:
    """Mark a request as one of `user`, who alone may go on with the sessions that it begins."""
    scope[_KEY] = access
    # The SDK compares users; the token itself is of no use to it and stays out of its hands.
    scope["user"] = AuthenticatedUser(
        AccessToken(token="", client_id=user, subject=access.owner, scopes=sorted(access.scopes))
    )


def owner_by_token(context: ServerRequestContext[Any, Any]) -> str:
    """Answer for HTTP: the owner that belongs to the request's token."""
    return _access(context).owner


async def check_scope(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
    """Refuse what the token has no scope for. Everything that is not listed needs `read`."""
    if ctx.method in _FREE or ctx.request_id is None:
        return await call_next(ctx)
    needed = _OF_METHOD.get(ctx.method, "read")
    if ctx.method == "tools/call":
        needed = _OF_TOOL.get(str((ctx.params or {}).get("name")), "start")
    scopes = _access(ctx).scopes
    if needed in scopes or (ctx.method == "tools/list" and scopes):
        return await call_next(ctx)
    message = f"This token has no scope {needed!r}; it has: {', '.join(sorted(scopes)) or 'none'}."
    if ctx.method == "tools/call":
        return wire.failure(message)
    raise MCPError(code=INVALID_REQUEST, message=message)


def _access(context: ServerRequestContext[Any, Any]) -> Access:
    if context.request is None:
        raise MCPError(code=INVALID_REQUEST, message="This request came without a token.")
    access: Access = context.request.scope[_KEY]
    return access
