"""The connections: how many, and how long one may take to ask for something."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, Final

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from mcp_jobs.interfaces.http.live.sse import ABORT
from mcp_jobs.interfaces.http.opened import CONNECTION

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

logger = logging.getLogger(__name__)

HEAD_S: Final = 10.0
"""How long a client may take from the first byte of a request, or from connecting, to the end of
its headers."""

_FULL: Final = (
    b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\n"
    b"content-length: 21\r\nretry-after: 1\r\nconnection: close\r\n\r\nToo many connections\n"
)


class BoundedProtocol(H11Protocol):
    """HTTP/1.1 as uvicorn speaks it, with limits that it has not. Made by `bounded`."""

    max_connections = 1024
    of_owners: Counter[str]
    """How many connections each owner has, by the latest request on each."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._inner_app = self.app
        self._patience: asyncio.TimerHandle | None = None
        self._full = False
        self._owner: str | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        if len(self.connections) >= self.max_connections:
            self._full = True
            transport.write(_FULL)
            transport.close()
            return
        super().connection_made(transport)
        self.app = self._with_abort
        self._be_patient()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        self._belong_to(None)
        if not self._full:
            super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._full:
            return
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE or self.transport.is_closing():
            self._stop_waiting()
        elif self._patience is None:
            # The beginning of a request on a connection that had one before.
            self._be_patient()

    def send_400_response(self, msg: str) -> None:
        # A request may turn out to be malformed while the application is at work on it.
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            if self.cycle.response_started:
                self.transport.abort()
                return
        super().send_400_response(msg)

    async def _with_abort(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[ABORT] = self.transport.abort
        scope[CONNECTION] = self._belong_to
        await self._inner_app(scope, receive, send)

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        # From here on it is an open request, and counted as one.
        self._belong_to(None)
        super().handle_websocket_upgrade(event)

    def _belong_to(self, owner: str | None) -> int:
        """Note whose connection this is; returns how many he has."""
        if self._owner is not None:
            self.of_owners[self._owner] -= 1
            if not self.of_owners[self._owner]:
                del self.of_owners[self._owner]
        self._owner = owner
        if owner is None or self.transport.is_closing():
            self._owner = None
            return 0
        self.of_owners[owner] += 1
        return self.of_owners[owner]

    def _be_patient(self) -> None:
        self._patience = self.loop.call_later(HEAD_S, self._cut)

    def _stop_waiting(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _cut(self) -> None:
        self._patience = None
        self.transport.abort()


def bounded(max_connections: int) -> type[BoundedProtocol]:
    """Return the protocol for at most so many connections at once."""
    limits = {"max_connections": max_connections, "of_owners": Counter()}
    return type("Bounded", (BoundedProtocol,), limits)
