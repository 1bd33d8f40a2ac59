"""MCP over Streamable HTTP, both eras, as an ASGI application without authentication."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio
from mcp.server.streamable_http_manager import (
    DEFAULT_SESSION_IDLE_TIMEOUT,
    StreamableHTTPSessionManager,
)

from mcp_jobs.interfaces.mcp.server import build_server
from mcp_jobs.interfaces.mcp.updates.push import Push

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from mcp.server.context import ServerMiddleware
    from mcp.server.transport_security import TransportSecuritySettings
    from starlette.types import ASGIApp

    from mcp_jobs.interfaces.mcp.callers import OwnerOf
    from mcp_jobs.interfaces.mcp.server import JobServer
    from mcp_jobs.service.assembly import Core

_CALLS_S: Final = 2.0
"""What the open calls of a server that leaves may take; uvicorn gives them a little more."""

SESSION_IDLE_S: Final = DEFAULT_SESSION_IDLE_TIMEOUT
"""How long a session of the handshake era lasts without a request."""


@asynccontextmanager
async def streamable_app(
    core: Core,
    owner_of: OwnerOf,
    *,
    security: TransportSecuritySettings | None = None,
    middleware: Sequence[ServerMiddleware[Any]] = (),
) -> AsyncIterator[ASGIApp]:
    """Serve MCP at whatever path the application is mounted on, as long as the context lasts.

    There is no authentication inside. Whoever adds it sets `scope["user"]` to the SDK's
    `AuthenticatedUser`: the handshake era has sessions, and the SDK lets a session be used only by
    the user who began it. `owner_of` finds the HTTP request in `context.request`. `security` lists
    the hosts and origins to accept; None accepts all. `middleware` sees every message before
    anything else does.
    """
    push = Push(core.bus)
    server = build_server(core, push, owner_of)
    # Outermost first: nothing that answers by itself, as tasks do, may come before them.
    server.middleware[:0] = middleware
    manager = StreamableHTTPSessionManager(server, security_settings=security)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(core.upkeep.keep, "push", push.run)
        tasks.start_soon(_leave, core, server)
        async with manager.run():
            yield manager.asgi_app
        tasks.cancel_scope.cancel()


async def _leave(core: Core, server: JobServer) -> None:
    await core.service.leaving.wait()
    await server.calls.leave(_CALLS_S)
