"""Webhooks: tell the outside of the end of jobs, at least once each.

The message is written to the outbox by the statement that ends the job, whichever process does
that. Every server and worker delivers what is due; a claim keeps two from doing the same, and what
a process that died had claimed is given back.
"""

from __future__ import annotations

import json
import logging
import random
from functools import partial
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from mcp_jobs.domain.errors import JobsError, StoreError
from mcp_jobs.domain.events import JobChanged
from mcp_jobs.domain.job_object import job_object, rfc3339
from mcp_jobs.domain.limits import WEBHOOK_SOON_MS
from mcp_jobs.domain.models import Delivery
from mcp_jobs.domain.secrecy import shown_url
from mcp_jobs.domain.webhook_urls import networks
from mcp_jobs.engine.rounds import Rounds
from mcp_jobs.execution import private_files

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.events import Bus, Event
    from mcp_jobs.domain.models import Job, OutboxMessage
    from mcp_jobs.engine.upkeep import Upkeep
    from mcp_jobs.engine.webhook_sender import Answer, Poster
    from mcp_jobs.execution.base import Members
    from mcp_jobs.settings import Settings
    from mcp_jobs.store import Store

logger = logging.getLogger(__name__)

PAUSES_S: Final = (5, 30, 300, 1800, 7200, 18_000, 28_800, 28_800)
"""Between the attempts: nine of them within a day."""

_JITTER: Final = 0.1
_AT_ONCE: Final = 64
"""In this process, of all owners; the store bounds those of each."""

_COALESCE_S: Final = 0.02
_LOOK_S: Final = 5.0
_ERROR_CHARS: Final = 500


