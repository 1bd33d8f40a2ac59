"""Take over the jobs whose owner is gone, and see to it that our own can hear what they must."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio

from mcp_jobs.domain.errors import HomeGoneError, StoreError
from mcp_jobs.engine.redelivery import Redelivery
from mcp_jobs.execution.base import LEASE_S

if TYPE_CHECKING:
    from collections.abc import Sequence

    from anyio.abc import TaskGroup

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.models import Job
    from mcp_jobs.engine.base import Backend
    from mcp_jobs.engine.supervision import Supervision
    from mcp_jobs.engine.upkeep import Upkeep
    from mcp_jobs.execution.base import Executor, Members
    from mcp_jobs.store import Store

logger = logging.getLogger(__name__)

_ADOPT_EVERY_S: Final = 1.0


class Recovery:
    """Looks at what runs, whoever owns it, as long as this process is a member."""

    def __init__(
        self,
        *,
        members: Members,
        executor: Executor,
        store: Store,
        supervision: Supervision,
        backend: Backend,
        clock: Clock,
        upkeep: Upkeep,
    ) -> None:
        self._members = members
        self._executor = executor
        self._store = store
        self._supervision = supervision
        self._backend = backend
        self._clock = clock
        self._upkeep = upkeep
        self._redelivery = Redelivery(executor=executor, store=store)
        self._stranded: dict[str, float] = {}
        self._strays: dict[str, int] | None = None
        """When in doubt: jobs of this owner that nobody seems to supervise, by claim token."""
        self._odd: dict[str, str] = {}
        """Jobs that cannot be looked after, and why."""

    async def run(self) -> None:
        """Work until cancelled. Jobs that run then go on without this process."""
        # Whoever began to be seen through by an earlier run is not any more.
        self._supervision.doubt()
        async with anyio.create_task_group() as tasks:
            # A fault of the loop must not end the care for jobs that run.
            await self._upkeep.keep("recovery: looks", partial(self._look_for_ever, tasks))

    async def _look_for_ever(self, tasks: TaskGroup) -> None:
        while True:
            self._members.renew()
            self._redelivery.wake_runners(self._supervision.overdue())
            try:
                if await self._store.reset_future_run_at(now_ms=self._clock.now_ms()):
                    self._backend.wake()
                await self.adopt_orphans(tasks)
            except HomeGoneError:
                # Said elsewhere, once, by who ends this process.
                await anyio.sleep_forever()
            except (StoreError, OSError, RuntimeError) as error:
                # Out of descriptors, disk space or threads: the next round may do better.
                logger.warning("cannot look for jobs without an owner: %s", error)
            await anyio.sleep(_ADOPT_EVERY_S)

    async def adopt_orphans(self, tasks: TaskGroup) -> None:
        """Take over every running job whose owner is gone, once."""
        if self._supervision.take_doubt():
            self._strays = {}
        failed = frozenset(self._supervision.failed)
        # A thousand healthy jobs of ours need no look.
        own_id = "" if failed or self._strays is not None else self._members.own_id
        running = await self._store.running(needing_care_of=own_id)
        self._supervision.failed -= failed - {job.id for job in running}
        self._note_strays(running)
        stranded: dict[str, float] = {}
        for job in running:
            try:
                stranded[job.id] = self._stranded_since_s(job)
                await self._look_after(job, tasks, stranded[job.id])
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001 - one odd job must not keep others from care
                self._complain(job, error)
        self._stranded = stranded
        self._odd = {job.id: self._odd[job.id] for job in running if job.id in self._odd}

    async def _look_after(self, job: Job, tasks: TaskGroup, stranded_since_s: float) -> None:
        """Take over one running job if its owner is gone, or pass on to ours what it must know."""
        if job.id in self._supervision:
            tasks.start_soon(self._redelivery.deliver, job)
        if job.id in self._supervision or self._cared_for(job):
            return
        here = job.locality == self._executor.locality
        if not here and self._clock.monotonic_s() - stranded_since_s < LEASE_S:
            return
        with anyio.CancelScope(shield=True):
            taken = await self._store.take_over(job, claimer=self._members.own_id)
            self._supervision.failed.discard(job.id)
            if taken is not None:
                self._supervision.adopt(tasks, taken, startable=here)

    def _complain(self, job: Job, error: Exception) -> None:
        text = repr(error)
        if self._odd.get(job.id) != text:
            logger.warning("job %s cannot be looked after", job.id, exc_info=error)
        self._odd[job.id] = text

    def _note_strays(self, running: Sequence[Job]) -> None:
        """Give up the jobs of this owner that nobody supervises.

        One look is not enough: a job that was just claimed or has just ended looks the same.
        """
        if self._strays is None:
            return
        before = self._strays
        self._strays = {
            job.id: job.claim_token
            for job in running
            if job.claimed_by == self._members.own_id and job.id not in self._supervision
        }
        twice = {name for name, token in self._strays.items() if before.get(name) == token}
        self._supervision.failed |= twice
        if not self._strays or twice == set(self._strays):
            self._strays = None

    def _stranded_since_s(self, job: Job) -> float:
        """Return since when a job of another pid namespace has had neither owner nor runner.

        Somebody in that namespace, if there is still one, goes first: only he sees its processes.
        """
        now_s = self._clock.monotonic_s()
        if job.locality == self._executor.locality or self._cared_for(job):
            return now_s
        if self._executor.is_watched(job.id):
            return now_s
        return self._stranded.get(job.id, now_s)

    def _cared_for(self, job: Job) -> bool:
        if job.claimed_by == self._members.own_id:
            # Just claimed or just ended, unless its supervision broke.
            return job.id not in self._supervision.failed
        return not self._members.is_gone(str(job.claimed_by))
