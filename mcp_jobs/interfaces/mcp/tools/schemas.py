"""JSON Schemas of the tools' arguments and results."""

from __future__ import annotations

import json
import math
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, get_args, get_origin, is_typeddict

from mcp_jobs.domain.declaration import declared
from mcp_jobs.domain.job_object import JobPage, ShownJob
from mcp_jobs.service.requests import CancelJob, CheckJob, ListJobs, StartJob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

    from mcp_jobs.domain.declaration import Declared

Schema = dict[str, Any]

_TOLD_BOUND: Final = 1000
"""Greater ones are there for nonsense."""


_CHECKED_HERE: Final = frozenset(
    {
        *("default", "minimum", "maximum", "exclusiveMinimum", "minLength", "maxLength"),
        *("maxItems", "maxProperties"),
    }
)
"""What a host that checks arguments itself would refuse in its own words, and whose place in every
agent's context is dear: descriptions say of it what is worth knowing."""


def _input(model: type[BaseModel]) -> Schema:
    """Return the model's schema as hosts like it: short, no titles, no null, no references.

    It does not forbid other fields, nor values beyond bounds: here there is advice or a remark.
    """
    schema = simplified(model.model_json_schema())
    del schema["additionalProperties"]
    fields = schema["properties"]
    return {**schema, "properties": {name: _field(fields[name]) for name in fields}}


def _field(field: Schema) -> Schema:
    """Return a field whose description says its default and bound, in no more words than needed."""
    facts = []
    if field.get("default"):
        facts.append(f"default {json.dumps(field['default'])}")
    if field.get("maximum", math.inf) <= _TOLD_BOUND and field.get("minimum", 0) >= 0:
        facts.append(f"at most {field['maximum']:g}")
    # One or several: a single one is taken too.
    several: Schema = next((each for each in field.get("anyOf", ()) if each["type"] == "array"), {})
    told = {name: value for name, value in {**several, **field}.items() if name != "anyOf"}
    if facts:
        told["description"] = f"{field['description'].rstrip('.')}; {', '.join(facts)}."
    return dict(_plain(told))


def _plain(node: Any) -> Any:
    if isinstance(node, list):
        return [_plain(item) for item in node]
    if not isinstance(node, dict):
        return node
    return {
        name: _plain(value)
        for name, value in node.items()
        if name not in _CHECKED_HERE and (name, value) != ("additionalProperties", True)
    }


def simplified(schema: Mapping[str, Any]) -> Schema:
    """Return the schema of an object without titles, null and references, and undescribed."""
    definitions = schema.get("$defs", {})
    plain = {key: value for key, value in schema.items() if key not in ("$defs", "description")}
    return dict(_simplified(plain, definitions))


def _simplified(node: Any, definitions: Schema) -> Any:
    if isinstance(node, list):
        return [_simplified(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        target = definitions[node["$ref"].rpartition("/")[2]]
        return _simplified({k: v for k, v in target.items() if k != "description"}, definitions)
    node = {
        key: _simplified(value, definitions)
        for key, value in node.items()
        if not (key == "title" and isinstance(value, str))
        and not (key == "default" and value is None)
    }
    options = [option for option in node.get("anyOf", ()) if option != {"type": "null"}]
    if len(options) == 1:
        del node["anyOf"]
        return {**options[0], **node}
    if options:
        node["anyOf"] = options
    return node


_KINDS: Final = {str: "string", bool: "boolean", int: "integer", float: "number"}


def _shape(shape: type[Any], **more: Schema) -> Schema:
    """Return the schema of a declared object, to which a tool adds `more`."""
    fields = declared(shape)
    return {
        "type": "object",
        "properties": {**{each.name: _declared(each) for each in fields}, **more},
        "required": [each.name for each in fields if each.required],
    }


def _declared(each: Declared) -> Schema:
    schema = _of_type(each.type)
    return schema if each.description is None else {**schema, "description": each.description}


def _of_type(kind: Any) -> Schema:
    """Return the schema of what a declared field may be."""
    if kind is Any:
        return {}
    options = get_args(kind)
    if type(None) in options:
        (kind,) = (option for option in options if option is not type(None))
        return _or_null(_of_type(kind))
    if is_typeddict(kind):
        return _shape(kind)
    if get_origin(kind) is list:
        return {"type": "array", "items": _of_type(options[0])}
    if get_origin(kind) is dict:
        values = _of_type(options[1])
        return {"type": "object", **({"additionalProperties": values} if values else {})}
    if issubclass(kind, StrEnum):
        return {"type": "string", "enum": [each.value for each in kind]}
    return {"type": _KINDS[kind]}


def _or_null(schema: Schema) -> Schema:
    if "enum" in schema:
        return {"enum": [*schema["enum"], None]}
    return {**schema, "type": [schema["type"], "null"]}


_WARNING: Final[Schema] = {
    "type": "string",
    "description": "What was done in another way than asked, or is wrong with the declared types.",
}

_NOTICES: Final[Schema] = {
    "type": "array",
    "description": "Other jobs that have ended meanwhile; each is told once.",
    "items": {
        "type": "object",
        "properties": {
            "job_id": {"type": "string"},
            "title": {"type": "string"},
            "status": {"type": "string"},
            "reason": {"type": ["string", "null"]},
            "error": {"type": ["string", "null"]},
            "finished_at": {"type": "string"},
        },
        "required": ["job_id", "title", "status", "reason", "error", "finished_at"],
    },
}

JOB_RESULT: Final = _shape(ShownJob, notices=_NOTICES, warning=_WARNING)

_OF_JOB: Final = JOB_RESULT["properties"]

STARTED_RESULT: Final[Schema] = {
    "type": "object",
    "properties": {
        **{name: _OF_JOB[name] for name in ("job_id", "status", "error", "result", "exit_code")},
        "output": {"type": "object", "properties": {"text": {"type": "string"}}},
        "next_step": _OF_JOB["next_step"],
        "warning": {"type": "string"},
    },
    "required": ["job_id", "status"],
}
"""The same job object, described in short for each of what may be many tools."""

LIST_RESULT: Final = _shape(JobPage, notices=_NOTICES, warning=_WARNING)

START_INPUT: Final = _input(StartJob)
CHECK_INPUT: Final = _input(CheckJob)
CANCEL_INPUT: Final = _input(CancelJob)
LIST_INPUT: Final = _input(ListJobs)
