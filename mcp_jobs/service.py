"""Start, check, cancel, list: what every adapter offers, with no protocol in it."""

from __future__ import annotations

import contextlib
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from mcp_jobs import exchange, inputs, outcomes, output, process, views
from mcp_jobs.accepting import Acceptor
from mcp_jobs.cancelling import Canceller
from mcp_jobs.errors import (
    HomeGoneError,
    InvalidInputError,
    StoreBusyError,
    StoreError,
    StoreUnsureError,
    UnknownJobError,
)
from mcp_jobs.ids import is_id
from mcp_jobs.launcher import layout
from mcp_jobs.models import CONFIRM_KEY, Job, JobFilter
from mcp_jobs.shares import Shares
from mcp_jobs.spool_reader import SpoolFiles
from mcp_jobs.states import TERMINAL, Status
from mcp_jobs.store import Accepted
from mcp_jobs.waiting import Waiter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence
    from pathlib import Path

    from mcp_jobs.cancelling import Cancelling
    from mcp_jobs.clock import Clock
    from mcp_jobs.events import Bus
    from mcp_jobs.feed import ChangeFeed
    from mcp_jobs.models import NewJob, OutboxMessage, Question
    from mcp_jobs.output import OutputSource
    from mcp_jobs.registry import Registry
    from mcp_jobs.requests import CancelJob, CheckJob, ListJobs, StartJob
    from mcp_jobs.settings import Settings
    from mcp_jobs.store import Store
    from mcp_jobs.views import JobObject
    from mcp_jobs.waiting import OnLook

