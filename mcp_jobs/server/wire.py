"""Between the job objects of the service and what MCP carries."""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any, Final

from mcp_types import CallToolResult, TextContent

from mcp_jobs import display
from mcp_jobs.server import fence

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

    from mcp_jobs.views import JobObject

_INPUT_SHOWN_CHARS: Final = 60
_PROBLEMS_SHOWN: Final = 5
_MESSAGE_CHARS: Final = 2000
_NO_PLACE: Final = re.compile(r"\[key\]|(?:list|str-enum)\[.*\]")
"""What pydantic adds to a location: that a key is meant, or which side of a union was tried."""

_PARAMS_HINT = ' What belongs to the job type goes into params: {"params": {"command": "..."}}.'


def result(shown: JobObject, text: str) -> CallToolResult:
    """Return a successful reply: the object, and the same facts as a person would write them."""
    return CallToolResult(content=[TextContent(text=text)], structured_content=shown)


def failure(message: str) -> CallToolResult:
    """Return a tool error; the message says what to do."""
    return CallToolResult(content=[TextContent(text=shortened(message))], is_error=True)


def shortened(message: str) -> str:
    """Return an error message without the middle of what a caller sent far too long."""
    if len(message) <= _MESSAGE_CHARS:
        return message
    half = _MESSAGE_CHARS // 2
    return f"{message[:half]} … {message[-half:]}"


def job_text(shown: JobObject, failing: str = "") -> str:
    """Describe one job in a few lines; with its failing part, that instead of the output."""
    lines = [_headline(shown)]
    if shown["error"]:
        lines.append(fence.told("Error", str(shown["error"])))
    if failing:
        lines.append(fence.fenced("What seems to have failed", failing))
    if shown["progress"] and shown["status"] == "running":
        lines.append(f"Progress: {progress_text(shown['progress'])}")
    returned = shown["result"]
    tests = returned.get("tests") if isinstance(returned, dict) else None
    if tests:
        lines.append(_tests_text(tests))
    elif returned is not None:
        lines.append(f"Result: {shortened(display.json_line(returned))}")
    output = shown.get("output")
    if output and output["text"] and not failing:
        label = f"Output ({output['bytes_total']} bytes in all)"
        lines.append(fence.fenced(label, output["text"]))
    if shown.get("warning"):
        lines.append(fence.told("Warning", str(shown["warning"])))
    if shown.get("next_step"):
        lines.append(str(shown["next_step"]))
    return "\n".join(lines)


def list_text(shown: JobObject) -> str:
    """Describe a list, a line for each job."""
    if not shown["jobs"]:
        return "No jobs."
    lines = [_headline(job) for job in shown["jobs"]]
    if shown["next_cursor"]:
        lines.append(f"More with cursor {shown['next_cursor']}.")
    return "\n".join(lines)


def with_warning(result: CallToolResult, warning: str) -> CallToolResult:
    """Return a reply that also tells what was done in another way than asked."""
    known = (result.structured_content or {}).get("warning")
    said = " ".join(filter(None, (known, warning)))
    return _with(result, fence.told("Warning", warning), warning=said)


def with_notices(result: CallToolResult, notices: list[JobObject]) -> CallToolResult:
    """Return a reply that also tells what else has ended."""
    return _with(result, notices_text(notices), notices=notices)


def _with(result: CallToolResult, text: str, **fields: Any) -> CallToolResult:
    """Return a reply with something added to both of its halves."""
    *first, last = result.content
    if isinstance(last, TextContent):
        last = TextContent(text=f"{last.text}\n{text}")
    shown = {**(result.structured_content or {}), **fields}
    return result.model_copy(update={"content": [*first, last], "structured_content": shown})


def in_project(cwd: str, project: str | None) -> bool:
    """Say whether a directory belongs to a project; everything does when there is none."""
    return project is None or cwd == project or cwd.startswith(project.rstrip(os.sep) + os.sep)


def notices_text(notices: list[JobObject]) -> str:
    """Describe what else has ended, a line for each job."""
    lines = [f"{n['job_id']} {n['status']}: {n['title']}" for n in notices]
    return "\n".join(["Ended meanwhile:", *lines])


def progress_text(progress: JobObject) -> str:
    """Describe a progress in one line."""
    parts: list[str] = []
    if progress["percent"] is not None:
        parts.append(f"{progress['percent']:g}%")
    if progress["current"] is not None and progress["total"] is not None:
        parts.append(f"{progress['current']:g}/{progress['total']:g}")
    if progress["message"]:
        parts.append(str(progress["message"]))
    return " ".join(parts)


def problem_text(model: type[BaseModel], error: ValidationError) -> str:
    """Say what is wrong with a tool's arguments and what is allowed."""
    found = _one_of_each_union([dict(e) for e in error.errors(include_url=False)])
    problems = [_problem(model, e) for e in found[:_PROBLEMS_SHOWN]]
    if len(found) > _PROBLEMS_SHOWN:
        problems.append(f"There are {len(found) - _PROBLEMS_SHOWN} more problems.")
    return " ".join(problems)


def _one_of_each_union(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Keep, of the errors that every side of a union gives, the one that goes deepest."""
    kept: dict[object, dict[str, Any]] = {}
    for index, error in enumerate(found):
        place = error["loc"]
        union = len(place) > 1 and _NO_PLACE.fullmatch(str(place[1])) is not None
        key: object = place[0] if union else index
        if key not in kept or len(place) > len(kept[key]["loc"]):
            kept[key] = error
    return list(kept.values())


def _problem(model: type[BaseModel], found: dict[str, Any]) -> str:
    place = _place(found["loc"])
    if found["type"] == "extra_forbidden":
        hint = _PARAMS_HINT if "params" in model.model_fields else ""
        allowed = ", ".join(model.model_fields)
        return f"There is no argument {place!r}; the arguments are {allowed}.{hint}"
    if found["type"] == "missing":
        return f"The argument {place!r} is missing."
    top = str(found["loc"][0]) if found["loc"] else ""
    field = model.model_fields.get(top)
    meant = f" ({field.description})" if field is not None and field.description else ""
    message = str(found["msg"])
    if found["type"] == "value_error":
        # A custom check names the value in its own words.
        return f"{place}: {message.removeprefix('Value error, ')}.{meant}"
    return f"{place}: {message[:1].lower()}{message[1:]}, not {_cut(repr(found['input']))}.{meant}"


def _place(location: tuple[int | str, ...]) -> str:
    parts = [str(part) for part in location]
    named = [_cut(part) for part in parts if _NO_PLACE.fullmatch(part) is None]
    return ".".join(part for part in named if part) or "arguments"


def _cut(text: str) -> str:
    return text if len(text) <= _INPUT_SHOWN_CHARS else f"{text[:_INPUT_SHOWN_CHARS]}…"


def _headline(shown: JobObject) -> str:
    status = shown["status"]
    if shown["reason"]:
        status = f"{status} ({shown['reason']})"
    if shown["cancel_requested"] and shown["status"] == "running":
        status = "running, being stopped"
    duration = shown["duration_seconds"]
    spent = "" if duration is None else f" after {duration:g} s" if shown["finished_at"] else ""
    return f"{shown['job_id']} {status}{spent}: {shown['title']}"


def _tests_text(tests: JobObject) -> str:
    text = f"Tests: {tests['passed']} passed, {tests['failed']} failed"
    if tests.get("failed_names"):
        text += ": " + ", ".join(tests["failed_names"])
    return display.line(text)
