"""What REST takes and gives, as models: they check what comes in and describe what goes out."""

from __future__ import annotations

from functools import cache, reduce
from operator import or_
from types import GenericAlias, UnionType
from typing import Annotated, Any, get_args, get_origin, is_typeddict

from pydantic import BaseModel, ConfigDict, Field, create_model

from mcp_jobs.domain import schedule_object
from mcp_jobs.domain.declaration import declared
from mcp_jobs.domain.job_object import JobPage, OutputObject, ShownJob
from mcp_jobs.domain.states import Status
from mcp_jobs.service.requests import Grace, JobId, Scope, StartJob


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


class RetryBody(StartBody):
    """What to change when a job is started again; the rest stays as it was."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"timeout_seconds": 1200}]})


class CancelBody(BaseModel):
    """How to end a job."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    grace_seconds: Grace = Field(default=5, description="Time between SIGTERM and SIGKILL.")


class HoldBody(BaseModel):
    """Why something is held."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    why: Annotated[str, Field(max_length=500)] | None = Field(
        default=None, description="For what reason."
    )


class Query(BaseModel):
    """Base of the query parameters: those that are not listed are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class WhoseQuery(Query):
    """Whose schedules are meant."""

    everybody: bool = Field(
        default=False, description="Those of all owners; needs the scope admin."
    )


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
    project: Annotated[str, Field(max_length=4096)] | None = Field(
        default=None, description="Only jobs of the project in this directory."
    )
    session: Annotated[str, Field(min_length=1, max_length=200)] | None = Field(
        default=None, description="Only jobs of this session, as `origin` has it."
    )
    scope: Scope | None = Field(
        default=None,
        description=(
            "session or project: of the one that is named; default: of one that is named, else all."
        ),
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


@cache
def _model(shape: type[Any], name: str, always: tuple[str, ...] = ()) -> type[Body]:
    """Return the model of a declared object; REST shows the fields `always` in each of it."""
    fields: dict[str, Any] = {}
    for each in declared(shape):
        about: dict[str, Any] = {"description": each.description}
        if not each.required and each.name not in always:
            about["default"] = each.field.default
        # pydantic keeps some names for itself.
        own = f"{each.name}_" if hasattr(Body, each.name) else each.name
        fields[own] = (_typed(each.type), Field(alias=each.name, **about))
    return create_model(name, __base__=Body, __doc__=shape.__doc__, **fields)


def _typed(kind: Any) -> Any:
    """Return a declared type with models in place of the shapes in it."""
    if is_typeddict(kind):
        return _model(kind, kind.__name__.removesuffix("Object"))
    options = tuple(_typed(option) for option in get_args(kind))
    if get_origin(kind) is list:
        return GenericAlias(list, options)
    if get_origin(kind) is UnionType:
        return reduce(or_, options)
    return kind


Output = _model(OutputObject, "Output")
Job = _model(ShownJob, "Job", always=("output", "next_step"))
JobList = _model(JobPage, "JobList")
Schedule = _model(schedule_object.ScheduleObject, "Schedule")
ScheduleList = _model(schedule_object.ScheduleList, "ScheduleList")


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
