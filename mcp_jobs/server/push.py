"""Push: tell subscribers of both protocol eras that a job changed.

Updates of one job are coalesced to four a second; its end goes out at once and is never dropped,
since it is published only after it is stored.
"""

from __future__ import annotations

import logging
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Final

import anyio
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    ResourcesListChanged,
    ResourceUpdated,
    ServerEvent,
)
from mcp_types import (
    EmptyResult,
    SubscribeRequestParams,
    SubscriptionFilter,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
    UnsubscribeRequestParams,
)

from mcp_jobs.errors import UnknownJobError
from mcp_jobs.events import JobChanged, OutputGrew
from mcp_jobs.server.resources import ALL_JOBS, job_id_of, not_found, output_uri
from mcp_jobs.views import job_uri

if TYPE_CHECKING:
    from anyio.abc import TaskGroup
    from mcp.server.context import ServerRequestContext
    from mcp.server.session import ServerSession

    from mcp_jobs.events import Bus, Event
    from mcp_jobs.follow import Follower
    from mcp_jobs.service import JobService

logger = logging.getLogger(__name__)

INTERVAL_S: Final = 0.25


class Push:
    """Sends resource updates. One for each server process."""

    def __init__(self, *, service: JobService, owner: str, bus: Bus, follower: Follower) -> None:
        self._service = service
        self._owner = owner
        self._bus = bus
        self._follower = follower
        self._listeners = InMemorySubscriptionBus()
        self._listen = ListenHandler(self._listeners)
        self._subscribed: dict[str, tuple[ServerSession, ExitStack]] = {}
        self._session: ServerSession | None = None
        self._due: dict[str, _Due] = {}
        self._tasks: TaskGroup | None = None

    async def run(self) -> None:
        """Push until cancelled."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            unsubscribe = self._bus.subscribe(self._on_event)
            try:
                await anyio.sleep_forever()
            finally:
                unsubscribe()

    # -- what clients ask for --------------------------------------------------------------------

    async def on_initialized(self, context: ServerRequestContext[Any, Any], _: object) -> None:
        """Remember the connection of the handshake era, for list changes."""
        self._session = context.session

    async def subscribe(
        self, context: ServerRequestContext[Any, Any], params: SubscribeRequestParams
    ) -> EmptyResult:
        """Answer resources/subscribe (handshake era). Subscribing twice is subscribing once."""
        uri = str(params.uri)
        fault = await self._fault(uri)
        if fault is not None:
            not_found(context, fault)
        self._forget(uri)
        self._subscribed[uri] = (context.session, await self._watching([uri]))
        return EmptyResult()

    async def unsubscribe(
        self, context: ServerRequestContext[Any, Any], params: UnsubscribeRequestParams
    ) -> EmptyResult:
        """Answer resources/unsubscribe (handshake era)."""
        del context
        self._forget(str(params.uri))
        return EmptyResult()

    async def listen(
        self, context: ServerRequestContext[Any, Any], params: SubscriptionsListenRequestParams
    ) -> SubscriptionsListenResult:
        """Answer subscriptions/listen (2026-07-28): the open request is the stream.

        What does not exist is left out of the acknowledged subset, so that one job which was
        removed does not cost a client all its news; with nothing left to tell it is an error.
        """
        wanted = params.notifications
        asked = [str(uri) for uri in wanted.resource_subscriptions or ()]
        faults = {uri: await self._fault(uri) for uri in asked}
        uris = [uri for uri in asked if faults[uri] is None]
        if asked and not uris and not _wants_lists(wanted):
            not_found(context, str(faults[asked[0]]))
        honoured = wanted.model_copy(update={"resource_subscriptions": uris or None})
        with await self._watching(uris):
            return await self._listen(
                context, params.model_copy(update={"notifications": honoured})
            )

    async def _fault(self, uri: str) -> str | None:
        """Say why a resource cannot be subscribed to; None when it can."""
        job_id = job_id_of(uri)
        if job_id is None:
            return None if uri == ALL_JOBS else f"There is no resource {uri!r}."
        try:
            await self._service.find(self._owner, job_id)
        except UnknownJobError as error:
            return str(error)
        return None

    async def _watching(self, uris: list[str]) -> ExitStack:
        """Follow the output of the jobs behind `uris`, also of those another process runs."""
        job_ids = {job_id for uri in uris if (job_id := job_id_of(uri)) is not None}
        jobs = [await self._service.find(self._owner, job_id) for job_id in sorted(job_ids)]
        stack = ExitStack()
        for job in jobs:
            if not job.ended:
                stack.enter_context(self._follower.watch(job.id))
        return stack

    def _forget(self, uri: str) -> None:
        _, stack = self._subscribed.pop(uri, (None, None))
        if stack is not None:
            stack.close()

    # -- what happens ----------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        if isinstance(event, OutputGrew):
            self._mark(event.job_id, {job_uri(event.job_id), output_uri(event.job_id)})
        elif isinstance(event, JobChanged) and event.owner == self._owner:
            # The end of a job may come with its last output.
            uris = {job_uri(event.job_id)} | ({output_uri(event.job_id)} if event.ended else set())
            self._mark(event.job_id, uris, at_once=event.ended)
            self._mark(ALL_JOBS, {ALL_JOBS}, list_changed=event.created)

    def _mark(
        self, key: str, uris: set[str], *, at_once: bool = False, list_changed: bool = False
    ) -> None:
        due = self._due.get(key)
        if due is None:
            due = self._due[key] = _Due()
            if self._tasks is not None:
                self._tasks.start_soon(self._send_for, key, due)
        due.uris |= uris
        due.list_changed |= list_changed
        if at_once:
            due.now.set()

    async def _send_for(self, key: str, due: _Due) -> None:
        """Send what is due for one job, pause, and go on until nothing came in a pause."""
        while due.uris:
            uris, due.uris = due.uris, set()
            list_changed, due.list_changed = due.list_changed, False
            due.now = anyio.Event()
            for uri in sorted(uris):
                await self._publish(ResourceUpdated(uri=uri))
            if list_changed:
                await self._publish(ResourcesListChanged())
            with anyio.move_on_after(INTERVAL_S):
                await due.now.wait()
        del self._due[key]

    async def _publish(self, event: ServerEvent) -> None:
        await self._listeners.publish(event)
        try:
            if isinstance(event, ResourceUpdated) and event.uri in self._subscribed:
                await self._subscribed[event.uri][0].send_resource_updated(event.uri)
            elif isinstance(event, ResourcesListChanged) and self._session is not None:
                await self._session.send_resource_list_changed()
        except (anyio.BrokenResourceError, anyio.ClosedResourceError):
            logger.debug("the client is gone; an update was not sent")


def _wants_lists(wanted: SubscriptionFilter) -> bool:
    flags = (
        wanted.tools_list_changed,
        wanted.prompts_list_changed,
        wanted.resources_list_changed,
    )
    return any(flags)


class _Due:
    """What waits to be sent for one job."""

    def __init__(self) -> None:
        self.uris: set[str] = set()
        self.list_changed = False
        self.now = anyio.Event()
