"""What clients of both eras subscribe to: resources/subscribe and subscriptions/listen."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import anyio
from mcp.server.subscriptions import SUBSCRIPTION_ID_META_KEY, ResourceUpdated, ServerEvent
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import event_matches, event_to_notification
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_REQUEST,
    EmptyResult,
    SubscribeRequestParams,
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotification,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from mcp_jobs.errors import UnknownJobError
from mcp_jobs.server.callers import connection_of
from mcp_jobs.server.mailbox import Mailbox
from mcp_jobs.server.resources import ALL_JOBS, job_id_of, not_found

if TYPE_CHECKING:
    from mcp.server.connection import Connection
    from mcp.server.context import ServerRequestContext
    from mcp.server.session import ServerSession

    from mcp_jobs.follow import Follower
    from mcp_jobs.server.callers import OwnerOf
    from mcp_jobs.server.push import Push
    from mcp_jobs.service import JobService

MOST_STREAMS: Final = 1000
"""Open listen requests of one server process."""


class Subscriptions:
    """Answers requests to be told of changes, for the owner of each request."""

    def __init__(
        self, *, service: JobService, follower: Follower, push: Push, owner_of: OwnerOf
    ) -> None:
        self._service = service
        self._follower = follower
        self._push = push
        self._owner_of = owner_of
        self._sessions: dict[Connection, _Session] = {}
        self._streams = 0

    # -- up to 2025-11-25 --------------------------------------------------------------------------

    async def on_initialized(self, context: ServerRequestContext[Any, Any], _: object) -> None:
        """Tell a connection of the handshake era of list changes from now on."""
        self._session(context)

    async def subscribe(
        self, context: ServerRequestContext[Any, Any], params: SubscribeRequestParams
    ) -> EmptyResult:
        """Answer resources/subscribe. Subscribing twice is subscribing once."""
        uri = str(params.uri)
        owner = self._owner_of(context)
        fault = await self._fault(owner, uri)
        if fault is not None:
            not_found(context, fault)
        session = self._session(context)
        session.forget(uri)
        session.watches[uri] = await self._watching(owner, [uri])
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
            stop = self._push.deliver(session.mailbox, session.send)
            connection.exit_stack.callback(self._end, connection)
            connection.exit_stack.callback(stop)
        if session.mailbox.owner != owner:
            raise MCPError(code=INVALID_REQUEST, message="This session belongs to another caller.")
        return session

    def _end(self, connection: Connection) -> None:
        self._sessions.pop(connection).close()

    # -- 2026-07-28 ------------------------------------------------------------------------------

    async def listen(
        self, context: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Answer subscriptions/listen: the open request is the stream, until the client ends it.

        What does not exist is left out of the acknowledged subset, so that one job which was
        removed does not cost a client all its news; with nothing left to tell it is an error.
        """
        if context.request_id is None:
            raise MCPError(code=INVALID_REQUEST, message="subscriptions/listen needs a request id.")
        if self._streams >= MOST_STREAMS:
            raise MCPError(
                code=INTERNAL_ERROR,
                message=f"This server has {MOST_STREAMS} subscriptions open, and takes no more.",
            )
        owner = self._owner_of(context)
        honoured = await self._honoured(context, owner, params.notifications)
        uris = honoured.resource_subscriptions or []
        wanted = frozenset(uris)
        mailbox = Mailbox(owner, lambda news: event_matches(honoured, wanted, news))
        self._streams += 1
        try:
            # Joined before the acknowledgement, so that nothing that happens meanwhile is lost.
            with self._push.joined(mailbox), await self._watching(owner, uris):
                await _tell(context, mailbox, honoured)
        finally:
            self._streams -= 1
        raise AssertionError("a stream ends only by cancellation")

    async def _honoured(
        self, context: ServerRequestContext[Any, Any], owner: str, wanted: SubscriptionFilter
    ) -> SubscriptionFilter:
        asked = list(dict.fromkeys(wanted.resource_subscriptions or ()))
        faults = {uri: await self._fault(owner, uri) for uri in asked}
        uris = [uri for uri in asked if faults[uri] is None]
        honoured = SubscriptionFilter(
            tools_list_changed=wanted.tools_list_changed or None,
            prompts_list_changed=wanted.prompts_list_changed or None,
            resources_list_changed=wanted.resources_list_changed or None,
            resource_subscriptions=uris or None,
        )
        if asked and not honoured.model_dump(exclude_none=True):
            not_found(context, str(faults[asked[0]]))
        return honoured

    # -- both ------------------------------------------------------------------------------------

    async def _fault(self, owner: str, uri: str) -> str | None:
        """Say why a resource cannot be subscribed to; None when it can."""
        job_id = job_id_of(uri)
        if job_id is None:
            return None if uri == ALL_JOBS else f"There is no resource {uri!r}."
        try:
            await self._service.find(owner, job_id)
        except UnknownJobError as error:
            return str(error)
        return None

    async def _watching(self, owner: str, uris: list[str]) -> ExitStack:
        """Follow the output of the jobs behind `uris`, also of those another process runs."""
        job_ids = {job_id for uri in uris if (job_id := job_id_of(uri)) is not None}
        jobs = [await self._service.find(owner, job_id) for job_id in sorted(job_ids)]
        stack = ExitStack()
        for job in jobs:
            if not job.ended:
                stack.enter_context(self._follower.watch(job.id))
        return stack


class _Session:
    """One connection of the handshake era: it hears of list changes and of what it named."""

    def __init__(self, owner: str, session: ServerSession) -> None:
        self._session = session
        self.watches: dict[str, ExitStack] = {}
        """What it subscribed to, and how to stop following it."""
        self.mailbox = Mailbox(owner, self._wants)

    def _wants(self, news: ServerEvent) -> bool:
        return not isinstance(news, ResourceUpdated) or news.uri in self.watches

    def forget(self, uri: str) -> None:
        """Stop telling of one resource."""
        stack = self.watches.pop(uri, None)
        if stack is not None:
            stack.close()

    def close(self) -> None:
        """Stop following everything."""
        for uri in list(self.watches):
            self.forget(uri)

    async def send(self, news: ServerEvent) -> None:
        """Send one update; a client that is gone is not told."""
        try:
            if not isinstance(news, ResourceUpdated):
                await self._session.send_resource_list_changed()
            elif news.uri in self.watches:
                await self._session.send_resource_updated(news.uri)
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            pass


async def _tell(
    context: ServerRequestContext[Any, Any], mailbox: Mailbox, honoured: SubscriptionFilter
) -> None:
    """Acknowledge what is honoured, then send news until the client ends the request."""
    meta: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: context.request_id}
    await context.session.send_notification(
        SubscriptionsAcknowledgedNotification(
            params=SubscriptionsAcknowledgedNotificationParams(notifications=honoured, _meta=meta)
        ),
        related_request_id=context.request_id,
    )
    while True:
        news = await mailbox.next()
        await context.session.send_notification(
            event_to_notification(news, meta), related_request_id=context.request_id
        )
