"""One job's life, from a claim or an adoption to the stored end of its attempt."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVarTuple

import anyio
import anyio.to_thread

from mcp_jobs import exchange, launching, outcomes, process, summaries
from mcp_jobs.errors import LauncherError, StoreError
from mcp_jobs.launcher import files, layout
from mcp_jobs.models import Progress, Question
from mcp_jobs.output import read_recent
from mcp_jobs.patterns import matches
from mcp_jobs.progress.lines import strip_escapes
from mcp_jobs.states import Reason, Status

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from mcp_jobs.clock import Clock
    from mcp_jobs.feed import ChangeFeed
    from mcp_jobs.follow import Follower, Watch
    from mcp_jobs.launcher.record import ExitRecord
    from mcp_jobs.models import Job, Outcome
    from mcp_jobs.settings import Settings
    from mcp_jobs.store import Store

logger = logging.getLogger(__name__)

Ts = TypeVarTuple("Ts")

STOP_GRACE_S: Final = 5.0
"""What a job that ran out of time has between TERM and KILL."""

_LAUNCH_PAUSES_S: Final = (0.1, 0.5, 2.0, 5.0)
_STORE_PAUSE_S: Final = 1.0
_SUMMARY_BYTES: Final = 1 << 20
_LINE_BYTES: Final = 500
_LOST: Final = (
    "Interrupted: its runner was killed or the machine went down. The output up to then is kept."
)


class Supervisor:
    """Runs claimed jobs. Cancelling it leaves the job to whoever adopts it."""

    def __init__(
        self,
        *,
        store: Store,
        feed: ChangeFeed,
        follower: Follower,
        launcher: launching.LauncherClient,
        settings: Settings,
        clock: Clock,
    ) -> None:
        self._store = store
        self._feed = feed
        self._follower = follower
        self._launcher = launcher
        self._settings = settings
        self._clock = clock

    async def run(self, job: Job) -> None:
        """Start a freshly claimed job, follow it and store its end."""
        job_dir = self._dir(job)
        if job.claim_token > 1:
            await anyio.to_thread.run_sync(_prepare_again, job, job_dir)
        try:
            link = await self._launch(job)
        except LauncherError as error:
            current = await self._persist(self._store.find, job.id) or job
            outcome = outcomes.not_started(current, now_ms=self._clock.now_ms(), error=str(error))
            await self._settle(job, outcome)
            return
        if link is None and not await self._still_ours(job):
            return
        try:
            await self._follow(job, link)
            await self._conclude(job, link=link)
        finally:
            if link is not None:
                link.close()

    async def adopt(self, job: Job) -> None:
        """Go on with a job whose owner is gone. `job` is already claimed for this process."""
        job_dir = self._dir(job)
        await anyio.to_thread.run_sync(process.raise_fence, job_dir, job.claim_token)
        traces, problem = await anyio.to_thread.run_sync(_traces, job_dir)
        if problem is None and not _of_this_attempt(traces, job):
            # Its owner died before the launch, and the fence now keeps a late one out.
            await self.run(job)
            return
        # Also when it has ended: its last progress has not been seen by anybody.
        await self._follow(job, None)
        await self._conclude(job)

    async def bury(self, job: Job) -> None:
        """Settle a job of another pid namespace that is gone: it cannot be started from here."""
        job_dir = self._dir(job)
        await anyio.to_thread.run_sync(process.raise_fence, job_dir, job.claim_token)
        # Unless any worker may start it, another attempt would wait for ever.
        await self._conclude(job, retry=job.shared)

    async def _still_ours(self, job: Job) -> bool:
        """After a refusal: whether the claim stands, so that its runner was started before."""
        current = await self._persist(self._store.find, job.id)
        return current is not None and current.claim_token == job.claim_token

    # -- steps -----------------------------------------------------------------------------------

    async def _launch(self, job: Job) -> launching.RunnerLink | None:
        request = launching.LaunchRequest(
            job_id=job.id,
            job_dir=str(self._dir(job)),
            token=job.claim_token,
            attempt=job.attempt,
            timeout_s=job.timeout_s,
            idle_timeout_s=job.idle_timeout_s,
            grace_s=STOP_GRACE_S,
            output_cap_bytes=self._settings.output_cap_bytes,
            output_limit_bytes=job.policy.output_limit_bytes,
            detach=job.policy.detach,
        )
        for pause_s in _LAUNCH_PAUSES_S:
            try:
                return await self._launcher.run(request)
            except LauncherError as error:
                logger.warning("job %s: %s Trying again.", job.id, error)
                await anyio.sleep(pause_s)
        try:
            return await self._launcher.run(request)
        except LauncherError:
            # A request that nobody answered may still be carried out: from now on no longer.
            if await anyio.to_thread.run_sync(process.forbid, self._dir(job), job.claim_token):
                raise
            return None

    async def _follow(self, job: Job, link: launching.RunnerLink | None) -> None:
        """Store progress until the end: the runner tells it, or is gone and its lock is free."""
        pattern = job.policy.progress
        with self._follower.watch(job.id, track=True, probe=link is None, pattern=pattern) as watch:
            await self._store_progress(job, watch, link)
            if watch.may_have_grown():
                await anyio.to_thread.run_sync(watch.last_look, self._clock.monotonic_s())
            await self._store_newest(job, watch)

    async def _store_progress(
        self, job: Job, watch: Watch, link: launching.RunnerLink | None
    ) -> None:
        if link is not None:
            link.when_over(watch.wake)
        while watch.alive if link is None else not (link.ended or link.closed):
            await watch.changed.wait()
            watch.changed = anyio.Event()
            await self._store_newest(job, watch)
            await self._store_questions(job, watch)

    async def _store_newest(self, job: Job, watch: Watch) -> None:
        seen = watch.take_progress()
        if seen is None:
            return
        now_ms = self._clock.now_ms()
        progress = Progress(
            current=seen.current,
            total=seen.total,
            percent=seen.percent,
            message=seen.message,
            updated_at_ms=now_ms,
            ends_at_ms=None if seen.left_s is None else now_ms + round(seen.left_s * 1000),
        )
        try:
            await self._store.set_progress(job, progress)
            self._feed.nudge()
        except StoreError as error:
            logger.warning("job %s: progress not stored: %s", job.id, error)

    async def _store_questions(self, job: Job, watch: Watch) -> None:
        """Store what the job asks, and let it have what was answered before."""
        for name, asked in watch.questions.items():
            question = _question(job, asked, now_ms=self._clock.now_ms())
            try:
                stored = None if question is None else await self._store.ask(job, question)
                if stored is not None and stored.answer is not None:
                    job_dir, answer = self._dir(job), asdict(stored.answer)
                    await anyio.to_thread.run_sync(
                        exchange.deliver_answer, job_dir, stored.key, answer
                    )
            except (files.OddFileError, IsADirectoryError) as error:
                logger.warning("job %s: an answer cannot be given: %s", job.id, error)
                watch.stored.add(name)
            except (StoreError, OSError) as error:
                logger.warning("job %s: a question is not stored yet: %s", job.id, error)
            else:
                watch.stored.add(name)
        self._feed.nudge()

    async def _conclude(
        self, job: Job, *, link: launching.RunnerLink | None = None, retry: bool = True
    ) -> None:
        """Store what the runner wrote down, or that it was lost."""
        job_dir = self._dir(job)
        if link is not None and job.retry_on_interrupt:
            # A power cut would cost the record and, after it, another attempt its environment.
            await link.wait_closed()
        # A few small files that were just written: less than a trip to another thread.
        traces, problem = _traces(job_dir)
        outcome = await self._read_end(job, traces)
        if link is not None and (outcome is None or outcome.status is not Status.COMPLETED):
            # Another attempt may follow at once, and must not find this runner alive.
            await link.wait_closed()
        if traces.token is not None and traces.token > job.claim_token:
            return
        if outcome is None:
            if not await self._still_ours(job):
                return
            await self._launcher.sweep_orphans()
            if not await anyio.to_thread.run_sync(
                process.sweep, job.id, job_dir, job.claim_token, abandon_on_cancel=True
            ):
                await self._give_back(job)
                return
            outcome = outcomes.interrupted(
                await self._persist(self._store.find, job.id) or job,
                now_ms=self._clock.now_ms(),
                error=problem or _LOST,
                output_start=traces.output_start,
            )
        await self._settle(job, outcome, retry=retry)

    async def _read_end(self, job: Job, traces: process.Traces) -> Outcome | None:
        """Return how the attempt ended as its runner wrote it down, if it did."""
        record = traces.record
        if record is None or not _of_this_attempt(traces, job):
            return None
        job_dir = self._dir(job)
        if record["bytes_total"] > record["output_start"]:
            outcome = await anyio.to_thread.run_sync(_outcome, job, job_dir, record)
        else:
            outcome = _outcome(job, job_dir, record)
        if outcome.status is Status.COMPLETED:
            # Whoever settles it: it will not start again. Saves every job that goes well a trip.
            _tidy(process.forget_secrets, job_dir)
        return outcome

    async def _give_back(self, job: Job) -> None:
        """A runner lives where none was expected. If the claim still stands, adopt it anew."""
        if await self._still_ours(job):
            raise LauncherError(f"Job {job.id} has a runner that this process did not expect.")

    async def _settle(self, job: Job, final: Outcome, *, retry: bool = True) -> None:
        """Store the end of the attempt; zero rows mean that another owner has the job.

        `final` is how it ended if no other attempt follows, because none is left or a cancel came
        in between.
        """
        outcome = final
        if final.status is Status.FAILED:
            current = await self._persist(self._store.find, job.id)
            if current is None or current.claim_token != job.claim_token:
                return
            final = _by_cancel(current, final, self._dir(job))
            outcome = self._with_retry(current, final) if retry else final
        settled = None
        if outcome.status is Status.RETRYING:
            settled = await self._persist(self._store.settle, job, outcome)
        if settled is None:
            early = final.status is not Status.COMPLETED and final.reason is not Reason.SPAWN_ERROR
            if outcome is final and early:
                # Before the end is stored: afterwards nobody looks at the job any more. Where
                # another owner might still have it tried again, its environment must stay.
                await anyio.to_thread.run_sync(_tidy, process.forget_secrets, self._dir(job))
            settled = await self._persist(self._store.settle, job, final)
        if settled is None:
            return
        self._feed.nudge()
        # A file or two: less than a trip to another thread. What a killed process leaves lying,
        # maintenance removes.
        at_once = partial(process.clean_after_end, at_once=True)
        if settled.ended and not _tidy(at_once, self._dir(job)):
            await anyio.to_thread.run_sync(_tidy, process.clean_after_end, self._dir(job))

    def _with_retry(self, job: Job, final: Outcome) -> Outcome:
        return outcomes.with_retry(
            job,
            final,
            now_ms=self._clock.now_ms(),
            base_s=self._settings.retry_base_seconds,
        )

    async def _persist(
        self, write: Callable[[*Ts], Awaitable[Job | None]], *arguments: *Ts
    ) -> Job | None:
        """Do one store step, however long the store is out of order: the end must not be lost."""
        while True:
            try:
                return await write(*arguments)
            except StoreError as error:
                logger.warning("the store is out of order, trying again: %s", error)
                await anyio.sleep(_STORE_PAUSE_S)

    def _dir(self, job: Job) -> Path:
        return self._settings.jobs_dir / job.id


def _question(job: Job, asked: Mapping[str, Any], *, now_ms: int) -> Question | None:
    """Return what a job's file asks; None for a file that is no question."""
    key, message, schema = asked.get("key"), asked.get("message"), asked.get("schema")
    if not (isinstance(key, str) and isinstance(message, str) and isinstance(schema, dict)):
        logger.warning("job %s has a file among its questions that is none", job.id)
        return None
    return Question(job_id=job.id, key=key, message=message, schema=schema, asked_at_ms=now_ms)


