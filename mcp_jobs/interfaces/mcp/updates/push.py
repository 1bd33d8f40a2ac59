"""Push: tell the subscribers of every owner and of both protocol eras that a job changed.

Updates of one job are coalesced to four a second; its end goes out at once and is never dropped,
since it is published only after it is stored.
"""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import anyio
from mcp.server.subscriptions import ResourcesListChanged, ResourceUpdated, ToolsListChanged

from mcp_jobs.domain.events import JobChanged, OutputGrew, SchedulesChanged, TypesChanged
from mcp_jobs.domain.job_object import job_uri
from mcp_jobs.interfaces.mcp.resources import ALL_JOBS, SCHEDULES, output_uri
from mcp_jobs.interfaces.mcp.updates.queue import TaskChanged

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Sequence

    from anyio.abc import TaskGroup

    from mcp_jobs.domain.events import Bus, Event
    from mcp_jobs.interfaces.mcp.updates.queue import News, UpdateQueue

logger = logging.getLogger(__name__)

INTERVAL_S: Final = 0.25

_ALL_JOBS: Final = ResourceUpdated(uri=ALL_JOBS)
_SCHEDULES: Final = ResourceUpdated(uri=SCHEDULES)


class Push:
    """Carries what happens to jobs into the queues. One for each server process."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus
        self._queues: set[UpdateQueue] = set()
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
                self._tasks = None
                unsubscribe()

    @contextmanager
    def joined(self, queue: UpdateQueue) -> Iterator[None]:
        """Fill a queue as long as the context lasts."""
        self._queues.add(queue)
        try:
            yield
        finally:
            self._queues.discard(queue)

    def deliver(
        self, queue: UpdateQueue, send: Callable[[News], Awaitable[None]]
    ) -> Callable[[], None]:
        """Fill a queue and send what comes into it; returns how to stop that.

        For a subscriber that has no request of its own which stays open.
        """
        scope = anyio.CancelScope()
        if self._tasks is not None:
            # Joined here, since the task begins later than the answer to the subscriber may go out.
            self._queues.add(queue)
            self._tasks.start_soon(self._deliver, queue, send, scope)
        return scope.cancel

    async def _deliver(
        self,
        queue: UpdateQueue,
        send: Callable[[News], Awaitable[None]],
        scope: anyio.CancelScope,
    ) -> None:
        with scope, self.joined(queue):
            try:
                while True:
                    await send(await queue.next())
            except Exception as error:  # noqa: BLE001 - it must not end the push to the others
                logger.warning("a subscriber cannot be told any more: %r", error)

    # -- what happens ----------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        if isinstance(event, OutputGrew):
            self._mark(event.job_id, [_job(event.job_id), _output(event.job_id)])
        elif isinstance(event, JobChanged):
            news: list[News] = [TaskChanged(event.job_id, event.ended), _job(event.job_id)]
            if event.ended:
                # The end of a job may come with its last output.
                news.append(_output(event.job_id))
            self._mark(event.job_id, news, at_once=event.ended)
            news = [_ALL_JOBS, ResourcesListChanged()] if event.created else [_ALL_JOBS]
            self._mark(f"/{event.owner}", news, owner=event.owner)
        elif isinstance(event, SchedulesChanged):
            self._mark(f"/{event.owner}/schedules", [_SCHEDULES], owner=event.owner)
        elif isinstance(event, TypesChanged):
            self._mark("/types", [ToolsListChanged()])

    def _mark(
        self,
        key: str,
        news: Sequence[News],
        *,
        owner: str | None = None,
        at_once: bool = False,
    ) -> None:
        due = self._due.get(key)
        if due is None:
            if self._tasks is None or not self._is_wanted(news, owner):
                return
            due = self._due[key] = _Due(owner)
            self._tasks.start_soon(self._send_for, key, due)
        due.news.update(dict.fromkeys(news))
        if at_once:
            due.now.set()

    def _is_wanted(self, news: Sequence[News], owner: str | None) -> bool:
        # Most jobs are nobody's subscription, and a task for each of them costs more than to ask.
        return any(
            (owner is None or queue.owner == owner) and any(map(queue.wants, news))
            for queue in self._queues
        )

    async def _send_for(self, key: str, due: _Due) -> None:
        """Send what is due under one key, pause, and go on until nothing came in a pause."""
        try:
            while due.news:
                batch, due.news = due.news, {}
                due.now = anyio.Event()
                for news in batch:
                    self._publish(news, due.owner)
                with anyio.move_on_after(INTERVAL_S):
                    await due.now.wait()
        finally:
            del self._due[key]

    def _publish(self, news: News, owner: str | None) -> None:
        for queue in tuple(self._queues):
            if owner is None or queue.owner == owner:
                try:
                    queue.offer(news)
                except Exception:  # as above
                    logger.exception("news cannot be put before a subscriber")


class _Due:
    """What waits to be sent for one job, or for all jobs of one owner."""

    def __init__(self, owner: str | None) -> None:
        self.owner = owner
        """Who alone may hear of it. None for one job: who subscribes to a job has been checked."""
        self.news: dict[News, None] = {}
        self.now = anyio.Event()


def _job(job_id: str) -> ResourceUpdated:
    return ResourceUpdated(uri=job_uri(job_id))


def _output(job_id: str) -> ResourceUpdated:
    return ResourceUpdated(uri=output_uri(job_id))
