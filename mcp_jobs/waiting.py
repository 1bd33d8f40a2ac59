"""Wait for jobs to end, bounded, without polling the store."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Final, Literal

import anyio

from mcp_jobs.events import JobChanged
from mcp_jobs.models import Job
from mcp_jobs.states import Status

if TYPE_CHECKING:
    from mcp_jobs.events import Bus, Event
    from mcp_jobs.store import Store

OnLook = Callable[[Sequence[Job]], Awaitable[None]]
"""Told of the jobs each time they were looked at."""

_HEARTBEAT_S: Final = 5.0
"""Callers hear something this often, even of a silent job."""


class Waiter:
    """Wakes callers by events on the bus."""

    def __init__(self, *, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus

    async def wait(
        self,
        jobs: Sequence[Job],
        *,
        mode: Literal["any", "all"],
        wait_s: float,
        on_look: OnLook | None,
    ) -> Sequence[Job]:
        """Return the jobs as they are when any or all have ended, or after `wait_s` seconds.

        A job that begins to wait for input counts too: its caller may have to do something.
        """
        asking = {job.id for job in jobs if job.status is Status.INPUT_REQUIRED}
        ids = {job.id for job in jobs}
        done = any if mode == "any" else all
        changed = anyio.Event()

        def listen(event: Event) -> None:
            if not isinstance(event, JobChanged) or event.job_id not in ids:
                return
            # Whoever reports nothing on the way need not look before there is something to do.
            if on_look is not None or event.ended or event.status is Status.INPUT_REQUIRED:
                changed.set()

        unsubscribe = self._bus.subscribe(listen)
        try:
            with anyio.move_on_after(wait_s):
                while True:
                    # Looked at after subscribing, so that no end falls in between.
                    jobs = await self._look(jobs)
                    asking &= {job.id for job in jobs if job.status is Status.INPUT_REQUIRED}
                    if done(_is_news(job, asking) for job in jobs):
                        break
                    if on_look is not None:
                        await on_look(jobs)
                    with anyio.move_on_after(_HEARTBEAT_S):
                        await changed.wait()
                    changed = anyio.Event()
        finally:
            unsubscribe()
        return jobs

    async def _look(self, jobs: Sequence[Job]) -> Sequence[Job]:
        return [await self._store.find(job.id) or job for job in jobs]


def _is_news(job: Job, asking: set[str]) -> bool:
    return job.ended or (job.status is Status.INPUT_REQUIRED and job.id not in asking)
