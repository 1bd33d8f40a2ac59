"""Notices: replies on a connection also tell what has ended, for the agent that forgot to look."""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.domain import display
from mcp_jobs.domain.errors import UnknownJobError
from mcp_jobs.domain.events import JobChanged
from mcp_jobs.domain.job_object import rfc3339
from mcp_jobs.interfaces.mcp.origins import is_of_project

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp_jobs.domain.events import Bus, Event
    from mcp_jobs.domain.job_object import JobObject
    from mcp_jobs.domain.models import Job
    from mcp_jobs.service.job_service import JobService

MOST: Final = 5
"""Notices in one reply. The others come with the next one."""

_KEPT: Final = 1000
_LOOKED_AT: Final = 50


class Notices:
    """The ends that one connection has not been shown. For one owner and one project.

    A notice is given once, in the next reply that comes about: a call that the client gave up takes
    none with it. A job that was shown in its end on this connection, in whatever way, has none.
    """

    def __init__(self, *, service: JobService, owner: str, project: str | None) -> None:
        self._service = service
        self._owner = owner
        self._project = project
        self._waiting: dict[str, None] = {}
        self._awaited: Counter[str] = Counter()
        self._shown: dict[str, None] = {}
        """Also those whose end is yet to come over the bus: a reply may be faster."""
        self._read: dict[str, None] = {}
        """Those whose end an agent has read with its output."""

    @contextmanager
    def listening(self, bus: Bus) -> Iterator[None]:
        """Notice what ends as long as the context lasts."""
        unsubscribe = bus.subscribe(self._on_event)
        try:
            yield
        finally:
            unsubscribe()

    @contextmanager
    def awaited(self, job_id: str) -> Iterator[None]:
        """Leave a job to the call that waits for it: its reply tells the end."""
        self._awaited[job_id] += 1
        try:
            yield
        finally:
            self._awaited[job_id] -= 1
            if not self._awaited[job_id]:
                del self._awaited[job_id]

    def saw(self, job_id: str) -> None:
        """Remember that the client was shown a job in its end."""
        self._waiting.pop(job_id, None)
        _keep(self._shown, job_id)

    def read(self, job_id: str) -> None:
        """Remember that a reply to the agent has shown the end of a job with its output."""
        _keep(self._read, job_id)

    def is_told(self, job_id: str) -> bool:
        """Say whether a reply to the agent has shown the end of a job, or is about to."""
        return job_id in self._read or job_id in self._awaited

    def saw_in(self, shown: JobObject) -> None:
        """Remember the ended jobs in a reply: one job, or a list."""
        for job in shown.get("jobs", (shown,)):
            if job["finished_at"] is not None:
                self.saw(job["job_id"])

    async def take(self) -> list[dict[str, Any]]:
        """Return the oldest ends that were not shown, and count them as shown."""
        waiting = [job_id for job_id in self._waiting if job_id not in self._awaited]
        found = [await self._find(job_id) for job_id in waiting[:_LOOKED_AT]]
        # From here on nothing waits, so that a call given up until now has taken none.
        taken: list[dict[str, Any]] = []
        for job_id, job in found:
            # Another reply may have taken it meanwhile.
            if job_id not in self._waiting:
                continue
            if job is not None and is_of_project(job, self._project):
                if len(taken) == MOST:
                    break
                taken.append(_notice(job))
            self.saw(job_id)
        return taken

    async def _find(self, job_id: str) -> tuple[str, Job | None]:
        try:
            return job_id, await self._service.find(self._owner, job_id)
        except UnknownJobError:
            return job_id, None

    def _on_event(self, event: Event) -> None:
        if not isinstance(event, JobChanged) or not event.ended or event.owner != self._owner:
            return
        if event.job_id not in self._shown:
            _keep(self._waiting, event.job_id)


def _keep(known: dict[str, None], job_id: str) -> None:
    known[job_id] = None
    if len(known) > _KEPT:
        del known[next(iter(known))]


def _notice(job: Job) -> dict[str, Any]:
    return {
        "job_id": job.id,
        "title": display.line(job.title),
        "status": job.status.value,
        "reason": None if job.reason is None else job.reason.value,
        "error": None if job.error is None else display.lines(job.error),
        "finished_at": rfc3339(job.finished_at_ms),
    }
