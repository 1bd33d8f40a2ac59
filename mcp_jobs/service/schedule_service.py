"""Add, show, pause, run and remove schedules: what every adapter offers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.domain.errors import InvalidInputError, TooManyError, UnknownScheduleError
from mcp_jobs.domain.ids import new_id
from mcp_jobs.domain.limits import passable
from mcp_jobs.domain.schedule_object import SHOWN_JOBS, schedule_object
from mcp_jobs.domain.schedules import Schedule, Step, recurrence
from mcp_jobs.job_types.registry import check_scheduled

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.models import Job
    from mcp_jobs.service.schedule_requests import AddSchedule
    from mcp_jobs.service.schedule_types import ScheduleTypes
    from mcp_jobs.service.scheduling import Scheduling
    from mcp_jobs.store import Store

MOST_SCHEDULES: Final = 1_000
"""Schedules of one owner."""

_WHY_CHARS: Final = 500
_IDS_SHOWN: Final = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """Whose schedules a caller may see and change."""

    owner: str
    everybody: bool = False
    """Those of all owners."""

    def covers(self, schedule: Schedule) -> bool:
        """Say whether it may see and change a schedule."""
        return self.everybody or schedule.owner == self.owner


class ScheduleService:
    """The operations on schedules, within the reach of a caller.

    Raises `InvalidInputError`, `UnknownScheduleError`, `TooManyError` and `StoreError`. A schedule
    is named by its name, its id, or a beginning or an end of that.
    """

    def __init__(
        self, *, store: Store, scheduling: Scheduling, types: ScheduleTypes, clock: Clock
    ) -> None:
        self._schedules = store.schedules
        self._scheduling = scheduling
        self._types = types
        self._clock = clock

    async def list(self, reach: Reach) -> dict[str, Any]:
        """Return all schedules with their next fires, their last jobs, and what they missed."""
        found = await self._within(reach)
        return {"schedules": [await self._shown(schedule) for schedule in found]}

    async def show(self, reach: Reach, named: str) -> dict[str, Any]:
        """Return one schedule."""
        return await self._shown(await self.find(reach, named))

    async def add(self, owner: str, asked: AddSchedule, *, shared: bool = False) -> dict[str, Any]:
        """Store a schedule, whose job must be one that could be started now.

        With `shared`, only servers that share their jobs start it: it came over HTTP.
        """
        now_ms = self._clock.now_ms()
        try:
            rule = recurrence(
                asked.cron,
                timezone=asked.timezone,
                params=asked.params,
                overlap=asked.overlap,
                catchup_s=asked.catchup_seconds,
            )
        except ValueError as error:
            raise InvalidInputError(f"The schedule cannot be used: {error}") from None
        schedule = Schedule(
            id=new_id(now_ms),
            owner=owner,
            name=asked.name,
            type=asked.type,
            recurrence=rule,
            cwd=asked.cwd,
            project=self._types.project,
            declared_in=None,
            shared=shared,
            created_at_ms=now_ms,
            next_fire_at_ms=rule.next_after(now_ms),
        )
        schedule = self._tried(schedule)
        if not await self._schedules.add(schedule, most=MOST_SCHEDULES):
            raise await self._not_added(owner, asked.name)
        return await self._shown(schedule)

    def _tried(self, schedule: Schedule) -> Schedule:
        """Return a schedule whose job can be started, in the directory that it is started in."""
        job_type = self._types.registry_of(schedule).get(schedule.type)
        try:
            check_scheduled(job_type.params, schedule.recurrence.params)
        except ValueError as error:
            raise InvalidInputError(
                f"params do not fit the job type {schedule.type!r}: {error}"
            ) from None
        return self._scheduling.placed(schedule, job_type)

    async def _not_added(self, owner: str, name: str) -> InvalidInputError | TooManyError:
        if len(await self._schedules.of(owner)) >= MOST_SCHEDULES:
            return TooManyError(
                f"Nothing was stored: {MOST_SCHEDULES} schedules are your share. Remove some."
            )
        return InvalidInputError(
            f"There is a schedule {name!r} already. Choose another name, or remove that one first."
        )

    async def pause(self, reach: Reach, named: str, *, by: str, why: str | None) -> dict[str, Any]:
        """Hold a schedule; what comes meanwhile is not made up for."""
        schedule = await self.find(reach, named)
        told = None if why is None else _reason(why)
        now_ms = self._clock.now_ms()
        await self._schedules.pause(schedule.id, by=by, why=told, now_ms=now_ms)
        return await self._shown_now(schedule)

    async def resume(self, reach: Reach, named: str) -> dict[str, Any]:
        """Let a schedule go on with the next of its times."""
        schedule = await self.find(reach, named)
        next_ms = schedule.recurrence.next_after(self._clock.now_ms())
        await self._schedules.resume(schedule.id, next_fire_at_ms=next_ms)
        return await self._shown_now(schedule)

    async def run(self, reach: Reach, named: str) -> Job:
        """Start the job of a schedule now, also while it is paused or another one runs."""
        schedule = await self.find(reach, named)
        fire_at_ms = self._clock.now_ms()
        return await self._scheduling.start(schedule, fire_at_ms, Step(start=True))

    async def remove(self, reach: Reach, named: str) -> dict[str, Any]:
        """Forget a schedule; its jobs stay. One that a file still declares stays as well."""
        schedule = await self.find(reach, named)
        if schedule.declared_in is not None:
            types = self._types.declared_by(schedule.declared_in) or {}
            declared = types.get(schedule.type)
            if declared is not None and declared.schedule is not None:
                raise InvalidInputError(
                    f"{schedule.declared_in} declares the schedule {schedule.name!r}. Take it out "
                    "of there, or pause the schedule."
                )
        await self._schedules.remove(schedule.id)
        return await self._shown(schedule)

    async def find(self, reach: Reach, named: str) -> Schedule:
        """Return the one schedule that is meant. Raises `UnknownScheduleError`."""
        known = await self._within(reach)
        wanted = named.strip()
        called = [one for one in known if wanted in (one.name, one.id)]
        part = wanted.lower()
        found = called or [
            one for one in known if part and (one.id.startswith(part) or one.id.endswith(part))
        ]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(
                f"{one.id} ({one.declared_in or one.owner})" for one in found[:_IDS_SHOWN]
            )
            raise UnknownScheduleError(
                f"More than one schedule is called {named!r}: {ids}. Name one by its id."
            )
        names = ", ".join(dict.fromkeys(one.name for one in known[:50])) or "none"
        raise UnknownScheduleError(f"There is no schedule {named!r}. There are: {names}.")

    async def _within(self, reach: Reach) -> Sequence[Schedule]:
        found = await self._schedules.of(None if reach.everybody else reach.owner)
        return [schedule for schedule in found if reach.covers(schedule)]

    async def _shown_now(self, schedule: Schedule) -> dict[str, Any]:
        return await self._shown(await self._schedules.find(schedule.id) or schedule)

    async def _shown(self, schedule: Schedule) -> dict[str, Any]:
        jobs = await self._schedules.jobs_of(schedule.id, limit=SHOWN_JOBS)
        return schedule_object(schedule, now_ms=self._clock.now_ms(), jobs=jobs)


def _reason(why: str) -> str:
    text = " ".join(why.split())
    try:
        passable(text, what="The reason")
    except ValueError as error:
        raise InvalidInputError(f"why: {error}.") from None
    if len(text) > _WHY_CHARS:
        raise InvalidInputError(f"why: at most {_WHY_CHARS} characters are kept.")
    return text
