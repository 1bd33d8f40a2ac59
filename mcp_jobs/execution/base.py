"""Where attempts of jobs run: what every executor offers to the engine and the service.

An executor starts, follows, stops and forgets attempts. It keeps no truth about jobs, which is the
store's, and decides nothing about their states, which the engine does. Names of jobs and numbers of
claims go in; nothing that only one machine understands (a path, a lock, a process) comes out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from contextlib import AbstractContextManager

    from mcp_jobs.domain.models import Job, Launch
    from mcp_jobs.execution.launcher.exit_record import ExitRecord
    from mcp_jobs.execution.shells import Shells
    from mcp_jobs.output import OutputSource
    from mcp_jobs.output.progress import Progress

__all__ = [
    "Attempt",
    "Ended",
    "Executor",
    "ExitRecord",
    "Found",
    "Lost",
    "Members",
    "NotStartedError",
    "Origin",
    "Orphaned",
    "Report",
    "Unstarted",
    "Update",
]


LEASE_S: Final = 15.0
"""How long a member may be silent. Measured on the observer's monotonic clock, so that no jump of
the wall clock ends a lease."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a job takes from the process that accepts it."""

    locality: str
    shared: bool
    """Whether any worker of the store may run its jobs, wherever it is."""
    environ: Mapping[str, str] = field(repr=False)
    umask: int
    rlimit_nofile: tuple[int, int] | None
    """The limits on open files that jobs get, soft and hard."""
    shells: Shells
    here: str
    """Names the place and its life in which it prepares its jobs, as `Executor.here`."""
    inside: str | None = None
    """The id of the job that this process says to run in; it may be anything."""


