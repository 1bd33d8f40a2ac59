"""What can be subscribed to: whether it exists for an owner, and following it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

from mcp_jobs.domain.errors import UnknownJobError
from mcp_jobs.interfaces.mcp.resources import ALL_JOBS, SCHEDULES, SCHEME, job_id_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp_jobs.execution.base import Executor
    from mcp_jobs.service.job_service import JobService


class Targets:
    """The resources and tasks that subscribers name."""

    def __init__(self, service: JobService, executor: Executor) -> None:
        self._service = service
        self._executor = executor

    async def fault(self, owner: str, uri: str) -> str | None:
        """Say why a resource cannot be subscribed to; None when it can.

        A name of ours for nothing is a mistake and is told as one. What is no name of ours is let
        pass, and nothing is ever told of it: hosts subscribe to what they know from elsewhere.
        """
        job_id = job_id_of(uri)
        if job_id is None:
            ours = uri.startswith(SCHEME) and uri not in (ALL_JOBS, SCHEDULES)
            return f"There is no resource {uri!r}." if ours else None
        return await self.fault_of_task(owner, job_id)

    async def fault_of_task(self, owner: str, task_id: str) -> str | None:
        """Say why a task cannot be listened to; None when it can."""
        try:
            await self._service.find(owner, task_id)
        except UnknownJobError as error:
            return str(error)
        return None

    async def watching(self, owner: str, uris: Sequence[str]) -> ExitStack:
        """Follow the output of the jobs behind `uris`, also of those another process runs."""
        job_ids = {job_id for uri in uris if (job_id := job_id_of(uri)) is not None}
        jobs = [await self._service.find(owner, job_id) for job_id in sorted(job_ids)]
        stack = ExitStack()
        for job in jobs:
            if not job.ended:
                stack.enter_context(self._executor.watch_output(job.id))
        return stack
