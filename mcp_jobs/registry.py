"""The job types that can be started, by name."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mcp_jobs.errors import InvalidInputError
from mcp_jobs.limits import passable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_TITLE_CHARS: Final = 80
_PARAMS_CHARS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A job type with its parameters filled in."""

    argv: tuple[str, ...]
    title: str
    confirm: str | None = None
    """What a person must agree to before the job begins."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobType:
    """One kind of job. `prepare` turns checked parameters into a command."""

    name: str
    description: str
    params: type[BaseModel]
    prepare: Callable[[Any], Prepared]
    confirm: bool | str = False
    """Whether a person must agree first; a text is what he is asked."""


class Registry:
    """Knows the job types of this process."""

    def __init__(self, types: tuple[JobType, ...]) -> None:
        self._types = {job_type.name: job_type for job_type in types}

    def names(self) -> list[str]:
        """Return the names, sorted."""
        return sorted(self._types)

    def describe(self) -> list[dict[str, Any]]:
        """Return each type's name, description and the JSON Schema of its parameters."""
        return [
            {
                "name": name,
                "description": self._types[name].description,
                "params": self._types[name].params.model_json_schema(),
            }
            for name in self.names()
        ]

    def prepare(self, name: str, params: Mapping[str, Any]) -> Prepared:
        """Check `params` for the type `name` and return what to run.

        Raises `InvalidInputError` for an unknown type (it lists the types) and for parameters that
        are missing, unknown or of the wrong kind.
        """
        job_type = self._types.get(name)
        if job_type is None:
            raise InvalidInputError(
                f"There is no job type {name!r}. The types are: {', '.join(self.names())}."
            )
        try:
            checked = job_type.params.model_validate(dict(params))
        except ValidationError as error:
            raise InvalidInputError(_params_problem(job_type, error)) from None
        prepared = job_type.prepare(checked)
        if not job_type.confirm:
            return prepared
        asked = job_type.confirm if isinstance(job_type.confirm, str) else "May this job start?"
        return replace(prepared, confirm=f"{asked}\n{name} {_shortened(params)}")


class ShellParams(BaseModel):
    """What `type: "shell"` takes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    command: str = Field(min_length=1, description="Command line for /bin/sh -c.")

    @field_validator("command")
    @classmethod
    def _fits(cls, value: str) -> str:
        return passable(value, what="The command")


def built_in() -> Registry:
    """Return the registry with the built-in types."""
    return Registry((SHELL,))


def _prepare_shell(params: ShellParams) -> Prepared:
    lines = params.command.strip().splitlines() or [params.command]
    title = lines[0] if len(lines[0]) <= _TITLE_CHARS else lines[0][: _TITLE_CHARS - 1] + "…"
    return Prepared(argv=("/bin/sh", "-c", params.command), title=title)


SHELL: Final = JobType(
    name="shell",
    description="Run a command line with /bin/sh -c.",
    params=ShellParams,
    prepare=_prepare_shell,
)


def _shortened(params: Mapping[str, Any]) -> str:
    """Return the parameters for a person's eyes."""
    text = json.dumps(dict(params), ensure_ascii=False)
    return text if len(text) <= _PARAMS_CHARS else f"{text[:_PARAMS_CHARS]}…"


def _params_problem(job_type: JobType, error: ValidationError) -> str:
    problems = "; ".join(
        f"{'.'.join(map(str, e['loc'])) or 'params'}: {e['msg'].removeprefix('Value error, ')}"
        for e in error.errors(include_url=False, include_input=False)
    )
    fields = ", ".join(
        f"{name} ({'required' if field.is_required() else 'optional'}: {field.description})"
        for name, field in job_type.params.model_fields.items()
    )
    return f"params do not fit the job type {job_type.name!r}: {problems}. It takes: {fields}"
