"""Put the parts together for one process: store, executor, change feed, backend, service."""

from __future__ import annotations

import contextlib
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio

from mcp_jobs import settings as configuration
from mcp_jobs.domain.clock import SystemClock
from mcp_jobs.domain.errors import JobsError, StoreError, in_words, is_unwritable
from mcp_jobs.domain.events import InProcessBus
from mcp_jobs.domain.ids import new_id
from mcp_jobs.engine.change_feed import ChangeFeed
from mcp_jobs.engine.claiming import ClaimLoop
from mcp_jobs.engine.leftovers import Leftovers
from mcp_jobs.engine.recovery import Recovery
from mcp_jobs.engine.retention import Retention
from mcp_jobs.engine.supervision import Supervision
from mcp_jobs.engine.supervisor import Supervisor
from mcp_jobs.engine.upkeep import Upkeep
from mcp_jobs.engine.webhooks import Webhooks
from mcp_jobs.execution import home_watch, host, job_directory, launcher_client, private_files
from mcp_jobs.execution.base import Members, Origin
from mcp_jobs.execution.incarnation import identify, seen
from mcp_jobs.execution.launcher.pinned import PinnedPath
from mcp_jobs.execution.local_executor import LocalExecutor
from mcp_jobs.execution.membership import Membership
from mcp_jobs.execution.owner_locks import Owners
from mcp_jobs.execution.shells import find_shells
from mcp_jobs.job_types import catalogue
from mcp_jobs.job_types.registry import SHELL_NAME, Registry, shell_type
from mcp_jobs.service.acceptance import Acceptor
from mcp_jobs.service.job_service import JobService
from mcp_jobs.service.schedule_service import ScheduleService
from mcp_jobs.service.schedule_types import ScheduleTypes
from mcp_jobs.service.scheduling import Scheduling
from mcp_jobs.store.sqlite.read_only import ReadOnlyStore
from mcp_jobs.store.sqlite.sqlite_store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.events import Bus
    from mcp_jobs.engine.base import Backend
    from mcp_jobs.execution.incarnation import Incarnation
    from mcp_jobs.job_types.registry import JobType
    from mcp_jobs.settings import Settings
    from mcp_jobs.store import Store

_CLOSE_S: Final = 2.0

LOCAL_OWNER = "local"
"""The owner of jobs that come over stdio: the user whose home this is."""

