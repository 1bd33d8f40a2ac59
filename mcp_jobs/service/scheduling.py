"""Start the jobs of schedules when their time has come, and keep the declared ones as declared.

Every server and worker does this, and all may try at once: a job belongs to one fire of one
schedule, and the store has it once. Whoever fires accepts the job like any other start, so its own
limits, its trust and its environment are those of the job.
"""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from mcp_jobs.domain.errors import InvalidInputError, JobsError, StoreError, UnknownJobError
from mcp_jobs.domain.events import SchedulesChanged
from mcp_jobs.domain.ids import new_id
from mcp_jobs.domain.limits import CANCEL_GRACE_S
from mcp_jobs.domain.schedules import Schedule, owed, step
from mcp_jobs.engine.rounds import Rounds
from mcp_jobs.service.requests import StartJob
from mcp_jobs.store.timetable import Fired

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.events import Bus, Event
    from mcp_jobs.domain.models import Job, NewJob
    from mcp_jobs.domain.schedules import Owed, Step
    from mcp_jobs.job_types.registry import JobType
    from mcp_jobs.service.acceptance import Acceptor
    from mcp_jobs.service.job_service import JobService
    from mcp_jobs.service.schedule_types import ScheduleTypes
    from mcp_jobs.store import Store

logger = logging.getLogger(__name__)

OTHERS_MS: Final = 5_000
"""How long a fire that cannot be made here is left to other processes, which may know more."""

_FIRST_S: Final = 0.5
"""A server answers its first calls before it looks into files of job types."""
_LONGEST_NAP_S: Final = 5.0
"""Bounds what a jump of the wall clock can delay a fire by."""
_AT_ONCE: Final = 100
_SET_BACK_MS: Final = 1_000
_PROBLEM_CHARS: Final = 1_000
_ASLEEP: Final = "No server or worker of this home was running at its time."


