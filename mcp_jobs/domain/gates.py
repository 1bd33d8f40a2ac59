"""What holds up a job that waits: locks, other jobs, pauses."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from mcp_jobs.domain import display

PauseKind = Literal["all", "type", "lock"]

LOWEST_PRIORITY: Final = -100
HIGHEST_PRIORITY: Final = 100
MOST_LOCKS: Final = 8
"""How many locks a job may hold."""

MOST_PARENTS: Final = 32
"""For how many jobs a job may wait."""

MOST_CAPACITY: Final = 1000
LOCK_CHARS: Final = 64
PROJECT: Final = "{project}"
"""In the name of a lock: the project that the job runs in."""


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


def lock_name(text: str) -> str:
    """Return what somebody wrote as the name of a lock; raises ValueError for what is none."""
    printable = text.isprintable() and text == text.strip()
    plain = not {"{", "}"} & set(text.replace(PROJECT, ""))
    if printable and plain and 0 < len(text) <= LOCK_CHARS:
        return text
    raise ValueError(
        f"{display.line(text[:LOCK_CHARS])!r} cannot be the name of a lock; a name has 1 to "
        f"{LOCK_CHARS} printable characters, no space at its ends, and braces only in {PROJECT}, "
        "which stands for the directory of the project"
    )


def lock_of(name: str, project: str) -> str:
    """Return the lock that a name means in a project, which is its directory."""
    return name.replace(PROJECT, display.line(project))
