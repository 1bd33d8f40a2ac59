"""Frozen records of what the store holds. Times are wall-clock milliseconds since 1970, UTC."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

from mcp_jobs.domain.policy import DEFAULT, Policy
from mcp_jobs.domain.states import TERMINAL, Reason, Status

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Launch:
    """How a job is to be run: as the server would have run it that accepted it.

    Nothing of this may reach a log.
    """

    argv: tuple[str, ...]
    cwd: str
    umask: int
    environ: Mapping[str, str]
    secrets: tuple[str, ...]
    """The values to mask in the output."""
    rlimit_nofile: tuple[int, int] | None
    """The limits on open files, soft and hard; None for those of whoever runs it."""
    call: Mapping[str, Any] | None = None
    """Which Python function to call, and its parameters. The command then takes the job's
    directory as one more argument."""

    def __repr__(self) -> str:
        return "Launch(...)"


IfRunning = Literal["start", "attach", "supersede"]
"""What a start does where a job that does the same has not ended: begin another one all the same,
return that one, or end that one and begin when it is gone."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobOrigin:
    """Whose wish a job was, as far as that is known."""

    client_name: str | None = None
    client_version: str | None = None
    project: str | None = None
    """The directory of the project that the client works in."""
    session: str | None = None
    """The session or thread of the client, as it names it; else a name for its connection."""


