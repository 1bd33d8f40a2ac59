"""Python job types on their way into the registry: those of a `Jobs` object, or of an app."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.definitions import JobSet
from mcp_jobs.errors import InvalidInputError
from mcp_jobs.registry import JobType, ModelParams, Prepared

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp_jobs.definitions import Definition

_CHILD: Final = ("-P", "-m", "mcp_jobs.child")
"""-P: the directory that a job runs in must not offer it modules."""


def types_of(jobs: JobSet) -> tuple[JobType, ...]:
    """Return the job types of a set. Raises `InvalidInputError` for one without schemas."""
    return tuple(_type(definition) for definition in jobs.definitions.values())


def load(app: str, directory: str | None) -> JobSet:
    """Import `module:name` (or `file.py:name`); modules are looked for in `directory` too.

    Raises `InvalidInputError` that says what is wrong with the app.
    """
    place, _, name = app.rpartition(":")
    if not place or not name:
        raise InvalidInputError(
            f"The app {app!r} must be written as module:name or file.py:name, where name is the "
            "Jobs object."
        )
    if directory is not None and directory not in sys.path:
        sys.path.insert(0, directory)
    found = _imported(app, place)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, JobSet):
        raise InvalidInputError(
            f"The app {app!r} has no Jobs object of the name {name!r}. Write `{name} = "
            'Jobs("...")` at the top level of the module, or name another one.'
        )
    return found


def _imported(app: str, place: str) -> Any:
    try:
        # stdout belongs to the protocol, also before it begins.
        with contextlib.redirect_stdout(sys.stderr):
            if place.endswith(".py"):
                return _from_file(os.path.abspath(place))
            return importlib.import_module(place)
    except (Exception, SystemExit) as error:
        raise InvalidInputError(
            f"The app {app!r} cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _from_file(path: str) -> Any:
    """Import a file under its own name, so that its functions can be found by it again."""
    folder, file = os.path.split(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {path}")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    return importlib.import_module(file.removesuffix(".py"))


def _type(definition: Definition) -> JobType:
    definition.check()
    return JobType(
        name=definition.name,
        description=definition.description,
        params=ModelParams(definition.params),
        prepare=_preparing(definition),
        timeout_s=definition.timeout_s,
        idle_timeout_s=definition.idle_timeout_s,
        max_retries=definition.retries,
        retry_on_interrupt=definition.retry_on_interrupt,
        confirm=definition.confirm or False,
        expose=definition.expose,
        tasks=definition.tasks,
        ask_for=definition.ask_for,
    )


def _preparing(definition: Definition) -> Callable[[Any], Prepared]:
    def prepare(params: Any) -> Prepared:
        return Prepared(
            argv=(sys.executable, *_CHILD),
            title=definition.name,
            call={
                **definition.location(),
                "params": params.model_dump(mode="json", exclude_unset=True),
                "sys_path": [os.path.abspath(folder) for folder in sys.path],
            },
        )

    return prepare
