"""Who is asking: the owner whose jobs a request may see, and the connection it came on."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mcp_jobs.core import LOCAL_OWNER

if TYPE_CHECKING:
    from mcp.server.connection import Connection
    from mcp.server.context import ServerRequestContext

OwnerOf = Callable[["ServerRequestContext[Any, Any]"], str]
"""Names the owner behind a request. Every handler asks it, so that no handler can forget."""


def local_user(context: ServerRequestContext[Any, Any]) -> str:
    """Answer for stdio: whoever started the server owns the home."""
    del context
    return LOCAL_OWNER


def connection_of(context: ServerRequestContext[Any, Any]) -> Connection:
    """Return what lasts as long as the client's connection, in the handshake era.

    The SDK hands handlers a session, which is a proxy made for one request; the connection behind
    it, which has an end to hook into, it hands to nobody.
    """
    return context.session._connection