_CANCEL_MARGIN_S: Final = 2.0
_NEAREST_OF: Final = 500
_NEAREST_COUNT: Final = 3
_TAIL_LINES: Final = 40
_REPORT_BYTES: Final = 8 << 10
_NO_OUTPUT: Final = views.output_object(
    output.OutputSlice(
        text="",
        bytes_total=0,
        lines_total=0,
        first_cursor=0,
        next_cursor=0,
        dropped_bytes=0,
        truncated=False,
    )
)
_WAIT_FOR_NOTHING: Final = TERMINAL | {Status.INPUT_REQUIRED}
"""States in which a call that starts a job returns: it has ended, or its caller must act."""
_WAITING: Final = (Status.PENDING, Status.RETRYING)
_UNREADABLE: Final = (
    output.CursorPastEnd,
    output.BadPattern,
    output.PatternTimeout,
    output.Unreadable,
)
"""Why a part of the output that was asked for cannot be had; the text is for the caller."""


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
        registry: Registry,
        settings: Settings,
        clock: Clock,
        origin: process.Origin,
        care: Callable[[], Awaitable[None]],
    ) -> None:
        self._store = store
        self._feed = feed
        self._registry = registry
        self._settings = settings
        self._clock = clock
        self._acceptor = Acceptor(registry=registry, settings=settings, clock=clock, origin=origin)
        self._canceller = Canceller(
            store=store,
            jobs_dir=settings.jobs_dir,
            clock=clock,
        )
        self._care = care
        """Makes sure that the job would run even if this process were killed after its answer."""
        self._waiter = Waiter(store=store, bus=bus)
        self.leaving = anyio.Event()
        """Set when the process is about to end."""
        self._shares = Shares()

    async def start(
        self,
        owner: str,
        request: StartJob,
        *,
        on_look: OnLook | None = None,
        webhooks: tuple[str, ...] = (),
        known_cwd: str | None = None,
    ) -> JobObject:
        """Accept a job and return it; its row is durable then. Waits if the request says so.

        `webhooks` are told of its end; whoever passes them has checked that they may be. So has
        whoever passes `known_cwd`: an earlier job of the type ran there.
        """
        if request.wait_seconds:
            # Before there is a job, which would otherwise be refused only half.
            self._shares.waiting.refuse_full(owner)
        draft = self._acceptor.draft(owner, request, webhooks, known_cwd=known_cwd)
        await self._care()
        job_dir = self._settings.jobs_dir / draft.id
        existing = True
        try:
            # A directory and a small file without an fsync take less time than a worker thread.
            # The row is the promise; they spare whoever runs the job to make them.
            if draft.launch is not None:
                process.make_job_dir(job_dir, draft.launch)
            # Shielded: a statement runs on when its caller is cancelled, and an accepted job must
            # keep its directory.
            with anyio.CancelScope(shield=True):
                accepted = await self._create(draft)
            existing = accepted.existing
        except StoreUnsureError:
            existing = False
            raise
        finally:
            if existing:
                process.remove_job_dir(job_dir)
        self._feed.nudge()
        job, position = accepted.job, accepted.queue_position
        if request.wait_seconds and job.status not in _WAIT_FOR_NOTHING:
            job, position = await self._wait_for(job, request.wait_seconds, on_look), None
        shown = await self._shown(job, position)
        if existing:
            shown["existing"] = True
        if warning := self._registry.take_news():
            shown["warning"] = warning
        if existing or request.wait_seconds:
            return await self._told(job, await self._with_output(job, shown))
        return await self._told(job, {**shown, "output": _NO_OUTPUT})

    async def check(
        self, owner: str, request: CheckJob, *, on_look: OnLook | None = None
    ) -> JobObject:
        """Return a job with the part of its output that was asked for, and its past attempts."""
        job = await self._found(owner, request, on_look)
        shown = await self._shown(job)
        shown["output"] = await self._read_output(owner, request)
        if job.attempt and (job.max_attempts > 1 or job.retry_on_interrupt):
            shown["attempts"] = views.attempt_objects(await self._store.attempts(job.id))
        return await self._told(job, shown)

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
        shown = await self._told(job, await self._with_output(job, await self._shown(job)))
        return shown if told.remark is None else {**shown, "next_step": told.remark}

    async def begin_cancel(self, owner: str, job_id: str, *, grace_s: float) -> Cancelling:
        """Order the end of a job, without waiting for it."""
        told = await self._canceller.begin(await self.find(owner, job_id), grace_s)
        if told is None:
            raise await self._unknown(owner, job_id)
        self._feed.nudge()
        return told

    async def list(
        self, owner: str, request: ListJobs, *, on_look: OnLook | None = None
    ) -> JobObject:
        """Return jobs, newest first, and how many there are in each state."""
        if request.cursor is not None and not is_id(request.cursor):
            raise InvalidInputError(
                f"cursor {request.cursor!r} is not one that list_jobs returned. Pass next_cursor "
                "of the previous page, or leave it out to start with the newest jobs."
            )
        await self._wait_in_list(owner, request, on_look)
        page = await self._store.list(
            owner, _filter(request), limit=request.limit, cursor=request.cursor
        )
        counts = await self._store.counts(owner)
        return {
            "jobs": [await self._shown(job) for job in page.jobs],
            "next_cursor": page.next_cursor,
            "counts": {status.value: counts.get(status, 0) for status in Status},
        }

    async def questions(self, owner: str, job_id: str) -> Sequence[Question]:
        """Return what a job waits to be told, first to last; nothing unless it waits for input."""
        return await self._outstanding(await self.find(owner, job_id))

    async def answer(self, owner: str, job_id: str, key: str, answer: Mapping[str, Any]) -> None:
        """Answer one question: `{"action": "accept" | "decline" | "cancel", "content": {...}}`.

        A key that is unknown or answered already is ignored. Raises `InvalidInputError` for an
        answer that is not one, and then the question still waits.
        """
        asked = {question.key: question for question in await self.questions(owner, job_id)}
        if key not in asked:
            return
        checked = inputs.answer_to(asked[key], answer)
        await self._care()
        # Shielded: an answer that is stored must also reach the job.
        with anyio.CancelScope(shield=True):
            job = await self._store.answer(owner, job_id, key, checked, now_ms=self._clock.now_ms())
            if job is not None and job.claimed_by is not None:
                # What cannot be passed on now, its owner passes on within a second.
                with contextlib.suppress(OSError):
                    await anyio.to_thread.run_sync(
                        exchange.deliver_answer, self._dir(job), key, asdict(checked)
                    )
            elif job is not None and job.ended:
                # Declined: nothing of it ever ran, so nobody else will clean up.
                await anyio.to_thread.run_sync(process.clean_after_end, self._dir(job))
        self._feed.nudge()

    async def _outstanding(self, job: Job) -> Sequence[Question]:
        if job.status is not Status.INPUT_REQUIRED:
            return ()
        asked = await self._store.questions(job.id)
        return tuple(question for question in asked if question.answer is None)

    async def find(self, owner: str, job_id: str) -> Job:
        """Return one job. Raises `UnknownJobError`, naming the nearest ids."""
        job = await self._store.get(owner, job_id)
        if job is None:
            raise await self._unknown(owner, job_id)
        return job

    async def show(self, owner: str, job_id: str) -> JobObject:
        """Return one job with the tail of its output, as resources show it."""
        job = await self.find(owner, job_id)
        return await self._with_output(job, await self._shown(job))

    async def glance(self, owner: str, job_id: str) -> JobObject | None:
        """Return one job without its output; None when there is no such job of this owner."""
        job = await self._store.get(owner, job_id)
        return None if job is None else await self._shown(job)

    async def raw_output(self, owner: str, job_id: str) -> OutputSource:
        """Return the directory that holds the output of a job."""
        return self._output((await self.find(owner, job_id)).id)

    async def messages(self, owner: str, job_id: str) -> Sequence[OutboxMessage]:
        """Return the webhook messages about a job, with every attempt to deliver them."""
        job = await self.find(owner, job_id)
        return await self._store.outbox.of_job(job.id)

    def job_types(self) -> Sequence[JobObject]:
        """Return the job types that can be started: name, description, schema of the params."""
        return self._registry.describe()

    async def report(self, job: Job) -> tuple[JobObject, str]:
        """Return an ended job as check_job shows it, sized for a model, and the failing part.

        The output is whole when it is short, else its failing part, its head and its tail.
        """
        excerpt = await output.excerpt(
            self._output(job.id),
            failed=job.status is Status.FAILED,
            limit_bytes=min(self._limit, _REPORT_BYTES),
        )
        shown = {**await self._shown(job), "output": views.output_object(excerpt.output)}
        return await self._told(job, shown), excerpt.failing

    async def output_text(self, owner: str, job_id: str) -> str:
        """Return the end of a job's output as text."""
        job = await self.find(owner, job_id)
        tail = await output.tail(self._output(job.id), lines=1000, limit_bytes=self._limit)
        return tail.text

    def end_waits(self) -> None:
        """Let every call that waits return now, with the jobs as they are: the server leaves."""
        self._waiter.end()
        self.leaving.set()

    # -- reading ---------------------------------------------------------------------------------

    async def _told(self, job: Job, shown: JobObject) -> JobObject:
        """Return `shown` with what the job asks, if it asks, and what to do now."""
        asked = await self._outstanding(job)
        if asked:
            shown = {**shown, "questions": views.question_objects(asked)}
        return {**shown, "next_step": _next_step(job, asked)}

    async def _shown(self, job: Job, position: int | None = None) -> JobObject:
        now_ms = self._clock.now_ms()
        if job.status is not Status.PENDING or job.run_at_ms > now_ms:
            position = None
        elif position is None:
            position = await self._store.queue_position(job.id)
        return views.job_object(job, now_ms=now_ms, queue_position=position)

    async def _with_output(self, job: Job, shown: JobObject) -> JobObject:
        if not self._has_output(job.id):
            return {**shown, "output": _NO_OUTPUT}
        tail = await output.tail(self._output(job.id), lines=_TAIL_LINES, limit_bytes=self._limit)
        return {**shown, "output": views.output_object(tail)}

    async def _read_output(self, owner: str, request: CheckJob) -> dict[str, Any]:
        source = self._output(request.job_id)
        if request.grep is None and request.after is None and not self._has_output(request.job_id):
            # Nothing was printed: no need to ask another thread for it.
            return _NO_OUTPUT
        return views.output_object(await self._read_slice(owner, source, request))

    async def _read_slice(
        self, owner: str, source: OutputSource, request: CheckJob
    ) -> output.OutputSlice:
        try:
            if request.grep is not None:
                async with self._shares.searches.turn(owner):
                    return await output.grep(
                        source,
                        pattern=request.grep,
                        lines=request.tail_lines,
                        after=request.after or 0,
                        limit_bytes=self._limit,
                    )
            if request.after is not None:
                return await output.after(source, cursor=request.after, limit_bytes=self._limit)
            return await output.tail(source, lines=request.tail_lines, limit_bytes=self._limit)
        except _UNREADABLE as error:
            raise InvalidInputError(str(error)) from error

    async def _found(self, owner: str, request: CheckJob, on_look: OnLook | None) -> Job:
        if not request.wait_seconds:
            return await self.find(owner, request.job_id)
        with (
            self._shares.waiting.of(owner),
            self._waiter.listening((request.job_id,), on_look) as ear,
        ):
            job = await self.find(owner, request.job_id)
            wait_s = request.wait_seconds
            (job,) = await self._waiter.wait(
                [job], mode="all", wait_s=wait_s, on_look=on_look, ear=ear
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
            f"There is no job {job_id!r}.{hint} list_jobs shows the ids of your jobs."
        )

    # -- small things ----------------------------------------------------------------------------

    @property
    def _limit(self) -> int:
        return self._settings.reply_limit_bytes

    def _dir(self, job: Job) -> Path:
        return self._settings.jobs_dir / job.id

    def _has_output(self, job_id: str) -> bool:
        return self._output(job_id).begun()

    def _output(self, job_id: str) -> OutputSource:
        return SpoolFiles(self._settings.jobs_dir / job_id / layout.OUTPUT)


