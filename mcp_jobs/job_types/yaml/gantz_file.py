"""The format of gantz.yaml: `tools:`, a list of tools with scripts and `{{name}}` placeholders."""

from __future__ import annotations

from functools import partial
from typing import Final

from mcp_jobs.execution.shells import Script
from mcp_jobs.job_types.registry import JobType
from mcp_jobs.job_types.yaml.jobs_file import (
    RESERVED_TOOLS,
    TIMEOUT_S,
    callers_of,
    check_name,
    prepare_script,
    read_script,
)
from mcp_jobs.job_types.yaml.node import Place
from mcp_jobs.job_types.yaml.params import DeclaredParams, Param, read_param
from mcp_jobs.job_types.yaml.parser import MapNode, Scalar
from mcp_jobs.job_types.yaml.problems import DeclarationError
from mcp_jobs.job_types.yaml.script import ScriptError, translate
from mcp_jobs.job_types.yaml.variables import check_names

_TOOL_KEYS: Final = ("name", "description", "parameters", "script")
_PARAM_KEYS: Final = ("name", "type", "description", "required", "default", "enum")
SCRIPTS_LIMIT_CHARS: Final = 64 << 10
_ALIASES: Final = {"str": "string", "int": "integer", "float": "number", "bool": "boolean"}


def read_tools(
    root: Place, *, base: str | None, reserved: frozenset[str]
) -> tuple[list[JobType], list[DeclarationError]]:
    """Return the types of a file and what is wrong in it; a tool that is refused costs no other.

    Top keys other than `tools` are the business of the program that the file was written for.
    """
    types: dict[str, JobType] = {}
    problems: list[DeclarationError] = []
    try:
        entries = root.entries()
        if "tools" not in entries:
            raise root.error('the key "tools" is missing')
        tools = entries["tools"].items()
    except DeclarationError as error:
        return [], [error]
    room = _Room()
    for place in tools:
        try:
            tool = _read_tool(place, base, reserved, room)
            if tool.name in types:
                raise place.error(f"there are two tools {tool.name!r}")
            types[tool.name] = tool
            if not tool.expose:
                problems.append(
                    place.error(
                        f"there is a tool {tool.name} already, which stays; this one can only be "
                        f'started by its type, "{tool.name}"'
                    )
                )
        except DeclarationError as error:
            problems.append(error)
    return list(types.values()), problems


class _Room:
    """How much of the scripts of one file is still read: reading holds the server up."""

    def __init__(self) -> None:
        self._left_chars = SCRIPTS_LIMIT_CHARS

    def take(self, place: Place, script: str) -> None:
        """Take what a script needs. Raises `DeclarationError` when that is not there."""
        self._left_chars -= len(script)
        if self._left_chars < 0:
            raise place.error(
                f"the scripts of a file have at most {SCRIPTS_LIMIT_CHARS} characters together; "
                "put long ones into files of their own"
            )


def _read_tool(place: Place, base: str | None, reserved: frozenset[str], room: _Room) -> JobType:
    fields = place.fields(_TOOL_KEYS)
    for key in ("name", "script"):
        if key not in fields:
            raise place.error(f"{key} is missing")
    name = fields["name"].text()
    check_name(name, fields["name"], line=fields["name"].line, reserved=reserved)
    params = DeclaredParams(params=_params(fields["parameters"]) if "parameters" in fields else {})
    script = fields["script"].fields(("shell",))
    if "shell" not in script:
        raise fields["script"].error("shell is missing; only scripts are supported")
    text = _script(script["shell"], params, room)
    described = fields["description"].text() if "description" in fields else f"Run {name}."
    return JobType(
        name=name,
        description=" ".join(described.split()),
        params=params,
        prepare=partial(prepare_script, name, Script(text=text), params.secrets()),
        cwd=base,
        callers=callers_of(None, base, base),
        idle_timeout_is_limit=True,
        timeout_s=TIMEOUT_S,
        expose=name not in RESERVED_TOOLS,
    )


def _script(place: Place, params: DeclaredParams, room: _Room) -> str:
    script = read_script(place)
    check_names(params, place)
    room.take(place, script)
    try:
        return translate(script, params.params)
    except ScriptError as error:
        first = place.node.text_line if isinstance(place.node, Scalar) else place.line
        raise place.error(str(error), line=first + script.count("\n", 0, error.offset)) from None


def _params(place: Place) -> dict[str, Param]:
    params: dict[str, Param] = {}
    for item in place.items():
        fields = item.fields(_PARAM_KEYS)
        if "name" not in fields:
            raise item.error("name is missing")
        name = fields["name"].text()
        if name in params:
            raise item.error(f"there are two parameters {name!r}")
        params[name] = read_param(name, _plain(item), required=False, keys=_PARAM_KEYS)
    return params


def _plain(place: Place) -> Place:
    """Return a parameter with the names of its type as JSON Schema has them.

    A default makes `required` pointless, so that it is left out then.
    """
    if not isinstance(place.node, MapNode):
        return place
    entries = dict(place.node.entries)
    if "type" in entries:
        line, node = entries["type"]
        if isinstance(node, Scalar) and node.text in _ALIASES:
            text = _ALIASES[node.text]
            node = node._replace(text=text)
        entries["type"] = line, node
    if "default" in entries:
        entries.pop("required", None)
    return place._replace(node=MapNode(entries, place.line))
