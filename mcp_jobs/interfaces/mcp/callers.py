"""Who is asking: the owner whose jobs a request may see, and the connection it came on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.service.assembly import DOCTOR, LOCAL_OWNER

if TYPE_CHECKING:
    from mcp.server.connection import Connection
    from mcp.server.context import ServerRequestContext

ACCESS: Final = "mcp_jobs.access"
"""Where an HTTP request's ASGI scope says what it may do."""

START: Final = "start"
"""The scope that lets a token start jobs, and answer what they ask."""

READ: Final = "read"
"""The scope that lets a token look at jobs."""

OwnerOf = Callable[["ServerRequestContext[Any, Any]"], str]
"""Names the owner behind a request. Every handler asks it, so that no handler can forget."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Whose jobs a request may see, and what it may do."""

    owner: str
    scopes: frozenset[str]


def local_user(context: ServerRequestContext[Any, Any]) -> str:
    """Answer for stdio: whoever started the server owns the home.

    The doctor's jobs are nobody else's, so that no agent is shown them or told of their end.
    """
    client = context.session.client_params
    return DOCTOR if client is not None and client.client_info.name == DOCTOR else LOCAL_OWNER


def may_answer(context: ServerRequestContext[Any, Any]) -> bool:
    """Say whether the caller may answer what jobs ask; only a token can be without that right."""
    return _may(context, START)


def may_read(context: ServerRequestContext[Any, Any]) -> bool:
    """Say whether the caller may look at jobs; only a token can be without that right."""
    return _may(context, READ)


def _may(context: ServerRequestContext[Any, Any], scope: str) -> bool:
    if context.request is None:
        return True
    access: Access | None = context.request.scope.get(ACCESS)
    return access is None or scope in access.scopes


def connection_of(context: ServerRequestContext[Any, Any]) -> Connection:
    """Return what lasts as long as the client's connection, in the handshake era.

    The SDK hands handlers a session, which is a proxy made for one request; the connection behind
    it, which has an end to hook into, it hands to nobody.
    """
    return context.session._connection
