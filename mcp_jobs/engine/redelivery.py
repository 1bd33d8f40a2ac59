"""Let jobs have the orders and answers that their givers could not pass on."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING

from mcp_jobs.domain.states import Reason

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mcp_jobs.domain.models import Job
    from mcp_jobs.execution.base import Executor
    from mcp_jobs.store import Store

logger = logging.getLogger(__name__)


class Redelivery:
    """Gives a job that this process supervises what its row says it should have, once more."""

    def __init__(self, *, executor: Executor, store: Store) -> None:
        self._executor = executor
        self._store = store
        self._under_way: set[str] = set()

    async def deliver(self, job: Job) -> None:
        """Deliver what there is for a job; never raises, and does nothing while it is at it."""
        if job.id in self._under_way:
            return
        self._under_way.add(job.id)
        try:
            await self._deliver_cancel(job)
            await self._deliver_answers(job)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, others are cared for
            logger.warning("job %s cannot be reached: %s", job.id, error)
        finally:
            self._under_way.discard(job.id)

    async def _deliver_cancel(self, job: Job) -> None:
        """Stop a job whose canceller was killed before it could give the order."""
        if job.cancel_requested_at_ms is not None:
            reason = job.cancel_reason or Reason.CANCELLED_BY_USER
            await self._executor.stop(job.id, reason=reason)

    async def _deliver_answers(self, job: Job) -> None:
        """Let a job have answers whose giver was killed before it could pass them on."""
        if not self._executor.waits_for_answer(job.id):
            return
        for question in await self._store.questions(job.id):
            if question.answer is not None:
                await self._executor.answer(job.id, question.key, asdict(question.answer))

    def wake_runners(self, job_ids: Iterable[str]) -> None:
        """Let runners go on that were stopped (SIGSTOP) and have a limit to keep."""
        for job_id in job_ids:
            try:
                self._executor.wake(job_id)
            except OSError as error:
                logger.warning("the runner of job %s cannot be looked at: %s", job_id, error)
