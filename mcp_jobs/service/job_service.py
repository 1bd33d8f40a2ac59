"""Start, check, cancel, list: what every adapter offers, with no protocol in it."""

from __future__ import annotations

import contextlib
import os
from copy import copy
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, Final

import anyio

from mcp_jobs.domain.errors import (
    HomeGoneError,
    InvalidInputError,
    StoreBusyError,
    StoreError,
    StoreUnsureError,
    UnknownJobError,
)
from mcp_jobs.domain.ids import is_id
from mcp_jobs.domain.models import UNKNOWN_ORIGIN, Job, JobFilter
from mcp_jobs.domain.states import TERMINAL, Status
from mcp_jobs.domain.vocabulary import TOOLS
from mcp_jobs.service import answers
from mcp_jobs.service.cancelling import Canceller
from mcp_jobs.service.reading import Reader
from mcp_jobs.service.repetition import repeated
from mcp_jobs.service.scopes import scoped
from mcp_jobs.service.shares import Shares
from mcp_jobs.service.waiting import Waiter
from mcp_jobs.store import Accepted

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.events import Bus
    from mcp_jobs.domain.job_object import JobObject
    from mcp_jobs.domain.models import JobOrigin, NewJob, OutboxMessage, Question
    from mcp_jobs.domain.vocabulary import Vocabulary
    from mcp_jobs.engine.change_feed import ChangeFeed
    from mcp_jobs.execution.base import Executor
    from mcp_jobs.output import OutputSource
    from mcp_jobs.service.acceptance import Acceptor
    from mcp_jobs.service.cancelling import Cancelling
    from mcp_jobs.service.requests import CancelJob, CheckJob, ListJobs, StartJob
    from mcp_jobs.service.waiting import OnLook
    from mcp_jobs.settings import Settings
    from mcp_jobs.store import Store

_CANCEL_MARGIN_S: Final = 2.0
_NEAREST_OF: Final = 500
_NEAREST_COUNT: Final = 3
_WAIT_FOR_NOTHING: Final = TERMINAL | {Status.INPUT_REQUIRED}
"""States in which a call that starts a job returns: it has ended, or its caller must act."""