class NotStartedError(Exception):
    """An attempt could not be started, and never will be under this claim; the text says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What the function of one attempt came to, as its process wrote it down."""

    came_to: Literal["returned", "raised", "retry", "declined"]
    result: Any
    error: str | None
    after_s: float | None
    """The pause that the job asks for before another attempt; None for the usual one."""
    stopped: bool
    """The job was already told to stop then."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Update:
    """What was seen of an attempt that runs: the newest of each, or nothing new."""

    progress: Progress | None = None
    questions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """What it asks, as it wrote it (`key`, `message`, `schema`, unchecked), by the name under which
    `Attempt.took` confirms that the question is stored."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How an attempt ended, as whoever watched over its processes wrote it down."""

    record: ExitRecord
    is_function: bool = False
    """A Python function, which leaves a report unless it was killed."""
    report: Report | None = None
    unreachable: bool = False
    """No order could have reached it: it had removed what orders go through."""
    output_gone: bool = False
    """What it printed was removed."""
    superseded: bool = False
    """A later claim than the store knows of ran it: the store was restored to an earlier state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """Nobody watches over the attempt any more, and nobody wrote down how it ended."""

    why: str
    """A sentence for the owner of the job."""
    output_start: int = 0
    """Where the output of the attempt begins, in bytes of the job's output."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unstarted:
    """The attempt has not begun, and may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Orphaned:
    """Processes of the job live and nobody watches over them: they can only be waited for."""


class Attempt(Protocol):
    """One attempt that runs here or has just ended, seen from the engine.

    Iterating gives an `Update` each time that something changed, and stops when the attempt is
    over. Closing it leaves the attempt as it is, to whoever attaches to it next.
    """

    def __aiter__(self) -> Attempt:
        """Return itself."""
        ...

    async def __anext__(self) -> Update:
        """Wait for the next update. Raises `StopAsyncIteration` when the attempt is over."""
        ...

    def took(self, name: str) -> None:
        """Say that the question of this name is stored, or never will be. It is not given again."""
        ...

    async def ended(self) -> Ended | Lost | None:
        """Return how it ended, once the iteration has stopped.

        None says that it is not known from here; `Executor.attach` finds out. Raises `StoreError`
        when what must be known for it cannot be had now; asking again is fine.
        """
        ...

    async def left(self) -> None:
        """Return when nothing of it is in the way of another attempt any more.

        For an attempt that has `Ended`. What is left of a lost one, `Executor.reap` ends.
        """
        ...

    def close(self) -> None:
        """Follow it no longer. Again is fine."""
        ...


Found: TypeAlias = Attempt | Unstarted | Orphaned | Lost
"""What there is of an attempt that somebody has claimed."""


class Executor(Protocol):
    """Runs attempts of jobs at one place.

    A method that takes a `claim`, the job as its owner has claimed it, acts for its claim token:
    what a later claim has taken over is left alone. Methods that are not async do not block.
    Where what they need cannot be read or written they raise OSError, unless they say otherwise.
    """

    locality: str
    """Names the place that jobs belong to which can only run here."""
    here: str
    """Names this place and its life: what was prepared under another name is not there any more."""

    def prepare(self, job_id: str, launch: Launch) -> None:
        """Make ready what the first attempt needs. Nothing need outlive a power cut."""
        ...

    async def prepare_again(self, claim: Job, launch: Launch) -> None:
        """Make ready, whatever is left, what an attempt needs that has not begun.

        Raises `NotStartedError` where that cannot be done here. Where earlier claims cannot be
        kept from starting it now, it raises OSError; again is fine.
        """
        ...

    async def start(self, claim: Job) -> Attempt | None:
        """Start an attempt. None: that was refused, and `attach` tells why.

        It is refused where an attempt of this or a later claim has begun, and where what it needs
        is not ready. Earlier claims cannot start anything from then on. Raises `NotStartedError`.
        """
        ...

    async def attach(self, claim: Job, *, has_lived: bool = False) -> Found:
        """Find out what there is of a claimed attempt; earlier claims cannot start it any more.

        What may have begun is never `Unstarted`: what was prepared here and is gone, and what was
        claimed in another life of this place, is `Lost` unless it is known how it ended.
        `has_lived` says that processes of it were seen: it has begun then, whatever is left.
        """
        ...

    async def recall(self, job_id: str) -> Launch | None:
        """Return how a job is to be run whose row does not say it, as older versions had it."""
        ...

    async def stop(self, job_id: str, *, reason: str, grace_s: float | None = None) -> None:
        """Order the end of what runs or will run of a job: TERM, after the grace (seconds) KILL.

        The order reaches an attempt wherever it is in its life, whoever follows it, and needs
        neither the store nor room on a disk. Without a grace, which is how an owner reminds of an
        order that should have been given, the one that was given stands; and what no order can
        reach is ended by force. Raises OSError for a job of which nothing is here.
        """
        ...

    async def answer(self, job_id: str, key: str, answer: Mapping[str, Any]) -> None:
        """Let a job have the answer to its question; again is fine."""
        ...

    def waits_for_answer(self, job_id: str) -> bool:
        """Say whether a job has asked something that it has no answer to."""
        ...

    def wake(self, job_id: str) -> bool:
        """Let whoever watches over a job go on should he have been stopped; says whether he was."""
        ...

    def is_watched(self, job_id: str) -> bool:
        """Say whether somebody watches over the processes of a job, whoever follows that."""
        ...

    async def lives(self, claim: Job) -> bool:
        """Say whether any process of a job lives, watched over or not."""
        ...

    async def kill(self, claim: Job) -> bool:
        """End the processes of a job that nobody watches over; says whether they are gone."""
        ...

    async def reap(self, claim: Job) -> bool:
        """End what is left of a lost attempt; False when the job is not this claim's any more."""
        ...

    def output(self, job_id: str) -> OutputSource:
        """Return what a job printed and prints."""
        ...

    def watch_output(self, job_id: str) -> AbstractContextManager[object]:
        """Publish `OutputGrew` whenever the output of a job has grown, as long as it lasts."""
        ...

    async def forget_secrets(self, job_id: str) -> None:
        """Remove the environment of a job that will not start again. Never raises."""
        ...

    async def finish(self, *job_ids: str) -> None:
        """Remove what only a living job needs, its environment first. Never raises."""
        ...

    async def kept(self, *, before_ms: int) -> Sequence[str]:
        """Return the jobs of which something is here that was made before `before_ms`."""
        ...

    async def discard(self, *job_ids: str) -> None:
        """Remove everything of jobs; absent is fine. Never raises."""
        ...


class Members(Protocol):
    """Who works on the jobs of a store, and whether they still do."""

    own_id: str

    def join(self) -> None:
        """Become known as a member. Raises OSError."""
        ...

    def renew(self) -> None:
        """Say that this member is still there. To be called every second or so."""
        ...

    def is_gone(self, owner_id: str) -> bool:
        """Say whether another member is dead, or has not renewed for a whole lease.

        An id that nobody has joined with is gone. The lease is measured on this member's clock.
        """
        ...

    def leave(self) -> None:
        """Stop being a member: its jobs are free for others. Again is fine."""
        ...
