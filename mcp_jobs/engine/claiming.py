"""The pool: claims due jobs up to the shared capacity and supervises each in a task."""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from mcp_jobs.domain.errors import HomeGoneError, StoreError, in_words
from mcp_jobs.domain.events import JobChanged
from mcp_jobs.domain.states import Reason, Status
from mcp_jobs.execution.base import LEASE_S

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from anyio.abc import TaskGroup

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.events import Bus, Event
    from mcp_jobs.domain.models import Job
    from mcp_jobs.engine.supervisor import Supervisor
    from mcp_jobs.engine.upkeep import Upkeep
    from mcp_jobs.execution.base import Executor, Members
    from mcp_jobs.settings import Settings
    from mcp_jobs.store import Store

logger = logging.getLogger(__name__)

_LONGEST_NAP_S: Final = 5.0
"""Bounds what a jump of the wall clock can delay a job by."""

_ADOPT_EVERY_S: Final = 1.0
_OVERDUE_S: Final = 5.0
"""How long after a limit the runner that should keep it is looked at."""

_FREED_KEPT: Final = 1000


class Pool:
    """One owner of jobs: a server's or worker's share of the work."""

    def __init__(
        self,
        *,
        members: Members,
        executor: Executor,
        store: Store,
        bus: Bus,
        supervisor: Supervisor,
        settings: Settings,
        clock: Clock,
        upkeep: Upkeep,
    ) -> None:
        self._members = members
        self._executor = executor
        self._locality = executor.locality
        self._store = store
        self._bus = bus
        self._supervisor = supervisor
        self._settings = settings
        self._clock = clock
        self._upkeep = upkeep
        self._wake = anyio.Event()
        self._ended = anyio.Event()
        self._look = True
        self._next_due_ms: int | None = None
        self._active: set[str] = set()
        self._guards: dict[str, float] = {}
        """When (monotonic seconds) the runner of a job with a limit is to be looked at."""
        self._freed: set[str] = set()
        self._full = False
        """No slot was free when it was last looked for one, and no end was heard of since."""
        self._abandoned: set[str] = set()
        self._reminding: set[str] = set()
        self._stranded: dict[str, float] = {}
        self._strays: dict[str, int] | None = None
        """After a fault: jobs of this owner that nobody seems to supervise, by claim token."""
        self._odd: dict[str, str] = {}
        """Jobs that cannot be looked after, and why."""

    async def run(self) -> None:
        """Work until cancelled. Jobs that run then go on without this process."""
        unsubscribe = self._bus.subscribe(self._on_event)
        try:
            async with anyio.create_task_group() as tasks:
                # Each for itself: a fault of one loop must not end the care for jobs that run.
                adopt = partial(self._adopt_for_ever, tasks)
                tasks.start_soon(self._upkeep.keep, "pool: adoption", adopt)
                await self._upkeep.keep("pool: claims", partial(self._claim_for_ever, tasks))
        finally:
            unsubscribe()

    async def until_drained(self) -> None:
        """Return when no job of this locality is waiting or running."""
        while self._active or await self._store.unfinished(self._locality):
            with anyio.move_on_after(_LONGEST_NAP_S):
                await self._ended.wait()
            self._ended = anyio.Event()

    def wake(self) -> None:
        """Look for due jobs now."""
        self._look = True
        self._use_slot()

    def _on_event(self, event: Event) -> None:
        if not isinstance(event, JobChanged):
            return
        if event.created or event.status in (Status.PENDING, Status.RETRYING):
            # It may be due, now or at a time that is not known here.
            self._look = True
            if not self._full:
                self._wake.set()
        if event.ended or event.status is Status.INPUT_REQUIRED:
            self._ended.set()
            if event.ended and event.job_id in self._freed:
                self._freed.discard(event.job_id)
            else:
                self._use_slot()
        elif event.status is Status.RETRYING:
            self._use_slot()

    def _note_freed(self, job_id: str) -> None:
        """Use the slot of a job of ours before the feed tells of its end."""
        if len(self._freed) >= _FREED_KEPT:
            # Ends of which the feed had told already. To forget the others costs a claim in vain.
            self._freed.clear()
        self._freed.add(job_id)
        self._use_slot()

    def _use_slot(self) -> None:
        """A slot is free: of use only if something is known to wait for one."""
        self._full = False
        self._wake.set()

    async def _claim_for_ever(self, tasks: TaskGroup) -> None:
        # After a fault there may be jobs that were claimed and are supervised by nobody.
        self._strays = {}
        self._look, self._full = True, False
        while True:
            self._wake = anyio.Event()
            try:
                # Shielded: a claim whose answer is lost would belong to nobody who knows it.
                with anyio.CancelScope(shield=True):
                    nap_s = await self._claim_due(tasks)
            except HomeGoneError:
                # Said elsewhere, once, by who ends this process.
                await anyio.sleep_forever()
                return
            except StoreError as error:
                logger.warning("cannot look for due jobs: %s", error)
                nap_s = _LONGEST_NAP_S
                self._look = True
            with anyio.move_on_after(nap_s) as nap:
                await self._wake.wait()
            # Slept through: a look costs little, and trusts no event to have come.
            if nap.cancelled_caught:
                self._look, self._full = True, False

    async def _claim_due(self, tasks: TaskGroup) -> float:
        """Claim what is due as long as there are slots; returns how long to sleep."""
        self._full = False
        while self._look or self._is_due():
            self._look = False
            known_ms = self._next_due_ms
            claimed = await self._store.claim(
                claimer=self._members.own_id,
                locality=self._locality,
                incarnation=self._executor.here,
                capacity=self._settings.capacity,
                now_ms=self._clock.now_ms(),
            )
            if claimed is None:
                self._next_due_ms = await self._store.next_due_ms(self._locality)
                if self._is_due() and self._next_due_ms != known_ms:
                    # Due since before the claim, or only after it: another claim tells.
                    continue
                # Overdue means that no slot is free: the end of some job wakes us.
                self._full = self._is_due()
                return _LONGEST_NAP_S if self._full else self._until_due_s()
            self._next_due_ms = claimed.next_due_ms
            self._supervise(tasks, claimed.job, self._supervisor.run)
            if claimed.running >= self._settings.capacity:
                self._full = True
                return _LONGEST_NAP_S
        return self._until_due_s()

    def _is_due(self) -> bool:
        return self._next_due_ms is not None and self._next_due_ms <= self._clock.now_ms()

    def _until_due_s(self) -> float:
        """Return the time to the next job, bounded because another process may change it."""
        if self._next_due_ms is None:
            return _LONGEST_NAP_S
        wait_s = (self._next_due_ms - self._clock.now_ms()) / 1000
        return min(max(wait_s, 0.0), _LONGEST_NAP_S)

    def _supervise(
        self, tasks: TaskGroup, job: Job, life: Callable[[Job], Awaitable[None]]
    ) -> None:
        async def live() -> None:
            try:
                await life(job)
            except OSError as error:
                # Out of descriptors or disk space: whoever looks next may do better.
                logger.warning("job %s cannot be cared for now: %s", job.id, in_words(error))
                self._abandoned.add(job.id)
            except Exception:  # one job's fault must not end the supervision of the others
                logger.exception("supervising job %s failed", job.id)
                self._abandoned.add(job.id)
            finally:
                self._active.discard(job.id)
                self._guards.pop(job.id, None)
                self._ended.set()
                self._note_freed(job.id)

        self._active.add(job.id)
        limits_s = [limit for limit in (job.timeout_s, job.idle_timeout_s) if limit is not None]
        if limits_s:
            self._guards[job.id] = self._clock.monotonic_s() + min(limits_s) + _OVERDUE_S
        self._freed.discard(job.id)
        tasks.start_soon(live)

    async def _adopt_for_ever(self, tasks: TaskGroup) -> None:
        while True:
            self._members.renew()
            self._wake_guards()
            try:
                if await self._store.reset_future_run_at(now_ms=self._clock.now_ms()):
                    self.wake()
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
        # A thousand healthy jobs of ours need no look.
        look_at_all = self._abandoned or self._strays is not None
        own_id = "" if look_at_all else self._members.own_id
        running = await self._store.running(needing_care_of=own_id)
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
        if job.id in self._active:
            tasks.start_soon(self._remind, job)
        if job.id in self._active or self._cared_for(job):
            return
        here = job.locality == self._locality
        if not here and self._clock.monotonic_s() - stranded_since_s < LEASE_S:
            return
        with anyio.CancelScope(shield=True):
            taken = await self._store.take_over(job, claimer=self._members.own_id)
            self._abandoned.discard(job.id)
            if taken is not None:
                self._supervise(tasks, taken, partial(self._supervisor.adopt, startable=here))

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
            if job.claimed_by == self._members.own_id and job.id not in self._active
        }
        twice = {name for name, token in self._strays.items() if before.get(name) == token}
        self._abandoned |= twice
        if not self._strays or twice == set(self._strays):
            self._strays = None

    def _wake_guards(self) -> None:
        """Let runners go on that were stopped (SIGSTOP) and have a limit to keep."""
        now_s = self._clock.monotonic_s()
        for job_id in [job_id for job_id, due_s in self._guards.items() if due_s <= now_s]:
            self._guards[job_id] = now_s + _OVERDUE_S
            self._wake_runner(job_id)

    def _wake_runner(self, job_id: str) -> None:
        try:
            self._executor.wake(job_id)
        except OSError as error:
            logger.warning("the runner of job %s cannot be looked at: %s", job_id, error)

    async def _remind(self, job: Job) -> None:
        """Let a job of ours have orders and answers that their givers could not pass on."""
        if job.id in self._reminding:
            return
        self._reminding.add(job.id)
        try:
            await self._deliver_cancel(job)
            await self._deliver_answers(job)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, others are cared for
            logger.warning("job %s cannot be reached: %s", job.id, error)
        finally:
            self._reminding.discard(job.id)

    async def _deliver_cancel(self, job: Job) -> None:
        """Stop a job of ours whose canceller was killed before it could give the order."""
        if job.cancel_requested_at_ms is not None:
            await self._executor.stop(job.id, reason=Reason.CANCELLED_BY_USER)

    async def _deliver_answers(self, job: Job) -> None:
        """Let a job of ours have answers whose giver was killed before it could pass them on."""
        if not self._executor.waits_for_answer(job.id):
            return
        for question in await self._store.questions(job.id):
            if question.answer is not None:
                await self._executor.answer(job.id, question.key, asdict(question.answer))

    def _stranded_since_s(self, job: Job) -> float:
        """Return since when a job of another pid namespace has had neither owner nor runner.

        Somebody in that namespace, if there is still one, goes first: only he sees its processes.
        """
        now_s = self._clock.monotonic_s()
        if job.locality == self._locality or self._cared_for(job):
            return now_s
        if self._executor.is_watched(job.id):
            return now_s
        return self._stranded.get(job.id, now_s)

    def _cared_for(self, job: Job) -> bool:
        if job.claimed_by == self._members.own_id:
            # Just claimed or just ended, unless its supervision broke.
            return job.id not in self._abandoned
        return not self._members.is_gone(str(job.claimed_by))
