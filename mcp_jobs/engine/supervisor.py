"""One job's life, from a claim or an adoption to the stored end of its attempt."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

import anyio
import anyio.to_thread

from mcp_jobs.domain.errors import HomeGoneError, LauncherError, StoreError
from mcp_jobs.domain.patterns import matches
from mcp_jobs.domain.states import Reason, Status
from mcp_jobs.engine import outcomes
from mcp_jobs.engine.observations import Observations
from mcp_jobs.engine.settlement import Terms, plan_settlement
from mcp_jobs.execution.base import Ended, Lost, NotStartedError, Orphaned, Unstarted
from mcp_jobs.output import read_recent, summaries
from mcp_jobs.output.progress.lines import strip_escapes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.models import Job, Launch, Outcome
    from mcp_jobs.engine.change_feed import ChangeFeed
    from mcp_jobs.execution.base import Attempt, Executor
    from mcp_jobs.output import OutputSource
    from mcp_jobs.settings import Settings
    from mcp_jobs.store import Store

logger = logging.getLogger(__name__)

T = TypeVar("T")

_STARTS: Final = 8
"""How often an executor may find that what a start needs is gone again."""

_OUTLIVE_S: Final = 1.0
_NOT_FROM_HERE: Final = "Interrupted: the container or session that it was to run in is gone."
_STORE_PAUSE_S: Final = 1.0
_SUMMARY_BYTES: Final = 1 << 20
_LINE_BYTES: Final = 500


class Supervisor:
    """Sees claimed jobs through. Cancelling it leaves the job to whoever adopts it."""

    def __init__(
        self,
        *,
        store: Store,
        feed: ChangeFeed,
        executor: Executor,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._store = store
        self._feed = feed
        self.executor = executor
        self._settings = settings
        self._clock = clock
        self._observations = Observations(store=store, feed=feed, executor=executor, clock=clock)

    async def run(self, job: Job) -> None:
        """Start a freshly claimed job, follow it and store its end."""
        # Else what it needs is used up, or perhaps not what it was when it was written.
        ready = job.attempt == 1 and job.prepared_in == self.executor.here
        if ready and await self._start(job):
            return
        if not ready or await self._is_ours(job):
            await self.resolve(job)

    async def adopt(self, job: Job, *, startable: bool = True) -> None:
        """Go on with a job whose owner is gone. `job` is already claimed for this process.

        One of another pid namespace that is gone is not `startable` from here, only settled.
        """
        await self.resolve(job, startable=startable)

    async def resolve(self, job: Job, *, startable: bool = True) -> None:
        """Do what there is of a job asks for, until its attempt has an end."""
        starts, has_lived = 0, False
        while starts < _STARTS:
            found = await self.executor.attach(job, has_lived=has_lived)
            if isinstance(found, Unstarted) and not startable:
                found = Lost(why=_NOT_FROM_HERE)
            match found:
                case Lost():
                    await self._conclude_lost(job, found, startable=startable)
                    return
                case Unstarted():
                    starts += 1
                    if not await self._prepare(job) or await self._start(job):
                        return
                case Orphaned():
                    has_lived = True
                    if await self._outlive(job):
                        return
                case _:
                    if await self._accompany(job, found, startable=startable):
                        return
            if not await self._is_ours(job):
                return
        await self._give_up(job, "what its launch needs in its directory does not stay there")

    # -- to a start ------------------------------------------------------------------------------

    async def _prepare(self, job: Job) -> bool:
        """Make what a start needs, from the store; False when that cannot be, and it has ended."""
        launch = await self._launch_of(job)
        if launch is None:
            await self._give_up(job, "its stored environment is gone")
            return False
        try:
            await self.executor.prepare_again(job, launch)
        except NotStartedError as error:
            await self._settle_unstarted(job, str(error))
            return False
        if job.prepared_in != self.executor.here:
            await self._patiently(partial(self._store.set_prepared, job, self.executor.here))
        return True

    async def _launch_of(self, job: Job) -> Launch | None:
        """Return how the job is to be run; what an older version left elsewhere is stored."""
        launch = await self._patiently(partial(self._store.launch_of, job.id))
        if launch is None:
            launch = await self.executor.recall(job.id)
            if launch is not None:
                await self._patiently(partial(self._store.keep_launch, job, launch))
        return launch

    async def _start(self, job: Job) -> bool:
        """Start the attempt and see it through; False when that was refused."""
        try:
            attempt = await self.executor.start(job)
        except NotStartedError as error:
            await self._settle_unstarted(job, str(error))
            return True
        return attempt is not None and await self._accompany(job, attempt)

    async def _give_up(self, job: Job, why: str) -> None:
        """Store that a job cannot be started: it has not begun, and what it needs is not there."""
        await self._settle_unstarted(job, f"It was not started: {why}.")

    async def _settle_unstarted(self, job: Job, error: str) -> None:
        now_ms = self._clock.now_ms()
        await self._settle(job, lambda row: outcomes.not_started(row, now_ms=now_ms, error=error))

    # -- to an end -------------------------------------------------------------------------------

    async def _accompany(self, job: Job, attempt: Attempt, *, startable: bool = True) -> bool:
        """Follow an attempt and store its end; False when the end is not known from it."""
        try:
            await self._observations.keep(job, attempt)
            end = await self._patiently(attempt.ended)
            if end is None:
                return False
            if isinstance(end, Lost):
                await self._conclude_lost(job, end, startable=startable)
                return True
            outcome = await self._outcome(job, end)
            if outcome.status is not Status.COMPLETED:
                # Another attempt may follow at once, and must not find this one alive.
                await attempt.left()
        finally:
            attempt.close()
        # After a restore of the store the next token is used up: another attempt cannot start.
        again = not end.superseded and (startable or job.shared)
        terms = Terms(may_retry=again, unreachable=end.unreachable)
        await self._settle(job, lambda _: outcome, terms)
        return True

    async def _outcome(self, job: Job, end: Ended) -> Outcome:
        """Return how the attempt ended; what was printed is read for that in a thread."""
        outcome = partial(_outcome, job, end, self.executor.output(job.id))
        return await anyio.to_thread.run_sync(outcome) if _printed_bytes(end) else outcome()

    async def _conclude_lost(self, job: Job, lost: Lost, *, startable: bool) -> None:
        """End what is left of a lost attempt, and store that it was lost."""
        if not await self._is_ours(job):
            return
        if not await self.executor.reap(job):
            await self._give_back(job)
            return
        logger.warning("job %s: %s", job.id, lost.why)
        now_ms = self._clock.now_ms()
        interrupted = partial(
            outcomes.interrupted, now_ms=now_ms, error=lost.why, output_start=lost.output_start
        )
        # Unless any worker may start it, another attempt would wait for ever.
        settled = await self._settle(job, interrupted, Terms(may_retry=startable or job.shared))
        if settled is not None and settled.status is Status.RETRYING:
            await self._ready_again(job)

    async def _ready_again(self, job: Job) -> None:
        """Let the next attempt find what tells that it has not begun."""
        launch = await self._launch_of(job)
        if launch is not None:
            try:
                await self.executor.prepare_again(job, launch)
            except (NotStartedError, OSError) as error:
                logger.warning("job %s is not prepared for its next attempt: %s", job.id, error)

    async def _give_back(self, job: Job) -> None:
        """Somebody runs it whom nobody expected. If the claim still stands, adopt it anew."""
        if await self._is_ours(job):
            raise LauncherError(f"Job {job.id} has a runner that this process did not expect.")

    # -- what can only be waited for -------------------------------------------------------------

    async def _outlive(self, job: Job) -> bool:
        """Wait for the end of a job of which only processes are left; True when that is stored.

        Nothing of it can be told to end, so a cancel and the time limit end it by force.
        """
        logger.warning(
            "job %s has processes, but no runner that is known; it is waited for", job.id
        )
        while await self.executor.lives(job):
            current = await self._row(job)
            if current is None or current.claim_token != job.claim_token:
                return True
            reason = self._due_stop(current)
            if reason is not None:
                return await self._end_by_force(job, reason)
            if self.executor.is_watched(job.id):
                return False
            await anyio.sleep(_OUTLIVE_S)
        return False

    def _due_stop(self, job: Job) -> Reason | None:
        """Return why a job must end that nobody can be told of."""
        if job.cancel_requested_at_ms is not None:
            return Reason.CANCELLED_BY_USER
        began_ms, limit_s = job.attempt_started_at_ms, job.timeout_s
        if None in (began_ms, limit_s):
            return None
        over = self._clock.now_ms() - (began_ms or 0) >= (limit_s or 0) * 1000
        return Reason.TIMEOUT if over else None

    async def _end_by_force(self, job: Job, reason: Reason) -> bool:
        if not await self.executor.kill(job):
            return False
        now_ms = self._clock.now_ms()
        await self._settle(job, lambda row: outcomes.swept(row, reason, now_ms=now_ms))
        return True

    # -- the row ---------------------------------------------------------------------------------

    async def _settle(
        self, job: Job, final_of: Callable[[Job], Outcome], terms: Terms | None = None
    ) -> Job | None:
        """Store the end of the attempt; None when another owner has the job.

        `final_of` says, of the row as it is now, how the attempt ended if it is the last one.
        """
        current = job
        if (final := final_of(job)).status is not Status.COMPLETED:
            found = await self._row(job)
            if found is None or found.claim_token != job.claim_token:
                return None
            current, final = found, final_of(found)
        plan = plan_settlement(
            current,
            final,
            terms or Terms(),
            now_ms=self._clock.now_ms(),
            base_s=self._settings.retry_base_seconds,
        )
        settled = None
        if plan.again is not None:
            settled = await self._patiently(partial(self._store.settle, job, plan.again))
        if settled is None:
            if plan.forgets:
                await self.executor.forget_secrets(job.id)
            settled = await self._patiently(partial(self._store.settle, job, plan.final))
        if settled is None:
            return None
        self._feed.nudge()
        if settled.ended:
            # What a killed process leaves lying, retention removes.
            await self.executor.finish(job.id)
        return settled

    async def _is_ours(self, job: Job) -> bool:
        """Whether the claim stands."""
        current = await self._row(job)
        return current is not None and current.claim_token == job.claim_token

    async def _row(self, job: Job) -> Job | None:
        return await self._patiently(partial(self._store.find, job.id))

    async def _patiently(self, step: Callable[[], Awaitable[T]]) -> T:
        """Do a step, however long the store is out of order: the end must not be lost."""
        while True:
            try:
                return await step()
            except HomeGoneError:
                # Nothing can be stored any more, and whoever works here leaves.
                await anyio.sleep_forever()
            except StoreError as error:
                logger.warning("the store is out of order, trying again: %s", error)
                await anyio.sleep(_STORE_PAUSE_S)


def _outcome(job: Job, end: Ended, output: OutputSource) -> Outcome:
    size = min(_SUMMARY_BYTES, _printed_bytes(end))
    recent = read_recent(output, limit_bytes=size) if size else b""
    summary = summaries.summarise(recent) if recent else None
    outcome = outcomes.outcome_of(
        job,
        end.record,
        result=None if summary is None else {"tests": summary},
        last_line=_last_line(recent),
        printed=partial(_printed, recent),
    )
    if end.is_function:
        outcome = outcomes.with_report(outcome, end.report)
    return outcomes.without_directory(outcome) if end.output_gone else outcome


def _printed_bytes(end: Ended) -> int:
    return end.record["bytes_total"] - end.record["output_start"]


def _printed(recent: bytes, patterns: tuple[str, ...]) -> bool:
    text = strip_escapes(recent).decode("utf-8", "replace")
    return any(matches(pattern, text) for pattern in patterns)


def _last_line(recent: bytes) -> str:
    return recent[-_LINE_BYTES:].decode("utf-8", "replace").strip().rpartition("\n")[2]
