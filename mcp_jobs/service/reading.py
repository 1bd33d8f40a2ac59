"""Jobs as they are shown: the row, the output and what to do now, of one moment."""

from __future__ import annotations

from copy import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from mcp_jobs import output
from mcp_jobs.domain import job_object
from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.states import Status
from mcp_jobs.domain.vocabulary import TOOLS
from mcp_jobs.service.next_step import Turn, next_step
from mcp_jobs.service.requests import CheckJob
from mcp_jobs.service.turns import Turns

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.job_object import JobObject
    from mcp_jobs.domain.models import Attempt, Job, Question
    from mcp_jobs.domain.vocabulary import Vocabulary
    from mcp_jobs.execution.base import Executor
    from mcp_jobs.output import OutputSource
    from mcp_jobs.service.shares import Shares
    from mcp_jobs.settings import Settings
    from mcp_jobs.store import Store

_REPORT_BYTES: Final = 8 << 10
_TEXT_LINES: Final = 1000
_NOTHING: Final = output.OutputSlice(
    text="",
    bytes_total=0,
    lines_total=0,
    lines_shown=0,
    first_cursor=0,
    next_cursor=0,
    dropped_bytes=0,
    truncated=False,
)
_NO_OUTPUT: Final = output.output_object(_NOTHING)
_UNREADABLE: Final = (
    output.CursorPastEnd,
    output.BadPattern,
    output.PatternTimeout,
    output.Unreadable,
)
"""Why a part of the output that was asked for cannot be had; the text is for the caller."""


