"""What tokens hold open: requests, streams, sockets and connections.

It ends with the token, within a few seconds, and no owner may hold so much that nothing is left for
the others.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import anyio

from mcp_jobs.interfaces.http.auth.gate import PRINCIPAL, refuse
from mcp_jobs.interfaces.http.live.sse import ABORT
from mcp_jobs.interfaces.http.problem_details import Problem

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from mcp_jobs.interfaces.http.auth.tokens import Principal

logger = logging.getLogger(__name__)

STAY: Final = "mcp_jobs.stay"
"""Where an ASGI scope has its entry here."""

CONNECTION: Final = "mcp_jobs.connection"
"""Where it has how to say whose connection it came on; returns how many that owner has."""

LEFT: Final = "Your token is not valid any more."
SHARE: Final = 4
"""Where there are several owners, each may hold this part of all connections: a quarter."""

_LOOK_S: Final = 1.0
_POLICY: Final = 1008


class Stay:
    """One open request of a token."""

    def __init__(self, principal: Principal, still_valid: Callable[[Principal], bool]) -> None:
        self.principal = principal
        self.scope = anyio.CancelScope()
        self.warned = False
        self._still_valid = still_valid
        self._callbacks: list[Callable[[], None]] = []

    def still_valid(self) -> bool:
        """Say whether the token would come in now."""
        return self._still_valid(self.principal)

    @contextmanager
    def told(self, callback: Callable[[], None]) -> Iterator[None]:
        """Call back when the token has lapsed; what then goes on for another second is cut."""
        self._callbacks.append(callback)
        try:
            yield
        finally:
            self._callbacks.remove(callback)

    def end(self) -> None:
        """Give whoever asked to be told the time to say goodbye, once."""
        if self.warned:
            self.scope.cancel()
            return
        self.warned = True
        if not self._callbacks:
            self.scope.cancel()
        for callback in tuple(self._callbacks):
            callback()


class Opened:
    """Everything that is open in one server."""

    def __init__(
        self, *, still_valid: Callable[[Principal], bool], most: Callable[[], int]
    ) -> None:
        self._still_valid = still_valid
        self._most = most
        self._stays: set[Stay] = set()
        self._of_owner: dict[str, int] = {}
        self.watchers: list[Callable[[Callable[[Principal], bool]], Awaitable[None]]] = []
        """Who else has things that end with a token; each is given the check."""

    async def run(self) -> None:
        """End what is open as soon as its token has lapsed, until cancelled."""
        while True:
            await anyio.sleep(_LOOK_S)
            try:
                await self.look()
            except OSError as error:
                logger.warning("tokens cannot be checked: %s", error)

    async def look(self) -> None:
        """End what is open without a valid token, once."""
        known: dict[Principal, bool] = {}

        def valid(principal: Principal) -> bool:
            if principal not in known:
                known[principal] = self._still_valid(principal)
            return known[principal]

        for stay in tuple(self._stays):
            if not valid(stay.principal):
                stay.end()
        for watch in self.watchers:
            await watch(valid)

    def most(self) -> int:
        """Return how much one owner may hold open at once."""
        return self._most()

    def enter(self, principal: Principal) -> Stay | None:
        """Count one more request; None when its owner has as many open as he may."""
        count = self._of_owner.get(principal.owner, 0)
        if count >= self._most():
            return None
        self._of_owner[principal.owner] = count + 1
        stay = Stay(principal, self._still_valid)
        self._stays.add(stay)
        return stay

    def leave(self, stay: Stay) -> None:
        """Count one less."""
        self._stays.discard(stay)
        owner = stay.principal.owner
        self._of_owner[owner] -= 1
        if not self._of_owner[owner]:
            del self._of_owner[owner]


class OpenedGate:
    """Keeps the account of open requests, and answers for those that were cut."""

    def __init__(self, app: ASGIApp, opened: Opened) -> None:
        self._app = app
        self._opened = opened

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        principal: Principal | None = scope.get(PRINCIPAL)
        if principal is None:
            await self._app(scope, receive, send)
            return
        most = self._opened.most()
        if scope.get(CONNECTION, lambda _: 0)(principal.owner) > most:
            await refuse(_too_many("connections", most, close=True), scope, receive, send)
            return
        stay = self._opened.enter(principal)
        if stay is None:
            await refuse(_too_many("requests", most), scope, receive, send)
            return
        scope[STAY] = stay
        answer = _Answer(send)
        try:
            with stay.scope:
                await self._app(scope, receive, answer.send)
        finally:
            self._opened.leave(stay)
        if stay.scope.cancelled_caught:
            await answer.cut(scope, receive, send)


class _Answer:
    """How far the answer to a request has come."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._begun = False
        self._ended = False

    async def send(self, message: Message) -> None:
        kind = message["type"]
        self._begun = self._begun or kind.endswith((".start", ".accept"))
        await self._send(message)
        last = kind == "http.response.body" and not message.get("more_body", False)
        self._ended = self._ended or last or kind == "websocket.close"

    async def cut(self, scope: Scope, receive: Receive, send: Send) -> None:
        """End an answer in the middle, or say why there is none."""
        if self._ended:
            return
        if not self._begun:
            await refuse(Problem(401, "unauthorized", LEFT), scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": _POLICY, "reason": LEFT})
        else:
            scope.get(ABORT, lambda: None)()


def stay_of(scope: Mapping[str, Any]) -> Stay:
    """Return the entry of a request that came through the gate."""
    stay: Stay = scope[STAY]
    return stay


def _too_many(what: str, most: int, *, close: bool = False) -> Problem:
    headers = {"retry-after": "1", **({"connection": "close"} if close else {})}
    detail = (
        f"You have {most} {what} open at once, which is your share. Close some, and use one stream "
        "or one waiting call for several jobs."
    )
    return Problem(429, "too_many_open", detail, headers=headers)
