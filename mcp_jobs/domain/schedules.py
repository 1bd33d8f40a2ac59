"""Jobs that begin by the clock: what a schedule says, and what is to be done at a moment."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, get_args

from mcp_jobs.domain.cron import cron_times

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from mcp_jobs.domain.models import Job

Overlap = Literal["skip", "queue_one", "cancel_running", "allow"]
"""What a fire does while a job of the same schedule has not ended: nothing; wait for it, once;
end it and begin when it is gone; or begin beside it."""

OVERLAPS: Final[tuple[Overlap, ...]] = get_args(Overlap)
CATCHUP_S: Final = 3600.0
LONGEST_CATCHUP_S: Final = 366 * 86_400.0
PUNCTUAL_MS: Final = 10_000
"""A fire that comes this late by a busy machine is on time."""

DEFAULT_ZONE: Final = "UTC"
"""The zone of schedules that name none."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrence:
    """When something is started again and again, and with what. Checked: see `recurrence`."""

    cron: str
    timezone: str = DEFAULT_ZONE
    params: Mapping[str, Any] = field(default_factory=dict)
    overlap: Overlap = "skip"
    catchup_s: float = CATCHUP_S
    """How late the latest missed fire may be made up for."""

    def next_after(self, moment_ms: int) -> int | None:
        """Return the first fire after a moment."""
        return cron_times(self.cron, self.timezone).after(moment_ms)


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """One schedule as the store has it at one moment."""

    id: str
    owner: str
    name: str
    """Stands once for its owner and `declared_in`."""
    type: str
    recurrence: Recurrence
    cwd: str | None
    """Where its jobs run; None for where their type says."""
    project: str | None
    """The directory whose job types it starts; None for those of the user alone."""
    declared_in: str | None
    """The file that declares it; None for one that somebody has added."""
    shared: bool
    """It was added over HTTP, and only such servers start its jobs."""
    created_at_ms: int
    next_fire_at_ms: int | None
    """None: there is no time left in the calendar."""
    last_fire_at_ms: int | None = None
    missed: int = 0
    """How many fires have come to nothing, since nobody lived or the job could not be started."""
    skipped: int = 0
    """How many have been left out by `overlap`."""
    problem: str | None = None
    """Why the last fire could not be made; None when it was."""
    paused_by: str | None = None
    paused_why: str | None = None
    paused_at_ms: int | None = None

    @property
    def paused(self) -> bool:
        """Whether it is held."""
        return self.paused_at_ms is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """What a schedule owes at a moment."""

    fire_at_ms: int
    """The latest of its fires."""
    late: bool
    """It is too late to make up for it."""
    before: int
    """How many fires came before it and count as missed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """What a fire does about the jobs of the schedule that have not ended."""

    start: bool
    after: tuple[str, ...] = ()
    """The new job begins when these have ended."""
    cancel: bool = False
    """Those are to be ended."""


def recurrence(
    cron: str,
    *,
    timezone: str | None = None,
    params: Mapping[str, Any] | None = None,
    overlap: str | None = None,
    catchup_s: float | None = None,
) -> Recurrence:
    """Return a checked recurrence. Raises ValueError that says what is wrong and allowed."""
    zone = DEFAULT_ZONE if timezone is None else timezone
    cron_times(cron, zone)
    chosen = next((one for one in OVERLAPS if one == (overlap or OVERLAPS[0])), None)
    if chosen is None:
        raise ValueError(f"overlap {overlap!r} is none of {', '.join(OVERLAPS)}")
    bound_s = CATCHUP_S if catchup_s is None else float(catchup_s)
    if not 0 <= bound_s <= LONGEST_CATCHUP_S:
        raise ValueError(f"catchup_seconds is 0 to {LONGEST_CATCHUP_S:.0f}, not {bound_s:g}")
    return Recurrence(
        cron=" ".join(cron.split()),
        timezone=zone,
        params=dict(params or {}),
        overlap=chosen,
        catchup_s=bound_s,
    )


def owed(schedule: Schedule, now_ms: int) -> Owed | None:
    """Return what a schedule owes; None while its next fire is to come, or it is paused."""
    first_ms = schedule.next_fire_at_ms
    if schedule.paused or first_ms is None or first_ms > now_ms:
        return None
    rule = schedule.recurrence
    times = cron_times(rule.cron, rule.timezone)
    # After the rules of a time zone have changed, the stored time may be none of the times any
    # more; it was promised, and is kept.
    latest_ms = max(times.latest(now_ms) or first_ms, first_ms)
    late_ms = now_ms - latest_ms
    return Owed(
        fire_at_ms=latest_ms,
        late=late_ms > max(rule.catchup_s * 1000, PUNCTUAL_MS),
        before=times.count(first_ms, latest_ms - 1),
    )


def step(overlap: Overlap, unfinished: Sequence[Job], *, begun: Collection[str]) -> Step:
    """Return what a fire does while `unfinished` jobs have not ended, of which some have `begun`.

    They are those of other fires than this one.
    """
    if not unfinished or overlap == "allow":
        return Step(start=True)
    ids = tuple(job.id for job in unfinished)
    if overlap == "cancel_running":
        return Step(start=True, after=ids, cancel=True)
    waits = any(job_id not in begun for job_id in ids)
    if overlap == "queue_one" and not waits:
        return Step(start=True, after=ids)
    return Step(start=False)
