"""What every request must pass before anybody asks who sent it, and the limits on its body."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import anyio

from mcp_jobs.interfaces.http.auth.gate import refuse
from mcp_jobs.interfaces.http.problem_details import Problem

if TYPE_CHECKING:
    from collections.abc import Sequence

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_LOCAL_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")
_BODY_S: Final = 20.0
"""A body that takes longer comes from somebody who wants to hold a connection."""


class HostGuard:
    """Refuses requests that were meant for another host, or come from another site's page.

    A page that makes its own name point to this machine (DNS rebinding) has that name in Host; one
    that posts across sites has its own in Origin.
    """

    def __init__(self, app: ASGIApp, *, hosts: Sequence[str], origins: Sequence[str]) -> None:
        self._app = app
        self._hosts = frozenset(host.lower() for host in hosts)
        self._origins = frozenset(origin.lower() for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        problem = self._problem(scope)
        if problem is None:
            await self._app(scope, receive, send)
        else:
            await refuse(problem, scope, receive, send)

    def _problem(self, scope: Scope) -> Problem | None:
        hosts = _values(scope, b"host")
        if len(hosts) != 1 or host_name(hosts[0]) not in self._hosts:
            return Problem(
                421,
                "wrong_host",
                "This server does not answer to the name in Host. Whoever runs it can add names in "
                "MCP_JOBS_ALLOWED_HOSTS.",
            )
        origins = _values(scope, b"origin")
        if origins and (len(origins) > 1 or not self._knows(origins[0], hosts[0])):
            return Problem(
                403,
                "wrong_origin",
                "Pages of this origin may not use the server. Whoever runs it can add origins in "
                "MCP_JOBS_ALLOWED_ORIGINS.",
            )
        return None

    def _knows(self, origin: str, host: str) -> bool:
        same = origin in (f"http://{host}", f"https://{host}")
        return same or origin in self._origins


class BodyGuard:
    """Takes in the whole body first, of a bounded size and in a bounded time."""

    def __init__(self, app: ASGIApp, *, limit_bytes: int) -> None:
        self._app = app
        self._limit = limit_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body: bytes | None = b""
        late = True
        with anyio.move_on_after(_BODY_S):
            body = await self._read(scope, receive)
            late = False
        if late:
            headers = {"connection": "close"}
            problem = Problem(408, "slow_body", "The body took too long.", headers=headers)
            await problem(scope, receive, send)
        elif body is None:
            detail = f"The body must have at most {self._limit} bytes."
            headers = {"connection": "close"}
            await Problem(413, "too_large", detail, headers=headers)(scope, receive, send)
        else:
            await self._app(scope, _replay(body, receive), send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """Return the body; None when it is too large."""
        lengths = _values(scope, b"content-length")
        if lengths and lengths[0].isdigit() and int(lengths[0]) > self._limit:
            return None
        parts: list[bytes] = []
        size, more = 0, True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            parts.append(message.get("body", b""))
            size += len(parts[-1])
            more = message.get("more_body", False)
            if size > self._limit:
                return None
        return b"".join(parts)


def names_of(host: str, more: Sequence[str]) -> list[str]:
    """Return the names by which a server that is bound to `host` may be addressed."""
    wild = host in ("0.0.0.0", "::", "")  # noqa: S104 - compared, not bound
    own = f"[{host}]" if ":" in host else host
    return [*_LOCAL_NAMES, *([] if wild else [own]), *(host_name(name.lower()) for name in more)]


def host_name(header: str) -> str:
    """Return the name in a Host header, without its port."""
    if header.startswith("["):
        return header.partition("]")[0] + "]"
    return header.partition(":")[0]


def _values(scope: Scope, name: bytes) -> list[str]:
    found = (value for key, value in scope["headers"] if key == name)
    return [value.decode("latin-1").strip().lower() for value in found]


def _replay(body: bytes, receive: Receive) -> Receive:
    given = False

    async def again() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