def _by_cancel(job: Job, final: Outcome, job_dir: Path) -> Outcome:
    """Tell a cancel that had to be carried out with signals, as no order could reach the runner."""
    ended = final.reason in (Reason.SIGNAL, Reason.INTERRUPTED)
    if job.cancel_requested_at_ms is None or not ended or process.has_traces(job_dir):
        return final
    return replace(final, status=Status.CANCELLED, reason=Reason.CANCELLED_BY_USER)


def _prepare_again(job: Job, job_dir: Path) -> None:
    if job.attempt > 1:
        process.forget_attempt(job_dir)
    # Somebody may have claimed this job before and slept; his runner must not start now.
    process.raise_fence(job_dir, job.claim_token)


def _traces(job_dir: Path) -> tuple[process.Traces, str | None]:
    """Return what the newest runner left, and what the job has put in the place of that."""
    try:
        return process.read_traces(job_dir), None
    except files.OddFileError as error:
        problem = f"How it ended is not known, as the job has spoiled its own files: {error}."
        return process.Traces(token=None, output_start=0, record=None), problem


def _of_this_attempt(traces: process.Traces, job: Job) -> bool:
    return traces.token is not None and traces.token >= job.launch_token


def _tidy(step: Callable[[Path], bool | None], job_dir: Path) -> bool | None:
    """Remove something of a job; should that not be allowed, its end is stored all the same."""
    try:
        return step(job_dir)
    except OSError as error:
        logger.warning("something of the job in %s is not removed: %s", job_dir, error)
        return True


def _outcome(job: Job, job_dir: Path, record: ExitRecord) -> Outcome:
    output = str(job_dir / layout.OUTPUT)
    printed = record["bytes_total"] - record["output_start"]
    recent = read_recent(output, limit_bytes=min(_SUMMARY_BYTES, printed)) if printed else b""
    summary = summaries.summarise(recent) if recent else None
    outcome = outcomes.outcome_of(
        job,
        record,
        result=None if summary is None else {"tests": summary},
        last_line=_last_line(recent),
        printed=partial(_printed, recent),
    )
    if not exchange.is_python_job(job_dir):
        return outcome
    secrets = process.read_launch_secrets(job_dir) or ()
    return outcomes.with_report(outcome, exchange.read_report(job_dir, record["token"], secrets))


def _printed(recent: bytes, patterns: tuple[str, ...]) -> bool:
    text = strip_escapes(recent).decode("utf-8", "replace")
    return any(matches(pattern, text) for pattern in patterns)


def _last_line(recent: bytes) -> str:
    return recent[-_LINE_BYTES:].decode("utf-8", "replace").strip().rpartition("\n")[2]
