"""Retention: forget old jobs and their files, in small steps, and what crashes left behind."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from mcp_jobs.domain.errors import StoreError
from mcp_jobs.domain.states import TERMINAL

if TYPE_CHECKING:
    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.execution.base import Executor
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


class Retention:
    """Keeps the home within its policy. Any number of processes may do it at once."""

    def __init__(
        self, *, store: Store, executor: Executor, settings: Settings, clock: Clock
    ) -> None:
        self._store = store
        self._executor = executor
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
        await self._clean_up()
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
            await self._executor.discard(*removed)
            count += len(removed)
        return count

    async def _clean_up(self) -> None:
        """Forget what is kept of jobs that are none, and what ended ones no longer need."""
        # What is younger may be of a job that is just being accepted.
        suspects = await self._executor.kept(before_ms=self._clock.now_ms() - _ABANDONED_AFTER_MS)
        for first in range(0, len(suspects), _STEP):
            some = suspects[first : first + _STEP]
            states = await self._store.states_of(some)
            await self._executor.discard(*(job_id for job_id in some if job_id not in states))
            # A settler that was killed could not do it.
            ended = [job_id for job_id, status in states.items() if status in TERMINAL]
            await self._executor.finish(*ended)
