"""Executors for tests of what stands on them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp_jobs.domain.clock import SystemClock
from mcp_jobs.domain.events import InProcessBus
from mcp_jobs.execution.host import runtime_directory
from mcp_jobs.execution.incarnation import identify
from mcp_jobs.execution.launcher_client import LauncherClient
from mcp_jobs.execution.local_executor import LocalExecutor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mcp_jobs.domain.events import Bus
    from mcp_jobs.domain.models import Launch
    from mcp_jobs.settings import Settings
    from mcp_jobs.store import Store


def local_executor(settings: Settings, store: Store) -> LocalExecutor:
    """Return the executor of a home with a store."""
    return local_executor_of(settings, store.launch_of, InProcessBus())


def local_executor_of(
    settings: Settings, launch_of: Callable[[str], Awaitable[Launch | None]], bus: Bus
) -> LocalExecutor:
    """Return the executor of a home. Its launcher is started by its first attempt."""
    clock = SystemClock()
    settings.jobs_dir.mkdir(parents=True, exist_ok=True)
    here = identify(settings.home)
    return LocalExecutor(
        jobs_dir=settings.jobs_dir,
        output_cap_bytes=settings.output_cap_bytes,
        here=here,
        launcher=LauncherClient(
            home=settings.home, home_id=here.home_id, runtime_dir=runtime_directory, idle_s=0.2
        ),
        bus=bus,
        launch_of=launch_of,
        clock=clock,
    )