class Webhooks:
    """Delivers messages for as long as it runs."""

    def __init__(
        self,
        *,
        store: Store,
        bus: Bus,
        members: Members,
        settings: Settings,
        clock: Clock,
        upkeep: Upkeep,
    ) -> None:
        self._upkeep = upkeep
        self._store = store
        self._bus = bus
        self._members = members
        self._settings = settings
        self._clock = clock
        self._poster: Poster | None = None
        self._said = ""
        self._rounds = Rounds("webhooks to send", longest_s=_LOOK_S, gather_s=_COALESCE_S)
        self._slots = anyio.CapacityLimiter(_AT_ONCE)

    async def run(self) -> None:
        """Deliver until cancelled. A message in flight is then delivered again by another."""
        unsubscribe = self._bus.subscribe(self._on_event)
        try:
            async with anyio.create_task_group() as tasks:
                # A fault of the loop must not end the deliveries under way.
                loop = partial(self._deliver_for_ever, tasks)
                await self._upkeep.keep("webhooks: deliveries", loop)
        finally:
            unsubscribe()

    async def until_quiet(self) -> None:
        """Return when no message is under way or due soon, or when none can be sent from here.

        What is due later waits for the next server or worker.
        """
        while await self._due_soon() and await self._load():  # noqa: ASYNC110 - others deliver too
            await anyio.sleep(_LOOK_S / 10)

    async def _due_soon(self) -> int:
        return await self._store.outbox.due_before(self._clock.now_ms() + WEBHOOK_SOON_MS)

    async def run_once(self) -> int:
        """Attempt everything that is due now; returns how many messages that were."""
        await self._release_dead()
        count = 0
        while (message := await self._claim()) is not None:
            await self._attempt(message)
            count += 1
        return count

    # -- the loop --------------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        if isinstance(event, JobChanged) and event.ended:
            self._rounds.wake()

    async def _deliver_for_ever(self, tasks: TaskGroup) -> None:
        await self._rounds.run(partial(self._look, tasks))

    async def _look(self, tasks: TaskGroup, unasked: bool) -> float | None:
        if unasked:
            await self._release_dead()
        return await self._start_due(tasks)

    async def _start_due(self, tasks: TaskGroup) -> float | None:
        """Begin with what is due; returns when there is more."""
        while True:
            due_ms = await self._store.outbox.next_due_ms()
            wait_s = _LOOK_S if due_ms is None else (due_ms - self._clock.now_ms()) / 1000
            if wait_s > 0 or not await self._load():
                return max(wait_s, 0.05) if self._poster else None
            await self._slots.acquire_on_behalf_of(slot := object())
            message = None
            try:
                message = await self._claim()
            finally:
                if message is None:
                    self._slots.release_on_behalf_of(slot)
            if message is None:
                # Somebody else was first.
                return _COALESCE_S
            tasks.start_soon(self._attempt_in, message, slot)

    async def _attempt_in(self, message: OutboxMessage, slot: object) -> None:
        try:
            await self._attempt(message)
        except StoreError as error:
            logger.warning("the delivery %s could not be recorded: %s", message.id, error)
            await self._give_back(message)
        except Exception:  # one message's fault must not end the delivery of the others
            logger.exception("the delivery %s could not be recorded", message.id)
            await self._give_back(message)
        finally:
            self._slots.release_on_behalf_of(slot)

    async def _give_back(self, message: OutboxMessage) -> None:
        """Without its record the claim would stand for as long as this process lives."""
        while True:
            # First: it is due, and would be sent again and again without a pause.
            await anyio.sleep(_LOOK_S)
            try:
                await self._store.outbox.give_back(message, claimer=self._members.own_id)
            except StoreError:
                continue
            return

    async def _release_dead(self) -> None:
        for claimer in await self._store.outbox.claimers():
            if claimer != self._members.own_id and self._members.is_gone(claimer):
                await self._store.outbox.release(claimer)

    async def _claim(self) -> OutboxMessage | None:
        # Shielded: a claim whose answer is lost would belong to nobody who knows it.
        message = None
        with anyio.CancelScope(shield=True):
            message = await self._store.outbox.claim(
                claimer=self._members.own_id, now_ms=self._clock.now_ms()
            )
        return message  # noqa: RET504 - mypy takes the scope for one that swallows errors

    # -- one attempt -----------------------------------------------------------------------------

    async def _attempt(self, message: OutboxMessage) -> None:
        started_at_ms = self._clock.now_ms()
        answer = await self._post(message, started_at_ms)
        pause_ms = None if answer.error is None or answer.final else _pause_ms(message.attempt)
        now_ms = self._clock.now_ms()
        delivery = Delivery(
            number=message.attempt,
            started_at_ms=started_at_ms,
            finished_at_ms=now_ms,
            http_status=answer.http_status,
            error=_said(answer.error, message.url),
            next_attempt_at_ms=None if pause_ms is None else now_ms + pause_ms,
        )
        with anyio.CancelScope(shield=True):
            await self._store.outbox.record(message, delivery, claimer=self._members.own_id)
        if answer.error is not None:
            logger.warning(
                "webhook %s, attempt %d: %s", message.id, message.attempt, delivery.error
            )
        self._rounds.wake()

    async def _post(self, message: OutboxMessage, now_ms: int) -> Answer:
        """Send a message. What goes wrong with it is in the answer, whatever it is.

        Raises `StoreError` when the store is out of order or nothing can be sent from here.
        """
        if not await self._load() or self._poster is None:
            raise StoreError("The webhook cannot be sent from here.")
        from mcp_jobs.engine.webhook_sender import Answer  # noqa: PLC0415 - loaded just above

        try:
            job = await self._store.find(message.job_id)
            if job is None:
                return Answer(http_status=None, error="Its job is not stored any more.", final=True)
            return await self._poster.post(
                message.url, message_id=message.id, body=body_of(job), now_ms=now_ms
            )
        except StoreError:
            raise
        except Exception as error:  # one message's fault must not end the delivery of the others
            logger.exception("webhook %s cannot be made", message.id)
            return Answer(
                http_status=None, error=f"It could not be made: {type(error).__name__}: {error}"
            )

    async def _load(self) -> bool:
        """Load what sending needs, when there is something to send; False if it is not installed.

        Most homes have no webhooks, and a server over stdio must start quickly.
        """
        if self._poster is None:
            try:
                self._poster = await anyio.to_thread.run_sync(_make_poster, self._settings)
            except ImportError:
                self._say_once("install mcp-jobs[http] to send them.")
            except JobsError as error:
                self._say_once(str(error))
        return self._poster is not None

    def _say_once(self, problem: str) -> None:
        if problem != self._said:
            logger.warning("webhooks wait to be sent: %s", problem)
        self._said = problem


def _said(error: str | None, url: str) -> str | None:
    """Return an error as it is kept and logged: without what may be secret in the URL."""
    return None if error is None else error.replace(url, shown_url(url))[:_ERROR_CHARS]


def body_of(job: Job) -> str:
    """Return what is posted about an ended job; the same in every attempt."""
    message = {
        "type": f"job.{job.status}",
        "timestamp": rfc3339(job.finished_at_ms),
        "data": job_object(job, now_ms=job.finished_at_ms or 0),
    }
    return json.dumps(message)


def _make_poster(settings: Settings) -> Poster:
    from mcp_jobs.engine.webhook_sender import Poster  # noqa: PLC0415 - only where there is something to send

    secret = settings.webhook_secret.get_secret_value() or private_files.webhook_secret(
        settings.home
    )
    return Poster(secret=secret, allowed=networks(settings.webhook_private))


def _pause_ms(attempt: int) -> int | None:
    """Return the pause after the attempt with this number; None after the last."""
    if attempt > len(PAUSES_S):
        return None
    spread = 1 + _JITTER * random.random()  # noqa: S311 - spreads load, guards nothing
    return round(PAUSES_S[attempt - 1] * 1000 * spread)
