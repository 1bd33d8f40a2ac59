"""Schedules for tests, and a process that fires them, with a clock that the test moves."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mcp_jobs.domain.events import InProcessBus
from mcp_jobs.domain.ids import new_id
from mcp_jobs.domain.schedules import Recurrence, Schedule
from mcp_jobs.execution.base import Origin
from mcp_jobs.execution.shells import Shells
from mcp_jobs.job_types.catalogue import Catalogue, sources
from mcp_jobs.job_types.registry import Registry, shell_type
from mcp_jobs.service.acceptance import Acceptor
from mcp_jobs.service.schedule_service import Reach, ScheduleService
from mcp_jobs.service.schedule_types import ScheduleTypes
from mcp_jobs.service.scheduling import Scheduling
from mcp_jobs.settings import Settings
from tests.stores import HERE, OWNER

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_jobs.domain.models import Job, NewJob
    from mcp_jobs.job_types.registry import JobType
    from mcp_jobs.store import Accepted, Store

MINE = Reach(owner=OWNER)
SHELLS = Shells(default="sh", bash=None)


def ms(text: str) -> int:
    """Return a UTC time such as 2026-03-29T01:00 in milliseconds."""
    return round(datetime.fromisoformat(f"{text}+00:00").timestamp() * 1000)


def new_schedule(**given: Any) -> Schedule:
    """Return a schedule that fires every hour, next at the time given; any field may be given."""
    names = ("cron", "timezone", "overlap", "catchup_s")
    rule: dict[str, Any] = {name: given.pop(name) for name in names if name in given}
    rule = {"cron": "0 * * * *", "params": {"command": "true"}, **rule}
    fields: dict[str, Any] = {
        "id": new_id(ms("2026-01-01T00:00")),
        "owner": OWNER,
        "name": "hourly",
        "type": "shell",
        "recurrence": Recurrence(**rule),
        "cwd": "/",
        "project": None,
        "declared_in": None,
        "shared": False,
        "created_at_ms": ms("2026-01-01T00:00"),
        "next_fire_at_ms": ms("2026-01-01T01:00"),
    }
    return Schedule(**{**fields, **given})


@dataclass
class MovedClock:
    """Both clocks stand still until they are moved."""

    wall_ms: int
    span_s: float = 1000.0

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic_s(self) -> float:
        return self.span_s

    def to(self, text: str) -> None:
        """Let time go by until then."""
        self.span_s += max(0, ms(text) - self.wall_ms) / 1000
        self.wall_ms = ms(text)

    def pass_s(self, seconds: float) -> None:
        self.span_s += seconds
        self.wall_ms += round(seconds * 1000)


@dataclass
class Acceptance:
    """What scheduling needs of the service: jobs are stored, and their ends asked for."""

    store: Store
    clock: MovedClock
    cancelled: list[str] = field(default_factory=list)
    fails_with: Exception | None = None
    """Raised instead of storing anything."""

    async def accept(self, draft: NewJob) -> Accepted:
        if self.fails_with is not None:
            raise self.fails_with
        return await self.store.create(draft)

    async def begin_cancel(self, owner: str, job_id: str, *, grace_s: float) -> None:
        self.cancelled.append(job_id)
        await self.store.request_cancel(owner, job_id, now_ms=self.clock.now_ms())


class Firer:
    """One process that fires the schedules of a store."""

    def __init__(
        self,
        store: Store,
        clock: MovedClock,
        tmp_path: Path,
        *,
        project: Path | None = None,
        types: tuple[JobType, ...] = (),
        shared: bool = False,
        only_declared: bool = False,
    ) -> None:
        self.store, self.clock, bus = store, clock, InProcessBus()
        named = str(project) if project is not None else None
        config, trust = tmp_path / "config", tmp_path / "state" / "mcp-jobs" / "trusted"
        found = sources((), project=named, user_directory=config / "mcp-jobs", trust=trust)
        catalogue = Catalogue(found, bus=bus, reserved=frozenset({"shell"}))
        fixed = types if only_declared else (shell_type(SHELLS), *types)
        registry = Registry(fixed, source=catalogue)
        settings = Settings(home=tmp_path / "home", only_declared=only_declared)
        acceptor = Acceptor(registry=registry, settings=settings, clock=clock, origin=_origin())
        self.acceptance = Acceptance(store, clock)
        known = ScheduleTypes(fixed=fixed, registry=registry, catalogue=catalogue, project=named)
        self.scheduling = Scheduling(
            store=store,
            service=self.acceptance,  # type: ignore[arg-type]
            acceptor=acceptor,
            types=known,
            bus=bus,
            clock=clock,
            owner=OWNER,
            shared=shared,
        )
        self.service = ScheduleService(
            store=store, scheduling=self.scheduling, types=known, clock=clock
        )

    async def look_at(self, text: str) -> float | None:
        """Let time go by until then, and look once."""
        self.clock.to(text)
        return await self.scheduling.look()

    async def fires(self, name: str = "hourly") -> list[str]:
        """Return for which times a schedule has started jobs, oldest first."""
        jobs = await self.jobs(name)
        return [_text(job.fire_at_ms) for job in jobs]

    async def jobs(self, name: str = "hourly") -> list[Job]:
        schedule = await self.service.find(MINE, name)
        return list(reversed(await self.store.schedules.jobs_of(schedule.id, limit=1000)))

    async def one(self, name: str = "hourly") -> Schedule:
        return await self.service.find(MINE, name)


def _text(fire_ms: int | None) -> str:
    assert fire_ms is not None
    return datetime.fromtimestamp(fire_ms / 1000, UTC).strftime("%Y-%m-%dT%H:%M")


def _origin() -> Origin:
    return Origin(
        locality=HERE,
        shared=False,
        environ={"FIRED_BY": "this process"},
        umask=0o022,
        rlimit_nofile=None,
        shells=SHELLS,
        here="home boot",
    )
