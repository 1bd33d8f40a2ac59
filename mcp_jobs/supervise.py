"""One job's life, from a claim or an adoption to the stored end of its attempt."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

from mcp_jobs import exchange, launching, outcomes, process, summaries
from mcp_jobs.companion import Companion
from mcp_jobs.errors import HomeGoneError, LauncherError, StoreError
from mcp_jobs.launcher import layout
from mcp_jobs.output import read_recent
from mcp_jobs.patterns import matches
from mcp_jobs.progress.lines import strip_escapes
from mcp_jobs.spool_reader import SpoolFiles
from mcp_jobs.states import Reason, Status
from mcp_jobs.verdicts import Case, Traces, Verdict, began, judge, outlived

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from mcp_jobs.clock import Clock
    from mcp_jobs.feed import ChangeFeed
    from mcp_jobs.follow import Follower
    from mcp_jobs.incarnation import Incarnation
    from mcp_jobs.launcher.record import ExitRecord
    from mcp_jobs.models import Job, Launch, Outcome
    from mcp_jobs.settings import Settings
    from mcp_jobs.store import Store

logger = logging.getLogger(__name__)

T = TypeVar("T")
Ts = TypeVarTuple("Ts")

STOP_GRACE_S: Final = 5.0
"""What a job that ran out of time has between TERM and KILL."""

_LAUNCH_PAUSES_S: Final = (0.1, 0.5, 2.0, 5.0)
_STARTS: Final = 8
"""How often a runner may find that what its launch needs is gone again."""

_OUTLIVE_S: Final = 1.0
_RUNNER_LOST: Final = (
    "Interrupted: its runner was killed or the machine went down. The output up to then is kept."
)
_RUNNER_LOST_TOO: Final = (
    "Interrupted: its runner was killed. Its directory is gone, and the output with it."
)
_NOT_FROM_HERE: Final = "Interrupted: the container or session that it was to run in is gone."
_STORE_PAUSE_S: Final = 1.0
_SUMMARY_BYTES: Final = 1 << 20
_LINE_BYTES: Final = 500


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
        here: Incarnation,
    ) -> None:
        self._store = store
        self._feed = feed
        self._companion = Companion(
            store=store, feed=feed, follower=follower, jobs_dir=settings.jobs_dir, clock=clock
        )
        self._launcher = launcher
        self._settings = settings
        self._clock = clock
        self._here = here

    async def run(self, job: Job) -> None:
        """Start a freshly claimed job, follow it and store its end."""
        if job.claim_token > 1:
            await anyio.to_thread.run_sync(_prepare_again, job, self._dir(job), self._homes(job))
        if job.attempt == 1 and job.prepared_in == str(self._here):
            await self._begin(job)
        else:
            # Its files are used up, or perhaps not what they were when they were written.
            await self._resolve(job)

    async def adopt(self, job: Job, *, startable: bool = True) -> None:
        """Go on with a job whose owner is gone. `job` is already claimed for this process.

        One of another pid namespace that is gone is not `startable` from here, only settled.
        """
        await anyio.to_thread.run_sync(
            process.raise_fence, self._dir(job), job.claim_token, self._homes(job)
        )
        await self._resolve(job, startable=startable)

    async def _still_ours(self, job: Job) -> bool:
        """Whether the claim stands."""
        current = await self._persist(self._store.find, job.id)
        return current is not None and current.claim_token == job.claim_token

    async def _resolve(self, job: Job, *, startable: bool = True) -> None:
        """Do what the job's row, files and processes ask for, until it has an end."""
        starts, lived = 0, False
        while starts < _STARTS:
            case, traces = await anyio.to_thread.run_sync(self._look, job)
            if lived:
                case = outlived(case, traces)
            match case.verdict:
                case Verdict.FOLLOW:
                    await self._companion.follow(job, None)
                case Verdict.WAIT:
                    lived = True
                    if await self._outlive(job):
                        return
                case Verdict.START if startable:
                    starts += 1
                    if not await self._prepare(job) or await self._begin(job, again=False):
                        return
                case Verdict.CONCLUDE:
                    # Its last progress has not been seen by anybody.
                    await self._companion.follow(job, None)
                    await self._conclude(job, traces.record, traces, startable=startable)
                    return
                case _:
                    why = case.why or _NOT_FROM_HERE
                    await self._conclude(job, None, traces, why=why, startable=startable)
                    return
            if not await self._still_ours(job):
                return
        await self._give_up(job, "what its launch needs in its directory does not stay there")

    def _look(self, job: Job) -> tuple[Case, Traces]:
        """Decide what a job is. Blocks; its processes are looked for only where they matter."""
        traces = process.read_traces(self._dir(job))
        case = judge(job, traces, here=self._here, lives=False)
        fresh = job.claim_token == job.launch_token
        if case.verdict in (Verdict.FOLLOW, Verdict.CONCLUDE) or began(job, traces):
            return case, traces
        if case.verdict is Verdict.START and fresh:
            return case, traces
        lives = process.lives(job.id, self._homes(job))
        return judge(job, traces, here=self._here, lives=lives), traces

    def _homes(self, job: Job) -> process.Homes:
        """Return which homes the processes of the job may carry as their mark."""
        ours = self._here.home_id
        # Older versions marked them with the job alone.
        return (ours, None) if job.claimed_in is None else (ours,)

    async def _prepare(self, job: Job) -> bool:
        """Make what a launch needs, from the store; False when that cannot be, and it has ended."""
        launch = await self._launch_of(job)
        if launch is None:
            await self._give_up(job, "its stored environment is gone")
            return False
        try:
            await anyio.to_thread.run_sync(process.make_ready, self._dir(job), launch)
        except OSError as error:
            await self._give_up(job, f"its directory cannot be made ready: {error}")
            return False
        await anyio.to_thread.run_sync(
            process.raise_fence, self._dir(job), job.claim_token, self._homes(job)
        )
        if job.prepared_in != str(self._here):
            await self._persist(self._store.set_prepared, job, str(self._here))
        return True

    async def _launch_of(self, job: Job) -> Launch | None:
        """Return how the job is to be run; what an older version left in a file is stored."""
        launch = await self._patiently(lambda: self._store.launch_of(job.id))
        if launch is None:
            launch = await anyio.to_thread.run_sync(process.read_launch, self._dir(job))
            if launch is not None:
                found = launch
                await self._patiently(lambda: self._store.keep_launch(job, found))
        return launch

    async def _begin(self, job: Job, *, again: bool = True) -> bool:
        """Launch the job and care for it to its end; False when it could not be launched.

        What then is the matter is looked into, unless not `again`.
        """
        try:
            link = await self._launch(job)
        except LauncherError as error:
            current = await self._persist(self._store.find, job.id) or job
            outcome = outcomes.not_started(current, now_ms=self._clock.now_ms(), error=str(error))
            await self._settle(job, outcome)
            return True
        if link is None:
            if again and await self._still_ours(job):
                await self._resolve(job)
            return False
        try:
            await self._accompany(job, link)
        finally:
            link.close()
        return True

    async def _accompany(self, job: Job, link: launching.RunnerLink) -> None:
        """Care for a job whose runner is connected: its word of the end needs no file."""
        await self._companion.follow(job, link)
        record = link.record
        traces = Traces(token=job.claim_token)
        if record is None:
            await link.wait_closed()
            traces = await anyio.to_thread.run_sync(process.read_traces, self._dir(job))
            record = traces.record if began(job, traces) else None
        why = _RUNNER_LOST if traces.directory else _RUNNER_LOST_TOO
        await self._conclude(job, record, traces, link=link, why=why)

    async def _outlive(self, job: Job) -> bool:
        """Wait for the end of a job of which only processes are left; True when that is stored.

        Nothing of it can be told to end, so a cancel and the time limit end it by a sweep.
        """
        logger.warning(
            "job %s has processes, but no runner that is known; it is waited for", job.id
        )
        while await anyio.to_thread.run_sync(process.lives, job.id, self._homes(job)):
            current = await self._persist(self._store.find, job.id)
            if current is None or current.claim_token != job.claim_token:
                return True
            reason = self._due_stop(current)
            if reason is not None:
                return await self._end_by_sweep(job, reason)
            if (await anyio.to_thread.run_sync(process.read_traces, self._dir(job))).locked:
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

    async def _end_by_sweep(self, job: Job, reason: Reason) -> bool:
        await anyio.to_thread.run_sync(
            partial(process.kill_marked, job.id, self._homes(job)),
            abandon_on_cancel=True,
        )
        if await anyio.to_thread.run_sync(process.lives, job.id, self._homes(job)):
            return False
        current = await self._persist(self._store.find, job.id) or job
        outcome = outcomes.swept(current, reason, now_ms=self._clock.now_ms())
        await self._settle(job, outcome)
        return True

    async def _give_up(self, job: Job, why: str) -> None:
        """Store that a job cannot be started: it has not begun, and what it needs is not there."""
        current = await self._persist(self._store.find, job.id) or job
        error = f"It was not started: {why}."
        outcome = outcomes.not_started(current, now_ms=self._clock.now_ms(), error=error)
        await self._settle(job, outcome)

    # -- steps -----------------------------------------------------------------------------------

    async def _launch(self, job: Job) -> launching.RunnerLink | None:
        request = launching.LaunchRequest(
            job_id=job.id,
            home_id=self._here.home_id,
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
            if await anyio.to_thread.run_sync(
                process.forbid, self._dir(job), job.claim_token, self._homes(job)
            ):
                raise
            return None

    async def _conclude(
        self,
        job: Job,
        record: ExitRecord | None,
        traces: Traces,
        *,
        link: launching.RunnerLink | None = None,
        why: str = "",
        startable: bool = True,
    ) -> None:
        """Store what the runner said or wrote down, or that it was lost, and why."""
        if record is None:
            await self._conclude_lost(job, traces, why, startable=startable)
            return
        outcome = await self._read_end(job, record)
        if link is not None and outcome.status is not Status.COMPLETED:
            # Another attempt may follow at once, and must not find this runner alive.
            await link.wait_closed()
        # A later claim than the store knows of: it was restored, and its next token is used up.
        restored = traces.token is not None and traces.token > job.claim_token
        await self._settle(job, outcome, retry=not restored and (startable or job.shared))

    async def _conclude_lost(self, job: Job, traces: Traces, why: str, *, startable: bool) -> None:
        if not await self._still_ours(job):
            return
        await self._launcher.sweep_orphans()
        swept = await anyio.to_thread.run_sync(
            process.sweep,
            job.id,
            self._dir(job),
            job.claim_token,
            self._homes(job),
            abandon_on_cancel=True,
        )
        if not swept:
            await self._give_back(job)
            return
        logger.warning("job %s: %s", job.id, why)
        outcome = outcomes.interrupted(
            await self._persist(self._store.find, job.id) or job,
            now_ms=self._clock.now_ms(),
            error=why,
            output_start=traces.output_start,
        )
        # Unless any worker may start it, another attempt would wait for ever.
        settled = await self._settle(job, outcome, retry=startable or job.shared)
        if settled is not None and settled.status is Status.RETRYING:
            # So the next attempt finds what tells that it has not begun.
            launch = await self._launch_of(job)
            if launch is not None:
                await anyio.to_thread.run_sync(_tidy, partial(_ready_again, launch), self._dir(job))

    async def _read_end(self, job: Job, record: ExitRecord) -> Outcome:
        """Return how the attempt ended as its runner wrote it down."""
        job_dir = self._dir(job)
        secrets: tuple[bytes, ...] = ()
        if exchange.is_python_job(job_dir):
            secrets = process.secrets_of(await self._launch_of(job)) or ()
        if record["bytes_total"] > record["output_start"]:
            outcome = await anyio.to_thread.run_sync(_outcome, job, job_dir, record, secrets)
        else:
            outcome = _outcome(job, job_dir, record, secrets)
        if os.access(job_dir, os.F_OK):
            return outcome
        return outcomes.without_directory(outcome)

    async def _give_back(self, job: Job) -> None:
        """A runner lives where none was expected. If the claim still stands, adopt it anew."""
        if await self._still_ours(job):
            raise LauncherError(f"Job {job.id} has a runner that this process did not expect.")

    async def _settle(self, job: Job, final: Outcome, *, retry: bool = True) -> Job | None:
        """Store the end of the attempt; zero rows mean that another owner has the job.

        `final` is how it ended if no other attempt follows, because none is left or a cancel came
        in between.
        """
        outcome = final
        if final.status is Status.FAILED:
            current = await self._persist(self._store.find, job.id)
            if current is None or current.claim_token != job.claim_token:
                return None
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
            return None
        self._feed.nudge()
        # A file or two: less than a trip to another thread. What a killed process leaves lying,
        # maintenance removes.
        at_once = partial(process.clean_after_end, at_once=True)
        if settled.ended and not _tidy(at_once, self._dir(job)):
            await anyio.to_thread.run_sync(_tidy, process.clean_after_end, self._dir(job))
        return settled

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
        return await self._patiently(lambda: write(*arguments))

    async def _patiently(self, step: Callable[[], Awaitable[T]]) -> T:
        while True:
            try:
                return await step()
            except HomeGoneError:
                # Nothing can be stored any more, and whoever works here leaves.
                await anyio.sleep_forever()
            except StoreError as error:
                logger.warning("the store is out of order, trying again: %s", error)
                await anyio.sleep(_STORE_PAUSE_S)

    def _dir(self, job: Job) -> Path:
        return self._settings.jobs_dir / job.id


def _by_cancel(job: Job, final: Outcome, job_dir: Path) -> Outcome:
    """Tell a cancel that had to be carried out with signals, as no order could reach the runner."""
    ended = final.reason in (Reason.SIGNAL, Reason.INTERRUPTED)
    if job.cancel_requested_at_ms is None or not ended or process.has_traces(job_dir):
        return final
    return replace(final, status=Status.CANCELLED, reason=Reason.CANCELLED_BY_USER)


def _prepare_again(job: Job, job_dir: Path, homes: process.Homes) -> None:
    if job.attempt > 1:
        process.forget_attempt(job_dir)
    # Somebody may have claimed this job before and slept; his runner must not start now.
    process.raise_fence(job_dir, job.claim_token, homes)


def _ready_again(launch: Launch, job_dir: Path) -> None:
    process.make_ready(job_dir, launch)


def _tidy(step: Callable[[Path], bool | None], job_dir: Path) -> bool | None:
    """Remove something of a job; should that not be allowed, its end is stored all the same."""
    try:
        return step(job_dir)
    except OSError as error:
        logger.warning("something of the job in %s is not removed: %s", job_dir, error)
        return True


def _outcome(job: Job, job_dir: Path, record: ExitRecord, secrets: tuple[bytes, ...]) -> Outcome:
    output = SpoolFiles(job_dir / layout.OUTPUT)
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
    return outcomes.with_report(outcome, exchange.read_report(job_dir, record["token"], secrets))


def _printed(recent: bytes, patterns: tuple[str, ...]) -> bool:
    text = strip_escapes(recent).decode("utf-8", "replace")
    return any(matches(pattern, text) for pattern in patterns)


def _last_line(recent: bytes) -> str:
    return recent[-_LINE_BYTES:].decode("utf-8", "replace").strip().rpartition("\n")[2]
