"""Channels of Claude Code (a research preview): the end of a job begins a turn of the session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mcp_types.version import MODERN_PROTOCOL_VERSIONS

from mcp_jobs.domain.errors import StoreError, UnknownJobError
from mcp_jobs.interfaces.mcp import rendering
from mcp_jobs.interfaces.mcp.callers import connection_of
from mcp_jobs.interfaces.mcp.origins import is_of_project
from mcp_jobs.interfaces.mcp.updates.queue import TaskChanged, UpdateQueue

if TYPE_CHECKING:
    from mcp.server.connection import Connection
    from mcp.server.context import ServerRequestContext

    from mcp_jobs.interfaces.mcp.updates.push import Push
    from mcp_jobs.interfaces.mcp.updates.queue import News
    from mcp_jobs.service.job_service import JobService

CAPABILITY: Final = "claude/channel"

_METHOD: Final = "notifications/claude/channel"


class Channel:
    """Sends one event for each end of a job of this project, to a connection that shook hands."""

    def __init__(self, *, service: JobService, push: Push, owner: str, project: str | None) -> None:
        self._service = service
        self._push = push
        self._owner = owner
        self._project = project
        self._connection: Connection | None = None

    async def on_initialized(self, context: ServerRequestContext[Any, Any], _: object) -> None:
        """Begin with what ends from now on."""
        if context.protocol_version in MODERN_PROTOCOL_VERSIONS or self._connection is not None:
            return
        self._connection = connection_of(context)
        queue = UpdateQueue(self._owner, lambda news: isinstance(news, TaskChanged) and news.ended)
        self._connection.exit_stack.callback(self._push.deliver(queue, self._send))

    async def _send(self, news: News) -> None:
        if self._connection is None or not isinstance(news, TaskChanged):
            return
        try:
            job = await self._service.find(self._owner, news.job_id)
            if not is_of_project(job, self._project):
                return
            shown, ending = await self._service.report(job)
        except (UnknownJobError, StoreError):
            return
        meta = {"job_id": job.id, "status": job.status.value}
        text = rendering.wake_text(shown, ending)
        await self._connection.notify(_METHOD, {"content": text, "meta": meta})
