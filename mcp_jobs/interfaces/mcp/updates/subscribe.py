"""resources/subscribe and resources/unsubscribe: what clients up to 2025-11-25 hear of."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import anyio
from mcp.server.subscriptions import ResourcesListChanged, ResourceUpdated, ToolsListChanged
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_REQUEST,
    EmptyResult,
    SubscribeRequestParams,
    UnsubscribeRequestParams,
)

from mcp_jobs.interfaces.mcp.callers import connection_of
from mcp_jobs.interfaces.mcp.resources import not_found
from mcp_jobs.interfaces.mcp.updates.queue import UpdateQueue

if TYPE_CHECKING:
    from mcp.server.connection import Connection
    from mcp.server.context import ServerRequestContext
    from mcp.server.session import ServerSession

    from mcp_jobs.interfaces.mcp.callers import OwnerOf
    from mcp_jobs.interfaces.mcp.updates.push import Push
    from mcp_jobs.interfaces.mcp.updates.queue import News
    from mcp_jobs.interfaces.mcp.updates.watched import Targets

MOST_SUBSCRIPTIONS: Final = 1000
"""Resources that one connection may subscribe to."""


class Subscriptions:
    """Keeps what each connection of the handshake era has subscribed to, as long as it lasts."""

    def __init__(self, *, targets: Targets, push: Push, owner_of: OwnerOf) -> None:
        self._targets = targets
        self._push = push
        self._owner_of = owner_of
        self._sessions: dict[Connection, _Session] = {}

    async def on_initialized(self, context: ServerRequestContext[Any, Any], _: object) -> None:
        """Tell a connection from now on when its tools change."""
        self._session(context)

    async def subscribe(
        self, context: ServerRequestContext[Any, Any], params: SubscribeRequestParams
    ) -> EmptyResult:
        """Answer resources/subscribe. Subscribing twice is subscribing once."""
        uri = str(params.uri)
        owner = self._owner_of(context)
        # While the connection is there, as it may end during what is waited for below.
        session = self._session(context)
        fault = await self._targets.fault(owner, uri)
        if fault is not None:
            not_found(context, fault, uri=uri)
        if len(session.watches) >= MOST_SUBSCRIPTIONS and uri not in session.watches:
            raise MCPError(
                code=INVALID_REQUEST,
                message=f"A connection has at most {MOST_SUBSCRIPTIONS} subscriptions.",
            )
        session.follow(uri, await self._targets.watching(owner, [uri]))
        return EmptyResult()

    async def unsubscribe(
        self, context: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams
    ) -> EmptyResult:
        """Answer resources/unsubscribe."""
        self._session(context).forget(str(params.uri))
        return EmptyResult()

    def _session(self, context: ServerRequestContext[Any, Any]) -> _Session:
        connection, owner = connection_of(context), self._owner_of(context)
        session = self._sessions.get(connection)
        if session is None:
            session = self._sessions[connection] = _Session(owner, context.session)
            stop = self._push.deliver(session.queue, session.send)
            connection.exit_stack.callback(self._end, connection)
            connection.exit_stack.callback(stop)
        if session.queue.owner != owner:
            raise MCPError(code=INVALID_REQUEST, message="This session belongs to another caller.")
        return session

    def _end(self, connection: Connection) -> None:
        self._sessions.pop(connection).close()


class _Session:
    """One connection: it hears of other tools, of what it named, and then of new resources too."""

    def __init__(self, owner: str, session: ServerSession) -> None:
        self._session = session
        self._ended = False
        self.watches: dict[str, ExitStack] = {}
        """What it subscribed to, and how to stop following it."""
        self.queue = UpdateQueue(owner, self._wants)

    def _wants(self, news: News) -> bool:
        if isinstance(news, ResourceUpdated):
            return news.uri in self.watches
        if isinstance(news, ResourcesListChanged):
            # Every start changes it, and hosts tell their user each time (Gemini CLI): that is for
            # those who follow resources.
            return bool(self.watches)
        return isinstance(news, ToolsListChanged)

    def follow(self, uri: str, watching: ExitStack) -> None:
        """Tell of a resource until it is forgotten, or not at all if the connection has ended."""
        if self._ended:
            watching.close()
            return
        self.forget(uri)
        self.watches[uri] = watching

    def forget(self, uri: str) -> None:
        """Stop telling of one resource."""
        stack = self.watches.pop(uri, None)
        if stack is not None:
            stack.close()

    def close(self) -> None:
        """Stop following everything."""
        self._ended = True
        for uri in list(self.watches):
            self.forget(uri)

    async def send(self, news: News) -> None:
        """Send one update; a client that is gone is not told."""
        try:
            if isinstance(news, ToolsListChanged):
                await self._session.send_tool_list_changed()
            elif not isinstance(news, ResourceUpdated):
                await self._session.send_resource_list_changed()
            elif news.uri in self.watches:
                await self._session.send_resource_updated(news.uri)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass
