"""Remove what was prepared for jobs that the store has ended by itself, before they could run.

A job ends within the step that ends another one: since it waited for that one, or since a later
start took its place. Nobody supervises it, so its files are removed by every process that hears of
the end. What is missed, as all of them may be killed, retention finds.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import anyio

from mcp_jobs.domain.errors import HomeGoneError, StoreError
from mcp_jobs.domain.events import JobChanged
from mcp_jobs.domain.states import Reason, Status

if TYPE_CHECKING:
    from mcp_jobs.domain.events import Bus, Event
    from mcp_jobs.execution.base import Executor
    from mcp_jobs.store import Store

logger = logging.getLogger(__name__)

_BY_STORE: Final = (Reason.DEPENDENCY_FAILED, Reason.SUPERSEDED)
_MOST: Final = 10_000
"""So many ends are remembered; what is beyond, retention finds."""

_AGAIN_S: Final = 1.0


class Leftovers:
    """Listens for such ends from its making on."""

    def __init__(self, *, store: Store, bus: Bus, executor: Executor) -> None:
        self._store = store
        self._executor = executor
        self._ended: dict[str, None] = {}
        self._woken = anyio.Event()
        bus.subscribe(self._on_event)

    def _on_event(self, event: Event) -> None:
        if isinstance(event, JobChanged) and event.status is Status.CANCELLED:
            if len(self._ended) < _MOST:
                self._ended[event.job_id] = None
            self._woken.set()

    async def run(self) -> None:
        """Clean up after such ends, for ever."""
        while True:
            await self._woken.wait()
            try:
                await self.remove()
            except HomeGoneError:
                # Said elsewhere, once, by who ends this process.
                await anyio.sleep_forever()
            except StoreError as error:
                logger.warning("cannot clean up after jobs that ended: %s", error)
                await anyio.sleep(_AGAIN_S)

    async def remove(self) -> None:
        """Clean up after those that are known by now. Raises `StoreError`; again is fine."""
        ids = tuple(self._ended)
        jobs = [await self._store.find(job_id) for job_id in ids]
        ended = [job.id for job in jobs if job is not None and job.reason in _BY_STORE]
        if ended:
            await self._executor.finish(*ended)
        for job_id in ids:
            self._ended.pop(job_id, None)
        if not self._ended:
            self._woken = anyio.Event()
