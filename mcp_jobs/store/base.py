"""What a store does for the layers above, whatever database is behind it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mcp_jobs.domain.gates import Lock, Obstacles, Pause, PauseKind
    from mcp_jobs.domain.models import (
        Answer,
        Attempt,
        Delivery,
        Job,
        JobFilter,
        Launch,
        NewJob,
        OutboxMessage,
        Outcome,
        Page,
        Progress,
        Question,
    )
    from mcp_jobs.domain.states import Status
    from mcp_jobs.store.timetable import Schedules


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One stored change of one job's row. `seq` only rises and never repeats."""

    seq: int
    job_id: str
    owner: str
    status: Status | None
    """None: of no job, see `about`."""
    created: bool
    about: Literal["job", "gates", "schedules"] = "job"
    """gates: a pause or a capacity has changed, so that jobs may begin which waited; schedules: one
    of the owner's, or how it fares."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accepted:
    """What became of a new job."""

    job: Job
    existing: bool
    """The owner used this idempotency key before, and `job` is what it started."""
    queue_position: int | None
    """Its place among the waiting jobs of its owner; None where that was not asked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimed:
    """A claimed job, when the next waiting one is due (None if none waits), and how many run."""

    job: Job
    next_due_ms: int | None
    running: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Due:
    """What waits to begin, at one moment."""

    since_ms: int | None
    """Since when a job is due that has neither a slot nor, perhaps, its locks; None if none is."""
    next_ms: int | None
    """When the next job will be due that is not yet."""
    running: int
    """How many jobs run, in every locality."""


DELIVERIES_OF_OWNER: Final = 8
"""Most deliveries of one owner under way, over all processes: his slow receivers hold up no other
owner's messages."""


class Outbox(Protocol):
    """The messages about ended jobs. They are written with the end of their job."""

    async def claim(self, *, claimer: str, now_ms: int) -> OutboxMessage | None:
        """Take a due message; its attempt counts from now on.

        One of the owner who has the fewest under way, and less than `DELIVERIES_OF_OWNER`.
        """
        ...

    async def record(self, message: OutboxMessage, delivery: Delivery, *, claimer: str) -> bool:
        """Store how the claimed attempt ended. False when the claim is somebody else's now."""
        ...

    async def claimers(self) -> Sequence[str]:
        """Return who delivers something now."""
        ...

    async def release(self, claimer: str) -> int:
        """Give back what a claimer who is gone had taken; returns how many messages."""
        ...

    async def give_back(self, message: OutboxMessage, *, claimer: str) -> None:
        """Let somebody attempt a claimed message again whose attempt could not be recorded."""
        ...

    async def next_due_ms(self) -> int | None:
        """Return when the next message that could be claimed is due."""
        ...

    async def due_before(self, before_ms: int) -> int:
        """Return how many messages are under way, or due before that time."""
        ...

    async def pending(self) -> int:
        """Return how many messages are still to be delivered."""
        ...

    async def of_job(self, job_id: str) -> Sequence[OutboxMessage]:
        """Return the messages about a job with their ended attempts."""
        ...


class Gates(Protocol):
    """What holds up jobs that wait: locks, other jobs and pauses.

    A lock is taken by `Store.claim` and nowhere else, and given back when the job has no attempt
    under way any more. Locks and pauses are those of the whole store, whoever owns a job.
    """

    async def pause(self, pause: Pause) -> bool:
        """Hold everything, a type or the users of a lock; False when it was held already.

        Nothing more of it begins; what runs goes on.
        """
        ...

    async def resume(self, kind: PauseKind, name: str) -> Pause | None:
        """Let it go on; returns what had held it, None when nothing did."""
        ...

    async def pauses(self) -> Sequence[Pause]:
        """Return what is held."""
        ...

    async def set_capacity(self, name: str, capacity: int, *, declared: bool) -> bool:
        """Say how many jobs may hold a lock at once; returns whether that is something new.

        What a file of job types declares does not change what a person said. A capacity below the
        number of those who hold it ends none of them.
        """
        ...

    async def locks(self) -> Sequence[Lock]:
        """Return the locks that are held, waited for, or have a capacity of their own."""
        ...

    async def obstacles(self, job_ids: Sequence[str]) -> Mapping[str, Obstacles]:
        """Return what may hold up those of these jobs that wait; all of it at one moment."""
        ...

    async def ready_before(self, job_id: str, *, now_ms: int, most: int) -> int:
        """Return how many jobs of the same owner come before a waiting job and could begin now.

        It counts to `most`.
        """
        ...


