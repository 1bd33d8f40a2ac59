"""What the routes share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mcp_jobs.engine.upkeep import Upkeep
    from mcp_jobs.interfaces.http.auth.gate import Authenticator
    from mcp_jobs.interfaces.http.farewell import Farewell
    from mcp_jobs.interfaces.http.live.hub import Hub
    from mcp_jobs.interfaces.http.live.subscription import Live
    from mcp_jobs.interfaces.http.metrics import Metrics
    from mcp_jobs.interfaces.http.opened import Opened
    from mcp_jobs.service.job_service import JobService
    from mcp_jobs.service.schedule_service import ScheduleService
    from mcp_jobs.settings import Settings
    from mcp_jobs.store import Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The running parts of one HTTP server."""

    settings: Settings
    service: JobService
    schedules: ScheduleService
    store: Store
    upkeep: Upkeep
    authenticator: Authenticator
    opened: Opened
    hub: Hub
    live: Live
    metrics: Metrics
    farewell: Farewell
