"""Publish on the bus what the store says has changed, whichever process changed it.

There is one path for everything: after its own write a process calls `nudge`, and the store tells
of what others wrote. So no change is published before it is stored, none twice, and none is missed.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import anyio

from mcp_jobs.domain.errors import HomeGoneError, StoreError
from mcp_jobs.domain.events import GatesChanged, JobChanged, SchedulesChanged
from mcp_jobs.domain.states import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mcp_jobs.domain.events import Bus, Event
    from mcp_jobs.store import Change, Store

logger = logging.getLogger(__name__)

_COALESCE_S: Final = 0.001
_BATCH: Final = 1000
_LOOK_S: Final = 60.0
_AGAIN_S: Final = 0.1


class ChangeFeed:
    """Carries stored changes to the bus."""

    def __init__(self, store: Store, bus: Bus) -> None:
        self._store = store
        self._bus = bus
        self._seen: int | None = None
        self._reading = anyio.Lock()
        self._woken = anyio.Event()

    async def start(self) -> None:
        """Begin with what changes from now on."""
        if self._seen is None:
            self._seen = await self._store.last_change()

    async def run(self) -> None:
        """Publish for ever. A store that fails now may be whole again at the next look."""
        await self.start()
        # After a fault, what changed meanwhile is still to be told.
        self.nudge()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._patiently, self._watch)
            await self._patiently(self._publish)

    async def _patiently(self, step: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await step()
            except HomeGoneError:
                # Said elsewhere, once, by who ends this process.
                await anyio.sleep_forever()
            except StoreError as error:
                logger.warning("cannot read what changed: %s", error)
                self.nudge()
                await anyio.sleep(_AGAIN_S)

    async def _watch(self) -> None:
        if await self._store.wait_for_change(_LOOK_S):
            self.nudge()

    async def _publish(self) -> None:
        await self._woken.wait()
        # The answer to the caller goes out first, and a burst of changes is read at once.
        await anyio.sleep(_COALESCE_S)
        self._woken = anyio.Event()
        await self.flush()

    def nudge(self) -> None:
        """Publish now what this process has just stored, without making the caller wait."""
        self._woken.set()

    async def flush(self) -> None:
        """Publish everything that is stored and not yet published."""
        async with self._reading:
            if self._seen is None:
                return
            more = True
            while more:
                changes = await self._store.changes_after(self._seen, limit=_BATCH)
                more = len(changes) == _BATCH
                for change in changes:
                    self._seen = change.seq
                    self._bus.publish(_event(change))


def _event(change: Change) -> Event:
    if change.about == "schedules":
        return SchedulesChanged(owner=change.owner, added=change.created)
    if change.status is None:
        return GatesChanged()
    return JobChanged(
        job_id=change.job_id,
        owner=change.owner,
        status=change.status,
        created=change.created,
        ended=change.status in TERMINAL,
        seq=change.seq,
    )