class Store(Protocol):
    """The truth about jobs, shared by every process of the user.

    Each method that changes a job is one guarded step: None means that the job was not in the
    state, or not in the claim, that the step needs, so somebody else was first. Every change is
    durable when the method returns. Raises `StoreBusyError` when nothing was done, and is never
    done later; `StoreUnsureError` when that is not known; or `StoreError`.
    """

    @property
    def outbox(self) -> Outbox:
        """The messages about ended jobs."""
        ...

    @property
    def gates(self) -> Gates:
        """What holds up jobs that wait."""
        ...

    @property
    def schedules(self) -> Schedules:
        """What is started by the clock."""
        ...

    async def create(self, new: NewJob) -> Accepted:
        """Accept a job, or find the one that its idempotency key or its time has started.

        How it is to be run is stored with it, and forgotten with its end.
        One with `confirm` is input_required, with that question, until it is answered.
        With `if_running` "attach", a job of the owner with the same `likeness` that has not ended
        is found instead, the newest of several; with "supersede", all of them are ended in the same
        step: those that wait at once, the others as by `request_cancel`, and the new one begins
        when they are gone. Of two calls at once, the second finds what the first has done.
        A job that waits for others begins when all of them have completed, or ended in any way with
        `after_any_end`. When one of them ends otherwise, it is cancelled in the same step, with the
        reason dependency_failed, and so are those that wait for it.
        Raises `KeyConflictError` when the key belongs to a job with another fingerprint, and
        `InvalidInputError` when a job that it waits for is unknown or came to nothing already.
        """
        ...

    async def get(self, owner: str, job_id: str) -> Job | None:
        """Return one job of `owner`."""
        ...

    async def find(self, job_id: str) -> Job | None:
        """Return one job, whoever owns it; for the supervisor only."""
        ...

    async def claim(
        self, *, claimer: str, locality: str, incarnation: str, capacity: int, now_ms: int
    ) -> Claimed | None:
        """Take a due job with all its locks, if fewer than `capacity` jobs run in the whole store.

        A job that waits for others, whose type or lock is paused, or that misses a lock is passed
        over and holds up none behind it. Of the others it is one of the owner who has the fewest
        running; of several such owners, the one who was served longest ago is next. Of his it is
        the one with the highest priority, then the one that is due for longest, then the oldest.
        """
        ...

    async def launch_of(self, job_id: str) -> Launch | None:
        """Return how a job is to be run; None when it has ended, or only its files say it."""
        ...

    async def keep_launch(self, job: Job, launch: Launch) -> None:
        """Store how a job is to be run that was accepted without it, if nobody has done so."""
        ...

    async def set_prepared(self, job: Job, incarnation: str) -> Job | None:
        """Store that the files which a launch needs have been made in this incarnation."""
        ...

    async def take_over(self, job: Job, *, claimer: str) -> Job | None:
        """Adopt a running job from the owner that `job` names."""
        ...

    async def settle(self, job: Job, outcome: Outcome) -> Job | None:
        """Store how the current attempt ended, under the claim that `job` shows."""
        ...

    async def set_progress(self, job: Job, progress: Progress) -> Job | None:
        """Store the progress of the current attempt, under the claim that `job` shows."""
        ...

    async def request_cancel(self, owner: str, job_id: str, *, now_ms: int) -> Job | None:
        """End a waiting job at once, or mark a running one; returns the job as it is now."""
        ...

    async def ask(self, job: Job, question: Question) -> Question | None:
        """Store what the current attempt asks, under the claim that `job` shows.

        The job is input_required as long as one of its questions has no answer. A key that was
        asked before returns the question as it was stored then, perhaps with its answer.
        """
        ...

    async def answer(
        self, owner: str, job_id: str, key: str, answer: Answer, *, now_ms: int
    ) -> Job | None:
        """Answer a question of an input_required job; returns the job as it is now.

        None means that there is no such question without an answer. A job that waits to be
        confirmed becomes pending when accepted, else cancelled as declined.
        """
        ...

    async def questions(self, job_id: str) -> Sequence[Question]:
        """Return what a job has asked, answered or not, first to last.

        Questions that an attempt left without an answer are forgotten with its end.
        """
        ...

    async def list(self, owner: str, where: JobFilter, *, limit: int, cursor: str | None) -> Page:
        """Return jobs of `owner`, newest first."""
        ...

    async def counts(self, owner: str) -> dict[Status, int]:
        """Return how many jobs `owner` has in each state; states without jobs are left out."""
        ...

    async def totals(self) -> dict[Status, int]:
        """Return how many jobs all owners together have in each state."""
        ...

    async def running_count(self) -> int:
        """Return how many jobs run now, whoever owns them."""
        ...

    async def attempts(self, job_id: str) -> Sequence[Attempt]:
        """Return the ended attempts of a job, first to last."""
        ...

    async def queue_position(self, job_id: str) -> int:
        """Return the place of a waiting job among those of its owner, from 1."""
        ...

    async def recent_ids(self, owner: str, *, limit: int) -> Sequence[str]:
        """Return the newest job ids of `owner`."""
        ...

    async def matching_ids(self, owner: str, part: str, *, limit: int) -> Sequence[str]:
        """Return the ids of `owner` that begin with `part`, and newer ones that end with it.

        Newest first.
        """
        ...

    async def due(self, locality: str, *, now_ms: int) -> Due:
        """Return what waits to begin in this locality, and for no other job."""
        ...

    async def set_priority(self, owner: str, job_id: str, priority: int) -> Job | None:
        """Let a waiting job come sooner or later; None unless it waits."""
        ...

    async def reset_future_run_at(self, *, now_ms: int) -> bool:
        """Make jobs due again that a wall clock which was set back keeps waiting.

        Returns whether there were any.
        """
        ...

    async def running(self, *, needing_care_of: str = "") -> Sequence[Job]:
        """Return the jobs of every locality that run, or ask something in the middle.

        Without those of the owner `needing_care_of` that nobody wants to end and that were never
        answered: their owner has nothing to do about them.
        """
        ...

    async def unfinished(self, locality: str) -> int:
        """Return how many jobs of this locality run or will run without anybody's leave."""
        ...

    async def wait_for_change(self, within_s: float) -> bool:
        """Return True as soon as something has changed, False when nothing has in that time.

        It may be late by a tenth of a second, and may say so once too often, but never keeps a
        change for itself: what was stored since the call before is told by the next one. Only one
        task may wait. Raises `StoreError`.
        """
        ...

    async def last_change(self) -> int:
        """Return the `seq` of the newest change."""
        ...

    async def first_change(self) -> int:
        """Return the `seq` of the oldest change that is not forgotten; 0 when there is none."""
        ...

    async def changes_after(self, seq: int, *, limit: int) -> Sequence[Change]:
        """Return what changed after `seq`, oldest first."""
        ...

    async def prune_changes(self, *, before_ms: int, limit: int) -> int:
        """Forget at most `limit` changes from before `before_ms`; returns how many."""
        ...

    async def remove_old(self, *, before_ms: int, keep: int, limit: int) -> Sequence[str]:
        """Forget at most `limit` ended jobs and return their ids.

        First those that ended before `before_ms`, then the oldest beyond the newest `keep` of all
        jobs. A job that has not ended stays, and so does one for which another one waits.
        """
        ...

    async def states_of(self, job_ids: Sequence[str]) -> dict[str, Status]:
        """Return the states of those of `job_ids` that exist, whoever owns them."""
        ...

    def lost(self) -> str | None:
        """Return a sentence when the database is not there any more as it was opened; else None.

        Nothing is written to it then: such a call raises `HomeGoneError`.
        """
        ...

    def abandon(self, why: str) -> None:
        """Answer everything from now on with `HomeGoneError` and this sentence."""
        ...

    async def close(self) -> None:
        """Release the store."""
        ...
