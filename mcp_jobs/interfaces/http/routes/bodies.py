"""What REST takes and gives, as models: they check what comes in and describe what goes out."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from mcp_jobs.domain.states import Reason, Status
from mcp_jobs.service.requests import Grace, JobId, StartJob


class StartBody(StartJob):
    """Start a job."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"type": "shell", "params": {"command": "make test"}, "timeout_seconds": 600}
            ]
        }
    )

    webhook: Annotated[str, Field(min_length=1, max_length=2000)] | None = Field(
        default=None,
        description="URL that is told of the end; its host must be on the server's list.",
    )


class CancelBody(BaseModel):
    """How to end a job."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    grace_seconds: Grace = Field(default=5, description="Time between SIGTERM and SIGKILL.")


class Query(BaseModel):
    """Base of the query parameters: those that are not listed are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ListQuery(Query):
    """Which jobs to list."""

    status: list[Status] = Field(default=[], description="Only jobs in one of these states.")
    type: Annotated[str, Field(max_length=100)] | None = Field(
        default=None, description="Only jobs of this type."
    )
    cwd: Annotated[str, Field(max_length=4096)] | None = Field(
        default=None, description="Only jobs that run in this directory."
    )
    job_id: Annotated[list[JobId], Field(max_length=100)] = Field(
        default=[], description="Only these jobs."
    )
    limit: Annotated[int, Field(ge=1, le=100)] = Field(default=20, description="How many at once.")
    cursor: Annotated[str, Field(max_length=100)] | None = Field(
        default=None, description="next_cursor of the previous page."
    )


class CheckQuery(Query):
    """How to look at a job."""

    wait_seconds: Annotated[float, Field(ge=0, le=50)] = Field(
        default=0, description="Wait up to this long for the end."
    )
    tail_lines: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=40, description="How many of the last lines of output to show."
    )


class OutputQuery(Query):
    """Which part of the output to show."""

    tail_lines: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=40, description="How many of the last lines (or last matches) to show."
    )
    after: Annotated[int, Field(ge=0, le=2**62)] | None = Field(
        default=None, description="Show output from this byte on: next_cursor of an earlier reply."
    )
    grep: Annotated[str, Field(min_length=1, max_length=1000)] | None = Field(
        default=None, description="Show only lines that match this regular expression."
    )


class Body(BaseModel):
    """Base of what goes out."""


class Progress(Body):
    """How far the current attempt is."""

    current: float | None
    total: float | None
    percent: float | None
    message: str | None
    updated_at: str


class Output(Body):
    """A part of the output."""

    text: str
    bytes_total: int
    lines_total: int
    lines_shown: int = Field(description="How many lines of the output are in `text`.")
    first_cursor: int
    next_cursor: int = Field(description="Pass as `after` to read on.")
    dropped_bytes: int
    truncated: bool


class Attempt(Body):
    """An ended attempt."""

    attempt: int
    started_at: str | None
    finished_at: str
    reason: Reason | None
    exit_code: int | None
    error: str | None
    output_cursor: int
    cpu_seconds: float | None
    memory_peak_bytes: int | None


class ListedJob(Body):
    """A job without its output."""

    job_id: str
    type: str
    title: str
    status: Status
    reason: Reason | None
    exit_code: int | None
    error: str | None
    cwd: str
    created_at: str
    run_at: str
    started_at: str | None
    finished_at: str | None
    duration_seconds: float | None
    quiet_seconds: float | None = Field(
        description="While it runs: since its last output, or since its start if there is none."
    )
    attempt: int
    max_attempts: int
    next_attempt_at: str | None
    cancel_requested: bool
    queue_position: int | None
    progress: Progress | None
    result: Any = Field(description="Test summary, or what the job returned; null if nothing.")
    uri: str


class Job(ListedJob):
    """A job with a part of its output."""

    failing: str = Field(
        default="", description="The part of the output that seems to say what failed."
    )
    output: Output
    existing: bool = Field(
        default=False, description="The idempotency key belonged to this job already."
    )
    attempts: list[Attempt] = []
    next_step: str = Field(description="What to do now.")


class JobList(Body):
    """Jobs, newest first."""

    jobs: list[ListedJob]
    next_cursor: str | None
    counts: dict[str, int] = Field(description="How many jobs there are in each state.")


class JobType(Body):
    """A type of job that can be started."""

    name: str
    description: str
    params: dict[str, Any] = Field(description="JSON Schema of the parameters.")


class JobTypes(Body):
    """All types of jobs."""

    types: list[JobType]


class Delivery(Body):
    """An ended attempt to deliver a message."""

    number: int
    started_at: str
    finished_at: str
    http_status: int | None
    error: str | None
    next_attempt_at: str | None


class Message(Body):
    """A webhook message about the end of a job."""

    id: str = Field(description="The same in every attempt: the header webhook-id.")
    url: str
    status: str = Field(description="pending, delivered or failed.")
    created_at: str
    next_attempt_at: str | None
    attempts: list[Delivery]


class Messages(Body):
    """The webhook messages about a job."""

    messages: list[Message]


class Health(Body):
    """The server lives."""

    status: str


class ProblemBody(Body):
    """Problem details (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    code: str
