"""Who is asking: the owner whose jobs a request may see."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from mcp_jobs.core import LOCAL_OWNER

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

OwnerOf = Callable[["ServerRequestContext[Any, Any]"], str]
"""Names the owner behind a request. Every handler asks it, so that no handler can forget."""


def local_user(context: ServerRequestContext[Any, Any]) -> str:
    """Answer for stdio: whoever started the server owns the home."""
    del context
    return LOCAL_OWNER
