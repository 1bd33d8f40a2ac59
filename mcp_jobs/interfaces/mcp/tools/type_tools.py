"""How job types are offered: listed by start_job, and as tools of their own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from mcp_types import Tool, ToolAnnotations, ToolExecution

from mcp_jobs.domain.questions import visible
from mcp_jobs.interfaces.mcp.tools import schemas
from mcp_jobs.job_types.registry import SHELL_NAME
from mcp_jobs.service.requests import WAIT_LIMIT_S, StartJob

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mcp_jobs.job_types.registry import JobType

LIMIT_BYTES: Final = 2048
"""Some hosts cut descriptions of tools here."""

START: Final = """\
Start a background job (test suite, build, deploy, any slow command) and get its job_id at once. \
The job goes on when this call, the client or the server ends. Use it for everything that may take \
more than a few seconds. Afterwards go on with other work and wait for the end with check_job."""

_STARTED: Final = (
    " Runs as a background job: returns its job_id at once; wait for the end with check_job."
)
_AWAITED: Final = " Waits for the result."
_CONFIRMED: Final = ", asks a person first"
_HEADING: Final = "\n\nJob types, with their params (? means optional):\n"
_SHORT_CHARS: Final = 60
_MORE: Final = ", and {} more; an unknown type is answered with their names"
_OWN_ARGUMENTS: Final = ("wait_seconds", "idempotency_key")
"""Arguments of start_job that the tool of a type takes as well."""

_AS_TASK: Final = ToolExecution(task_support="optional")
CHANGES: Final = ToolAnnotations(read_only_hint=False, destructive_hint=True, open_world_hint=True)


def start_tool(types: Mapping[str, JobType]) -> Tool:
    """Return start_job as it lists these types, the same for the same types."""
    said = _said(types)
    return Tool(
        name="start_job",
        title="Start a background job",
        description=said if set(types) <= {SHELL_NAME} else said + listing(types.values(), said),
        input_schema=_start_schema(list(types)),
        output_schema=schemas.JOB_RESULT,
        annotations=CHANGES,
        execution=_AS_TASK,
    )


def _said(types: Mapping[str, JobType]) -> str:
    """Return what start_job does, and which shell a command line is for: to be told in any case."""
    shell = types.get(SHELL_NAME)
    return START if shell is None else f"{START} Type shell: {shell.description}"


def listing(types: Iterable[JobType], said: str = START) -> str:
    """Describe the types as fully as the limit allows beside what was `said` before."""
    room = LIMIT_BYTES - len((said + _HEADING).encode())
    ordered = sorted(types, key=lambda job_type: job_type.name)
    for chars in (None, _SHORT_CHARS, 0):
        text = "\n".join(_line(job_type, chars) for job_type in ordered)
        if len(text.encode()) <= room:
            return _HEADING + text
    return _HEADING + _names([job_type.name for job_type in ordered], room)


def tool_of(job_type: JobType) -> Tool:
    """Return the tool of its own that a type has."""
    hints = job_type.annotations
    how = _AWAITED if job_type.tasks == "never" else _STARTED
    kept = job_type.description.encode()[: LIMIT_BYTES - len(how.encode())]
    return Tool(
        name=job_type.name,
        title=job_type.name.replace("_", " ").replace("-", " ").capitalize(),
        description=kept.decode("utf-8", "ignore") + how,
        input_schema=_type_schema(job_type),
        output_schema=schemas.STARTED_RESULT,
        annotations=ToolAnnotations(
            read_only_hint=hints.get("read_only", False),
            destructive_hint=hints.get("destructive", True),
            idempotent_hint=hints.get("idempotent", False),
            open_world_hint=hints.get("open_world", True),
        ),
        execution=None if job_type.tasks == "never" else _AS_TASK,
    )


def start_arguments(job_type: JobType, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return what start_job would have been given for a call of the type's own tool."""
    own = {name: arguments[name] for name in _own_arguments(job_type) if name in arguments}
    params = {name: value for name, value in arguments.items() if name not in own}
    if job_type.tasks == "never":
        own.setdefault("wait_seconds", WAIT_LIMIT_S)
    return {"type": job_type.name, "params": params, **own}


def _type_schema(job_type: JobType) -> dict[str, Any]:
    schema = schemas.simplified(job_type.params.schema())
    fields = schemas.START_INPUT["properties"]
    own = {name: fields[name] for name in _own_arguments(job_type)}
    # What a person can be asked for may be left out.
    required = [name for name in schema.get("required", ()) if name not in job_type.ask_for]
    properties = {**schema.get("properties", {}), **own}
    # Other fields are refused here, with advice, and not by hosts that know schemas only.
    schema.pop("additionalProperties", None)
    return {**schema, "type": "object", "properties": properties, "required": required}


def _own_arguments(job_type: JobType) -> list[str]:
    """Return the arguments of start_job that no param of the type hides."""
    params = job_type.params.schema().get("properties", {})
    return [name for name in _OWN_ARGUMENTS if name not in params]


def _start_schema(names: list[str]) -> dict[str, Any]:
    if names == [SHELL_NAME]:
        return schemas.START_INPUT
    schema = dict(schemas.START_INPUT)
    field = {**schema["properties"]["type"]}
    if SHELL_NAME not in names:
        field["description"] = StartJob.model_fields["type"].description
        schema["required"] = ["type"]
    if names and len(json.dumps(names)) <= LIMIT_BYTES:
        field["enum"] = sorted(names)
    properties = {**schema["properties"], "type": field}
    if SHELL_NAME not in names:
        description = StartJob.model_fields["params"].description or ""
        properties["params"] = {
            **properties["params"],
            "description": description.partition(". ")[0] + ".",
        }
    return {**schema, "properties": properties}


def _line(job_type: JobType, chars: int | None) -> str:
    schema = job_type.params.schema()
    required = schema.get("required", ())
    params = ", ".join(
        _param(name if name in required else f"{name}?", field)
        for name, field in schemas.simplified(schema).get("properties", {}).items()
    )
    named = f"- {job_type.name}({params})"
    if job_type.confirm:
        named += _CONFIRMED
    about = job_type.description
    if chars is not None and len(about) > chars:
        about = f"{about[: chars - 1]}…" if chars else ""
    return f"{named}: {about}" if about else named


def _param(named: str, field: Mapping[str, Any]) -> str:
    """Return a parameter with what it may be, where that is few words; texts need none."""
    choices = field.get("enum")
    if choices is None:
        kind = field.get("type", "string")
        return f"{named}: {kind}" if isinstance(kind, str) and kind != "string" else named
    words = [visible(c) if isinstance(c, str) else json.dumps(c) for c in choices]
    while len("|".join(words)) > _SHORT_CHARS:
        words = [*words[:-2], "…"]
    return f"{named}: {'|'.join(words)}"


def _names(names: list[str], room: int) -> str:
    """Return as many names as fit, and how many are left out."""
    shown = ", ".join(names)
    count = len(names)
    while len(shown.encode()) > room:
        count -= 1
        shown = ", ".join(names[:count]) + _MORE.format(len(names) - count)
    return shown
