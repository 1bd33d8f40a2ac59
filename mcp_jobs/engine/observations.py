"""What is seen of an attempt while it runs: its progress and its questions go into the store."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mcp_jobs.domain import display
from mcp_jobs.domain.errors import StoreError, in_words
from mcp_jobs.domain.models import Progress, Question

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.models import Answer, Job
    from mcp_jobs.engine.change_feed import ChangeFeed
    from mcp_jobs.execution.base import Attempt, Executor, Update
    from mcp_jobs.output import progress
    from mcp_jobs.store import Store

logger = logging.getLogger(__name__)


class Observations:
    """Keeps what attempts show. A store out of order costs progress, and delays questions."""

    def __init__(self, *, store: Store, feed: ChangeFeed, executor: Executor, clock: Clock) -> None:
        self._store = store
        self._feed = feed
        self._executor = executor
        self._clock = clock

    async def keep(self, job: Job, attempt: Attempt) -> None:
        """Follow an attempt until it is over. Cancelling this changes nothing for it."""
        async for update in attempt:
            if update.progress is not None:
                await self._keep_progress(job, update.progress)
            if update.questions:
                await self._keep_questions(job, attempt, update)

    async def _keep_progress(self, job: Job, seen: progress.Progress) -> None:
        now_ms = self._clock.now_ms()
        stored = Progress(
            current=seen.current,
            total=seen.total,
            percent=seen.percent,
            message=seen.message,
            updated_at_ms=now_ms,
            ends_at_ms=None if seen.left_s is None else now_ms + round(seen.left_s * 1000),
        )
        try:
            await self._store.set_progress(job, stored)
            self._feed.nudge()
        except StoreError as error:
            logger.warning("job %s: progress not stored: %s", job.id, error)

    async def _keep_questions(self, job: Job, attempt: Attempt, update: Update) -> None:
        """Store what the job asks, and let it have what was answered before."""
        for name, asked in update.questions.items():
            question = _question(job, asked, now_ms=self._clock.now_ms())
            try:
                stored = None if question is None else await self._store.ask(job, question)
            except StoreError as error:
                logger.warning("job %s: a question is not stored yet: %s", job.id, error)
                continue
            attempt.took(name)
            if stored is not None and stored.answer is not None:
                await self._answer(job, stored.key, stored.answer)
        self._feed.nudge()

    async def _answer(self, job: Job, key: str, answer: Answer) -> None:
        """Give an answer again that an earlier attempt has had; nobody is asked twice."""
        try:
            await self._executor.answer(job.id, key, asdict(answer))
        except OSError as error:
            # Whoever cares for the job tries again within a second.
            logger.warning("job %s: an answer cannot be given yet: %s", job.id, in_words(error))


def _question(job: Job, asked: Mapping[str, Any], *, now_ms: int) -> Question | None:
    """Return what a job's file asks; None for a file that is no question."""
    key, message, schema = asked.get("key"), asked.get("message"), asked.get("schema")
    if not (isinstance(key, str) and isinstance(message, str) and isinstance(schema, dict)):
        logger.warning("job %s has a file among its questions that is none", job.id)
        return None
    return Question(
        job_id=job.id,
        key=key,
        message=display.lines(message),
        schema=schema,
        asked_at_ms=now_ms,
    )
