"""Serve MCP over HTTP for the official suite: `python -m tests.conformance.serving [APP]`.

Without APP it is the shipped server. Prints the URL, and ends when stdin does.
"""

from __future__ import annotations

import os
import socket
import sys

import anyio
import anyio.to_thread
import uvicorn
from mcp.server.transport_security import TransportSecuritySettings

from mcp_jobs import settings
from mcp_jobs.interfaces.mcp.callers import local_user
from mcp_jobs.interfaces.mcp.streamable import streamable_app
from mcp_jobs.job_types.python import loading
from mcp_jobs.service.assembly import open_core

_SECURITY = TransportSecuritySettings(
    enable_dns_rebinding_protection=True,
    allowed_hosts=["127.0.0.1:*", "localhost:*"],
    allowed_origins=["http://127.0.0.1:*", "http://localhost:*"],
)


async def serve(app: str | None) -> None:
    """Serve until stdin ends."""
    types = () if app is None else tuple(loading.types_of(loading.load(app, os.getcwd())))
    async with (
        open_core(settings.load(), types) as core,
        streamable_app(core, local_user, security=_SECURITY) as served,
        anyio.create_task_group() as tasks,
    ):
        listener = socket.create_server(("127.0.0.1", 0))
        config = uvicorn.Config(served, ws="none", lifespan="off", log_level="error")
        tasks.start_soon(uvicorn.Server(config).serve, [listener])
        sys.stdout.write(f"http://127.0.0.1:{listener.getsockname()[1]}/mcp\n")
        sys.stdout.flush()
        await anyio.to_thread.run_sync(sys.stdin.read)
        # Connections that a client keeps open would hold the server.
        os._exit(0)


if __name__ == "__main__":
    anyio.run(serve, sys.argv[1] if len(sys.argv) > 1 else None)
