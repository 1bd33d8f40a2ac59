"""An `Executor` in memory: one process, no file, no other process."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mcp_jobs.domain.clock import SystemClock
from mcp_jobs.domain.events import OutputGrew
from mcp_jobs.execution.base import Lost, Orphaned, Unstarted
from tests.contracts.memory_attempt import MemoryAttempt, MemoryJob, MemoryRun
from tests.contracts.memory_output import MemoryOutput
from tests.contracts.work import Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from anyio.abc import TaskGroup

    from mcp_jobs.domain.events import Bus
    from mcp_jobs.domain.models import Job, Launch
    from mcp_jobs.execution.base import Found


class MemoryExecutor:
    """Does each `Work` that is the second word of a command as a task of `tasks`.

    `jobs` is the place: another executor on the same jobs goes on with them.
    """

    locality = "memory"

    def __init__(
        self, tasks: TaskGroup, bus: Bus, jobs: dict[str, MemoryJob] | None = None
    ) -> None:
        self.here = "memory first"
        self.jobs: dict[str, MemoryJob] = {} if jobs is None else jobs
        self._tasks = tasks
        self._bus = bus
        self._heard: list[str] = []

    # -- before and after ------------------------------------------------------------------------

    def prepare(self, job_id: str, launch: Launch) -> None:
        self.jobs[job_id] = MemoryJob(made_ms=SystemClock().now_ms(), launch=launch)

    async def prepare_again(self, claim: Job, launch: Launch) -> None:
        if claim.id not in self.jobs:
            self.prepare(claim.id, launch)
        self.jobs[claim.id].launch = launch
        self._fence(claim)

    async def recall(self, job_id: str) -> Launch | None:
        job = self.jobs.get(job_id)
        return None if job is None else job.launch

    async def forget_secrets(self, job_id: str) -> None:
        if job_id in self.jobs:
            self.jobs[job_id].launch = None

    async def finish(self, *job_ids: str) -> None:
        for job_id in job_ids:
            await self.forget_secrets(job_id)

    async def kept(self, *, before_ms: int) -> Sequence[str]:
        return [job_id for job_id, job in self.jobs.items() if job.made_ms < before_ms]

    async def discard(self, *job_ids: str) -> None:
        for job_id in job_ids:
            self.jobs.pop(job_id, None)

    # -- attempts --------------------------------------------------------------------------------

    async def start(self, claim: Job) -> MemoryAttempt | None:
        if claim.claim_token > 1:
            self._fence(claim)
        job = self.jobs.get(claim.id)
        if job is None or job.launch is None or claim.claim_token < job.fence:
            return None
        work = Work(**json.loads(job.launch.argv[1]))
        run = MemoryRun(job, work, claim.claim_token, lambda: self._grew(claim.id))
        job.newest, job.launch = run, None
        self._tasks.start_soon(run.live)
        if job.order is not None:
            self._tasks.start_soon(run.obey, job.order[1])
        return MemoryAttempt(claim, run)

    async def attach(self, claim: Job, *, has_lived: bool = False) -> Found:
        self._fence(claim)
        job = self.jobs.get(claim.id)
        run = None if job is None else job.newest
        if run is not None and run.watched:
            return MemoryAttempt(claim, run)
        if run is not None and run.remembered and run.token >= claim.launch_token:
            if run.record is not None:
                return MemoryAttempt(claim, run)
            return Lost(why="Interrupted: it was lost.", output_start=run.output_start)
        if run is not None and run.lives:
            return Orphaned()
        if has_lived or claim.claimed_in != self.here or not self._may_begin(claim, job):
            return Lost(why="Interrupted: nobody knows whether it began.")
        return Unstarted()

    def _may_begin(self, claim: Job, job: MemoryJob | None) -> bool:
        if job is None:
            return claim.prepared_in != self.here
        unused = job.launch is not None or (claim.attempt > 1 and job.newest is not None)
        return job.fence <= claim.claim_token and unused

    def _fence(self, claim: Job) -> None:
        job = self.jobs.get(claim.id)
        if job is not None:
            job.fence = max(job.fence, claim.claim_token)

    # -- what runs -------------------------------------------------------------------------------

    async def stop(self, job_id: str, *, reason: str, grace_s: float | None = None) -> None:
        job = self.jobs.get(job_id)
        if job is None:
            raise FileNotFoundError(job_id)
        job.frozen = False
        if job.order is None or grace_s is not None:
            job.order = (reason, 5.0 if grace_s is None else grace_s)
            if job.newest is not None:
                self._tasks.start_soon(job.newest.obey, job.order[1])

    async def answer(self, job_id: str, key: str, answer: Mapping[str, Any]) -> None:
        job = self.jobs[job_id]
        job.answers[key] = answer
        if job.newest is not None:
            job.newest.tell()

    def waits_for_answer(self, job_id: str) -> bool:
        job = self.jobs.get(job_id)
        return job is not None and job.newest is not None and bool(job.newest.questions)

    def wake(self, job_id: str) -> bool:
        job = self.jobs.get(job_id)
        if job is None or not job.frozen:
            return False
        job.frozen = False
        return True

    def is_watched(self, job_id: str) -> bool:
        job = self.jobs.get(job_id)
        return job is not None and job.newest is not None and job.newest.watched

    async def lives(self, claim: Job) -> bool:
        job = self.jobs.get(claim.id)
        return job is not None and job.newest is not None and job.newest.lives

    async def kill(self, claim: Job) -> bool:
        job = self.jobs.get(claim.id)
        if job is not None and job.newest is not None:
            job.newest.end()
            await job.newest.gone()
        return True

    async def reap(self, claim: Job) -> bool:
        job = self.jobs.get(claim.id)
        if job is not None and (job.fence > claim.claim_token or self.is_watched(claim.id)):
            return False
        return await self.kill(claim)

    def output(self, job_id: str) -> MemoryOutput:
        job = self.jobs.get(job_id)
        return MemoryOutput() if job is None else job.output

    @contextmanager
    def watch_output(self, job_id: str) -> Iterator[None]:
        self._heard.append(job_id)
        try:
            yield
        finally:
            self._heard.remove(job_id)

    def _grew(self, job_id: str) -> None:
        if job_id in self._heard:
            self._bus.publish(OutputGrew(job_id=job_id))
