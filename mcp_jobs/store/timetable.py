"""What a store keeps of schedules."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp_jobs.domain.models import Job
    from mcp_jobs.domain.schedules import Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Fired:
    """What became of a fire that was due."""

    next_fire_at_ms: int | None
    fire_at_ms: int | None = None
    """The fire that has started a job; None when none did."""
    missed: int = 0
    """How many more have come to nothing."""
    skipped: int = 0
    """How many more were left out by `overlap`."""
    problem: str | None = None
    """Why the job could not be started."""


class Schedules(Protocol):
    """The schedules of all owners. Each method is one guarded step, durable when it returns.

    Every change is told to all processes, and so is every end of a job that a schedule has started.
    """

    async def add(self, schedule: Schedule, *, most: int) -> bool:
        """Store a new schedule; False when its name is taken, or the owner has `most` of them."""
        ...

    async def declare(self, schedule: Schedule) -> bool:
        """Store what a file declares; returns whether that is something new.

        What is known already keeps its id, its pause and what became of its fires.
        """
        ...

    async def remove(self, schedule_id: str, *, unless_paused: bool = False) -> bool:
        """Forget a schedule; its jobs stay. False when it is not there, or held back."""
        ...

    async def find(self, schedule_id: str) -> Schedule | None:
        """Return one schedule, whoever owns it."""
        ...

    async def of(self, owner: str | None = None) -> Sequence[Schedule]:
        """Return the schedules of an owner, or of all, by their names."""
        ...

    async def declared_in(self, file: str) -> Sequence[Schedule]:
        """Return those that a file declares."""
        ...

    async def due(self, now_ms: int, *, shared: bool, limit: int) -> Sequence[Schedule]:
        """Return those that are due and not paused, the longest due first.

        Those that were added over HTTP only if `shared`.
        """
        ...

    async def next_due_ms(self, after_ms: int) -> int | None:
        """Return when the next one will be due that is not yet."""
        ...

    async def advance(self, schedule: Schedule, fired: Fired) -> bool:
        """Store what became of the fire that `schedule` shows as next; False when that is done."""
        ...

    async def pause(self, schedule_id: str, *, by: str, why: str | None, now_ms: int) -> bool:
        """Hold a schedule; False when it was held already, or is not there."""
        ...

    async def resume(self, schedule_id: str, *, next_fire_at_ms: int | None) -> bool:
        """Let it go on; False when it was not held."""
        ...

    async def jobs_of(self, schedule_id: str, *, limit: int) -> Sequence[Job]:
        """Return the jobs that it has started, the newest fire first."""
        ...

    async def unfinished(self, schedule_id: str) -> Sequence[Job]:
        """Return those of them that have not ended, oldest first."""
        ...
