"""Python job types: functions that are run as jobs.

Loaded in the server, which needs their schemas, and in the job's own process, which must start
quickly: so pydantic is imported only when parameters are looked at, and MCP never.
"""

from __future__ import annotations

import inspect
import os
import re
import sys
import typing
import warnings
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final, Literal, TypeVar

from mcp_jobs.domain import gates
from mcp_jobs.domain.environment import changes_what_runs
from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.job_types.python.context import JobContext

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from pydantic import BaseModel, TypeAdapter

Function = TypeVar("Function", bound="Callable[..., Any]")

RESULT_LIMIT_BYTES: Final = 64 << 10
"""Most JSON that a job may return: it is in every reply about the job."""

_YEAR_S: Final = 366 * 24 * 3600
_MOST_RETRIES: Final = 100
_MARK: Final = "__mcp_job__"
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, kw_only=True)
class Definition:
    """One Python job type. Times in seconds, None for no limit."""

    name: str
    description: str
    function: Callable[..., Any] = field(repr=False)
    timeout_s: float | None
    idle_timeout_s: float | None
    retries: int
    retry_on_interrupt: bool
    confirm: str | None
    """What a person is asked before a job begins; None asks nobody."""
    expose: bool
    """Whether it is a tool of its own besides being a type of start_job."""
    tasks: Literal["optional", "never", "required"] = "optional"
    """How that tool answers."""
    ask_for: tuple[str, ...] = ()
    """Parameters that a person is asked for when a call of that tool leaves them out."""
    env: tuple[str, ...] = ()
    """Environment variables that callers may give."""
    cwd: bool | tuple[str, ...] = False
    """Whether callers may choose the directory: any, or one of these or below."""
    schedule: Mapping[str, Any] | None = None
    """When it is started by itself, as it was given."""
    priority: int = 0
    locks: tuple[str, ...] = ()
    """What a job holds while it runs."""

    @cached_property
    def context_name(self) -> str | None:
        """The parameter that takes the `JobContext`."""
        return next((n for n, hint in self._hints.items() if hint is JobContext), None)

    @cached_property
    def params(self) -> type[BaseModel]:
        """The parameters as a model; unknown ones are refused."""
        from pydantic import ConfigDict, Field, create_model

        fields: dict[str, Any] = {}
        config = ConfigDict(extra="forbid", protected_namespaces=())
        for name, parameter in self._parameters.items():
            hint = self._hints.get(name, Any)
            required = parameter.default is inspect.Parameter.empty
            fields[name] = (hint, Field() if required else Field(default=parameter.default))
        with warnings.catch_warnings():
            # A parameter may well be called `json` or `copy`.
            warnings.simplefilter("ignore", UserWarning)
            return create_model(f"{self.name}_params", __config__=config, **fields)

    @cached_property
    def result(self) -> TypeAdapter[Any]:
        """What the function returns."""
        from pydantic import TypeAdapter

        return TypeAdapter(self._hints.get("return", Any))

    def check(self) -> None:
        """Build the schemas. Raises `InvalidInputError` for a type that has none."""
        try:
            _ = (self.params, self.result)
        except Exception as error:
            raise InvalidInputError(
                f"The parameters and the result of the job {self.name!r} need types that JSON can "
                f"carry: {type(error).__name__}: {error}"
            ) from error

    def location(self) -> dict[str, str]:
        """Return where another process finds the function: `module` or `path`, and `qualname`."""
        module = self.function.__module__
        if module != "__main__":
            return {"module": module, "qualname": self.function.__qualname__}
        main = sys.modules["__main__"]
        if main.__spec__ is not None:
            # Started by `python -m`.
            return {"module": main.__spec__.name, "qualname": self.function.__qualname__}
        path = os.path.abspath(str(main.__file__))
        return {"path": path, "qualname": self.function.__qualname__}

    def arguments(self, params: Mapping[str, Any], context: JobContext) -> dict[str, Any]:
        """Return what to call the function with. Raises pydantic's ValidationError."""
        checked = self.params.model_validate(dict(params))
        arguments = {name: checked.__dict__[name] for name in self._parameters}
        if self.context_name is not None:
            arguments[self.context_name] = context
        return arguments

    def bind(self, positional: Sequence[Any], named: Mapping[str, Any]) -> dict[str, Any]:
        """Return the parameters of a call that leaves the context out. Raises TypeError."""
        signature = inspect.Signature(list(self._parameters.values()))
        return signature.bind(*positional, **named).arguments

    def to_json(self, value: Any) -> bytes:
        """Return what the function returned, as JSON. Raises ValueError when that cannot be."""
        text = self.result.dump_json(value)
        if len(text) > RESULT_LIMIT_BYTES:
            raise ValueError(
                f"The result has {len(text)} bytes as JSON, allowed are {RESULT_LIMIT_BYTES}. "
                "Write it to a file in the job's workdir and return the path."
            )
        return text

    @property
    def _parameters(self) -> dict[str, inspect.Parameter]:
        signature = inspect.signature(self.function)
        return {n: p for n, p in signature.parameters.items() if n != self.context_name}

    @cached_property
    def _hints(self) -> dict[str, Any]:
        return typing.get_type_hints(self.function, include_extras=True)


