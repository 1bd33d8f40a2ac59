"""The whole service on an executor in memory: no process, and no file but the database."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import anyio
from pydantic import BaseModel

from mcp_jobs.domain.clock import SystemClock
from mcp_jobs.domain.events import InProcessBus
from mcp_jobs.engine.change_feed import ChangeFeed
from mcp_jobs.engine.claiming import ClaimLoop
from mcp_jobs.engine.leftovers import Leftovers
from mcp_jobs.engine.recovery import Recovery
from mcp_jobs.engine.retention import Retention
from mcp_jobs.engine.supervision import Supervision
from mcp_jobs.engine.supervisor import Supervisor
from mcp_jobs.engine.upkeep import Upkeep
from mcp_jobs.execution.base import Origin
from mcp_jobs.execution.shells import Shells
from mcp_jobs.job_types.registry import JobType, ModelParams, Prepared, Registry
from mcp_jobs.service.acceptance import Acceptor
from mcp_jobs.service.job_service import JobService
from mcp_jobs.service.requests import CancelJob, CheckJob, StartJob
from mcp_jobs.settings import Settings
from tests.contracts.memory_executor import MemoryExecutor
from tests.contracts.memory_members import Board, MemoryMembers
from tests.stores import OWNER
from tests.support import BOUND_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from anyio.abc import TaskGroup

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.engine.base import Backend
    from mcp_jobs.store import Store
    from tests.contracts.memory_attempt import MemoryJob

Shown = dict[str, Any]
BackendOf = Callable[..., "Backend"]


class WorkParams(BaseModel):
    """A `Work`, as callers pass it."""

    stubborn: bool = False
    prints: str = ""
    percent: int | None = None
    asks: str | None = None
    waits: bool = False
    code: int = 0


def _prepare(params: WorkParams) -> Prepared:
    return Prepared(argv=("work", params.model_dump_json()), title="work")


def work_type(**given: Any) -> JobType:
    """Return the job type whose jobs do a `Work`."""
    fields: dict[str, Any] = {"name": "work", "description": "Work.", "cwd": "/", **given}
    return JobType(params=ModelParams(WorkParams), prepare=_prepare, **fields)


@dataclass
class World:
    """What outlives a server: the rows, what runs, who is there, and what time it is."""

    store: Store
    tasks: TaskGroup
    clock: Clock = field(default_factory=SystemClock)
    jobs: dict[str, MemoryJob] = field(default_factory=dict)
    board: Board = field(default_factory=lambda: Board(SystemClock()))

    async def release(self, job_id: str) -> None:
        """Let a job go on that waits."""
        self.jobs[job_id].released.set()


@dataclass
class Server:
    """One server of a world."""

    service: JobService
    executor: MemoryExecutor
    maintenance: Retention
    backend: Backend

    async def start(self, **work: Any) -> Shown:
        """Start a job that does a work; other arguments of the call go by `call`."""
        call = work.pop("call", {})
        return await self.service.start(OWNER, StartJob(type="work", params=work, **call))

    async def check(self, job_id: str, **given: Any) -> Shown:
        return await self.service.check(OWNER, CheckJob(job_id=job_id, **given))

    async def cancel(self, job_id: str, grace_seconds: float = 5) -> Shown:
        request = CancelJob(job_id=job_id, grace_seconds=grace_seconds)
        return await self.service.cancel(OWNER, request)

    async def ended(self, job_id: str) -> Shown:
        """Wait for the end of a job and return it."""
        return await self.seen(job_id, lambda job: job["finished_at"])

    async def reaches(self, job_id: str, status: str) -> Shown:
        """Return a job as soon as it is seen in a state."""
        return await self.seen(job_id, lambda job: job["status"] == status)

    async def seen(self, job_id: str, condition: Callable[[Shown], object]) -> Shown:
        """Return a job as soon as a condition holds for it."""
        with anyio.fail_after(BOUND_S):
            while True:
                job = await self.check(job_id)
                if condition(job):
                    return job
                await anyio.sleep(0.01)


@asynccontextmanager
async def serving(
    world: World,
    directory: Path,
    *,
    own_id: str = "one",
    job_type: JobType | None = None,
    backend_of: BackendOf = ClaimLoop,
    inside: str | None = None,
    **chosen: Any,
) -> AsyncIterator[Server]:
    """Work on the jobs of a world until the context ends. What runs then goes on.

    `inside` is the job that the server says to run in. `backend_of` takes what `ClaimLoop` takes;
    other settings may be `chosen`.
    """
    bus, clock, store = InProcessBus(), world.clock, world.store
    given = {"retry_base_seconds": 0.01, **chosen}
    settings = Settings(home=directory / "nowhere", **given)
    has_home = settings.home.exists()
    executor = MemoryExecutor(world.tasks, bus, world.jobs)
    members = MemoryMembers(world.board, own_id)
    feed = ChangeFeed(store, bus)
    await feed.start()
    common: Any = {"store": store, "executor": executor, "settings": settings, "clock": clock}
    acceptor = Acceptor(
        registry=Registry([job_type or work_type()]),
        settings=settings,
        clock=clock,
        origin=replace(_origin(executor), inside=inside),
    )
    service = JobService(bus=bus, feed=feed, acceptor=acceptor, care=_no_care, **common)
    own: Any = {
        "members": members,
        "executor": executor,
        "store": store,
        "supervision": Supervision(Supervisor(feed=feed, **common), clock),
        "clock": clock,
        "upkeep": Upkeep(clock, tell=lambda _: None),
    }
    backend = backend_of(bus=bus, settings=settings, **own)
    recovery = Recovery(backend=backend, **own)
    members.join()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(feed.run)
        tasks.start_soon(backend.run)
        tasks.start_soon(recovery.run)
        tasks.start_soon(Leftovers(store=store, bus=bus, executor=executor).run)
        yield Server(service, executor, Retention(**common), backend)
        tasks.cancel_scope.cancel()
    members.leave()
    assert settings.home.exists() is has_home


def _origin(executor: MemoryExecutor) -> Origin:
    return Origin(
        locality=executor.locality,
        shared=False,
        environ={},
        umask=0o022,
        rlimit_nofile=None,
        shells=Shells(default="sh", bash=None),
        here=executor.here,
    )


async def _no_care() -> None:
    """Nobody need be told that there is work."""
