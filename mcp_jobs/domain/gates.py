"""What holds up a job that waits: locks, other jobs, pauses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

PauseKind = Literal["all", "type", "lock"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause:
    """What is held: everything, a job type, or the users of a lock."""

    kind: PauseKind
    name: str
    """Empty for everything."""
    paused_by: str
    why: str | None
    at_ms: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacles:
    """What may hold up a waiting job, at one moment. Ids of other owners' jobs are left out."""

    taken_locks: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()
    """Jobs that hold them."""
    open_parents: tuple[str, ...] = ()
    """Jobs that it waits for and that have not ended."""
    pauses: tuple[Pause, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """A lock, as it is used now."""

    name: str
    capacity: int
    holders: tuple[str, ...]
    """Jobs that hold it, of every owner."""
    waiting: int
    """How many jobs of all owners wait for it, and for nothing of `after`."""