def _filter(request: ListJobs) -> JobFilter:
    statuses: Sequence[Status] | None = None
    if request.status is not None:
        statuses = [request.status] if isinstance(request.status, Status) else request.status
    return JobFilter(
        statuses=None if statuses is None else tuple(statuses),
        type=request.type,
        cwd=None if request.cwd is None else os.path.normpath(request.cwd),
        job_ids=None if request.job_ids is None else tuple(request.job_ids),
    )


def _next_step(job: Job, asked: Sequence[Question]) -> str:
    look = f'check_job {{"job_id": "{job.id}", "wait_seconds": 50}}'
    if job.status is Status.COMPLETED:
        return _after_completion(job)
    if job.status is Status.CANCELLED:
        if outcomes.none_left(job):
            return "The job is cancelled and none of its processes is left."
        return "The job is cancelled, and what could be found of its processes is gone; see error."
    if job.status is Status.FAILED:
        return "The job failed; see error and output, fix the cause and start it again."
    if job.cancel_requested_at_ms is not None:
        return f"The job is being stopped; see whether it is gone with {look}."
    if job.status is Status.INPUT_REQUIRED:
        return f"{_whom_to_ask(job, asked)} Then see how it goes on with {look}."
    if job.status in _WAITING:
        return f"The job waits for its turn. Go on with other work; later wait for it with {look}."
    return f"The job runs. Go on with other work; later wait for its end with {look}."


def _after_completion(job: Job) -> str:
    bad = views.failed_tests(job)
    if not bad:
        return "The job completed; nothing more to do."
    # As in `pytest | tail`: the exit code is that of the pipe's last program.
    counted = "1 test" if bad == 1 else f"{bad} tests"
    return (
        f"The command ended with exit code 0, but {counted} failed; see result. Something in it "
        "hides their exit code, as a pipe does."
    )


def _whom_to_ask(job: Job, asked: Sequence[Question]) -> str:
    by_hand = (
        f"That is for a person: tell the user to run `mcp-jobs approve {job.id}` in a terminal of "
        "their own, and do not run it yourself"
    )
    if [question.key for question in asked] == [CONFIRM_KEY]:
        return (
            f"The job waits for a person's approval and has not begun. {by_hand}; "
            "cancel_job declines."
        )
    return f"The job waits for a person's answer; see questions. {by_hand}."
