"""Runs attempts on this machine: through the launcher, each in a directory of its job's own."""

from __future__ import annotations

import logging
import os
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from mcp_jobs.domain.errors import LauncherError
from mcp_jobs.domain.ids import is_id
from mcp_jobs.execution import job_directory, launcher_client, python_files
from mcp_jobs.execution.base import Lost, NotStartedError, Orphaned, Unstarted
from mcp_jobs.execution.launcher import layout
from mcp_jobs.execution.local_attempt import FollowedFiles, LinkedAttempt, WatchedAttempt
from mcp_jobs.execution.spool_reader import SpoolFiles
from mcp_jobs.execution.verdicts import Verdict, began, judge, outlived
from mcp_jobs.execution.watcher import Follower, OutputSize, Watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.events import Bus
    from mcp_jobs.domain.models import Job, Launch
    from mcp_jobs.execution.base import Found
    from mcp_jobs.execution.incarnation import Incarnation
    from mcp_jobs.execution.verdicts import Case, Traces

logger = logging.getLogger(__name__)

STOP_GRACE_S: Final = 5.0
"""What a job has between TERM and KILL where its canceller did not say it."""

_LAUNCH_PAUSES_S: Final = (0.1, 0.5, 2.0, 5.0)
_LEFT: Final = (layout.ALIVE, layout.ENV, layout.CALL)
"""What a job may leave that has ended; the arguments of a function may hold secrets."""


