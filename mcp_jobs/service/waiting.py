"""Wait for jobs to end, bounded, without polling the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Final, Literal

import anyio

from mcp_jobs.domain.events import JobChanged
from mcp_jobs.domain.models import Job
from mcp_jobs.domain.states import Status

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp_jobs.domain.events import Bus, Event
    from mcp_jobs.store import Store

OnLook = Callable[[Sequence[Job]], Awaitable[None]]
"""Told of the jobs each time they were looked at."""

_HEARTBEAT_S: Final = 5.0
"""Callers hear something this often, even of a silent job."""


class Listener:
    """Hears what changes about some jobs, from when it listens."""

    def __init__(self, job_ids: Collection[str], on_look: OnLook | None) -> None:
        self.changed = anyio.Event()
        self._job_ids = job_ids
        # Whoever reports nothing on the way need not look before there is something to do.
        self._minds_all = on_look is not None

    def notice(self, event: Event) -> None:
        """Take one event of the bus."""
        if not isinstance(event, JobChanged) or event.job_id not in self._job_ids:
            return
        if self._minds_all or event.ended or event.status is Status.INPUT_REQUIRED:
            self.changed.set()


class Waiter:
    """Wakes callers by events on the bus."""

    def __init__(self, *, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus
        self._listeners: set[Listener] = set()
        self._ended = False

    def end(self) -> None:
        """Let every wait return now, also those that begin later."""
        self._ended = True
        for listener in self._listeners:
            listener.changed.set()

    @contextmanager
    def listening(self, job_ids: Collection[str], on_look: OnLook | None) -> Iterator[Listener]:
        """Hear of some jobs as long as the context lasts.

        What is read in it needs no second look before it is waited for: no end falls in between.
        """
        listener = Listener(job_ids, on_look)
        unsubscribe = self._bus.subscribe(listener.notice)
        self._listeners.add(listener)
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            unsubscribe()

    async def wait(
        self,
        jobs: Sequence[Job],
        *,
        mode: Literal["any", "all"],
        wait_s: float,
        on_look: OnLook | None,
        listener: Listener | None = None,
    ) -> Sequence[Job]:
        """Return the jobs as they are when any or all have ended, or after `wait_s` seconds.

        A job that begins to wait for input counts too: its caller may have to do something.
        `listener` is one that listened already when the jobs were read.
        """
        asking = _asking(jobs)
        done = any if mode == "any" else all
        with ExitStack() as stack, anyio.move_on_after(wait_s) as time:
            if listener is None:
                listener = stack.enter_context(self.listening({job.id for job in jobs}, on_look))
                jobs = await self._look(jobs)
            while True:
                asking &= _asking(jobs)
                if self._ended or done(_is_news(job, asking) for job in jobs):
                    break
                if on_look is not None:
                    await on_look(jobs)
                with anyio.move_on_after(_HEARTBEAT_S):
                    await listener.changed.wait()
                listener.changed = anyio.Event()
                jobs = await self._look(jobs)
        # Whoever hears only of ends has not heard what happened since the last look.
        return await self._look(jobs) if time.cancelled_caught else jobs

    async def _look(self, jobs: Sequence[Job]) -> Sequence[Job]:
        return [await self._store.find(job.id) or job for job in jobs]


def _asking(jobs: Sequence[Job]) -> set[str]:
    return {job.id for job in jobs if job.status is Status.INPUT_REQUIRED}


def _is_news(job: Job, asking: set[str]) -> bool:
    return job.ended or (job.status is Status.INPUT_REQUIRED and job.id not in asking)
