"""MCP over HTTP in the test's own process, with real sockets; a header names the owner."""

from __future__ import annotations

import socket
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import httpx2
import uvicorn
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from mcp_jobs.interfaces.mcp.streamable import streamable_app
from mcp_jobs.service.assembly import LOCAL_OWNER, open_core

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp.server.context import ServerRequestContext

    from tests.support import Place

OWNER = "X-Owner"


def named_owner(context: ServerRequestContext[Any, Any]) -> str:
    """Take a header at its word."""
    assert context.request is not None
    owner: str = context.request.headers.get(OWNER, LOCAL_OWNER)
    return owner


@asynccontextmanager
async def serve_http(place: Place, **settings: Any) -> AsyncIterator[str]:
    """Serve a place's jobs; returns the URL."""
    async with (
        open_core(place.settings(**settings)) as core,
        streamable_app(core, named_owner) as app,
    ):
        server = uvicorn.Server(uvicorn.Config(app, ws="none", lifespan="off", log_level="error"))
        with socket.create_server(("127.0.0.1", 0)) as listener:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(server.serve, [listener])
                try:
                    yield f"http://127.0.0.1:{listener.getsockname()[1]}/mcp"
                finally:
                    server.should_exit = server.force_exit = True


@asynccontextmanager
async def open_http_client(
    url: str, mode: str, *, owner: str = LOCAL_OWNER, **options: Any
) -> AsyncIterator[Client]:
    """Open a real client over HTTP."""
    timeout = httpx2.Timeout(30, read=300)
    async with (
        httpx2.AsyncClient(headers={OWNER: owner}, timeout=timeout) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, **options) as client,
    ):
        yield client
