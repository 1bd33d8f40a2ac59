"""What holds up a job that waits: locks, other jobs, pauses."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Literal

from mcp_jobs.domain import display
from mcp_jobs.domain.states import Status

if TYPE_CHECKING:
    from mcp_jobs.domain.models import Job

PauseKind = Literal["all", "type", "lock"]

WAITING: Final = frozenset({Status.PENDING, Status.RETRYING})
"""The states of jobs that are to begin, or to be tried again."""

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

    @property
    def what(self) -> str:
        """What is held, in one word: `all`, `type:NAME` or `lock:NAME`."""
        return f"{self.kind}:{self.name}" if self.name else self.kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Obstacles:
    """What may hold up a waiting job, at one moment. Ids of other owners' jobs are left out."""

    attempt: int = 0
    """How many attempts of it had begun then."""
    running: int = 0
    """How many jobs of all owners ran then."""
    taken_locks: tuple[str, ...] = ()
    holders: tuple[str, ...] = ()
    """Jobs that hold them."""
    open_parents: tuple[str, ...] = ()
    """Jobs that it waits for and that have not ended."""
    pauses: tuple[Pause, ...] = ()


class WaitKind(StrEnum):
    """What a job waits for."""

    CAPACITY = "capacity"
    LOCK = "lock"
    AFTER = "after"
    PAUSED = "paused"
    DELAY = "delay"
    APPROVAL = "approval"
    INPUT = "input"
    SCHEDULE = "schedule"
    PLACEMENT = "placement"


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingFor:
    """What a job waits for now."""

    kind: WaitKind
    names: tuple[str, ...] = ()
    """Of locks; of what is paused: `all`, `type:NAME`, `lock:NAME`; of the schedule."""
    job_ids: tuple[str, ...] = ()
    """Jobs of the same owner that are in the way, as far as they are known."""
    since_ms: int | None = None
    """Since when it is in the way; None where that is not known."""


def waiting_for(
    job: Job, obstacles: Obstacles, *, slot_free: bool, now_ms: int
) -> WaitingFor | None:
    """Return what a job waits for; None when it does not wait, or begins now.

    Where several things hold it up, it is the first of these: a person (approval, input), other
    jobs (after), a pause, its time (schedule, delay), a lock, the capacity. What comes before a
    lock goes in its own time, whatever else is in the way; locks and slots are given out at last,
    to whoever waits for nothing else. `obstacles` are of the moment that `job` shows.
    """
    if job.status is Status.INPUT_REQUIRED and job.cancel_requested_at_ms is None:
        return _for_a_person(job)
    if job.status not in WAITING:
        return None
    if obstacles.open_parents:
        return WaitingFor(
            kind=WaitKind.AFTER, job_ids=obstacles.open_parents, since_ms=job.created_at_ms
        )
    if obstacles.pauses:
        return _for_resumption(job, obstacles.pauses)
    if job.run_at_ms > now_ms:
        return _for_its_time(job)
    if obstacles.taken_locks:
        return WaitingFor(
            kind=WaitKind.LOCK, names=obstacles.taken_locks, job_ids=obstacles.holders
        )
    return None if slot_free else WaitingFor(kind=WaitKind.CAPACITY)


def _for_a_person(job: Job) -> WaitingFor:
    if job.attempt:
        return WaitingFor(kind=WaitKind.INPUT)
    return WaitingFor(kind=WaitKind.APPROVAL, since_ms=job.created_at_ms)


def _for_resumption(job: Job, pauses: tuple[Pause, ...]) -> WaitingFor:
    since_ms = max(job.created_at_ms, min(each.at_ms for each in pauses))
    names = tuple(each.what for each in pauses)
    # An earlier attempt may have run since then.
    return WaitingFor(kind=WaitKind.PAUSED, names=names, since_ms=None if job.attempt else since_ms)


def _for_its_time(job: Job) -> WaitingFor:
    if job.attempt:
        return WaitingFor(kind=WaitKind.DELAY)
    if job.schedule is not None:
        return WaitingFor(kind=WaitKind.SCHEDULE, names=(job.schedule,), since_ms=job.created_at_ms)
    return WaitingFor(kind=WaitKind.DELAY, since_ms=job.created_at_ms)


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
