"""subscriptions/listen of 2026-07-28: an open request that tells of resources, lists and tasks."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from mcp.server.subscriptions import SUBSCRIPTION_ID_META_KEY
from mcp.shared.exceptions import MCPError
from mcp.shared.subscriptions import event_matches, event_to_notification
from mcp_types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    INVALID_REQUEST,
    ServerNotification,
    SubscriptionFilter,
    SubscriptionsAcknowledgedNotification,
    SubscriptionsAcknowledgedNotificationParams,
    SubscriptionsListenRequestParams,
    SubscriptionsListenResult,
)
from pydantic import BaseModel

from mcp_jobs.domain.errors import TooManyError, UnknownJobError
from mcp_jobs.interfaces.mcp.resources import not_found
from mcp_jobs.interfaces.mcp.tasks import require_declared
from mcp_jobs.interfaces.mcp.updates.queue import News, TaskChanged, UpdateQueue
from mcp_jobs.service.shares import Share

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext

    from mcp_jobs.interfaces.mcp.callers import OwnerOf
    from mcp_jobs.interfaces.mcp.tasks import TaskObject, Tasks
    from mcp_jobs.interfaces.mcp.updates.push import Push
    from mcp_jobs.interfaces.mcp.updates.watched import Targets

MOST_STREAMS: Final = 1000
"""Open listen requests of one server process."""

MOST_OF_OWNER: Final = 500
"""Open listen requests of one owner in one server process."""

_TASK_IDS: Final = "taskIds"


class TaskNotification(BaseModel):
    """notifications/tasks, whose parameters are the task as tasks/get has it."""

    method: Literal["notifications/tasks"] = "notifications/tasks"
    params: dict[str, Any]


class Listening:
    """Serves the open requests, for the owner of each."""

    def __init__(self, *, targets: Targets, tasks: Tasks, push: Push, owner_of: OwnerOf) -> None:
        self._targets = targets
        self._tasks = tasks
        self._push = push
        self._owner_of = owner_of
        self._streams = 0
        self._share = Share(MOST_OF_OWNER, "subscriptions")

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
        stream = _Stream(context=context, owner=owner, honoured=honoured, tasks=self._tasks)
        watching = await self._targets.watching(owner, honoured.resource_subscriptions or ())
        self._streams += 1
        try:
            # `watching` first, as it has begun; joined before the acknowledgement, so that nothing
            # that happens meanwhile is lost.
            with watching, self._share.of(owner), self._push.joined(stream.queue):
                await stream.run()
        except TooManyError as error:
            raise MCPError(code=INVALID_REQUEST, message=str(error)) from None
        finally:
            self._streams -= 1
        return SubscriptionsListenResult(_meta=stream.meta)

    async def _honoured(
        self, context: ServerRequestContext[Any, Any], owner: str, wanted: SubscriptionFilter
    ) -> SubscriptionFilter:
        asked = list(dict.fromkeys(wanted.resource_subscriptions or ()))
        named = _task_ids(wanted)
        if named is not None:
            require_declared(context)
        faults = {uri: await self._targets.fault(owner, uri) for uri in asked}
        task_faults = {
            task_id: await self._targets.fault_of_task(owner, task_id) for task_id in named or ()
        }
        task_ids = [task_id for task_id, fault in task_faults.items() if fault is None]
        honoured = SubscriptionFilter(
            tools_list_changed=wanted.tools_list_changed or None,
            prompts_list_changed=wanted.prompts_list_changed or None,
            resources_list_changed=wanted.resources_list_changed or None,
            resource_subscriptions=[uri for uri in asked if faults[uri] is None] or None,
            **({_TASK_IDS: task_ids} if task_ids else {}),
        )
        if (asked or named) and not honoured.model_dump(exclude_none=True):
            not_found(context, str(next(iter((faults | task_faults).values()))))
        return honoured


@dataclass(kw_only=True)
class _Stream:
    """One open request."""

    context: ServerRequestContext[Any, Any]
    owner: str
    honoured: SubscriptionFilter
    tasks: Tasks
    told: dict[str, object] = field(default_factory=dict)
    """What was told of each task last."""

    def __post_init__(self) -> None:
        self.uris = frozenset(self.honoured.resource_subscriptions or ())
        self.task_ids = frozenset(_task_ids(self.honoured) or ())
        self.queue = UpdateQueue(self.owner, self._wants)
        self.meta: dict[str, Any] = {SUBSCRIPTION_ID_META_KEY: self.context.request_id}

    def _wants(self, news: News) -> bool:
        if isinstance(news, TaskChanged):
            return news.job_id in self.task_ids
        return event_matches(self.honoured, self.uris, news)

    async def run(self) -> None:
        """Acknowledge what is honoured, then send news until the client ends the request."""
        params = SubscriptionsAcknowledgedNotificationParams(
            notifications=self.honoured, _meta=self.meta
        )
        await self._send(SubscriptionsAcknowledgedNotification(params=params))
        for task_id in sorted(self.task_ids):
            await self._tell_of_task(task_id, first=True)
        while True:
            news = await self.queue.next()
            if isinstance(news, TaskChanged):
                await self._tell_of_task(news.job_id)
            else:
                await self._send(event_to_notification(news, self.meta))

    async def _tell_of_task(self, task_id: str, *, first: bool = False) -> None:
        """Tell of a task whose state is another than last time; at first, unless it just works."""
        try:
            task = await self.tasks.detailed(self.owner, task_id)
        except UnknownJobError:
            return
        state = (task["status"], sorted(task.get("inputRequests", ())))
        if self.told.get(task_id) != state and not (first and task["status"] == "working"):
            await self._send(_notification(task, self.meta))
        self.told[task_id] = state

    async def _send(self, notification: ServerNotification) -> None:
        await self.context.session.send_notification(
            notification, related_request_id=self.context.request_id
        )


def _task_ids(wanted: SubscriptionFilter) -> list[str] | None:
    named = (wanted.model_extra or {}).get(_TASK_IDS)
    if named is None:
        return None
    if not isinstance(named, list) or not all(isinstance(task_id, str) for task_id in named):
        raise MCPError(code=INVALID_PARAMS, message="taskIds must be a list of task ids.")
    return list(dict.fromkeys(named))


def _notification(task: TaskObject, meta: dict[str, Any]) -> ServerNotification:
    # The SDK's union of notifications is closed; it is only ever dumped.
    return cast("ServerNotification", TaskNotification(params={**task, "_meta": meta}))
