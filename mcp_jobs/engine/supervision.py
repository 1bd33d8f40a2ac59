"""The jobs that this process sees to their ends, each in a task of its own."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from mcp_jobs.domain.errors import in_words

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from anyio.abc import TaskGroup

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.models import Job
    from mcp_jobs.engine.supervisor import Supervisor

logger = logging.getLogger(__name__)

_OVERDUE_S: Final = 5.0
"""How long after a limit the runner that should keep it is looked at."""


@dataclass(slots=True)
class _Life:
    """One job in our care, from a claim on."""

    look_s: float | None
    """When (monotonic seconds) its runner is to be looked at; None without limits to keep."""


class Supervision:
    """Who is supervised here, and of whom that failed.

    A fault of one job ends the supervision of no other; `Recovery` begins it anew.
    """

    def __init__(self, supervisor: Supervisor, clock: Clock) -> None:
        self._supervisor = supervisor
        self._clock = clock
        self._lives: dict[str, _Life] = {}
        self.failed: set[str] = set()
        """Jobs of this process that nobody sees through any more."""
        self._in_doubt = True
        self._listeners: list[Callable[[str], None]] = []

    def __contains__(self, job_id: str) -> bool:
        return job_id in self._lives

    def __len__(self) -> int:
        return len(self._lives)

    def start(self, tasks: TaskGroup, job: Job) -> None:
        """See a freshly claimed job through, in a task of `tasks`."""
        self._begin(tasks, job, self._supervisor.run)

    def adopt(self, tasks: TaskGroup, job: Job, *, startable: bool) -> None:
        """See a job through that was taken over, as `Supervisor.adopt`."""
        self._begin(tasks, job, partial(self._supervisor.adopt, startable=startable))

    def on_end(self, listener: Callable[[str], None]) -> None:
        """Have the job told with each end of a supervision, which is before the feed tells it."""
        self._listeners.append(listener)

    def _begin(self, tasks: TaskGroup, job: Job, see: Callable[[Job], Awaitable[None]]) -> None:
        limits_s = [limit for limit in (job.timeout_s, job.idle_timeout_s) if limit is not None]
        look_s = self._clock.monotonic_s() + min(limits_s) + _OVERDUE_S if limits_s else None
        # Known at once: a job of ours that nobody seems to supervise would be given up.
        life = self._lives[job.id] = _Life(look_s)
        tasks.start_soon(self._live, job, life, see)

    async def _live(self, job: Job, life: _Life, see: Callable[[Job], Awaitable[None]]) -> None:
        failed = False
        try:
            await see(job)
        except OSError as error:
            # Out of descriptors or disk space: whoever looks next may do better.
            logger.warning("job %s cannot be cared for now: %s", job.id, in_words(error))
            failed = True
        except Exception:  # one job's fault must not end the supervision of the others
            logger.exception("supervising job %s failed", job.id)
            failed = True
        finally:
            self._end(job.id, life, failed=failed)

    def _end(self, job_id: str, life: _Life, *, failed: bool) -> None:
        # Its next attempt may have been claimed here since this one was stored.
        if self._lives.get(job_id) is life:
            del self._lives[job_id]
            if failed:
                self.failed.add(job_id)
        for listener in self._listeners:
            listener(job_id)

    def doubt(self) -> None:
        """There may be jobs that were claimed for this process without anybody's knowing."""
        self._in_doubt = True

    def take_doubt(self) -> bool:
        """Say whether there may be such jobs, once for each `doubt`."""
        doubt, self._in_doubt = self._in_doubt, False
        return doubt

    def overdue(self) -> Sequence[str]:
        """Return the jobs whose limits are over, again after a while."""
        now_s = self._clock.monotonic_s()
        lives = self._lives.items()
        due = [job_id for job_id, life in lives if life.look_s is not None and life.look_s <= now_s]
        for job_id in due:
            self._lives[job_id].look_s = now_s + _OVERDUE_S
        return due