class Scheduling:
    """This process among those that start the jobs of schedules. Jobs of `owner` are declared."""

    def __init__(
        self,
        *,
        store: Store,
        service: JobService,
        acceptor: Acceptor,
        types: ScheduleTypes,
        bus: Bus,
        clock: Clock,
        owner: str,
        shared: bool = False,
    ) -> None:
        self._schedules = store.schedules
        self._service = service
        self._acceptor = acceptor
        self._types = types
        self._bus = bus
        self._clock = clock
        self._owner = owner
        self._shared = shared
        self._rounds = Rounds("due schedules", longest_s=_LONGEST_NAP_S)
        self._synced: object = None
        self._looked: tuple[int, float] | None = None
        self._left: dict[str, tuple[int | None, float]] = {}
        """Which fires are left to others, and since when."""

    async def run(self) -> None:
        """Start what is due until cancelled."""
        unsubscribe = self._bus.subscribe(self._on_event)
        try:
            await anyio.sleep(_FIRST_S)
            await self._rounds.run(self._look)
        finally:
            unsubscribe()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, SchedulesChanged):
            self._rounds.wake()

    async def _look(self, unasked: bool) -> float | None:
        del unasked
        return await self.look()

    async def look(self) -> float | None:
        """Start what is due; returns after how many seconds there is more, None for nothing."""
        await self.sync()
        now_ms = self._clock.now_ms()
        if self._was_set_back(now_ms):
            await self._mend(now_ms)
        waits_ms: list[int] = []
        found = await self._schedules.due(now_ms, shared=self._shared, limit=_AT_ONCE)
        for schedule in found:
            # A fire that is half made is made again by somebody, which the store takes for one.
            left_ms = await self._fire(schedule, now_ms)
            if left_ms is not None:
                waits_ms.append(left_ms)
            await anyio.lowlevel.checkpoint()
        if len(found) == _AT_ONCE and len(waits_ms) < _AT_ONCE:
            return 0.0
        next_ms = await self._schedules.next_due_ms(now_ms)
        if next_ms is not None:
            waits_ms.append(next_ms - self._clock.now_ms())
        return max(min(waits_ms), 0) / 1000 if waits_ms else None

    # -- one fire --------------------------------------------------------------------------------

    async def _fire(self, schedule: Schedule, now_ms: int) -> int | None:
        """Do what a due schedule asks for; returns how long it is left to others, else None."""
        if schedule.declared_in is not None and not await self._is_as_declared(schedule):
            return None
        try:
            owing = owed(schedule, now_ms)
            if owing is None:
                return None
            fired = await self._made(schedule, owing)
            next_ms = schedule.recurrence.next_after(now_ms)
        except StoreError:
            raise
        except (JobsError, ValueError) as error:
            return await self._not_made(schedule, now_ms, str(error))
        await self._schedules.advance(schedule, replace(fired, next_fire_at_ms=next_ms))
        return None

    async def _made(self, schedule: Schedule, owing: Owed) -> Fired:
        """Start a job, or leave the fire out; returns what became of it.

        Raises `InvalidInputError` where it cannot be started.
        """
        if owing.late:
            return Fired(next_fire_at_ms=None, missed=owing.before + 1, problem=_ASLEEP)
        found = await self._schedules.unfinished(schedule.id)
        others = [job for job in found if job.fire_at_ms != owing.fire_at_ms]
        begun = {job.id for job in others if job.started_at_ms is not None}
        plan = step(schedule.recurrence.overlap, others, begun=begun)
        if not plan.start:
            return Fired(next_fire_at_ms=None, missed=owing.before, skipped=1)
        await self.start(schedule, owing.fire_at_ms, plan)
        return Fired(next_fire_at_ms=None, fire_at_ms=owing.fire_at_ms, missed=owing.before)

    async def start(self, schedule: Schedule, fire_at_ms: int, plan: Step) -> Job:
        """Start the job of one fire, once. Raises as `JobService.start`."""
        draft = self.draft(schedule)
        accepted = await self._service.accept(
            replace(
                draft,
                schedule=schedule.id,
                fire_at_ms=fire_at_ms,
                after=plan.after,
                after_any_end=bool(plan.after),
            )
        )
        for job_id in plan.after if plan.cancel else ():
            try:
                await self._service.begin_cancel(schedule.owner, job_id, grace_s=CANCEL_GRACE_S)
            except UnknownJobError:
                # Removed since: nothing of it runs.
                continue
        return accepted.job

    def draft(self, schedule: Schedule) -> NewJob:
        """Return the job that a schedule would start now. Raises `InvalidInputError`."""
        return replace(self._drafted(schedule, known_cwd=schedule.cwd), shared=schedule.shared)

    def placed(self, schedule: Schedule, job_type: JobType) -> Schedule:
        """Return a schedule with the directory of its jobs, if it has to name one.

        Raises `InvalidInputError` for a job that could not be started.
        """
        made = self._drafted(schedule)
        return schedule if job_type.cwd is not None else replace(schedule, cwd=made.cwd)

    def _drafted(self, schedule: Schedule, known_cwd: str | None = None) -> NewJob:
        acceptor = self._acceptor.with_types(self._types.registry_of(schedule))
        params = dict(schedule.recurrence.params)
        request = StartJob(type=schedule.type, params=params, cwd=schedule.cwd)
        return acceptor.draft(schedule.owner, request, known_cwd=known_cwd)

    async def _not_made(self, schedule: Schedule, now_ms: int, problem: str) -> int | None:
        """Leave a fire to others for a moment, then count it as missed."""
        now_s = self._clock.monotonic_s()
        fire_ms, since_s = self._left.get(schedule.id, (None, now_s))
        if fire_ms != schedule.next_fire_at_ms:
            since_s = now_s
        left_ms = round((since_s - now_s) * 1000) + OTHERS_MS
        if left_ms > 0:
            self._left[schedule.id] = schedule.next_fire_at_ms, since_s
            return left_ms
        self._left.pop(schedule.id, None)
        try:
            owing = owed(schedule, now_ms)
            missed = 1 if owing is None else owing.before + 1
            next_ms = schedule.recurrence.next_after(now_ms)
        except ValueError:
            # Its time zone is not known here: it is tried again in an hour.
            missed, next_ms = 1, now_ms + 3_600_000
        logger.warning("the schedule %s could not start its job: %s", schedule.name, problem)
        told = problem[:_PROBLEM_CHARS]
        fired = Fired(next_fire_at_ms=next_ms, missed=missed, problem=told)
        await self._schedules.advance(schedule, fired)
        return None

    # -- the clock -------------------------------------------------------------------------------

    def _was_set_back(self, now_ms: int) -> bool:
        """Say whether the wall clock was set back since the last look, or may have been before."""
        before, now_s = self._looked, self._clock.monotonic_s()
        self._looked = now_ms, now_s
        if before is None:
            return True
        return now_ms < before[0] + (now_s - before[1]) * 1000 - _SET_BACK_MS

    async def _mend(self, now_ms: int) -> None:
        """Make schedules due again that a clock which was wrong has sent far into the future.

        A fire that comes a second time by this finds its job.
        """
        for schedule in await self._schedules.of():
            if schedule.paused:
                continue
            try:
                next_ms = schedule.recurrence.next_after(now_ms)
            except ValueError:
                continue
            seen_ms = schedule.next_fire_at_ms
            if next_ms is not None and seen_ms is not None and next_ms < seen_ms:
                fired = Fired(next_fire_at_ms=next_ms, problem=schedule.problem)
                await self._schedules.advance(schedule, fired)

    # -- what is declared ------------------------------------------------------------------------

    async def sync(self) -> None:
        """Store the schedules that the files and modules of this process declare, if they are new.

        What a file has declared before and does not any more is removed, unless it is paused.
        """
        version = self._types.version()
        if version is self._synced:
            return
        known = await self._schedules.of()
        for declared_in, types in self._types.own().items():
            if types is not None:
                before = [each for each in known if each.declared_in == declared_in]
                await self._declare(declared_in, types, before)
        self._synced = version

    async def declare(self, declared_in: str, types: Mapping[str, JobType]) -> None:
        """Store what one file or module declares."""
        known = await self._schedules.declared_in(declared_in)
        await self._declare(declared_in, types, known)

    async def _declare(
        self, declared_in: str, types: Mapping[str, JobType], known: Sequence[Schedule]
    ) -> None:
        wanted = [
            self._declared(declared_in, job_type)
            for job_type in types.values()
            if job_type.schedule is not None
        ]
        names = {schedule.name for schedule in wanted}
        for schedule in known:
            if schedule.name not in names:
                await self._schedules.remove(schedule.id, unless_paused=True)
        for schedule in wanted:
            await self._schedules.declare(schedule)

    def _declared(self, declared_in: str, job_type: JobType) -> Schedule:
        now_ms, rule = self._clock.now_ms(), job_type.schedule
        if rule is None:
            raise InvalidInputError(f"The job type {job_type.name!r} declares no schedule.")
        return Schedule(
            id=new_id(now_ms),
            owner=self._owner,
            name=job_type.name,
            type=job_type.name,
            recurrence=rule,
            # Whoever fires it may work anywhere.
            cwd=os.path.expanduser("~") if job_type.cwd is None else None,
            project=None,
            declared_in=declared_in,
            shared=False,
            created_at_ms=now_ms,
            next_fire_at_ms=rule.next_after(now_ms),
        )

    async def _is_as_declared(self, schedule: Schedule) -> bool:
        """Say whether a schedule is what its file says now; if not, it is made so.

        A file that cannot be read or is not trusted says nothing, which the fire then tells.
        """
        declared_in = str(schedule.declared_in)
        types = self._types.declared_by(declared_in)
        if types is not None:
            await self.declare(declared_in, types)
        found = await self._schedules.find(schedule.id)
        return found is not None and found.next_fire_at_ms == schedule.next_fire_at_ms
