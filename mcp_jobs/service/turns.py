"""What waiting jobs wait for, as far as their owner may know it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mcp_jobs.domain.gates import WAITING, Obstacles, WaitKind, waiting_for
from mcp_jobs.domain.models import JobFilter
from mcp_jobs.domain.states import Status
from mcp_jobs.service.next_step import Queue, Turn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.models import Job, Page
    from mcp_jobs.settings import Settings
    from mcp_jobs.store import Store

_HOLDERS: Final = 3
"""Running jobs that are named to whoever waits for their end."""
_NOTHING: Final = Obstacles()


class Turns:
    """Looks at what holds up jobs, all of them of one owner."""

    def __init__(self, *, store: Store, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock

    async def of(self, jobs: Sequence[Job], positions: Mapping[str, int]) -> Mapping[str, Turn]:
        """Return for each job what it waits for, by its id; `positions` are those in the queue.

        A job that is not there has begun since its row was read, or has ended.
        """
        waiting = [job.id for job in jobs if job.status in WAITING]
        found = await self._store.gates.obstacles(waiting) if waiting else {}
        turns: dict[str, Turn] = {}
        running: list[Page] = []
        for job in jobs:
            if job.status not in WAITING:
                turns[job.id] = self._decided(job, _NOTHING, slot_free=True)
            elif job.id in found and found[job.id].attempt == job.attempt:
                turns[job.id] = await self._of_waiting(
                    job, found[job.id], positions.get(job.id), running
                )
        return turns

    def _decided(self, job: Job, obstacles: Obstacles, *, slot_free: bool) -> Turn:
        wait = waiting_for(job, obstacles, slot_free=slot_free, now_ms=self._clock.now_ms())
        return Turn(waiting_for=wait, obstacles=obstacles)

    async def _of_waiting(
        self, job: Job, obstacles: Obstacles, position: int | None, running: list[Page]
    ) -> Turn:
        free = self._settings.capacity - obstacles.running
        turn = self._decided(job, obstacles, slot_free=free > 0)
        if turn.waiting_for is None and position is not None and position > free:
            now_ms = self._clock.now_ms()
            # Those before it may be held up, and then the slot is for this one.
            before = await self._store.gates.ready_before(job.id, now_ms=now_ms, most=free)
            turn = self._decided(job, obstacles, slot_free=before < free)
        if turn.waiting_for is None or turn.waiting_for.kind is not WaitKind.CAPACITY:
            return turn
        if not running:
            where = JobFilter(statuses=(Status.RUNNING,))
            running.append(await self._store.list(job.owner, where, limit=_HOLDERS, cursor=None))
        holders = running[0].jobs
        return replace(
            turn,
            waiting_for=replace(turn.waiting_for, job_ids=tuple(each.id for each in holders)),
            queue=Queue(
                position=position,
                capacity=self._settings.capacity,
                holders=holders,
                others=max(0, obstacles.running - len(holders)),
            ),
        )
