"""Start Python jobs from code, in any process that has the home."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from pydantic import SecretBytes, SecretStr, ValidationError
from pydantic_core import to_jsonable_python

from mcp_jobs import __version__
from mcp_jobs import settings as configuration
from mcp_jobs.domain.errors import InvalidInputError, known
from mcp_jobs.domain.origin import told_origin
from mcp_jobs.execution.incarnation import identify
from mcp_jobs.job_types.python.definitions import definition_of, importing
from mcp_jobs.job_types.python.loading import types_of
from mcp_jobs.job_types.registry import ModelParams, problems_in
from mcp_jobs.service.assembly import LOCAL_OWNER, visit
from mcp_jobs.service.requests import StartJob

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mcp_jobs.domain.models import JobOrigin
    from mcp_jobs.job_types.python.definitions import Definition, JobSet
    from mcp_jobs.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class StartedJob:
    """A job that is stored, and runs whatever becomes of the process that started it."""

    id: str
    """The id that agents, `mcp-jobs show` and REST know it by."""
    existing: bool = False
    """It was there before, and this start has attached to it."""


def enqueue(
    jobs: JobSet,
    function: Callable[..., Any],
    positional: Sequence[Any],
    named: Mapping[str, Any],
) -> StartedJob:
    """Do as `start` where no event loop runs."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return anyio.run(partial(start, jobs, function, positional, named))
    raise InvalidInputError(
        "enqueue would hold up the event loop that runs here. Write: await jobs.start(...)."
    )


async def start(
    jobs: JobSet,
    function: Callable[..., Any],
    positional: Sequence[Any],
    named: Mapping[str, Any],
) -> StartedJob:
    """Store a job that calls `function`, and see to it that somebody runs it.

    Raises TypeError for arguments that the function does not take, `InvalidInputError` for what
    cannot be a job, and `StoreError` when the home cannot be used.
    """
    if importing():
        raise InvalidInputError(
            "A job's process imports the module of its function, and must not start another job "
            'by that. Put the call below `if __name__ == "__main__":`, or into a function.'
        )
    definition = _definition(jobs, function)
    wanted = _request(jobs, definition, _params(definition, positional, named))
    settings = configuration.load()
    try:
        async with visit(settings, types_of(jobs)) as core:
            _require_same_home(settings)
            shown = await core.service.start(LOCAL_OWNER, wanted, origin=_origin())
    except BaseExceptionGroup as group:
        # What went wrong came through a task group of ours, which callers know nothing of.
        problem = known(group)
        if problem is None:
            raise
        raise problem from group
    return StartedJob(id=str(shown["job_id"]), existing="existing" in shown)


def _origin() -> JobOrigin:
    return told_origin(
        client_name="mcp-jobs python",
        client_version=__version__,
        project=configuration.project_of(configuration.current_directory()),
    )


def _definition(jobs: JobSet, function: Callable[..., Any]) -> Definition:
    definition = definition_of(function)
    if jobs.definitions.get(definition.name) is not definition:
        raise InvalidInputError(
            f"The job {definition.name!r} belongs to other Jobs than {jobs.name!r}."
        )
    return definition


def _request(jobs: JobSet, definition: Definition, params: dict[str, Any]) -> StartJob:
    try:
        return StartJob(type=definition.name, params=params, **jobs.choices)
    except ValidationError as error:
        problems = problems_in(error, lambda where: str(where[0]))
        raise InvalidInputError(f"The options of the start do not fit: {problems}.") from None


def _params(
    definition: Definition, positional: Sequence[Any], named: Mapping[str, Any]
) -> dict[str, Any]:
    try:
        checked = ModelParams(definition.params).check(definition.bind(positional, named))
    except ValueError as error:
        raise InvalidInputError(
            f"The arguments do not fit the job {definition.name!r}: {error}"
        ) from None
    # In two steps: dumped as JSON, a secret would reach the job as asterisks.
    dumped = checked.model_dump(by_alias=True, exclude_unset=True)
    params: dict[str, Any] = to_jsonable_python(_revealed(dumped))
    return params


def _revealed(value: Any) -> Any:
    if isinstance(value, SecretStr | SecretBytes):
        return value.get_secret_value()
    if isinstance(value, dict):
        return {key: _revealed(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_revealed(item) for item in value]
    return value


def _require_same_home(settings: Settings) -> None:
    """Jobs do not inherit MCP_JOBS_HOME, so one that starts another could miss its own home."""
    marked = configuration.foreign_variable("MCP_JOBS_HOME_ID")
    if marked is not None and identify(settings.home).home_id != marked:
        raise InvalidInputError(
            f"This process belongs to a job of another home than {settings.home}. Set "
            "MCP_JOBS_HOME to the one that the new job is for."
        )
