"""What callers may ask for: one pydantic model for each operation.

The models give the tools their input schemas, and REST and the command line their checks. Fields
that are not listed are refused, so that a misspelt limit never counts as no limit.
"""

from __future__ import annotations

import math
import os
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from mcp_jobs.domain import gates
from mcp_jobs.domain.limits import CANCEL_GRACE_S, passable
from mcp_jobs.domain.models import IfRunning
from mcp_jobs.domain.states import Status

WAIT_LIMIT_S: Final = 50
"""Longest wait of one call. Hosts give a call up after 60 s, so more would lose the answer."""

_YEAR_S: Final = 366 * 24 * 3600
_KEY_CHARS: Final = 200
_PATTERN_CHARS: Final = 1000
_ENV_COUNT: Final = 1000
_SHOWN_CHARS: Final = 500


def number(value: object) -> object:
    """Return what may be a number. Raises ValueError for what JSON has none of."""
    # JSON has no NaN, but parsers let it through; true is not a number of seconds.
    if isinstance(value, bool | str):
        raise ValueError("must be a number")
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError("must be a finite number")
    return value


def _variable_name(name: str) -> str:
    if not name or "=" in name or "\0" in name:
        raise ValueError(
            f"{name!r} cannot be the name of an environment variable; a name is not empty and has "
            "no = and no NUL"
        )
    if name.startswith("MCP_JOBS_"):
        raise ValueError(f"{name} is set by mcp-jobs itself")
    return passable(name, what="The name of an environment variable")


def directory(path: str) -> str:
    """Return an absolute path. Raises ValueError for any other."""
    # Whether it is there is looked at later, and only for types whose callers choose a directory:
    # others would learn from the answers what is on this machine.
    if "\0" in path or not os.path.isabs(path):
        raise ValueError(f"{path[:_SHOWN_CHARS]!r} must be an absolute path of a directory")
    return os.path.normpath(path)


def check_directory(path: str) -> None:
    """Raise ValueError unless a job can be started in this directory."""
    shown = path[:_SHOWN_CHARS]
    if not os.path.exists(path):
        raise ValueError(f"{shown} does not exist; create it first or name another directory")
    if not os.path.isdir(path):
        raise ValueError(f"{shown} is a file; it must be a directory")


def _title(text: str) -> str:
    return passable(" ".join(text.split()), what="The title")


# The limits before the check: in the other order pydantic does not put them into the schema.
Wait = Annotated[
    float,
    Field(ge=0, le=WAIT_LIMIT_S, description="Wait up to this long for the end."),
    BeforeValidator(number),
]
Seconds = Annotated[float, Field(gt=0, le=_YEAR_S), BeforeValidator(number)]
Grace = Annotated[float, Field(ge=0, le=300), BeforeValidator(number)]
VariableName = Annotated[str, AfterValidator(_variable_name)]
VariableValue = Annotated[
    str, AfterValidator(lambda text: passable(text, what="The value of an environment variable"))
]
Scope = Literal["session", "project", "all"]
JobId = Annotated[str, Field(min_length=1, max_length=100)]
LockName = Annotated[str, AfterValidator(gates.lock_name)]
Priority = Annotated[
    int, Field(ge=gates.LOWEST_PRIORITY, le=gates.HIGHEST_PRIORITY), BeforeValidator(number)
]


class Request(BaseModel):
    """Base of the requests: fields that are not listed are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class StartJob(Request):
    """Start a job."""

    type: str = Field(default="shell", max_length=100, description="Job type.")
    params: dict[str, Any] = Field(
        default={},
        description='Parameters of the type. "shell" takes {"command": "..."}.',
    )
    cwd: Annotated[str, AfterValidator(directory)] | None = Field(
        default=None, description="Absolute directory; default: the project's."
    )
    title: Annotated[str, AfterValidator(_title), Field(max_length=200)] | None = Field(
        default=None, description="Its name in lists."
    )
    env: Annotated[dict[VariableName, VariableValue], Field(max_length=_ENV_COUNT)] = Field(
        default={}, description="Environment variables to add."
    )
    timeout_seconds: Seconds | None = Field(default=None, description="Stop it after this long.")
    idle_timeout_seconds: Seconds | None = Field(
        default=None, description="Stop it when it prints nothing for this long."
    )
    max_retries: Annotated[int, Field(ge=0, le=100), BeforeValidator(number)] = Field(
        default=0, description="Try a failed job again up to this many times."
    )
    retry_on_interrupt: bool = Field(
        default=False, description="Run it again if a crash or reboot cut it off."
    )
    delay_seconds: Annotated[float, Field(ge=0, le=_YEAR_S), BeforeValidator(number)] = Field(
        default=0, description="Start only after this long."
    )
    idempotency_key: Annotated[str, Field(min_length=1, max_length=_KEY_CHARS)] | None = Field(
        default=None,
        description="A repeated call with the same key returns the existing job.",
    )
    priority: Priority = Field(default=0, description="-100 to 100; higher comes first.")
    locks: Annotated[list[LockName], Field(max_length=gates.MOST_LOCKS)] = Field(
        default=[],
        description="Names it must hold while it runs; one job at a time holds a name. "
        "{project}: this project's.",
    )
    if_running: IfRunning = Field(
        default="start",
        description="If the same job has not ended: attach returns it, supersede ends it first.",
    )
    after: Annotated[list[JobId], Field(max_length=gates.MOST_PARENTS)] = Field(
        default=[], description="job_ids that must have completed before it starts."
    )
    after_any_end: bool = Field(default=False, description="after: any end of them will do.")
    retry_of: JobId | None = Field(
        default=None, description="Ended job to run again; other arguments override its own."
    )
    wait_seconds: Wait = 0


class CheckJob(Request):
    """Look at a job."""

    job_id: JobId = Field(description="Id from start_job or list_jobs.")
    wait_seconds: Wait = 0
    tail_lines: Annotated[int, Field(ge=0, le=1000), BeforeValidator(number)] = Field(
        default=40, description="How many of the last lines (or matches)."
    )
    after: Annotated[int, Field(ge=0, le=2**62), BeforeValidator(number)] | None = Field(
        default=None, description="Read on from an earlier next_cursor."
    )
    grep: Annotated[str, Field(min_length=1, max_length=_PATTERN_CHARS)] | None = Field(
        default=None, description="Only lines that match this regex."
    )


class CancelJob(Request):
    """End a job."""

    job_id: JobId = Field(description="Id of the job to end.")
    grace_seconds: Grace = Field(
        default=CANCEL_GRACE_S, description="Time between SIGTERM and SIGKILL."
    )


class ListJobs(Request):
    """List jobs."""

    status: Status | list[Status] | None = Field(
        default=None, description="Only jobs in these states."
    )
    type: Annotated[str, Field(max_length=100)] | None = Field(
        default=None, description="Only jobs of this type."
    )
    cwd: Annotated[str, Field(max_length=4096)] | None = Field(
        default=None, description="Only jobs that run in this directory."
    )
    job_ids: Annotated[list[JobId], Field(max_length=100)] | None = Field(
        default=None, description="Only these jobs."
    )
    scope: Scope | None = Field(
        default=None,
        description='Started by this session, in this "project" (default; "all" with cwd), or all.',
    )
    limit: Annotated[int, Field(ge=1, le=100), BeforeValidator(number)] = Field(
        default=20, description="How many at once."
    )
    cursor: Annotated[str, Field(max_length=100)] | None = Field(
        default=None, description="next_cursor of the previous page."
    )
    wait_for: Literal["any", "all"] | None = Field(
        default=None, description="Wait for any or all of job_ids."
    )
    wait_seconds: Wait = 0
