"""Goes with a running job to its end: stores its progress, and takes its questions and answers."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread

from mcp_jobs import display, exchange, process
from mcp_jobs.errors import StoreError
from mcp_jobs.launcher.files import OddFileError
from mcp_jobs.models import Progress, Question

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mcp_jobs.clock import Clock
    from mcp_jobs.feed import ChangeFeed
    from mcp_jobs.follow import Follower, Watch
    from mcp_jobs.launching import RunnerLink
    from mcp_jobs.models import Job
    from mcp_jobs.store import Store

logger = logging.getLogger(__name__)


class Companion:
    """Follows jobs. Cancelling it changes nothing for them."""

    def __init__(
        self, *, store: Store, feed: ChangeFeed, follower: Follower, jobs_dir: Path, clock: Clock
    ) -> None:
        self._store = store
        self._feed = feed
        self._follower = follower
        self._jobs_dir = jobs_dir
        self._clock = clock

    async def follow(self, job: Job, link: RunnerLink | None) -> None:
        """Store progress until the end: the runner tells it, or is gone and its lock is free."""
        pattern = job.policy.progress
        with self._follower.watch(job.id, track=True, probe=link is None, pattern=pattern) as watch:
            await self._store_progress(job, watch, link)
            if watch.may_have_grown():
                await self._tell_secrets(job, watch)
                await anyio.to_thread.run_sync(watch.last_look, self._clock.monotonic_s())
            await self._store_newest(job, watch)

    async def _store_progress(self, job: Job, watch: Watch, link: RunnerLink | None) -> None:
        if link is not None:
            link.when_over(watch.wake)
        while watch.alive if link is None else not (link.ended or link.closed):
            await watch.changed.wait()
            watch.changed = anyio.Event()
            if watch.wants_secrets:
                await self._tell_secrets(job, watch)
            await self._store_newest(job, watch)
            await self._store_questions(job, watch)

    async def _tell_secrets(self, job: Job, watch: Watch) -> None:
        try:
            watch.tell_secrets(process.secrets_of(await self._store.launch_of(job.id)))
        except StoreError as error:
            logger.warning("job %s: what must not be shown is not known yet: %s", job.id, error)

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
                    job_dir, answer = self._jobs_dir / job.id, asdict(stored.answer)
                    await anyio.to_thread.run_sync(
                        exchange.deliver_answer, job_dir, stored.key, answer
                    )
            except (OddFileError, IsADirectoryError) as error:
                logger.warning("job %s: an answer cannot be given: %s", job.id, error)
                watch.stored.add(name)
            except (StoreError, OSError) as error:
                logger.warning("job %s: a question is not stored yet: %s", job.id, error)
            else:
                watch.stored.add(name)
        self._feed.nudge()


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