DOCTOR: Final = "mcp-jobs doctor"
"""The client that tries a server out, and the owner of its job: it is in nobody else's lists."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Core:
    """The running parts that adapters use."""

    service: JobService
    bus: Bus
    executor: LocalExecutor
    store: Store
    home: home_watch.HomeWatch
    feed: ChangeFeed
    backend: Backend
    recovery: Recovery
    retention: Retention
    leftovers: Leftovers
    webhooks: Webhooks
    membership: Membership
    registry: Registry
    catalogue: catalogue.Catalogue
    upkeep: Upkeep
    scheduling: Scheduling
    schedules: ScheduleService
    read_only: bool = False
    """The home cannot be written to: what is there is shown, and nothing else is done."""

    async def tidy(self) -> None:
        """Remove what jobs needed whose ends followed from what this process did."""
        # What cannot be done now, others do.
        with contextlib.suppress(StoreError):
            await self.feed.flush()
            await self.leftovers.remove()

    def parts(self) -> Sequence[tuple[str, Callable[[], Awaitable[None]]]]:
        """Return what runs as long as the process does."""
        return (
            ("home", self.home.run),
            ("feed", self.feed.run),
            ("executor", self.executor.run),
            ("backend", self.backend.run),
            ("recovery", self.recovery.run),
            ("launcher link", self.membership.stay_attached),
            ("retention", self.retention.run),
            ("leftovers", self.leftovers.run),
            ("catalogue", self.catalogue.run),
            ("webhooks", self.webhooks.run),
            ("schedules", self.scheduling.run),
        )


@asynccontextmanager
async def open_core(
    settings: Settings, types: tuple[JobType, ...] = (), *, shared: bool = False
) -> AsyncIterator[Core]:
    """Open the home and work on its jobs until the context ends. Running jobs then go on.

    `types` can be started besides the built-in ones; jobs of any type are worked on without them.
    With `shared`, any worker of the store may run the jobs that are accepted here.
    Raises `InvalidInputError` or `StoreError` when the home or its database cannot be used.
    """
    host.prepare_home(settings)
    private_files.check_webhook_secret(settings.home)
    files_before = host.raise_file_limit()
    home_watch.refuse_second_database(settings.database, settings.owners_dir)
    store = await SqliteStore.open(settings.database, pin=PinnedPath)
    try:
        core = await _assemble(settings, store, files_before, types, shared=shared)
        _begin(core, settings)
        try:
            async with anyio.create_task_group() as tasks:
                for name, run in core.parts():
                    tasks.start_soon(core.upkeep.keep, name, run)
                yield core
                tasks.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await core.membership.leave()
    finally:
        await _close(store)


@asynccontextmanager
async def visit(
    settings: Settings, types: tuple[JobType, ...] = (), *, reading: bool = False
) -> AsyncIterator[Core]:
    """Open the home for a command that comes and goes: it works on no job itself.

    A job that is accepted here is worked on by others; when there are none, a worker is started as
    soon as the context ends or `membership.hand_over` is called. A command that is only `reading`
    is served in a home that cannot be written to as well. `types` and what it raises are those of
    `open_core`.
    """
    store = await _store_of_visit(settings, reading=reading)
    try:
        core = await _assemble(settings, store, host.file_limit(), types, visiting=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(core.upkeep.keep, "home", core.home.run)
            tasks.start_soon(core.upkeep.keep, "feed", core.feed.run)
            yield core
            tasks.cancel_scope.cancel()
        await core.tidy()
        await core.membership.hand_over()
    finally:
        await _close(store)


async def _store_of_visit(settings: Settings, *, reading: bool) -> SqliteStore:
    try:
        host.prepare_home(settings)
        home_watch.refuse_second_database(settings.database, settings.owners_dir)
        return await SqliteStore.open(settings.database, pin=PinnedPath)
    except JobsError as error:
        if not (reading and is_unwritable(error) and settings.database.exists()):
            raise
    host.require_own_home(settings)
    return await ReadOnlyStore.open(settings.database, pin=PinnedPath)


async def _close(store: Store) -> None:
    # Bounded: a statement for which a locked database or its disk waits must not keep anybody.
    with anyio.move_on_after(_CLOSE_S, shield=True):
        await store.close()


def _begin(core: Core, settings: Settings) -> None:
    try:
        core.membership.members.join()
    except OSError as error:
        raise StoreError(f"The home {settings.home} cannot be used: {in_words(error)}.") from error


async def _assemble(
    settings: Settings,
    store: SqliteStore,
    files_before: tuple[int, int],
    types: tuple[JobType, ...] = (),
    *,
    visiting: bool = False,
    shared: bool = False,
) -> Core:
    clock, bus = SystemClock(), InProcessBus()
    read_only = isinstance(store, ReadOnlyStore)
    here = seen(settings.home) if read_only else identify(settings.home)
    launcher = _launcher(settings, here, read_only=read_only)
    feed = ChangeFeed(store, bus)
    await feed.start()
    membership = _membership(settings, store, bus, launcher, clock)
    upkeep = Upkeep(clock, tell=membership.tell)
    executor = _executor(settings, store, bus, launcher, here)
    supervisor = Supervisor(
        store=store, feed=feed, executor=executor, settings=settings, clock=clock
    )
    backend, recovery = _owner(
        settings, store, bus, membership.members, supervisor=supervisor, upkeep=upkeep
    )
    declared = _catalogue(settings, bus, types)
    origin = _origin(settings, here, shared=shared, files_before=files_before)
    acceptor = _acceptor(settings, types, declared, origin, clock)
    service = JobService(
        store=store,
        bus=bus,
        feed=feed,
        acceptor=acceptor,
        executor=executor,
        settings=settings,
        clock=clock,
        care=membership.ask_for_worker if visiting else membership.care,
    )
    scheduling, schedules = _schedules(store, service, acceptor, declared, bus=bus, shared=shared)
    return Core(
        service=service,
        bus=bus,
        feed=feed,
        store=store,
        home=home_watch.HomeWatch(settings, store, None if read_only else membership.members.mend),
        executor=executor,
        backend=backend,
        recovery=recovery,
        retention=Retention(store=store, executor=executor, settings=settings, clock=clock),
        leftovers=Leftovers(store=store, bus=bus, executor=executor),
        webhooks=_webhooks(settings, store, bus, membership.members, upkeep),
        membership=membership,
        registry=acceptor.registry,
        catalogue=declared,
        upkeep=upkeep,
        scheduling=scheduling,
        schedules=schedules,
        read_only=read_only,
    )


def _owner(
    settings: Settings,
    store: Store,
    bus: Bus,
    members: Members,
    *,
    supervisor: Supervisor,
    upkeep: Upkeep,
) -> tuple[Backend, Recovery]:
    """Return what makes a process an owner of jobs; the only choice of a backend."""
    clock, executor = SystemClock(), supervisor.executor
    supervision = Supervision(supervisor, clock)
    backend = ClaimLoop(
        members=members,
        executor=executor,
        store=store,
        bus=bus,
        supervision=supervision,
        settings=settings,
        clock=clock,
        upkeep=upkeep,
    )
    recovery = Recovery(
        members=members,
        executor=executor,
        store=store,
        supervision=supervision,
        backend=backend,
        clock=clock,
        upkeep=upkeep,
    )
    return backend, recovery


def _webhooks(
    settings: Settings, store: Store, bus: Bus, members: Members, upkeep: Upkeep
) -> Webhooks:
    return Webhooks(
        store=store,
        bus=bus,
        members=members,
        settings=settings,
        clock=SystemClock(),
        upkeep=upkeep,
    )


def _executor(
    settings: Settings,
    store: Store,
    bus: Bus,
    launcher: launcher_client.LauncherClient,
    here: Incarnation,
) -> LocalExecutor:
    return LocalExecutor(
        jobs_dir=settings.jobs_dir,
        output_cap_bytes=settings.output_cap_bytes,
        here=here,
        launcher=launcher,
        bus=bus,
        launch_of=store.launch_of,
        clock=SystemClock(),
    )


def _acceptor(
    settings: Settings,
    types: tuple[JobType, ...],
    declared: catalogue.Catalogue,
    origin: Origin,
    clock: Clock,
) -> Acceptor:
    known = types if settings.only_declared else (shell_type(origin.shells), *types)
    registry = Registry(known, source=declared)
    return Acceptor(registry=registry, settings=settings, clock=clock, origin=origin)


def _schedules(
    store: Store,
    service: JobService,
    acceptor: Acceptor,
    declared: catalogue.Catalogue,
    *,
    bus: Bus,
    shared: bool,
) -> tuple[Scheduling, ScheduleService]:
    known = ScheduleTypes(
        fixed=acceptor.registry.fixed(),
        registry=acceptor.registry,
        catalogue=declared,
        project=configuration.project_directory(),
    )
    clock = SystemClock()
    scheduling = Scheduling(
        store=store,
        service=service,
        acceptor=acceptor,
        types=known,
        bus=bus,
        clock=clock,
        owner=LOCAL_OWNER,
        shared=shared,
    )
    return scheduling, ScheduleService(store=store, scheduling=scheduling, types=known, clock=clock)


def _catalogue(settings: Settings, bus: Bus, types: tuple[JobType, ...]) -> catalogue.Catalogue:
    return catalogue.Catalogue(
        catalogue.sources(
            settings.config,
            project=configuration.project_directory(),
            user_directory=configuration.config_directory(),
            trust=configuration.trust_directory(),
        ),
        bus=bus,
        # Also where it is refused, so that nothing else goes by its name.
        reserved=frozenset({SHELL_NAME, *(job_type.name for job_type in types)}),
    )


def _launcher(
    settings: Settings, here: Incarnation, *, read_only: bool
) -> launcher_client.LauncherClient:
    directory = host.socket_directory if read_only else host.runtime_directory
    return launcher_client.LauncherClient(
        home=settings.home,
        home_id=here.home_id,
        runtime_dir=directory,
        idle_s=settings.launcher_idle_seconds,
    )


def _origin(
    settings: Settings,
    here: Incarnation,
    *,
    shared: bool,
    files_before: tuple[int, int],
) -> Origin:
    return Origin(
        locality=job_directory.locality(),
        shared=shared,
        environ=configuration.job_environment(settings),
        umask=host.current_umask(),
        rlimit_nofile=files_before,
        shells=find_shells(settings),
        here=str(here),
        # What strangers start over HTTP is not started by the job that this server may be.
        inside=None if shared else configuration.enclosing_job(),
    )


def _membership(
    settings: Settings,
    store: Store,
    bus: Bus,
    launcher: launcher_client.LauncherClient,
    clock: Clock,
) -> Membership:
    return Membership(
        members=Owners(settings.owners_dir, new_id(clock.now_ms()), clock),
        store=store,
        bus=bus,
        launcher=launcher,
        drain=launcher_client.drain_command(configuration.own_environment(settings)),
        locality=job_directory.locality(),
        clock=clock,
    )
