"""The schedule object: one and the same wherever a schedule is shown.

Its fields are declared as those of the job object are; this module has no `from __future__ import
annotations` for the same reason.
"""

from collections.abc import Callable, Sequence
from itertools import islice
from typing import Annotated, Any, Final, NamedTuple, TypedDict

from mcp_jobs.domain import models
from mcp_jobs.domain.cron import cron_times
from mcp_jobs.domain.declaration import Field, maker
from mcp_jobs.domain.job_object import rfc3339
from mcp_jobs.domain.schedules import Schedule

SHOWN_FIRES: Final = 3
SHOWN_JOBS: Final = 5


class Seen(NamedTuple):
    """What is known of a schedule at one moment besides its row."""

    now_ms: int
    jobs: Sequence[models.Job]
    """The newest that it has started."""


class FiredJob(TypedDict):
    """A job that a schedule has started."""

    job_id: Annotated[str, Field("Its id.", "id")]
    fire_at: Annotated[
        str | None, Field("For which time it was started.", lambda job, _: rfc3339(job.fire_at_ms))
    ]
    status: Annotated[str, Field("Its state.")]
    reason: Annotated[
        str | None,
        Field("Why it failed or was cancelled.", lambda job, _: job.reason and job.reason.value),
    ]
    finished_at: Annotated[
        str | None, Field("When it ended.", lambda job, _: rfc3339(job.finished_at_ms))
    ]


class SchedulePause(TypedDict):
    """Who holds a schedule, and why."""

    by: Annotated[str | None, Field("Who holds it.", "paused_by")]
    why: Annotated[str | None, Field("For what reason.", "paused_why")]
    at: Annotated[str | None, Field("Since when.", lambda of, _: rfc3339(of.paused_at_ms))]


def _rule(name: str) -> Callable[[Schedule, object], Any]:
    return lambda schedule, _: getattr(schedule.recurrence, name)


def _next_fires(schedule: Schedule, seen: Seen) -> list[str | None]:
    first_ms = schedule.next_fire_at_ms
    if schedule.paused or first_ms is None:
        return []
    rule = schedule.recurrence
    try:
        later = cron_times(rule.cron, rule.timezone).all_after(max(first_ms, seen.now_ms))
        fires = [first_ms, *islice(later, SHOWN_FIRES - 1)]
    except ValueError:
        # Its time zone is not known on this machine.
        fires = [first_ms]
    return [rfc3339(fire_ms) for fire_ms in fires]


def _paused(schedule: Schedule, _: object) -> dict[str, Any] | None:
    return _made_of_pause(schedule, None) if schedule.paused else None


class ScheduleObject(TypedDict):
    """A schedule."""

    schedule_id: Annotated[str, Field("Its id.", "id")]
    name: Annotated[str, Field("Its name; a declared one is called as its job type.")]
    type: Annotated[str, Field("The job type that it starts.")]
    params: Annotated[dict[str, Any], Field("The parameters of its jobs.", _rule("params"))]
    cwd: Annotated[str | None, Field("Where its jobs run; null: where their type says.")]
    project: Annotated[str | None, Field("The directory whose job types it starts.")]
    declared_in: Annotated[
        str | None, Field("The file that declares it; null for one that was added.")
    ]
    cron: Annotated[
        str, Field("Minute, hour, day of the month, month, day of the week.", _rule("cron"))
    ]
    timezone: Annotated[str, Field("The time zone of these times.", _rule("timezone"))]
    overlap: Annotated[
        str,
        Field(
            "What happens while a job of it has not ended: `skip`, `queue_one`, `cancel_running` "
            "or `allow`.",
            _rule("overlap"),
        ),
    ]
    catchup_seconds: Annotated[
        float, Field("How late a missed fire may be made up for.", _rule("catchup_s"))
    ]
    created_at: Annotated[
        str | None, Field("When it was made.", lambda of, _: rfc3339(of.created_at_ms))
    ]
    paused: Annotated[SchedulePause | None, Field("Who holds it and why; null: nobody.", _paused)]
    next_fires: Annotated[list[str], Field("When it fires next; empty while paused.", _next_fires)]
    last_fire_at: Annotated[
        str | None,
        Field("The last time that has started a job.", lambda of, _: rfc3339(of.last_fire_at_ms)),
    ]
    missed: Annotated[
        int, Field("How many fires came to nothing: nobody lived, or the job could not be started.")
    ]
    skipped: Annotated[int, Field("How many fires `overlap` has left out.")]
    problem: Annotated[
        str | None, Field("Why the last fire came to nothing; null when it did not.")
    ]
    last_jobs: Annotated[
        list[FiredJob],
        Field(
            "The newest jobs that it has started, as long as they are kept.",
            lambda _, seen: [_made_of_fired(job, None) for job in seen.jobs],
        ),
    ]


class ScheduleList(TypedDict):
    """The schedules of an owner."""

    schedules: Annotated[list[ScheduleObject], Field("The schedules, by their names.")]


_made_of_fired = maker(FiredJob)
_made_of_pause = maker(SchedulePause)
_made_of_schedule = maker(ScheduleObject)


def schedule_object(
    schedule: Schedule, *, now_ms: int, jobs: Sequence[models.Job]
) -> dict[str, Any]:
    """Return a schedule with the newest jobs that it has started."""
    return _made_of_schedule(schedule, Seen(now_ms, jobs))
