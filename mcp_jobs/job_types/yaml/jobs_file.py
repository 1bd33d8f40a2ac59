"""The format of jobs.yaml: `jobs:`, and in it an entry for each type; `locks:` for capacities."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Final, TypeAlias

from mcp_jobs.domain.environment import changes_what_runs
from mcp_jobs.domain.limits import passable
from mcp_jobs.domain.secrecy import MASKED
from mcp_jobs.execution.shells import Interpreter, Script
from mcp_jobs.job_types.registry import Callers, JobType, Prepared, title_of
from mcp_jobs.job_types.yaml.argv import fill, read_command
from mcp_jobs.job_types.yaml.node import NONE, Place
from mcp_jobs.job_types.yaml.params import DeclaredParams, read_params
from mcp_jobs.job_types.yaml.parser import Scalar
from mcp_jobs.job_types.yaml.policies import (
    ORDER_KEYS,
    RULE_KEYS,
    Rules,
    read_capacities,
    read_locks,
    read_priority,
)
from mcp_jobs.job_types.yaml.problems import DeclarationError
from mcp_jobs.job_types.yaml.recurrences import read_schedule
from mcp_jobs.job_types.yaml.variables import check_names, variables

Texts: TypeAlias = dict[str, str | None]

TIMEOUT_S: Final = 600.0
"""The time limit of declared types that state none."""

RESERVED_TOOLS: Final = ("start_job", "check_job", "cancel_job", "list_jobs")
"""Tools that this server has already."""

_KEYS: Final = (
    "description",
    "params",
    "command",
    "shell",
    "interpreter",
    "cwd",
    "env",
    "callers",
    "timeout",
    "idle_timeout",
    "confirm",
    "expose",
    "annotations",
    "schedule",
    *ORDER_KEYS,
    *RULE_KEYS,
)
_ANNOTATIONS: Final = ("read_only", "destructive", "idempotent", "open_world")
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")
_VARIABLE: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def read_jobs(
    root: Place, *, base: str | None, reserved: frozenset[str]
) -> tuple[list[JobType], list[DeclarationError]]:
    """Return the types of a file and what is wrong in it.

    `base` is the directory that relative `cwd`s belong to, None where there is none; `reserved` are
    names that are taken.
    """
    try:
        entries = root.fields(("jobs", "locks"))
        if "jobs" not in entries:
            raise root.error('the key "jobs" is missing')
        jobs = entries["jobs"]
        declared = jobs.entries()
        capacities = read_capacities(entries["locks"]) if "locks" in entries else {}
    except DeclarationError as error:
        return [], [error]
    types: list[JobType] = []
    problems: list[DeclarationError] = []
    for name, place in declared.items():
        try:
            check_name(name, place, line=jobs.line_of(name), reserved=reserved)
            types.append(replace(_read_type(name, place, base), capacities=capacities))
        except DeclarationError as error:
            problems.append(error)
    return types, problems


def check_name(name: str, place: Place, *, line: int, reserved: frozenset[str]) -> None:
    """Raise for a name that no type may have."""
    if not _NAME.fullmatch(name):
        raise place.error(
            f"{name!r} cannot be the name of a job type; allowed are letters, digits, _ and -, "
            "beginning with a letter, at most 64",
            line=line,
        )
    if name in reserved:
        raise place.error(f"the name {name!r} is taken by a built-in type", line=line)


def _read_type(name: str, place: Place, base: str | None) -> JobType:
    fields = place.fields(_KEYS)
    if "description" not in fields:
        raise place.error("description is missing: agents choose by it")
    if ("command" in fields) == ("shell" in fields):
        raise place.error("either command or shell is needed, and not both")
    params = read_params(fields["params"]) if "params" in fields else DeclaredParams()
    env = _env(fields["env"], params) if "env" in fields else {}
    rules = Rules(fields)
    stated = "timeout" in fields
    cwd = _directory(fields["cwd"], base) if "cwd" in fields else base
    return JobType(
        name=name,
        description=" ".join(fields["description"].text().split()),
        params=params,
        prepare=_prepare(name, fields, params),
        policy=rules.policy,
        cwd=cwd,
        env=MappingProxyType(env),
        callers=callers_of(fields.get("callers"), cwd, base),
        timeout_s=_timeout(fields["timeout"]) if stated else TIMEOUT_S,
        timeout_is_limit=stated,
        idle_timeout_s=_timeout(fields["idle_timeout"]) if "idle_timeout" in fields else None,
        idle_timeout_is_limit=True,
        max_retries=rules.max_retries,
        retry_on_interrupt=rules.retry_on_interrupt,
        confirm=_confirm(fields["confirm"]) if "confirm" in fields else False,
        expose=_expose(name, fields["expose"]) if "expose" in fields else False,
        annotations=_annotations(fields["annotations"]) if "annotations" in fields else {},
        schedule=read_schedule(fields["schedule"], params) if "schedule" in fields else None,
        priority=read_priority(fields["priority"]) if "priority" in fields else 0,
        locks=read_locks(fields["locks"]) if "locks" in fields else (),
    )


def callers_of(place: Place | None, cwd: str | None, base: str | None) -> Callers:
    """Return what callers may choose; where a type has no directory, that is the directory too."""
    fields = place.fields(("env", "cwd")) if place is not None else {}
    chosen: bool | tuple[str, ...] | None = None if cwd is None else False
    if "cwd" in fields:
        chosen = _choice(fields["cwd"], base)
    names = fields["env"].one_or_more() if "env" in fields else ()
    return Callers(env=tuple(map(_open_variable, names)), cwd=chosen)


def _choice(place: Place, base: str | None) -> bool | tuple[str, ...]:
    if isinstance(place.node, Scalar) and not place.is_text():
        return place.boolean()
    roots = tuple(_directory(item, base) for item in place.one_or_more())
    if not roots:
        raise place.error("at least one directory is needed here, or true or false")
    return roots


def _open_variable(place: Place) -> str:
    name = place.text()
    if not _VARIABLE.fullmatch(name):
        raise place.error(
            f"{name!r} cannot be the name of a variable; allowed are letters, digits and _"
        )
    if changes_what_runs(name):
        raise place.error(
            f"callers cannot be given {name}, which changes what programs load or run; pass what "
            "varies in params"
        )
    return name


def _prepare(
    name: str, fields: dict[str, Place], params: DeclaredParams
) -> Callable[[Texts], Prepared]:
    secrets = params.secrets()
    if "command" in fields:
        if "interpreter" in fields:
            raise fields["interpreter"].error(
                "interpreter belongs to shell; no shell sees a command"
            )
        arguments = read_command(fields["command"], params)

        def prepare(texts: Texts) -> Prepared:
            return Prepared(argv=fill(arguments, texts), title=type_title(name, texts, secrets))

        return prepare
    script = read_script(fields["shell"])
    check_names(params, fields["shell"])
    return partial(
        prepare_script, name, Script(text=script, interpreter=_interpreter(fields)), secrets
    )


def _interpreter(fields: dict[str, Place]) -> Interpreter | None:
    if "interpreter" not in fields:
        return None
    return "sh" if fields["interpreter"].choice(("bash", "sh")) == "sh" else "bash"


def read_script(place: Place) -> str:
    """Return the text of a script that the system can pass to the shell."""
    script = place.text()
    try:
        return passable(script, what="the script")
    except ValueError as error:
        raise place.error(str(error)) from None


def prepare_script(name: str, script: Script, secrets: Collection[str], texts: Texts) -> Prepared:
    """Return how to run a script; its parameters are variables and never part of its text."""
    title = type_title(name, texts, secrets)
    return Prepared(script=script, title=title, env=variables(texts))


def type_title(name: str, texts: Texts, secrets: Collection[str]) -> str:
    """Name a job by its type and parameters, those called `secrets` without their values."""
    given = [f"{key}={MASKED if key in secrets else text}" for key, text in texts.items() if text]
    return title_of(" ".join(" ".join([name, *given]).split()))


def _env(place: Place, params: DeclaredParams) -> dict[str, str]:
    env: dict[str, str] = {}
    for name, value in place.entries().items():
        line = place.line_of(name)
        if not _VARIABLE.fullmatch(name) or name.startswith("MCP_JOBS_"):
            raise value.error(
                f"{name!r} cannot be the name of a variable; allowed are letters, digits and _, "
                "and nothing that begins with MCP_JOBS_",
                line=line,
            )
        if name in params.params:
            raise value.error(
                f"{name} is a param as well; give one of them another name", line=line
            )
        try:
            env[name] = passable(value.text(empty=True), what="the value")
        except DeclarationError:
            raise
        except ValueError as error:
            raise value.error(str(error)) from None
    return env


def _directory(place: Place, base: str | None) -> str:
    path = os.path.expanduser(place.text())
    if os.path.isabs(path):
        return os.path.normpath(path)
    if base is None:
        raise place.error("this file belongs to no project, so only an absolute path is allowed")
    return os.path.normpath(os.path.join(base, path))


def _timeout(place: Place) -> float | None:
    return None if place.is_text() and place.text() == NONE else place.seconds()


def _confirm(place: Place) -> bool | str:
    return " ".join(place.text().split()) if place.is_text() else place.boolean()


def _expose(name: str, place: Place) -> bool:
    place.choice(("tool",))
    if name in RESERVED_TOOLS:
        raise place.error(f"there is a tool {name} already; give the type another name")
    return True


def _annotations(place: Place) -> MappingProxyType[str, bool]:
    fields = place.fields(_ANNOTATIONS)
    return MappingProxyType({name: value.boolean() for name, value in fields.items()})
