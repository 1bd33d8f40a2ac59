"""The sessions of MCP's handshake era: each ends with its token, and each owner has so many."""

from __future__ import annotations

import logging
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.interfaces.http.auth.gate import principal_of
from mcp_jobs.interfaces.http.auth.rights import MCP_PATH
from mcp_jobs.interfaces.mcp.access import admit
from mcp_jobs.interfaces.mcp.callers import Access
from mcp_jobs.interfaces.mcp.streamable import SESSION_IDLE_S

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from mcp_jobs.interfaces.http.auth.tokens import Principal

logger = logging.getLogger(__name__)

MOST_SESSIONS: Final = 500
"""Sessions of one owner. For one more, the one that was used longest ago is ended."""

_HEADER: Final = b"mcp-session-id"
_MARGIN_S: Final = 60.0
_REFUSED: Final = 400


@dataclass(kw_only=True)
class _Session:
    principal: Principal
    used_at_s: float
    busy: int = 0
    """Requests of it that are open."""


class McpGate:
    """Hands requests to the MCP application, marked with who they are from."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._sessions: dict[str, _Session] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        principal = principal_of(scope)
        _admit(scope, principal)
        name = _session_of(scope["headers"])
        begun = False

        async def watch(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = self._note(name, principal, scope["method"], message)
            await send(message)

        with self._used(name, principal):
            await self._app(scope, receive, watch)
        if begun:
            await self._trim(principal.owner)

    async def look(self, still_valid: Callable[[Principal], bool]) -> None:
        """End the sessions whose token has lapsed, and forget those that are over."""
        over_s = time.monotonic() - SESSION_IDLE_S - _MARGIN_S
        for name, session in tuple(self._sessions.items()):
            if not still_valid(session.principal):
                await self._end(name)
            elif not session.busy and session.used_at_s < over_s:
                # The SDK has ended it by itself.
                self._sessions.pop(name, None)

    async def _trim(self, owner: str) -> None:
        """End what an owner has too much: of the sessions with no open request, the stalest."""
        own = [s for s in self._sessions.items() if s[1].principal.owner == owner]
        idle = sorted((session.used_at_s, name) for name, session in own if not session.busy)
        for _, name in idle[: max(0, len(own) - MOST_SESSIONS)]:
            await self._end(name)

    def _note(self, name: str | None, principal: Principal, method: str, start: Message) -> bool:
        """Look at the head of an answer; returns whether a session has begun."""
        given = _session_of(start.get("headers", ()))
        if start["status"] >= _REFUSED:
            return False
        if name is not None and method == "DELETE":
            self._sessions.pop(name, None)
        if name is not None or given is None:
            return False
        self._sessions[given] = _Session(principal=principal, used_at_s=time.monotonic())
        return True

    @contextmanager
    def _used(self, name: str | None, principal: Principal) -> Iterator[None]:
        session = self._sessions.get(name or "")
        if session is None or not _same(session.principal, principal):
            yield
            return
        # A token that was renewed carries the session on.
        if _expiry_s(principal) > _expiry_s(session.principal):
            session.principal = principal
        session.busy += 1
        try:
            yield
        finally:
            session.busy -= 1
            session.used_at_s = time.monotonic()

    async def _end(self, name: str) -> None:
        """End a session as its client would, with everything that is open in it."""
        session = self._sessions.pop(name, None)
        if session is None:
            return
        scope: dict[str, Any] = {
            "type": "http",
            "http_version": "1.1",
            "method": "DELETE",
            "scheme": "http",
            "path": MCP_PATH,
            "query_string": b"",
            "headers": [(_HEADER, name.encode())],
        }
        _admit(scope, session.principal)
        try:
            await self._app(scope, _nothing, _nowhere)
        except Exception:  # the end of one session must not keep the others from theirs
            logger.exception("a session of MCP could not be ended")


def _admit(scope: Any, principal: Principal) -> None:
    access = Access(owner=principal.owner, scopes=principal.scopes)
    admit(scope, user=principal.key, access=access)


def _same(one: Principal, other: Principal) -> bool:
    return (one.key, one.owner, one.scopes) == (other.key, other.owner, other.scopes)


def _expiry_s(principal: Principal) -> float:
    return float("inf") if principal.expires_at_s is None else principal.expires_at_s


def _session_of(headers: Any) -> str | None:
    return next(
        (value.decode("latin-1") for name, value in headers if name.lower() == _HEADER), None
    )


async def _nothing() -> Message:
    return {"type": "http.request", "body": b"", "more_body": False}


async def _nowhere(message: Message) -> None:
    del message
