"""The last word of a server that leaves, to requests that it could not finish."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mcp_jobs.interfaces.http.auth.rights import MCP_PATH
from mcp_jobs.interfaces.http.problem_details import Problem
from mcp_jobs.interfaces.mcp.calls import GONE_CODE, LEFT

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Exchange:
    """One request, and what it was answered so far."""

    def __init__(self, path: str, send: Send) -> None:
        self._path = path
        self._send = send
        self._begun = False
        self.closed = False

    async def send(self, message: Message) -> None:
        """Pass a part of the answer on, unless the last word was said."""
        if not self.closed:
            self._begun = True
            await self._send(message)

    async def close(self) -> None:
        """Answer that the server leaves, if nothing was answered yet."""
        if self._begun:
            return
        self.closed = True
        headers, body = _last_word(self._path)
        await self._send({"type": "http.response.start", "status": 503, "headers": headers})
        await self._send({"type": "http.response.body", "body": body})


class Farewell:
    """Knows every request that has no whole answer yet."""

    def __init__(self) -> None:
        self._open: set[Exchange] = set()

    def around(self, app: ASGIApp) -> ASGIApp:
        """Return the application, with its requests known."""

        async def serve(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http":
                await app(scope, receive, send)
                return
            exchange = Exchange(scope["path"], send)
            self._open.add(exchange)
            try:
                await app(scope, receive, exchange.send)
            except BaseException:
                # Broken off by the end of the server, after it had its answer.
                if not exchange.closed:
                    raise
            finally:
                self._open.discard(exchange)

        return serve

    async def say(self) -> None:
        """Answer all requests that have not begun to be answered."""
        for exchange in tuple(self._open):
            await exchange.close()


def _last_word(path: str) -> tuple[list[tuple[bytes, bytes]], bytes]:
    if path.rstrip("/") == MCP_PATH:
        error = {"code": GONE_CODE, "message": LEFT}
        # Whose request it was is known to the connection alone.
        body = json.dumps({"jsonrpc": "2.0", "id": None, "error": error}).encode()
        kind = b"application/json"
        return [(b"content-type", kind), (b"content-length", b"%d" % len(body))], body
    problem = Problem(503, "leaving", LEFT)
    return problem.raw_headers, bytes(problem.body)