UNKNOWN_ORIGIN: Final = JobOrigin()


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """What a caller asked for, checked and with every default filled in."""

    id: str
    owner: str
    """Who may see it: the local user on stdio, a token's name over HTTP."""
    locality: str
    """Where it may run: machine and pid namespace of the server that accepted it."""
    type: str
    params: Mapping[str, Any]
    title: str
    cwd: str
    created_at_ms: int
    run_at_ms: int
    max_attempts: int
    timeout_s: float | None
    idle_timeout_s: float | None
    retry_on_interrupt: bool
    idempotency_key: str | None
    fingerprint: str
    """Hash of everything asked for: the same key with another fingerprint is a conflict."""
    shared: bool = False
    """Whether any worker of the store may run it, wherever it is."""
    webhooks: tuple[Mapping[str, Any], ...] = ()
    """Who is told of its end: `url`, and `on`, the states that are told there (default: all)."""
    policy: Policy = DEFAULT
    """The rules of the job's type, as they were when it was accepted."""
    confirm: str | None = None
    """What a person must agree to before it begins; None when nobody need be asked."""
    launch: Launch | None = None
    """How it is to be run. None: its files alone say it."""
    prepared_in: str | None = None
    """The incarnation of the home in which the files were made that a launch needs."""
    priority: int = 0
    """-100 to 100; the higher, the sooner."""
    locks: tuple[str, ...] = ()
    """What it holds while it runs; sorted, without doubles."""
    after: tuple[str, ...] = ()
    """The ids of the jobs that must have completed before it begins."""
    after_any_end: bool = False
    """Whether any end of theirs will do."""
    likeness: str = ""
    """Equal for jobs that do the same: type, params, directory and environment."""
    if_running: IfRunning = "start"
    retry_of: str | None = None
    parent_job_id: str | None = None
    """The job from within which it was started."""
    origin: JobOrigin = UNKNOWN_ORIGIN
    schedule: str | None = None
    """The schedule that starts it."""
    fire_at_ms: int | None = None
    """For which of the schedule's times it is started: once for each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How far the current attempt is. `percent` is 0 to 100; any field but the time may be None."""

    current: float | None
    total: float | None
    percent: float | None
    message: str | None
    updated_at_ms: int
    ends_at_ms: int | None = None
    """When it should be done at the rate so far."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One ended attempt of a job."""

    number: int
    started_at_ms: int | None
    finished_at_ms: int
    reason: Reason | None
    """None when it completed."""
    exit_code: int | None
    error: str | None
    output_start: int
    """Offset in the job's output where this attempt's output begins, in bytes."""
    cpu_s: float | None
    memory_peak_bytes: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One job as the store has it at one moment."""

    id: str
    owner: str
    locality: str
    type: str
    params: Mapping[str, Any]
    title: str
    cwd: str
    status: Status
    reason: Reason | None
    """Set when failed, cancelled or retrying."""
    exit_code: int | None
    error: str | None
    result: Any
    attempt: int
    """How many attempts were started; 0 before the first."""
    max_attempts: int
    interrupts: int
    """How many attempts were lost to a crash or a reboot, and tried again."""
    created_at_ms: int
    run_at_ms: int
    """When it is due: in the future for a delayed or retrying job."""
    started_at_ms: int | None
    """Start of the first attempt."""
    attempt_started_at_ms: int | None
    finished_at_ms: int | None
    timeout_s: float | None
    idle_timeout_s: float | None
    retry_on_interrupt: bool
    cancel_requested_at_ms: int | None
    progress: Progress | None
    claim_token: int
    """Rises with every claim: a writer with an older one has lost the job."""
    launch_token: int
    """The claim token of the current attempt's first claim; a runner's is never lower."""
    claimed_by: str | None
    """The id of the server or worker that supervises it; None while nothing of it runs."""
    fingerprint: str = field(repr=False)
    shared: bool = False
    """Whether any worker of the store may run it; `locality` is then that of the last one."""
    policy: Policy = DEFAULT
    confirm: str | None = None
    """What a person had to agree to before it began."""
    prepared_in: str | None = None
    """The incarnation of the home in which the files were made that a launch needs."""
    claimed_in: str | None = None
    """The incarnation of the home in which the current attempt was claimed."""
    priority: int = 0
    locks: tuple[str, ...] = ()
    after: tuple[str, ...] = ()
    after_any_end: bool = False
    unmet: int = 0
    """How many of the jobs that it waits for have not ended yet."""
    cancel_reason: Reason | None = None
    """Why its end was asked for; None for a person's wish."""
    superseded_by: str | None = None
    """The job that took its place."""
    likeness: str = field(default="", repr=False)
    """Equal for jobs that do the same; empty where that is not known."""
    retry_of: str | None = None
    parent_job_id: str | None = None
    origin: JobOrigin = UNKNOWN_ORIGIN
    schedule: str | None = None
    fire_at_ms: int | None = None

    @property
    def ended(self) -> bool:
        """Whether the job is in a state that never changes again."""
        return self.status in TERMINAL


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one attempt ended, ready to be stored."""

    status: Status
    """completed, failed, cancelled or retrying."""
    reason: Reason | None
    exit_code: int | None
    error: str | None
    result: Any
    started_at_ms: int | None
    finished_at_ms: int
    output_start: int
    cpu_s: float | None
    memory_peak_bytes: int | None
    run_at_ms: int | None = None
    """When the next attempt is due, for retrying."""
    retryable: bool = True
    """Whether another attempt may come to something else, and the job's policy lets one follow."""
    pause_s: float | None = None
    """The pause that the job asked for before another attempt; None for the usual one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a person answered."""

    action: Literal["accept", "decline", "cancel"]
    """cancel: the question was dismissed without a choice."""
    content: Mapping[str, Any]
    """What was filled in; empty unless accepted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """What a job asks a person."""

    job_id: str
    key: str
    """Names the question within its job, for good: the same key is never asked twice."""
    message: str
    schema: Mapping[str, Any]
    """A flat JSON Schema, as elicitation has it: what an accepting answer must contain."""
    asked_at_ms: int
    answer: Answer | None = None
    answered_at_ms: int | None = None


CONFIRM_KEY: Final = "confirm"
"""The key of the question whether a job may begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobFilter:
    """Which jobs a list shows. None means any."""

    statuses: tuple[Status, ...] | None = None
    type: str | None = None
    cwd: str | None = None
    job_ids: tuple[str, ...] | None = None
    project: str | None = None
    session: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """Some jobs, newest first, and how many there are at the same moment."""

    jobs: tuple[Job, ...]
    next_cursor: str | None
    """Where the next page begins; None at the end."""
    counts: Mapping[Status, int]
    """How many jobs of the owner, the project and the session are in each state, whatever else was
    asked for. States without jobs are left out."""
    others: int
    """How many more jobs the owner has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """One ended attempt to deliver a message."""

    number: int
    """From 1; the number of an attempt that was killed is missing."""
    started_at_ms: int
    finished_at_ms: int
    http_status: int | None
    """What the receiver answered; None when there was no answer."""
    error: str | None
    """Why it counts as failed; None when it was accepted."""
    next_attempt_at_ms: int | None
    """When it is tried again; None after the last attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxMessage:
    """One message about the end of a job."""

    id: str
    """The same in every attempt, so that the receiver can drop what it has seen."""
    job_id: str
    url: str
    status: str
    """pending, delivered or failed."""
    created_at_ms: int
    attempt: int
    """How many attempts were begun."""
    next_attempt_at_ms: int | None
    deliveries: tuple[Delivery, ...] = ()
