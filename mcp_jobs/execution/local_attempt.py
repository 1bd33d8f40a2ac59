"""Attempts on this machine: followed by their files, with or without a word of their runner."""

from __future__ import annotations

import logging
import os
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from mcp_jobs.domain.errors import StoreError
from mcp_jobs.execution import job_directory, python_files
from mcp_jobs.execution.attempt_reader import AttemptReader
from mcp_jobs.execution.base import Ended, Lost, Update
from mcp_jobs.execution.launcher import layout
from mcp_jobs.execution.verdicts import Verdict, began
from mcp_jobs.execution.watcher import OutputSize, Watch

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from pathlib import Path

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.models import Job
    from mcp_jobs.execution.launcher.exit_record import ExitRecord
    from mcp_jobs.execution.launcher_client import RunnerLink
    from mcp_jobs.execution.verdicts import Case, Traces
    from mcp_jobs.execution.watcher import Follower

logger = logging.getLogger(__name__)

_RUNNER_LOST: Final = (
    "Interrupted: its runner was killed or the machine went down. The output up to then is kept."
)
_RUNNER_LOST_TOO: Final = (
    "Interrupted: its runner was killed. Its directory is gone, and the output with it."
)


class FollowedFiles:
    """What the files of a running attempt show, from now to its end.

    `alive` says whether its runner lives; None where that is heard by another way.
    """

    def __init__(
        self,
        claim: Job,
        job_dir: Path,
        *,
        follower: Follower,
        clock: Clock,
        secrets_of: Callable[[str], Awaitable[tuple[bytes, ...] | None]],
        alive: Callable[[], bool] | None = None,
    ) -> None:
        self.claim = claim
        self.job_dir = job_dir
        self._clock = clock
        self._secrets_of = secrets_of
        self._stack = ExitStack()
        self._looked_last = False
        size = OutputSize(job_dir / layout.OUTPUT)
        pattern = claim.policy.progress
        self.reader = AttemptReader(job_dir, size.source, pattern=pattern)
        self.watch = Watch(claim.id, size, reader=self.reader, alive=alive)
        self._stack.enter_context(follower.watching(self.watch))

    def close(self) -> None:
        """Follow them no longer."""
        self._stack.close()

    async def news(self, over: Callable[[], bool]) -> Update | None:
        """Return what is new, as soon as something is; None when all is `over` and was seen."""
        while not over():
            await self.watch.changed.wait()
            self.watch.changed = anyio.Event()
            if self.reader.secrets.wanted:
                await self._tell_secrets()
            update = self._take()
            if update is not None:
                return update
        if not self._looked_last and self.watch.may_have_grown():
            await self._tell_secrets()
            await anyio.to_thread.run_sync(self.watch.last_look, self._clock.monotonic_s())
        self._looked_last = True
        progress = self.reader.progress.take()
        return None if progress is None else Update(progress=progress)

    def _take(self) -> Update | None:
        progress, reader = self.reader.progress.take(), self.reader
        # A look that began before a question was taken has still seen it.
        questions = {name: q for name, q in reader.questions.items() if name not in reader.stored}
        if progress is None and not questions:
            return None
        return Update(progress=progress, questions=questions)

    async def _tell_secrets(self) -> None:
        try:
            self.reader.tell_secrets(await self._secrets_of(self.claim.id))
        except StoreError as error:
            told = "job %s: what must not be shown is not known yet: %s"
            logger.warning(told, self.claim.id, error)

    async def end(self, record: ExitRecord, *, superseded: bool = False) -> Ended:
        """Return how the attempt ended of which this is the record. Raises `StoreError`."""
        is_function, report = python_files.is_python_job(self.job_dir), None
        if is_function:
            secrets = await self._secrets_of(self.claim.id) or ()
            report = await anyio.to_thread.run_sync(
                python_files.read_report, self.job_dir, record["token"], secrets
            )
        by_itself = record["reason"] is None and record["signal"] is None
        return Ended(
            record=record,
            is_function=is_function,
            report=report,
            unreachable=not by_itself and not job_directory.has_traces(self.job_dir),
            output_gone=not os.access(self.job_dir, os.F_OK),
            superseded=superseded,
        )


class _LocalAttempt:
    """What the attempts of this machine have in common."""

    def __init__(self, files: FollowedFiles) -> None:
        self._files = files

    def __aiter__(self) -> _LocalAttempt:
        return self

    async def __anext__(self) -> Update:
        update = await self._files.news(self._is_over)
        if update is None:
            raise StopAsyncIteration
        return update

    def took(self, name: str) -> None:
        """Give the question of this name no more."""
        self._files.reader.stored.add(name)

    def close(self) -> None:
        """Follow the attempt no longer."""
        self._files.close()

    def _is_over(self) -> bool:
        raise NotImplementedError

    async def ended(self) -> Ended | Lost | None:
        """Return how it ended, as `Attempt.ended`."""
        raise NotImplementedError

    async def left(self) -> None:
        """Return when its runner is gone."""
        raise NotImplementedError


class LinkedAttempt(_LocalAttempt):
    """An attempt whose runner is connected: its word of the end needs no file."""

    def __init__(self, files: FollowedFiles, link: RunnerLink) -> None:
        super().__init__(files)
        self._link = link
        link.when_over(files.watch.wake)

    def _is_over(self) -> bool:
        return self._link.ended or self._link.closed

    async def ended(self) -> Ended | Lost:
        """Return what the runner said; what it wrote down, where it could not say it any more."""
        record = self._link.record
        if record is None:
            await self._link.wait_closed()
            traces = await anyio.to_thread.run_sync(job_directory.read_traces, self._files.job_dir)
            record = traces.record if began(self._files.claim, traces) else None
            if record is None:
                why = _RUNNER_LOST if traces.directory else _RUNNER_LOST_TOO
                return Lost(why=why, output_start=traces.output_start)
        return await self._files.end(record)

    async def left(self) -> None:
        """Return when the runner has closed its connection."""
        await self._link.wait_closed()

    def close(self) -> None:
        """Follow the attempt no longer; the runner goes on."""
        super().close()
        self._link.close()


class WatchedAttempt(_LocalAttempt):
    """An attempt whose runner, alive or not, is known by its lock and its files alone."""

    def __init__(
        self, files: FollowedFiles, look: Callable[[Job], Awaitable[tuple[Case, Traces]]]
    ) -> None:
        super().__init__(files)
        self._look = look

    def _is_over(self) -> bool:
        return not self._files.watch.alive

    async def ended(self) -> Ended | Lost | None:
        """Return what its files say of the end; None when another runner has been started."""
        claim = self._files.claim
        case, traces = await self._look(claim)
        if case.verdict is Verdict.CONCLUDE and traces.record is not None:
            later = traces.token is not None and traces.token > claim.claim_token
            return await self._files.end(traces.record, superseded=later)
        if case.verdict is Verdict.LOST:
            return Lost(why=case.why or _RUNNER_LOST, output_start=traces.output_start)
        return None

    async def left(self) -> None:
        """Return at once: the lock of its runner is free."""