class JobSet:
    """The job types of one application, by name."""

    def __init__(self, name: str, *, capacities: Mapping[str, int] | None = None) -> None:
        """`capacities` says how many jobs may hold a lock at once; one, where it says nothing.

        Raises `InvalidInputError` for what cannot be a lock or a capacity.
        """
        self.name = name
        self.capacities = dict(capacities or {})
        _require_capacities(name, self.capacities)
        self.definitions: dict[str, Definition] = {}
        self.choices: Mapping[str, Any] = {}
        """What starts from code ask for, besides the function and its arguments."""

    def add(self, function: Function, definition: Definition) -> Function:
        """Take a function in. Raises `InvalidInputError` when it cannot be a job type."""
        _require_limits(definition)
        _require_choices(definition)
        _require_order(definition)
        if definition.name in self.definitions:
            raise InvalidInputError(f"There are two jobs of the name {definition.name!r}.")
        _require_runnable(function, definition.name)
        _require_parameters(function, definition)
        self.definitions[definition.name] = definition
        setattr(function, _MARK, definition)
        return function


_imports: list[str] = []


@contextmanager
def import_for_job(name: str) -> Iterator[None]:
    """Import a module only for a function in it, so that nothing in it may start a job."""
    _imports.append(name)
    try:
        yield
    finally:
        _imports.pop()


def importing() -> bool:
    """Say whether the process of a job imports its function just now."""
    return bool(_imports)


def definition_of(function: object) -> Definition:
    """Return the definition of a function that was decorated. Raises `InvalidInputError`."""
    definition = getattr(function, _MARK, None)
    if not isinstance(definition, Definition):
        raise InvalidInputError(f"{function!r} is not a job: decorate it with @jobs.job().")
    return definition


def _require_limits(definition: Definition) -> None:
    limits = {"timeout": definition.timeout_s, "idle_timeout": definition.idle_timeout_s}
    for name, limit_s in limits.items():
        if limit_s is not None and not 0 < limit_s < _YEAR_S:
            raise InvalidInputError(
                f"The {name} of the job {definition.name!r} is a number of seconds above 0, not "
                f"{limit_s!r}."
            )
    if not 0 <= definition.retries <= _MOST_RETRIES:
        raise InvalidInputError(
            f"The retries of the job {definition.name!r} are 0 to {_MOST_RETRIES}, not "
            f"{definition.retries!r}."
        )


def _require_order(definition: Definition) -> None:
    if not gates.LOWEST_PRIORITY <= definition.priority <= gates.HIGHEST_PRIORITY:
        raise InvalidInputError(
            f"The priority of the job {definition.name!r} is {gates.LOWEST_PRIORITY} to "
            f"{gates.HIGHEST_PRIORITY}, not {definition.priority!r}."
        )
    if len(definition.locks) > gates.MOST_LOCKS:
        raise InvalidInputError(
            f"The job {definition.name!r} has {len(definition.locks)} locks; a job holds at most "
            f"{gates.MOST_LOCKS}."
        )
    for name in definition.locks:
        _require_lock(f"the job {definition.name!r}", name)


def _require_capacities(owner: str, capacities: Mapping[str, int]) -> None:
    for name, count in capacities.items():
        _require_lock(f"Jobs({owner!r})", name)
        if not 1 <= count <= gates.MOST_CAPACITY:
            raise InvalidInputError(
                f"The capacity of the lock {name!r} is 1 to {gates.MOST_CAPACITY}, not {count!r}."
            )


def _require_lock(owner: str, name: str) -> None:
    try:
        gates.lock_name(name)
    except ValueError as error:
        raise InvalidInputError(f"A lock of {owner}: {error}.") from None


def _require_choices(definition: Definition) -> None:
    """What callers may choose must not let them choose what runs."""
    for name in definition.env:
        if not _VARIABLE.fullmatch(name):
            raise InvalidInputError(
                f"The env of the job {definition.name!r} names variables that callers may give; "
                f"{name!r} cannot be one: letters, digits and _, no digit first."
            )
        if changes_what_runs(name):
            raise InvalidInputError(
                f"Callers of the job {definition.name!r} cannot be given {name}: it changes what "
                "programs load or run. Pass what varies in params."
            )
    for root in definition.cwd if isinstance(definition.cwd, tuple) else ():
        if not os.path.isabs(root):
            raise InvalidInputError(
                f"The cwd of the job {definition.name!r} is True, False or whole paths of "
                f"directories, not {root!r}."
            )


def _require_parameters(function: Callable[..., Any], definition: Definition) -> None:
    known = inspect.signature(function).parameters
    if unknown := [name for name in definition.ask_for if name not in known]:
        raise InvalidInputError(
            f"The job {definition.name!r} asks for {', '.join(unknown)} and has no such parameter; "
            f"it has {', '.join(known) or 'none'}."
        )


def _require_runnable(function: Callable[..., Any], name: str) -> None:
    """A job is called by name in another process, with values that came as JSON."""
    if not _NAME.fullmatch(name):
        raise InvalidInputError(
            f"A job cannot have the name {name!r}: letters, digits, _ and -, a letter first, at "
            "most 64."
        )
    if "<" in function.__qualname__:
        raise InvalidInputError(
            f"The job {name!r} is defined inside a function. Jobs run in processes of their own, "
            "which can import only what stands at the top level of a module."
        )
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            raise InvalidInputError(
                f"The parameter {parameter.name!r} of the job {name!r} has no name that a caller "
                "can use; *args, **kwargs and positional-only parameters are not allowed."
            )