class LocalExecutor:
    """The `Executor` of this machine."""

    def __init__(
        self,
        *,
        jobs_dir: Path,
        output_cap_bytes: int,
        here: Incarnation,
        launcher: launcher_client.LauncherClient,
        bus: Bus,
        launch_of: Callable[[str], Awaitable[Launch | None]],
        clock: Clock,
    ) -> None:
        self.locality = job_directory.locality()
        self.here = str(here)
        self._jobs_dir = jobs_dir
        self._output_cap_bytes = output_cap_bytes
        self._incarnation = here
        self._launcher = launcher
        self.follower = Follower(bus=bus, clock=clock)
        self._launch_of = launch_of
        self._clock = clock

    async def run(self) -> None:
        """Look at what runs for as long as the process lives."""
        await self.follower.run()

    # -- before and after ------------------------------------------------------------------------

    def prepare(self, job_id: str, launch: Launch) -> None:
        """Make the directory of a job. It takes less time than another thread."""
        job_directory.make_job_dir(self._dir(job_id), launch)

    async def prepare_again(self, claim: Job, launch: Launch) -> None:
        """Make the directory of a job or what is missing in it, and fence it."""
        await anyio.to_thread.run_sync(self._make_ready, claim, launch)

    def _make_ready(self, claim: Job, launch: Launch) -> None:
        try:
            job_directory.make_ready(self._dir(claim.id), launch)
        except OSError as error:
            why = f"It was not started: its directory cannot be made ready: {error}."
            raise NotStartedError(why) from error
        self._fence(claim)

    async def recall(self, job_id: str) -> Launch | None:
        """Return what an older version left in the directory of a job."""
        return await anyio.to_thread.run_sync(job_directory.read_launch, self._dir(job_id))

    async def forget_secrets(self, job_id: str) -> None:
        """Remove the file with the environment of a job that will not start again."""
        await anyio.to_thread.run_sync(_tidy, job_directory.forget_secrets, self._dir(job_id))

    async def finish(self, *job_ids: str) -> None:
        """Remove what only a living job needs.

        A file or two of one job are removed at once: that is less than a trip to another thread.
        """
        at_once = partial(job_directory.clean_after_end, at_once=True)
        if len(job_ids) != 1 or not _tidy(at_once, self._dir(job_ids[0])):
            await anyio.to_thread.run_sync(self._finish, job_ids)

    def _finish(self, job_ids: Sequence[str]) -> None:
        for job_dir in map(self._dir, job_ids):
            if any(os.path.lexists(job_dir / name) for name in _LEFT):
                _tidy(job_directory.clean_after_end, job_dir)

    async def discard(self, *job_ids: str) -> None:
        """Remove the directories of jobs."""
        await anyio.to_thread.run_sync(self._discard, job_ids)

    def _discard(self, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            _tidy(job_directory.remove_job_dir, self._dir(job_id))

    async def kept(self, *, before_ms: int) -> Sequence[str]:
        """Return the jobs that have a directory which was made before `before_ms`."""
        return await anyio.to_thread.run_sync(self._kept, before_ms)

    def _kept(self, before_ms: int) -> list[str]:
        return [
            path.name
            for path in self._jobs_dir.iterdir()
            if is_id(path.name) and _older(path, before_ms / 1000)
        ]

    # -- attempts --------------------------------------------------------------------------------

    async def start(self, claim: Job) -> LinkedAttempt | None:
        """Start a runner, as `Executor.start`, and try for some seconds where there is no launcher.

        Whoever had claimed the job before may have slept; his runner must not start now.
        """
        if claim.claim_token > 1:
            await anyio.to_thread.run_sync(self._begin_anew, claim)
        link = await self._launch(claim)
        return None if link is None else LinkedAttempt(self._files(claim), link)

    def _begin_anew(self, claim: Job) -> None:
        if claim.attempt > 1:
            job_directory.forget_attempt(self._dir(claim.id))
        self._fence(claim)

    async def _launch(self, claim: Job) -> launcher_client.RunnerLink | None:
        request = launcher_client.LaunchRequest(
            job_id=claim.id,
            home_id=self._incarnation.home_id,
            job_dir=str(self._dir(claim.id)),
            token=claim.claim_token,
            attempt=claim.attempt,
            timeout_s=claim.timeout_s,
            idle_timeout_s=claim.idle_timeout_s,
            grace_s=STOP_GRACE_S,
            output_cap_bytes=self._output_cap_bytes,
            output_limit_bytes=claim.policy.output_limit_bytes,
            detach=claim.policy.detach,
        )
        for pause_s in _LAUNCH_PAUSES_S:
            try:
                return await self._launcher.run(request)
            except LauncherError as error:
                logger.warning("job %s: %s Trying again.", claim.id, error)
                await anyio.sleep(pause_s)
        try:
            return await self._launcher.run(request)
        except LauncherError as error:
            # A request that nobody answered may still be carried out: from now on no longer.
            forbid = partial(job_directory.forbid, self._dir(claim.id), claim.claim_token)
            if await anyio.to_thread.run_sync(forbid, self._homes(claim)):
                raise NotStartedError(str(error)) from error
            return None

    async def attach(self, claim: Job, *, has_lived: bool = False) -> Found:
        """Find out by row, files and processes what there is of an attempt."""
        await anyio.to_thread.run_sync(self._take_over, claim)
        case, traces = await self._look(claim)
        if has_lived:
            case = outlived(case, traces)
        if case.verdict is Verdict.START:
            return Unstarted()
        if case.verdict is Verdict.WAIT:
            return Orphaned()
        if case.verdict is Verdict.LOST:
            return Lost(why=case.why or "Interrupted.", output_start=traces.output_start)
        alive = partial(self.is_watched, claim.id)
        return WatchedAttempt(self._files(claim, alive=alive), self._look)

    async def _look(self, claim: Job) -> tuple[Case, Traces]:
        return await anyio.to_thread.run_sync(self._judge, claim)

    def _judge(self, claim: Job) -> tuple[Case, Traces]:
        """Decide what a job is. Blocks; its processes are looked for only where they matter."""
        traces = job_directory.read_traces(self._dir(claim.id))
        case = judge(claim, traces, here=self._incarnation, lives=False)
        fresh = claim.claim_token == claim.launch_token
        if case.verdict in (Verdict.FOLLOW, Verdict.CONCLUDE) or began(claim, traces):
            return case, traces
        if case.verdict is Verdict.START and fresh:
            return case, traces
        lives = job_directory.lives(claim.id, self._homes(claim))
        return judge(claim, traces, here=self._incarnation, lives=lives), traces

    def _take_over(self, claim: Job) -> None:
        job_directory.let_in(self._dir(claim.id))
        self._fence(claim)

    def _fence(self, claim: Job) -> None:
        job_directory.raise_fence(self._dir(claim.id), claim.claim_token, self._homes(claim))

    def _files(self, claim: Job, *, alive: Callable[[], bool] | None = None) -> FollowedFiles:
        return FollowedFiles(
            claim,
            self._dir(claim.id),
            follower=self.follower,
            clock=self._clock,
            secrets_of=self._secrets_of,
            alive=alive,
        )

    async def _secrets_of(self, job_id: str) -> tuple[bytes, ...] | None:
        launch = await self._launch_of(job_id) or await self.recall(job_id)
        return job_directory.secrets_of(launch)

    # -- what runs -------------------------------------------------------------------------------

    async def stop(self, job_id: str, *, reason: str, grace_s: float | None = None) -> None:
        """Give the order to the runner, which is there or to come, as `Executor.stop`."""
        order = partial(self._order if grace_s is not None else self._remind, job_id, reason)
        await anyio.to_thread.run_sync(order, grace_s, abandon_on_cancel=grace_s is None)

    def _order(self, job_id: str, reason: str, grace_s: float | None) -> None:
        grace_s = STOP_GRACE_S if grace_s is None else grace_s
        job_directory.request_stop(self._dir(job_id), reason=reason, grace_s=grace_s)

    def _remind(self, job_id: str, reason: str, grace_s: float | None) -> None:
        """See to it that an order has been given and can be heard, where its giver was killed."""
        job_dir = self._dir(job_id)
        if not job_directory.has_traces(job_dir):
            job_directory.end_from_here(job_id, (self._incarnation.home_id,), STOP_GRACE_S)
        if job_directory.stop_requested(job_dir):
            self.wake(job_id)
        else:
            self._order(job_id, reason, grace_s)

    async def answer(self, job_id: str, key: str, answer: Mapping[str, Any]) -> None:
        """Leave an answer in the directory of a job."""
        await anyio.to_thread.run_sync(python_files.deliver_answer, self._dir(job_id), key, answer)

    def waits_for_answer(self, job_id: str) -> bool:
        """Say whether there is a question in the directory of a job and no answer."""
        return python_files.waits_for_answer(self._dir(job_id))

    def wake(self, job_id: str) -> bool:
        """Let the runner of a job go on if it was stopped (SIGSTOP)."""
        woken = job_directory.wake_runner(self._dir(job_id))
        if woken:
            logger.warning("the runner of job %s had been stopped; it goes on", job_id)
        return woken

    def is_watched(self, job_id: str) -> bool:
        """Say whether a runner of a job lives, in whatever pid namespace."""
        return job_directory.runner_alive(self._dir(job_id))

    async def lives(self, claim: Job) -> bool:
        """Say whether any process lives that carries the mark of a job."""
        return await anyio.to_thread.run_sync(job_directory.lives, claim.id, self._homes(claim))

    async def kill(self, claim: Job) -> bool:
        """Kill the processes that carry the mark of a job; says whether they are gone."""
        kill = partial(job_directory.kill_marked, claim.id, self._homes(claim))
        await anyio.to_thread.run_sync(kill, abandon_on_cancel=True)
        return not await self.lives(claim)

    async def reap(self, claim: Job) -> bool:
        """Sweep what a runner that is gone has left, as `Executor.reap`."""
        await self._launcher.sweep_orphans()
        return await anyio.to_thread.run_sync(
            job_directory.sweep,
            claim.id,
            self._dir(claim.id),
            claim.claim_token,
            self._homes(claim),
            abandon_on_cancel=True,
        )

    def output(self, job_id: str) -> SpoolFiles:
        """Return the files with the output of a job."""
        return SpoolFiles(self._dir(job_id) / layout.OUTPUT)

    def watch_output(self, job_id: str) -> AbstractContextManager[object]:
        """Look at the output of a job as long as the context lasts."""
        return self.follower.watching(Watch(job_id, OutputSize(self._dir(job_id) / layout.OUTPUT)))

    # -- small things ----------------------------------------------------------------------------

    def _homes(self, claim: Job) -> job_directory.Homes:
        """Return which homes the processes of the job may carry as their mark."""
        ours = self._incarnation.home_id
        # Older versions marked them with the job alone.
        return (ours, None) if claim.claimed_in is None else (ours,)

    def _dir(self, job_id: str) -> Path:
        return self._jobs_dir / job_id


def _tidy(step: Callable[[Path], bool | None], job_dir: Path) -> bool | None:
    """Remove something of a job; that this cannot be done must not keep anybody from other work."""
    try:
        return step(job_dir)
    except OSError as error:
        logger.warning("something of the job in %s is not removed: %s", job_dir, error)
        return True


def _older(path: Path, before_s: float) -> bool:
    try:
        return path.lstat().st_mtime < before_s
    except OSError:
        return False
