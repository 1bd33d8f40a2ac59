"""The job types that can be started, by name."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.limits import passable
from mcp_jobs.domain.policy import DEFAULT, Policy
from mcp_jobs.execution.shells import Interpreter, Script

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic.fields import FieldInfo

    from mcp_jobs.domain.schedules import Recurrence
    from mcp_jobs.execution.shells import Shells

_TITLE_CHARS: Final = 80
_NAMES_SHOWN: Final = 60

SHELL_NAME: Final = "shell"


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A job type with its parameters filled in."""

    title: str
    argv: tuple[str, ...] = ()
    """What to run; empty where there is a script."""
    script: Script | None = None
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What the parameters add to the environment; it wins over everything else."""
    call: Mapping[str, Any] | None = None
    """The Python function that the job calls; its directory becomes the last argument."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Callers:
    """What the callers of a type choose besides its params; nothing unless it is said."""

    env: tuple[str, ...] | None = ()
    """The variables that they may give; None for any at all."""
    cwd: bool | tuple[str, ...] | None = False
    """The directory to run in: any, none, or one of these or below. None: any, except on a server
    that runs declared types only."""


class Params(Protocol):
    """The parameters of a job type."""

    def schema(self) -> Mapping[str, Any]:
        """Return the JSON Schema of the object that `check` takes; it is not to be changed."""
        ...

    def check(self, given: Mapping[str, Any]) -> Any:
        """Return what `prepare` takes. Raises ValueError that says what is wrong and allowed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class JobType:
    """One kind of job. `prepare` turns checked parameters into a command."""

    name: str
    description: str
    params: Params
    prepare: Callable[[Any], Prepared]
    policy: Policy = DEFAULT
    cwd: str | None = None
    """Where its jobs run unless a caller may choose; None for where the server works."""
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    """What it adds to the environment."""
    callers: Callers = Callers()
    """What its callers may choose."""
    timeout_s: float | None = None
    timeout_is_limit: bool = False
    """The caller may shorten `timeout_s` but not lengthen it."""
    idle_timeout_s: float | None = None
    idle_timeout_is_limit: bool = False
    """The caller may shorten `idle_timeout_s` but not lengthen it."""
    max_retries: int = 0
    retry_on_interrupt: bool = False
    confirm: bool | str = False
    """Whether a person must agree first; a text is what he is asked."""
    expose: bool = False
    """It is also a tool of its own."""
    annotations: Mapping[str, bool] = field(default_factory=dict)
    """Of that tool: read_only, destructive, idempotent, open_world."""
    tasks: Literal["optional", "never", "required"] = "optional"
    """How that tool answers. never: it waits for the result; required: only with a task."""
    ask_for: tuple[str, ...] = ()
    """Parameters of that tool that a person is asked for when a call leaves them out."""
    schedule: Recurrence | None = None
    """When it is started by itself."""
    source: str = ""
    """What declares it where that is no file of job types: the module of a Python function."""
    priority: int = 0
    """Of its jobs, unless the caller says another."""
    locks: tuple[str, ...] = ()
    """What its jobs hold while they run, besides what the caller adds."""
    capacities: Mapping[str, int] = field(default_factory=dict)
    """How many jobs may hold a lock at once, as whoever declares the type has it, for any lock."""


class TypeSource(Protocol):
    """Job types that may change while the server runs."""

    def types(self) -> Mapping[str, JobType]:
        """Return what there is now; the same object as long as nothing changes."""
        ...

    def problem(self) -> str | None:
        """Say what is wrong with the newest declarations; None when all is well."""
        ...

    def take_news(self) -> str | None:
        """Return what is wrong and was not told yet."""
        ...


class ModelParams:
    """Parameters that a pydantic model describes."""

    def __init__(self, model: type[BaseModel]) -> None:
        self._model = model
        self._schema: Mapping[str, Any] | None = None

    def schema(self) -> Mapping[str, Any]:
        """Return the model's JSON Schema."""
        if self._schema is None:
            # Every start of a job looks into it.
            self._schema = self._model.model_json_schema()
        return self._schema

    def check(self, given: Mapping[str, Any]) -> Any:
        """Return an instance of the model."""
        try:
            return self._model.model_validate(dict(given))
        except ValidationError as error:
            raise ValueError(self._problem(error)) from None

    def _problem(self, error: ValidationError) -> str:
        problems = problems_in(error, lambda where: ".".join(map(str, where)) or "params")
        fields = ", ".join(_told(name, field) for name, field in self._model.model_fields.items())
        return f"{problems}. It takes: {fields or 'no params'}"


