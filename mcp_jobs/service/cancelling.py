"""From the wish to end a job to an order that is carried out, stored or not."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import anyio

from mcp_jobs.domain.errors import StoreError
from mcp_jobs.domain.limits import CANCEL_GRACE_S
from mcp_jobs.domain.states import Reason

if TYPE_CHECKING:
    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.models import Job
    from mcp_jobs.domain.vocabulary import Vocabulary
    from mcp_jobs.execution.base import Executor
    from mcp_jobs.store import Store

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancelling:
    """What became of the wish to end a job."""

    before: Job
    job: Job
    """As it is now."""
    unstored: str | None = None
    """Why the wish could not be stored, though the order was given; None when it was stored."""

    def remark(self, say: Vocabulary) -> str | None:
        """What the caller should know of it besides the job; None when there is nothing."""
        if self.before.ended:
            return f"Nothing was cancelled: the job had already ended as {self.before.status}."
        if self.unstored is None:
            return None
        return (
            "The order to end was given and will be carried out, but it could not be stored: "
            f"{self.unstored} Until that is possible the job may be shown as {self.before.status}; "
            f"look later with {say.look(self.job.id)}."
        )


class Canceller:
    """Ends jobs: the order first, to whatever runs or will run of a job, and then the row.

    The order needs neither disk space nor the database. Where it cannot be given, whoever
    supervises the job gives it as soon as the row says so.
    """

    def __init__(self, *, store: Store, executor: Executor, clock: Clock) -> None:
        self._store = store
        self._executor = executor
        self._clock = clock

    async def begin(self, before: Job, grace_s: float) -> Cancelling | None:
        """Order the end of a job, without waiting for it; None when there is no such job any more.

        Raises `StoreError` when the order can be neither given nor stored.
        """
        if before.ended:
            return Cancelling(before=before, job=before)
        # Shielded: an order that is given must be stored as well.
        with anyio.CancelScope(shield=True):
            given = await self._order(before, grace_s)
            told = await self._stored(before, given=given)
            if told is not None and told.job.ended:
                # Nothing of it runs, so nobody else will clean up.
                await self._executor.finish(before.id)
        return told

    async def supersede(self, new: Job) -> None:
        """Order the end of what runs and whose place a new job takes; its row says so already."""
        # What is not ordered here, its owner hears of a second later.
        with anyio.CancelScope(shield=True), contextlib.suppress(StoreError):
            for job in await self._store.running():
                if job.superseded_by == new.id:
                    await self._order(job, CANCEL_GRACE_S)

    async def _order(self, job: Job, grace_s: float) -> bool:
        try:
            reason = job.cancel_reason or Reason.CANCELLED_BY_USER
            await self._executor.stop(job.id, reason=reason, grace_s=grace_s)
        except OSError as error:
            logger.warning("job %s cannot be told to end yet: %s", job.id, error)
            return False
        return True

    async def _stored(self, before: Job, *, given: bool) -> Cancelling | None:
        now_ms = self._clock.now_ms()
        try:
            job = await self._store.request_cancel(before.owner, before.id, now_ms=now_ms)
        except StoreError as error:
            if not given:
                raise
            ordered = replace(before, cancel_requested_at_ms=now_ms)
            return Cancelling(before=before, job=ordered, unstored=str(error))
        return None if job is None else Cancelling(before=before, job=job)