class Reader:
    """Makes job objects of jobs. Whoever passes a job has checked whose it is."""

    def __init__(
        self,
        *,
        store: Store,
        executor: Executor,
        settings: Settings,
        clock: Clock,
        shares: Shares,
    ) -> None:
        self._store = store
        self._executor = executor
        self._settings = settings
        self._clock = clock
        self._shares = shares
        self._turns = Turns(store=store, settings=settings, clock=clock)
        self._say: Vocabulary = TOOLS

    def in_words_of(self, say: Vocabulary) -> Reader:
        """Return this reader, telling what to do in the words of another interface."""
        other = copy(self)
        other._say = say
        return other

    async def rows(self, jobs: Sequence[Job]) -> list[JobObject]:
        """Return jobs of one owner without their output."""
        positions = {job.id: at for job in jobs if (at := await self._position(job)) is not None}
        turns = await self._turns.of(jobs, positions)
        # What has moved on since its row was read waits for nothing then.
        return [self._row(job, positions.get(job.id), turns.get(job.id, Turn())) for job in jobs]

    async def row(self, job: Job) -> JobObject:
        """Return a job without its output."""
        (shown,) = await self.rows([job])
        return shown

    def _row(self, job: Job, position: int | None, turn: Turn) -> JobObject:
        printed_at_ms = None
        if job.status is Status.RUNNING:
            printed_at_ms = self.output_of(job.id).printed_at_ms()
        return job_object.job_object(
            job,
            now_ms=self._clock.now_ms(),
            queue_position=position,
            printed_at_ms=printed_at_ms,
            waiting_for=turn.waiting_for,
        )

    async def _position(self, job: Job, known: int | None = None) -> int | None:
        """Return the place of a job in the queue that is due and has not begun."""
        if job.status is not Status.PENDING or job.run_at_ms > self._clock.now_ms():
            return None
        return await self._store.queue_position(job.id) if known is None else known

    async def accepted(self, job: Job, position: int | None) -> JobObject:
        """Return a job as it was when it was accepted, and what to do now.

        `position` is its place in the queue, if known.
        """
        position = await self._position(job, position)
        turn = await self._turn(job, position) or Turn()
        return await self._told(job, {**self._row(job, position, turn), "output": _NO_OUTPUT}, turn)

    async def _turn(self, job: Job, position: int | None) -> Turn | None:
        positions = {} if position is None else {job.id: position}
        return (await self._turns.of([job], positions)).get(job.id)

    async def look(
        self, job: Job, part: CheckJob | None = None, *, attempts: bool = False
    ) -> JobObject:
        """Return a job with a part of its output, the last lines by default, and what to do now.

        It is one look at one moment: a job with output has begun, and one that has ended shows its
        output to the end. `attempts` adds those that have ended, where there may be several.
        Raises `InvalidInputError` when the part cannot be had.
        """
        part = part or CheckJob(job_id=job.id)
        job, shown, turn = await self._at_one_moment(job, part)
        if _went_wrong(job) and part.grep is None and part.after is None:
            failing = await output.failing(self.output_of(job.id), limit_bytes=self._limit // 3)
            # The beginning of what is shown anyway need not be said twice.
            if not shown["output"]["text"].lstrip("\n").startswith(failing):
                shown = _with_failing(shown, failing)
        if attempts and job.attempt and (job.max_attempts > 1 or job.retry_on_interrupt):
            shown["attempts"] = job_object.attempt_objects(await self._ended_attempts(job))
        return await self._told(job, shown, turn)

    async def show(self, job: Job) -> JobObject:
        """Return a job with the last lines of its output, as one look at one moment."""
        _, shown, _ = await self._at_one_moment(job, CheckJob(job_id=job.id))
        return shown

    async def report(self, job: Job) -> tuple[JobObject, str]:
        """Return an ended job as check_job shows it, sized for a model, and its last lines.

        The output is whole when it is short, else its head and its tail. The last lines are those
        of a failed job of which none says what failed; else they are empty.
        """
        excerpt = await self._excerpt(job)
        shown = {**await self.row(job), "output": output.output_object(excerpt.output)}
        if excerpt.failing:
            shown = _with_failing(shown, excerpt.failing)
        return await self._told(job, shown, Turn()), excerpt.ending

    async def _excerpt(self, job: Job) -> output.Excerpt:
        source = self.output_of(job.id)
        if not source.begun():
            # Nothing was printed: no need to ask another thread for it.
            return output.Excerpt(output=_NOTHING, failing="", ending="")
        limit_bytes = min(self._limit, _REPORT_BYTES)
        return await output.excerpt(source, failed=_went_wrong(job), limit_bytes=limit_bytes)

    async def output_text(self, job: Job) -> str:
        """Return the end of a job's output as text."""
        source = self.output_of(job.id)
        tail = await output.tail(source, lines=_TEXT_LINES, limit_bytes=self._limit)
        return tail.text

    async def outstanding(self, job: Job) -> Sequence[Question]:
        """Return what a job waits to be told, first to last."""
        if job.status is not Status.INPUT_REQUIRED:
            return ()
        asked = await self._store.questions(job.id)
        return tuple(question for question in asked if question.answer is None)

    def output_of(self, job_id: str) -> OutputSource:
        """Return the output of a job."""
        return self._executor.output(job_id)

    async def _told(self, job: Job, shown: JobObject, turn: Turn) -> JobObject:
        """Return `shown` with what the job asks, if it asks, and what to do now."""
        asked = await self.outstanding(job)
        if asked:
            shown = {**shown, "questions": job_object.question_objects(asked)}
        read = shown["output"]
        step = next_step(
            job,
            asked,
            now_ms=self._clock.now_ms(),
            turn=turn,
            partly=read["lines_shown"] < read["lines_total"],
            say=self._say,
        )
        return {**shown, "next_step": step}

    async def _at_one_moment(self, job: Job, part: CheckJob) -> tuple[Job, JobObject, Turn]:
        """Read output, then the row, then what it waits for; again when the row has moved on.

        Each turn takes a change of the job's state, of which there are only so many.
        """
        while True:
            read = await self._read(job, part)
            now = job if job.ended else await self._now(job)
            if now.status is job.status and now.attempt == job.attempt:
                position = await self._position(now)
                turn = await self._turn(now, position)
                if turn is not None:
                    return now, {**self._row(now, position, turn), "output": read}, turn
            job = now

    async def _now(self, job: Job) -> Job:
        now = await self._store.find(job.id) or job
        if now.ended or now.cancel_requested_at_ms is not None:
            return now
        # An order to end it may have been given that could not be stored.
        return replace(now, cancel_requested_at_ms=job.cancel_requested_at_ms)

    async def _ended_attempts(self, job: Job) -> Sequence[Attempt]:
        """Return the attempts that had ended at the moment that `job` shows."""
        under_way = job.status in (Status.RUNNING, Status.INPUT_REQUIRED)
        attempts = await self._store.attempts(job.id)
        return [each for each in attempts if each.number < job.attempt + (not under_way)]

    async def _read(self, job: Job, part: CheckJob) -> JobObject:
        if part.grep is None and part.after is None and not self.output_of(job.id).begun():
            # Nothing was printed: no need to ask another thread for it.
            return _NO_OUTPUT
        return output.output_object(await self._slice(job, part))

    async def _slice(self, job: Job, part: CheckJob) -> output.OutputSlice:
        source = self.output_of(job.id)
        try:
            if part.grep is not None:
                async with self._shares.searches.turn(job.owner):
                    return await output.grep(
                        source,
                        pattern=part.grep,
                        lines=part.tail_lines,
                        after=part.after or 0,
                        limit_bytes=self._limit,
                    )
            if part.after is not None:
                return await output.after(source, cursor=part.after, limit_bytes=self._limit)
            return await output.tail(source, lines=part.tail_lines, limit_bytes=self._limit)
        except _UNREADABLE as error:
            raise InvalidInputError(str(error)) from error

    @property
    def _limit(self) -> int:
        return self._settings.reply_limit_bytes


def _went_wrong(job: Job) -> bool:
    return job.status is Status.FAILED or (job.ended and job_object.failed_tests(job) > 0)


def _with_failing(shown: JobObject, failing: str) -> JobObject:
    """Return a job object in which what seems to have failed comes before all else."""
    first = {name: shown[name] for name in ("job_id", "status")}
    return {**first, "failing": failing, **shown}
