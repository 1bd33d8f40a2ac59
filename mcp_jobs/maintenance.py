"""Retention: forget old jobs and their files, in small steps, and what crashes left behind."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel
import anyio.to_thread

from mcp_jobs import process
from mcp_jobs.errors import StoreError
from mcp_jobs.ids import is_id
from mcp_jobs.launcher import layout
from mcp_jobs.states import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mcp_jobs.clock import Clock
    from mcp_jobs.settings import Settings
    from mcp_jobs.store import Store

logger = logging.getLogger(__name__)

EVERY_S: Final = 600.0

_FIRST_AFTER_S: Final = 60.0
"""A server that lives for seconds has better things to do."""

_STEP: Final = 50
_CHANGES_STEP: Final = 1000
_CHANGES_KEPT_MS: Final = 24 * 3_600_000
_DAY_MS: Final = 24 * 3_600_000
_ABANDONED_AFTER_MS: Final = 3_600_000
"""A directory is made just before its row, so a young one without a row may be a job to be."""


class Maintenance:
    """Keeps the home within its policy. Any number of processes may do it at once."""

    def __init__(self, *, store: Store, settings: Settings, clock: Clock) -> None:
        self._store = store
        self._settings = settings
        self._clock = clock

    async def run(self) -> None:
        """Clean up now and then, for ever."""
        await anyio.sleep(_FIRST_AFTER_S)
        while True:
            try:
                await self.run_once()
            except (StoreError, OSError, RuntimeError) as error:
                logger.warning("cleaning up failed: %s", error)
            await anyio.sleep(EVERY_S)

    async def run_once(self) -> int:
        """Remove everything that the policy does not keep; returns how many jobs that were."""
        await self._forget_changes()
        removed = await self._remove_old_jobs()
        await self._clean_directories()
        return removed

    async def _forget_changes(self) -> None:
        before_ms = self._clock.now_ms() - _CHANGES_KEPT_MS
        while await self._store.prune_changes(before_ms=before_ms, limit=_CHANGES_STEP):
            await anyio.lowlevel.checkpoint()

    async def _remove_old_jobs(self) -> int:
        count = 0
        before_ms = self._clock.now_ms() - round(self._settings.retention_days * _DAY_MS)
        while removed := await self._store.remove_old(
            before_ms=before_ms, keep=self._settings.retention_jobs, limit=_STEP
        ):
            await anyio.to_thread.run_sync(self._remove_directories, removed)
            count += len(removed)
        return count

    async def _clean_directories(self) -> None:
        """Remove directories without a job, and what ended jobs no longer need."""
        suspects = await anyio.to_thread.run_sync(self._suspects)
        for first in range(0, len(suspects), _STEP):
            some = suspects[first : first + _STEP]
            states = await self._store.states_of(some)
            await anyio.to_thread.run_sync(
                self._remove_directories, [job_id for job_id in some if job_id not in states]
            )
            ended = [job_id for job_id, status in states.items() if status in TERMINAL]
            await anyio.to_thread.run_sync(self._finish, ended)

    def _suspects(self) -> list[str]:
        """Return the directories that are too old for a job that is just being accepted."""
        before_s = (self._clock.now_ms() - _ABANDONED_AFTER_MS) / 1000
        return [
            path.name
            for path in self._settings.jobs_dir.iterdir()
            if is_id(path.name) and _older(path, before_s)
        ]

    def _remove_directories(self, job_ids: Sequence[str]) -> None:
        for job_id in job_ids:
            _try(process.remove_job_dir, self._settings.jobs_dir / job_id)

    def _finish(self, job_ids: Sequence[str]) -> None:
        """Do what a settler that was killed could not do any more."""
        for job_id in job_ids:
            job_dir = self._settings.jobs_dir / job_id
            if any(os.path.lexists(job_dir / name) for name in (layout.ALIVE, layout.ENV)):
                _try(process.clean_after_end, job_dir)


def _try(step: Callable[[Path], object], job_dir: Path) -> None:
    """Clean up after one job; what cannot be removed there must not keep the others from it."""
    try:
        step(job_dir)
    except OSError as error:
        logger.warning("something of the job in %s is not removed: %s", job_dir, error)


def _older(path: Path, than_s: float) -> bool:
    try:
        return path.lstat().st_mtime < than_s
    except OSError:
        return False
