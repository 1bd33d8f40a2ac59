"""Python job types on their way into the registry: those of a `Jobs` object, or of an app."""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import os
import sys
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.schedules import recurrence
from mcp_jobs.job_types.python import import_path
from mcp_jobs.job_types.python.definitions import JobSet
from mcp_jobs.job_types.registry import (
    Callers,
    JobType,
    ModelParams,
    Prepared,
    check_scheduled,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from mcp_jobs.domain.schedules import Recurrence
    from mcp_jobs.job_types.python.definitions import Definition
    from mcp_jobs.job_types.registry import Params

_SCHEDULE_KEYS: Final = ("cron", "timezone", "params", "overlap", "catchup_seconds")
_CHILD: Final = ("-P", "-m", "mcp_jobs.job_types.python.child")
"""-P: the directory that a job runs in must not offer it modules."""


def types_of(jobs: JobSet) -> tuple[JobType, ...]:
    """Return the job types of a set. Raises `InvalidInputError` for one without schemas."""
    found = (_type(definition) for definition in jobs.definitions.values())
    return tuple(replace(each, capacities=jobs.capacities) for each in found)


def load(app: str, directory: str | None) -> JobSet:
    """Import `module:name` or `/path/to/file.py:name`.

    `directory`, where the host works, is never searched: its files may be anybody's, and one named
    as a library would run in its place. Raises `InvalidInputError` that says what is wrong with the
    app and how to name it.
    """
    place, _, name = app.rpartition(":")
    if not place or not name:
        raise InvalidInputError(
            f"The app {app!r} must be written as module:name or /path/to/file.py:name, where name "
            "is the Jobs object."
        )
    found = _imported(app, place, directory)
    for part in name.split("."):
        found = getattr(found, part, None)
    if not isinstance(found, JobSet):
        raise InvalidInputError(
            f"The app {app!r} has no Jobs object of the name {name!r}. Write `{name} = "
            'Jobs("...")` at the top level of the module, or name another one.'
        )
    return found


def _imported(app: str, place: str, directory: str | None) -> Any:
    hint = ""
    try:
        # stdout belongs to the protocol, also before it begins.
        with contextlib.redirect_stdout(sys.stderr):
            if place.endswith(".py"):
                return _from_file(app, place)
            return importlib.import_module(place)
    except InvalidInputError:
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and error.name == place.partition(".")[0]:
            hint = f". {_where_to(app, place, directory)}"
        raise InvalidInputError(
            f"The app {app!r} cannot be imported: {type(error).__name__}: {error}{hint}"
        ) from error


def _where_to(app: str, module: str, directory: str | None) -> str:
    """Say how to name a module that was not found."""
    told = (
        "Modules are looked for in this Python's environment and in PYTHONPATH, never in the "
        "project's directory, where a file could take a library's place. "
    )
    file = os.path.join(directory or "/path/to", f"{module}.py")
    if "." in module or (directory is not None and not os.path.isfile(file)):
        return f"{told}Install the module's package there, or name a file as /path/to/file.py:name."
    return f"{told}Name the file, if you trust it: {file}:{app.rpartition(':')[2]}"


def _from_file(app: str, written: str) -> Any:
    """Import a file under its own name, so that its functions can be found by it again."""
    path = os.path.expanduser(written)
    if not os.path.isabs(path):
        raise InvalidInputError(
            f"The app {app!r} needs the whole path of its file, since a relative one would be "
            f"another file in each project: {os.path.abspath(path)}:{app.rpartition(':')[2]}"
        )
    folder, file = os.path.split(os.path.normpath(path))
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {path}")
    name = file.removesuffix(".py")
    if folder not in sys.path:
        # Last, so that what lies beside the file can be imported, but never in a library's place.
        sys.path.append(folder)
    elsewhere = _origin(name)
    if elsewhere is None or not os.path.samefile(elsewhere, path):
        raise InvalidInputError(
            f"The app {app!r} cannot be imported: Python has another module of the name {name!r}"
            f"{f', {elsewhere}' if elsewhere else ''}. Give the file another name."
        )
    return importlib.import_module(name)


def _origin(name: str) -> str | None:
    """Return the file that an import of this name loads; None where it is no file."""
    try:
        spec = importlib.util.find_spec(name)
    except ValueError:
        # Such as __main__: loaded, and not from a module's file.
        return None
    found = None if spec is None else spec.origin
    return found if found is not None and os.path.exists(found) else None


class _CallParams(ModelParams):
    """Parameters that are checked here and again in the job's process, which gets them as given.

    A `SecretStr` that was dumped would arrive as asterisks.
    """

    def check(self, given: Mapping[str, Any]) -> Mapping[str, Any]:
        super().check(given)
        return given


def _type(definition: Definition) -> JobType:
    definition.check()
    params = _CallParams(definition.params)
    return JobType(
        name=definition.name,
        description=definition.description,
        params=params,
        schedule=_recurrence(definition, params),
        source=_source(definition),
        prepare=_preparing(definition),
        callers=Callers(env=definition.env, cwd=definition.cwd),
        timeout_s=definition.timeout_s,
        idle_timeout_s=definition.idle_timeout_s,
        max_retries=definition.retries,
        retry_on_interrupt=definition.retry_on_interrupt,
        confirm=definition.confirm or False,
        expose=definition.expose,
        tasks=definition.tasks,
        ask_for=definition.ask_for,
        priority=definition.priority,
        locks=definition.locks,
    )


def _source(definition: Definition) -> str:
    """Name the file of a function's module, whatever it was imported as."""
    module = definition.function.__module__
    file = getattr(sys.modules.get(module), "__file__", None)
    return f"python:{module if file is None else os.path.realpath(file)}"


def _recurrence(definition: Definition, params: Params) -> Recurrence | None:
    """Return when it is started by itself. Raises `InvalidInputError`."""
    given = definition.schedule
    if given is None:
        return None
    if unknown := sorted(set(given) - set(_SCHEDULE_KEYS)):
        raise InvalidInputError(
            f"The schedule of the job {definition.name!r} has no {', '.join(unknown)}; it takes "
            f"{', '.join(_SCHEDULE_KEYS)}."
        )
    asked = dict(given.get("params") or {})
    try:
        check_scheduled(params, asked)
        return recurrence(
            str(given.get("cron") or ""),
            timezone=given.get("timezone"),
            params=asked,
            overlap=given.get("overlap"),
            catchup_s=given.get("catchup_seconds"),
        )
    except (ValueError, TypeError) as error:
        raise InvalidInputError(
            f"The schedule of the job {definition.name!r} cannot be used: {error}."
        ) from None


def _preparing(definition: Definition) -> Callable[[Any], Prepared]:
    def prepare(params: Any) -> Prepared:
        return Prepared(
            argv=(sys.executable, *_CHILD),
            title=definition.name,
            # As -P does: the directory that it runs in offers it no modules.
            env=import_path.for_jobs(),
            call={
                **definition.location(),
                "params": dict(params),
                "sys_path": [os.path.abspath(folder) for folder in sys.path],
            },
        )

    return prepare