class Registry:
    """Knows the job types of this process: those that stay, and those of `source`."""

    def __init__(self, fixed: Iterable[JobType], *, source: TypeSource | None = None) -> None:
        self._fixed = {job_type.name: job_type for job_type in fixed}
        self._source = source
        self._seen: Mapping[str, JobType] | None = None
        self._types: Mapping[str, JobType] = self._fixed

    def types(self) -> Mapping[str, JobType]:
        """Return every type by name; the same object as long as nothing changes."""
        if self._source is not None:
            found = self._source.types()
            if found is not self._seen:
                self._seen = found
                merged = {**found, **self._fixed}
                self._types = {name: merged[name] for name in sorted(merged)}
        return self._types

    def fixed(self) -> tuple[JobType, ...]:
        """Return those that stay."""
        return tuple(self._fixed.values())

    def names(self) -> list[str]:
        """Return the names, sorted."""
        return sorted(self.types())

    def get(self, name: str) -> JobType:
        """Return one type. Raises `InvalidInputError` that lists the types."""
        job_type = self.types().get(name)
        if job_type is None:
            raise InvalidInputError(self._unknown(name))
        return job_type

    def capacities(self) -> Mapping[str, int]:
        """Return the declared capacities of locks; of several for one lock the lowest."""
        found: dict[str, int] = {}
        for job_type in self.types().values():
            for name, count in job_type.capacities.items():
                found[name] = min(count, found.get(name, count))
        return found

    def describe(self) -> list[dict[str, Any]]:
        """Return each type's name, description and the JSON Schema of its parameters."""
        return [
            {
                "name": name,
                "description": job_type.description,
                "params": dict(job_type.params.schema()),
            }
            for name, job_type in sorted(self.types().items())
        ]

    def prepare(self, name: str, params: Mapping[str, Any]) -> Prepared:
        """Check `params` for the type `name` and return what to run.

        Raises `InvalidInputError` for an unknown type (it lists the types) and for parameters that
        are missing, unknown or of the wrong kind.
        """
        return prepare(self.get(name), params)

    def take_news(self) -> str | None:
        """Return what is wrong with the declarations of types and was not told yet."""
        return None if self._source is None else self._source.take_news()

    def _unknown(self, name: str) -> str:
        import difflib  # noqa: PLC0415 - a server starts the sooner without it

        names = self.names()
        near = difflib.get_close_matches(name, names, n=3)
        shown = [*near, *(n for n in names if n not in near)][:_NAMES_SHOWN]
        more = f" and {len(names) - len(shown)} more" if len(names) > len(shown) else ""
        told = f"The types are: {', '.join(shown)}{more}." if names else "There are no types."
        if name == SHELL_NAME:
            told = f"This server runs declared job types only (--only-declared). {told}"
        problem = None if self._source is None else self._source.problem()
        return f"There is no job type {name!r}. {told}" + (f" {problem}" if problem else "")


def prepare(job_type: JobType, params: Mapping[str, Any]) -> Prepared:
    """Check `params` for a type and return what to run. Raises `InvalidInputError`."""
    try:
        return job_type.prepare(job_type.params.check(params))
    except ValueError as error:
        raise InvalidInputError(
            f"params do not fit the job type {job_type.name!r}: {error}"
        ) from None


def check_scheduled(params: Params, given: Mapping[str, Any]) -> None:
    """Raise ValueError for parameters that a schedule cannot start its jobs with."""
    from mcp_jobs.domain import secrecy  # noqa: PLC0415 - few types are scheduled

    params.check(given)
    if secrecy.hidden(params.schema(), given)[1]:
        raise ValueError(
            "a secret would be kept with the schedule, for all to read who can read it; let the "
            "job read it from a file instead"
        )


def question_of(
    job_type: JobType, params: Mapping[str, Any], *, besides: Mapping[str, Any]
) -> str | None:
    """Return what a person must agree to before such a job begins; None when nobody need be asked.

    `besides` is what else the caller has chosen: a directory, variables.
    """
    if not job_type.confirm:
        return None
    from mcp_jobs.domain.questions import start_question  # noqa: PLC0415 - few types ask

    asked = job_type.confirm if isinstance(job_type.confirm, str) else "May this job start?"
    schema = job_type.params.schema()
    return start_question(asked, job_type.name, schema, params, besides=besides)


class ShellParams(BaseModel):
    """What `type: "shell"` takes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    command: str = Field(min_length=1, description="Command line for the shell.")
    interpreter: Interpreter | None = Field(
        default=None, description="bash (with pipefail) or sh, where the usual one will not do"
    )

    @field_validator("command")
    @classmethod
    def _fits(cls, value: str) -> str:
        return passable(value, what="The command")


def problems_in(error: ValidationError, name: Callable[[tuple[int | str, ...]], str]) -> str:
    """Return what is wrong with a model's fields; `name` calls a place as its reader knows it."""
    return "; ".join(
        f"{name(each['loc'])}: {each['msg'].removeprefix('Value error, ')}"
        for each in error.errors(include_url=False, include_input=False)
    )


def _told(name: str, field: FieldInfo) -> str:
    needed = "required" if field.is_required() else "optional"
    return f"{name} ({needed}: {field.description})" if field.description else f"{name} ({needed})"


def title_of(text: str) -> str:
    """Return the first line of a command or script, cut to the length of a title."""
    lines = text.strip().splitlines() or [text]
    return lines[0] if len(lines[0]) <= _TITLE_CHARS else lines[0][: _TITLE_CHARS - 1] + "…"


def _prepare_shell(params: ShellParams) -> Prepared:
    script = Script(text=params.command, interpreter=params.interpreter)
    return Prepared(script=script, title=title_of(params.command))


def shell_type(shells: Shells) -> JobType:
    """Return the type `shell`; its description says what its commands are written for."""
    return JobType(
        name=SHELL_NAME,
        description=f"Run a command line with {shells.described}.",
        params=ModelParams(ShellParams),
        prepare=_prepare_shell,
        # Who says what runs needs no variable and no directory for it.
        callers=Callers(env=None, cwd=True),
    )