class JobService:
    """The operations on jobs. Every method is for one `owner` and shows nothing of others.

    Raises `InvalidInputError`, `UnknownJobError`, `KeyConflictError`, `TooManyError` and
    `StoreError`, whose messages are for the caller. Cancelling a waiting call changes nothing for
    the job.
    """

    def __init__(
        self,
        *,
        store: Store,
        bus: Bus,
        feed: ChangeFeed,
        acceptor: Acceptor,
        executor: Executor,
        settings: Settings,
        clock: Clock,
        care: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._feed = feed
        self._registry = acceptor.registry
        self._executor = executor
        self._clock = clock
        self._acceptor = acceptor
        self._canceller = Canceller(store=store, executor=executor, clock=clock)
        self._care = care
        """Makes sure that the job would run even if this process were killed after its answer."""
        self._waiter = Waiter(store=store, bus=bus)
        self.leaving = anyio.Event()
        """Set when the process is about to end."""
        self._shares = Shares()
        self._reader = Reader(
            store=store, executor=executor, settings=settings, clock=clock, shares=self._shares
        )
        self._say: Vocabulary = TOOLS

    def in_words_of(self, say: Vocabulary) -> JobService:
        """Return this service, telling what to do in the words of another interface."""
        other = copy(self)
        other._say = say
        other._reader = self._reader.in_words_of(say)
        return other

    async def start(
        self,
        owner: str,
        request: StartJob,
        *,
        on_look: OnLook | None = None,
        webhooks: tuple[str, ...] = (),
        origin: JobOrigin = UNKNOWN_ORIGIN,
    ) -> JobObject:
        """Accept a job and return it; its row is durable then. Waits if the request says so.

        `webhooks` are told of its end; whoever passes them has checked that they may be.
        """
        if request.wait_seconds:
            # Before there is a job, which would otherwise be refused only half.
            self._shares.waiting.refuse_full(owner)
        known_cwd = None
        if request.retry_of is not None:
            old = await self.find(owner, request.retry_of)
            request = repeated(old, request, had_env=self._acceptor.had_env(old), say=self._say)
            known_cwd = old.cwd
        draft = replace(
            self._acceptor.draft(owner, request, webhooks, known_cwd=known_cwd, origin=origin),
            parent_job_id=await self._parent(owner),
        )
        accepted = await self.accept(draft)
        existing = accepted.existing
        job, position = accepted.job, accepted.queue_position
        if request.wait_seconds and job.status not in _WAIT_FOR_NOTHING:
            job, position = await self._wait_for(job, request.wait_seconds, on_look), None
        if existing or request.wait_seconds:
            shown = await self._reader.look(job)
        else:
            shown = await self._reader.accepted(job, position)
        if existing:
            shown["existing"] = True
        if warning := self._registry.take_news():
            shown["warning"] = warning
        return shown

    async def accept(self, draft: NewJob) -> Accepted:
        """Store a job that is checked, ready to run; or find the one that was there before."""
        await self._care()
        await self._declare_capacities(draft)
        existing = True
        try:
            # The row is the promise; this spares whoever runs the job to make it ready.
            if draft.launch is not None:
                self._executor.prepare(draft.id, draft.launch)
            # Shielded: a statement runs on when its caller is cancelled, and an accepted job must
            # keep what was prepared for it.
            with anyio.CancelScope(shield=True):
                accepted = await self._create(draft)
            existing = accepted.existing
        except StoreUnsureError:
            existing = False
            raise
        finally:
            if existing:
                with anyio.CancelScope(shield=True):
                    await self._executor.discard(draft.id)
        if draft.if_running == "supersede" and not existing:
            await self._canceller.supersede(accepted.job)
        self._feed.nudge()
        return accepted

    async def check(
        self, owner: str, request: CheckJob, *, on_look: OnLook | None = None
    ) -> JobObject:
        """Return a job with the part of its output that was asked for, and its past attempts."""
        job = await self._found(owner, request, on_look)
        return await self._reader.look(job, request, attempts=True)

    async def _create(self, new: NewJob) -> Accepted:
        """Store a job. An error that leaves open whether it is stored is resolved by its id.

        Raises `StoreUnsureError` when that cannot be found out.
        """
        try:
            return await self._store.create(new)
        except (StoreBusyError, HomeGoneError):
            # Nothing was done.
            raise
        except StoreError as error:
            found = await self._looked_up(new.id)
            if found is not None:
                return Accepted(job=found, existing=False, queue_position=None)
            if isinstance(error, StoreUnsureError):
                raise StoreUnsureError(f"{error} Its id is {new.id}.") from error
            raise

    async def _parent(self, owner: str) -> str | None:
        """Return the job that this process runs in, if it is one of this owner."""
        # Anybody can set a variable, and a copied environment outlives its job.
        inside = self._acceptor.inside
        if inside is None or not is_id(inside):
            return None
        parent = await self._store.get(owner, inside)
        return None if parent is None else parent.id

    async def _declare_capacities(self, draft: NewJob) -> None:
        for name, capacity in self._acceptor.capacities(draft).items():
            await self._store.gates.set_capacity(name, capacity, declared=True)

    async def _looked_up(self, job_id: str) -> Job | None:
        try:
            return await self._store.find(job_id)
        except StoreError as error:
            raise StoreUnsureError(
                f"It is not known whether the job {job_id} was stored: {error}"
            ) from error

    async def cancel(self, owner: str, request: CancelJob) -> JobObject:
        """End a job and wait until its processes are gone, or for the grace and a little more.

        A job that does not end in that time is shown as running with `cancel_requested`.
        """
        told = await self.begin_cancel(owner, request.job_id, grace_s=request.grace_seconds)
        job = told.job
        # What cannot be stored now cannot be seen to end either.
        if not job.ended and told.unstored is None:
            wait_s = min(request.grace_seconds + _CANCEL_MARGIN_S, 50.0)
            job = await self._wait_for(job, wait_s, None)
        shown = await self._reader.look(job)
        remark = told.remark(self._say)
        return shown if remark is None else {**shown, "next_step": remark}

    async def begin_cancel(self, owner: str, job_id: str, *, grace_s: float) -> Cancelling:
        """Order the end of a job, without waiting for it."""
        told = await self._canceller.begin(await self.find(owner, job_id), grace_s)
        if told is None:
            raise await self._unknown(owner, job_id)
        self._feed.nudge()
        return told

    async def list(
        self,
        owner: str,
        request: ListJobs,
        *,
        on_look: OnLook | None = None,
        origin: JobOrigin = UNKNOWN_ORIGIN,
    ) -> JobObject:
        """Return jobs, newest first, and how many there are in each state, at one moment.

        `origin` is the caller's own: whoever has no project is shown the jobs of all of them.
        """
        where = _filter(request, origin)
        if request.cursor is not None and not is_id(request.cursor):
            raise InvalidInputError(
                f"cursor {request.cursor!r} is not one that {self._say.list()} returned. Pass "
                "next_cursor of the previous page, or leave it out to start with the newest jobs."
            )
        await self._wait_in_list(owner, request, on_look)
        page = await self._store.list(owner, where, limit=request.limit, cursor=request.cursor)
        return {
            "jobs": await self._reader.rows(page.jobs),
            "next_cursor": page.next_cursor,
            "counts": {status.value: page.counts.get(status, 0) for status in Status},
            "others": page.others,
        }

    async def questions(self, owner: str, job_id: str) -> Sequence[Question]:
        """Return what a job waits to be told, first to last; nothing unless it waits for input."""
        return await self._reader.outstanding(await self.find(owner, job_id))

    async def answer(self, owner: str, job_id: str, key: str, answer: Mapping[str, Any]) -> None:
        """Answer one question: `{"action": "accept" | "decline" | "cancel", "content": {...}}`.

        A key that is unknown or answered already is ignored, and `cancel` answers nothing. Raises
        `InvalidInputError` for an answer that is not one, and then the question still waits.
        """
        asked = {question.key: question for question in await self.questions(owner, job_id)}
        checked = answers.answer_to(asked[key], answer) if key in asked else None
        if checked is None:
            return
        await self._care()
        # Shielded: an answer that is stored must also reach the job.
        with anyio.CancelScope(shield=True):
            job = await self._store.answer(owner, job_id, key, checked, now_ms=self._clock.now_ms())
            if job is not None and job.claimed_by is not None:
                # What cannot be passed on now, its owner passes on within a second.
                with contextlib.suppress(OSError):
                    await self._executor.answer(job_id, key, asdict(checked))
            elif job is not None and job.ended:
                # Declined: nothing of it ever ran, so nobody else will clean up.
                await self._executor.finish(job_id)
        self._feed.nudge()

    async def find(self, owner: str, job_id: str) -> Job:
        """Return one job. Raises `UnknownJobError`, naming the nearest ids."""
        job = await self._store.get(owner, job_id)
        if job is None:
            raise await self._unknown(owner, job_id)
        return job

    async def show(self, owner: str, job_id: str) -> JobObject:
        """Return one job with the tail of its output, as resources show it."""
        return await self._reader.show(await self.find(owner, job_id))

    async def glance(self, owner: str, job_id: str) -> JobObject | None:
        """Return one job without its output; None when there is no such job of this owner."""
        job = await self._store.get(owner, job_id)
        return None if job is None else await self._reader.row(job)

    async def raw_output(self, owner: str, job_id: str) -> OutputSource:
        """Return the output of a job, to be read as the runner wrote it."""
        return self._reader.output_of((await self.find(owner, job_id)).id)

    async def messages(self, owner: str, job_id: str) -> Sequence[OutboxMessage]:
        """Return the webhook messages about a job, with every attempt to deliver them."""
        job = await self.find(owner, job_id)
        return await self._store.outbox.of_job(job.id)

    def job_types(self) -> Sequence[JobObject]:
        """Return the job types that can be started: name, description, schema of the params."""
        return self._registry.describe()

    async def report(self, job: Job) -> tuple[JobObject, str]:
        """Return an ended job as check_job shows it, sized for a model, and its last lines.

        The output is whole when it is short, else its head and its tail. The last lines are those
        of a failed job of which none says what failed; else they are empty.
        """
        return await self._reader.report(job)

    async def output_text(self, owner: str, job_id: str) -> str:
        """Return the end of a job's output as text."""
        return await self._reader.output_text(await self.find(owner, job_id))

    def end_waits(self) -> None:
        """Let every call that waits return now, with the jobs as they are: the server leaves."""
        self._waiter.end()
        self.leaving.set()

    # -- waiting ---------------------------------------------------------------------------------

    async def _found(self, owner: str, request: CheckJob, on_look: OnLook | None) -> Job:
        if not request.wait_seconds:
            return await self.find(owner, request.job_id)
        with (
            self._shares.waiting.of(owner),
            self._waiter.listening((request.job_id,), on_look) as listener,
        ):
            job = await self.find(owner, request.job_id)
            wait_s = request.wait_seconds
            (job,) = await self._waiter.wait(
                [job], mode="all", wait_s=wait_s, on_look=on_look, listener=listener
            )
        return job

    async def _wait_for(self, job: Job, wait_s: float, on_look: OnLook | None) -> Job:
        """Wait for a job that was started or cancelled just now, unless too many calls wait."""
        if self._shares.waiting.is_full(job.owner):
            return job
        with self._shares.waiting.of(job.owner):
            (job,) = await self._waiter.wait([job], mode="all", wait_s=wait_s, on_look=on_look)
        return job

    async def _wait_in_list(self, owner: str, request: ListJobs, on_look: OnLook | None) -> None:
        if request.wait_for is None:
            if request.wait_seconds:
                raise InvalidInputError(
                    'wait_seconds needs wait_for ("any" or "all") and job_ids, which say what to '
                    "wait for."
                )
            return
        if not request.job_ids:
            raise InvalidInputError("wait_for needs job_ids: the jobs to wait for.")
        jobs = [await self.find(owner, job_id) for job_id in dict.fromkeys(request.job_ids)]
        with self._shares.waiting.of(owner):
            await self._waiter.wait(
                jobs, mode=request.wait_for, wait_s=request.wait_seconds, on_look=on_look
            )

    async def _unknown(self, owner: str, job_id: str) -> UnknownJobError:
        import difflib  # noqa: PLC0415 - a server starts the sooner without it

        known = await self._store.recent_ids(owner, limit=_NEAREST_OF)
        nearest = difflib.get_close_matches(job_id.lower(), known, n=_NEAREST_COUNT, cutoff=0.5)
        hint = f" The nearest ids are: {', '.join(nearest)}." if nearest else ""
        return UnknownJobError(
            f"There is no job {job_id!r}.{hint} {self._say.list()} shows the ids of your jobs."
        )


def _filter(request: ListJobs, origin: JobOrigin) -> JobFilter:
    statuses: Sequence[Status] | None = None
    if request.status is not None:
        statuses = [request.status] if isinstance(request.status, Status) else request.status
    scope = request.scope or ("project" if request.cwd is None else "all")
    where = JobFilter(
        statuses=None if statuses is None else tuple(statuses),
        type=request.type,
        cwd=None if request.cwd is None else os.path.normpath(request.cwd),
        job_ids=None if request.job_ids is None else tuple(request.job_ids),
    )
    return where if request.job_ids is not None else scoped(where, scope, origin)
