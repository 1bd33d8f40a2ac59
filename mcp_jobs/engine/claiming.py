"""The backend of a store that is asked for due jobs: claims them, up to the shared capacity."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from mcp_jobs.domain.errors import StoreError
from mcp_jobs.domain.events import GatesChanged, JobChanged
from mcp_jobs.domain.states import Status
from mcp_jobs.engine.queue_state import QueueState
from mcp_jobs.engine.rounds import Rounds

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.events import Bus, Event
    from mcp_jobs.engine.supervision import Supervision
    from mcp_jobs.engine.upkeep import Upkeep
    from mcp_jobs.execution.base import Executor, Members
    from mcp_jobs.settings import Settings
    from mcp_jobs.store import Store

_LONGEST_NAP_S: Final = 5.0
"""Bounds what a jump of the wall clock can delay a job by."""


class ClaimLoop:
    """One owner of jobs: a server's or worker's share of the work, as a `Backend`."""

    def __init__(
        self,
        *,
        members: Members,
        executor: Executor,
        store: Store,
        bus: Bus,
        supervision: Supervision,
        settings: Settings,
        clock: Clock,
        upkeep: Upkeep,
    ) -> None:
        self._members = members
        self._executor = executor
        self._store = store
        self._bus = bus
        self._supervision = supervision
        self._settings = settings
        self._clock = clock
        self._upkeep = upkeep
        self._rounds = Rounds("due jobs", longest_s=_LONGEST_NAP_S)
        self._queue = QueueState()
        self._ended = anyio.Event()
        supervision.on_end(self._on_end)

    async def run(self) -> None:
        """Work until cancelled, as `Backend.run`."""
        unsubscribe = self._bus.subscribe(self._on_event)
        try:
            async with anyio.create_task_group() as tasks:
                # A fault of the loop must not end the care for jobs that run.
                claims = partial(self._claim_for_ever, tasks)
                await self._upkeep.keep("backend: claims", claims)
        finally:
            unsubscribe()

    async def drained(self) -> None:
        """Return when no job of this place waits or runs, as `Backend.drained`."""
        while self._supervision or await self._store.unfinished(self._executor.locality):
            with anyio.move_on_after(_LONGEST_NAP_S):
                await self._ended.wait()
            self._ended = anyio.Event()

    def wake(self) -> None:
        """Look for due jobs now."""
        self._queue.distrust()
        self._rounds.wake()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, GatesChanged):
            self.wake()
        if not isinstance(event, JobChanged):
            return
        if event.ended or event.status is Status.INPUT_REQUIRED:
            self._ended.set()
        if self._queue.hear(event):
            self._rounds.wake()

    def _on_end(self, job_id: str) -> None:
        self._ended.set()
        self._queue.note_freed(job_id)
        self._rounds.wake()

    async def _claim_for_ever(self, tasks: TaskGroup) -> None:
        # After a fault there may be jobs that were claimed and are supervised by nobody.
        self._supervision.doubt()
        await self._rounds.run(partial(self._look, tasks))

    async def _look(self, tasks: TaskGroup, unasked: bool) -> float | None:
        if unasked:
            # A look costs little, and trusts no event to have come.
            self._queue.distrust()
        self._queue.begin()
        try:
            # Shielded: a claim whose answer is lost would belong to nobody who knows it.
            with anyio.CancelScope(shield=True):
                await self._claim_due(tasks)
        except StoreError:
            # As may one that failed in the middle.
            self._supervision.doubt()
            raise
        return self._queue.due_in_s(self._clock.now_ms())

    async def _claim_due(self, tasks: TaskGroup) -> None:
        """Claim what is due as long as there are slots."""
        while self._queue.may_give(now_ms := self._clock.now_ms()):
            claimed = await self._store.claim(
                claimer=self._members.own_id,
                locality=self._executor.locality,
                incarnation=self._executor.here,
                capacity=self._settings.capacity,
                now_ms=now_ms,
            )
            if claimed is None:
                due = await self._store.due(self._executor.locality, now_ms=now_ms)
                self._queue.gave_nothing(due, capacity=self._settings.capacity)
                continue
            self._queue.gave(claimed, capacity=self._settings.capacity)
            self._supervision.start(tasks, claimed.job)
