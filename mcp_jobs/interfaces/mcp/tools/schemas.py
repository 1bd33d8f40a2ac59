"""JSON Schemas of the tools' arguments and results."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.domain.states import Reason, Status
from mcp_jobs.interfaces.mcp.tools import bounds
from mcp_jobs.service.requests import CancelJob, CheckJob, ListJobs, StartJob

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

Schema = dict[str, Any]

_TOLD_BOUND: Final = 1000
"""Greater ones are there for nonsense."""


def _maybe(kind: str) -> Schema:
    return {"type": [kind, "null"]}


def _input(model: type[BaseModel]) -> Schema:
    """Return the model's schema as hosts like it: no titles, no null, no references.

    It does not forbid other fields, nor numbers that are cut down: a host that checks arguments
    itself would refuse them in its own words, and here there is advice or a remark.
    """
    schema = simplified(model.model_json_schema())
    del schema["additionalProperties"]
    fields = schema["properties"]
    return {**schema, "properties": {name: _field(name, fields[name]) for name in fields}}


def _field(name: str, field: Schema) -> Schema:
    """Return a field whose description says its default and bound, since some hosts drop these."""
    facts = []
    if field.get("default", {}) != {}:
        facts.append(f"default {json.dumps(field['default'])}")
    most = field.get("maximum", math.inf)
    if most <= _TOLD_BOUND:
        facts.append(f"at most {most:g}")
    described = dict(field)
    if facts:
        described["description"] = f"{field['description'].rstrip('.')}; {', '.join(facts)}."
    if name in bounds.CUT:
        described.pop("maximum", None)
    return described


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


_PROGRESS: Final[Schema] = {
    "type": ["object", "null"],
    "properties": {
        "current": _maybe("number"),
        "total": _maybe("number"),
        "percent": _maybe("number"),
        "message": _maybe("string"),
        "updated_at": {"type": "string"},
    },
    "required": ["current", "total", "percent", "message", "updated_at"],
}

_OUTPUT: Final[Schema] = {
    "type": "object",
    "properties": {
        "text": {"type": "string"},
        "bytes_total": {"type": "integer"},
        "lines_total": {"type": "integer"},
        "lines_shown": {"type": "integer"},
        "first_cursor": {"type": "integer"},
        "next_cursor": {"type": "integer", "description": "Pass as `after` to read on."},
        "dropped_bytes": {"type": "integer"},
        "truncated": {"type": "boolean"},
    },
    "required": [
        "text",
        "bytes_total",
        "lines_total",
        "lines_shown",
        "first_cursor",
        "next_cursor",
        "dropped_bytes",
        "truncated",
    ],
}

_ATTEMPT: Final[Schema] = {
    "type": "object",
    "properties": {
        "attempt": {"type": "integer"},
        "started_at": _maybe("string"),
        "finished_at": {"type": "string"},
        "reason": _maybe("string"),
        "exit_code": _maybe("integer"),
        "error": _maybe("string"),
        "output_cursor": {"type": "integer"},
        "cpu_seconds": _maybe("number"),
        "memory_peak_bytes": _maybe("integer"),
    },
    "required": ["attempt", "finished_at", "reason", "exit_code", "error"],
}

_QUESTION: Final[Schema] = {
    "type": "object",
    "properties": {
        "key": {"type": "string"},
        "message": {"type": "string"},
        "schema": {"type": "object", "description": "What the answer must look like."},
        "asked_at": {"type": "string"},
    },
    "required": ["key", "message", "schema", "asked_at"],
}

_JOB_FIELDS: Final[Schema] = {
    "job_id": {"type": "string"},
    "type": {"type": "string"},
    "title": {"type": "string"},
    "status": {"type": "string", "enum": [status.value for status in Status]},
    "reason": {"enum": [*(reason.value for reason in Reason), None]},
    "exit_code": _maybe("integer"),
    "error": _maybe("string"),
    "cwd": {"type": "string"},
    "created_at": {"type": "string"},
    "run_at": {"type": "string"},
    "started_at": _maybe("string"),
    "finished_at": _maybe("string"),
    "duration_seconds": _maybe("number"),
    "quiet_seconds": {
        "type": ["number", "null"],
        "description": "While it runs: since its last output, or since its start.",
    },
    "attempt": {"type": "integer"},
    "max_attempts": {"type": "integer"},
    "next_attempt_at": _maybe("string"),
    "cancel_requested": {"type": "boolean"},
    "queue_position": _maybe("integer"),
    "progress": _PROGRESS,
    "result": {"description": "Test summary, or what the job returned; null if nothing."},
    "uri": {"type": "string"},
}


def _job(**more: Schema) -> Schema:
    return {
        "type": "object",
        "properties": {**_JOB_FIELDS, **more},
        "required": list(_JOB_FIELDS),
    }


_NEXT_STEP: Final[Schema] = {"type": "string", "description": "What to do now."}

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
            "reason": _maybe("string"),
            "error": _maybe("string"),
            "finished_at": {"type": "string"},
        },
        "required": ["job_id", "title", "status", "reason", "error", "finished_at"],
    },
}

JOB_RESULT: Final = _job(
    notices=_NOTICES,
    failing={"type": "string", "description": "The output that seems to say what failed."},
    output=_OUTPUT,
    existing={"type": "boolean"},
    warning=_WARNING,
    attempts={"type": "array", "items": _ATTEMPT},
    questions={"type": "array", "items": _QUESTION},
    next_step=_NEXT_STEP,
)

STARTED_RESULT: Final[Schema] = {
    "type": "object",
    "properties": {
        **{name: _JOB_FIELDS[name] for name in ("job_id", "status", "error", "result")},
        "exit_code": _maybe("integer"),
        "output": {"type": "object", "properties": {"text": {"type": "string"}}},
        "next_step": _NEXT_STEP,
        "warning": {"type": "string"},
    },
    "required": ["job_id", "status"],
}
"""The same job object, described in short for each of what may be many tools."""

LIST_RESULT: Final[Schema] = {
    "type": "object",
    "properties": {
        "jobs": {"type": "array", "items": _job()},
        "next_cursor": _maybe("string"),
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
        "notices": _NOTICES,
        "warning": _WARNING,
    },
    "required": ["jobs", "next_cursor", "counts"],
}

START_INPUT: Final = _input(StartJob)
CHECK_INPUT: Final = _input(CheckJob)
CANCEL_INPUT: Final = _input(CancelJob)
LIST_INPUT: Final = _input(ListJobs)
