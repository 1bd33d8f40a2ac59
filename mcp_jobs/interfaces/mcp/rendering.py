"""Between the job objects of the service and what MCP carries."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from mcp_types import CallToolResult, TextContent

from mcp_jobs.domain import display
from mcp_jobs.domain.job_object import counted_tests, summary_in
from mcp_jobs.interfaces.mcp import fence

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

    from mcp_jobs.domain.job_object import JobObject

_INPUT_SHOWN_CHARS: Final = 60
_PROBLEMS_SHOWN: Final = 5
_MESSAGE_CHARS: Final = 2000
_LAST_LINES: Final = 12
_WHOLE_S: Final = 100
"""From here on tenths of a second say nothing."""
_NO_PLACE: Final = re.compile(r"\[key\]|(?:list|str-enum)\[.*\]")
"""What pydantic adds to a location: that a key is meant, or which side of a union was tried."""
_IN_JSON: Final = {"None": "null", "True": "true", "False": "false"}

_PARAMS_HINT = ' What belongs to the job type goes into params: {"params": {"command": "..."}}.'


def result(shown: JobObject, text: str) -> CallToolResult:
    """Return a successful reply: the object, and the same facts as a person would write them."""
    return CallToolResult(content=[TextContent(text=text)], structured_content=shown)


def failure(message: str) -> CallToolResult:
    """Return a tool error; the message says what to do."""
    return CallToolResult(
        content=[TextContent(text=display.lines(shortened(message)))], is_error=True
    )


def shortened(message: str) -> str:
    """Return an error message without the middle of what a caller sent far too long."""
    if len(message) <= _MESSAGE_CHARS:
        return message
    half = _MESSAGE_CHARS // 2
    return f"{message[:half]} … {message[-half:]}"


def job_text(shown: JobObject) -> str:
    """Describe one job in a few lines, with the output that the reply shows."""
    return "\n".join([*_state(shown), *_failing(shown), *_output(shown), *_remarks(shown)])


def wake_text(shown: JobObject, ending: str) -> str:
    """Describe an ended job to whoever is woken by its end.

    What seems to have failed, and the last lines of a failed job, stand for its output.
    """
    instead = _failing(shown)
    if instead:
        ending = _end_of(shown["output"]["text"], shown["failing"])
    if ending:
        instead.append(fence.fenced("Last lines", ending))
    return "\n".join([*_state(shown), *(instead or _output(shown)), *_remarks(shown)])


def list_text(shown: JobObject) -> str:
    """Describe a list: a line for each job, how many there are, and how to go on."""
    lines = [_in_a_list(job) for job in shown["jobs"]] or ["No jobs."]
    counts = [f"{number} {status}" for status, number in shown["counts"].items() if number]
    if counts:
        which = "jobs of this scope" if shown["others"] else "all your jobs"
        lines.append(f"Of {which}: {', '.join(counts)}.")
    if shown["others"]:
        lines.append(f'Outside of this scope: {shown["others"]}; scope "all" lists them too.')
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


def notices_text(notices: list[JobObject]) -> str:
    """Describe what else has ended, a line for each job, and another for what went wrong."""
    lines = ["Ended meanwhile:"]
    for each in notices:
        reason = f" ({each['reason']})" if each["reason"] else ""
        lines.append(f"{each['job_id']} {each['status']}{reason}: {each['title']}")
        if each["error"]:
            lines.append(fence.told("Error", str(each["error"])))
    return "\n".join(lines)


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
    given = found["input"]
    if found["type"] == "too_long" and isinstance(given, str):
        # pydantic speaks of items where it checks a text after ours.
        most = found["ctx"]["max_length"]
        return f"{place}: must have at most {most} characters, not {len(given)}.{meant}"
    shown = _IN_JSON.get(repr(given), repr(given))
    return f"{place}: {message[:1].lower()}{message[1:]}, not {_cut(shown)}.{meant}"


def _place(location: tuple[int | str, ...]) -> str:
    parts = [str(part) for part in location]
    named = [_cut(part) for part in parts if _NO_PLACE.fullmatch(part) is None]
    return ".".join(part for part in named if part) or "arguments"


def _cut(text: str) -> str:
    return text if len(text) <= _INPUT_SHOWN_CHARS else f"{text[:_INPUT_SHOWN_CHARS]}…"


def _state(shown: JobObject) -> list[str]:
    """Say what a job is and how far; of one that has ended, which tests failed, and why."""
    lines = [_headline(shown)]
    tests = summary_in(shown["result"])
    if tests is not None:
        lines.append(_tests_text(tests))
    elif shown["result"] is not None:
        lines.append(f"Result: {shortened(display.json_line(shown['result']))}")
    if shown["error"]:
        lines.append(fence.told("Error", str(shown["error"])))
    if progress := _progress_of(shown, "Progress: "):
        lines.append(progress)
    if shown["attempt"] > 1 or (shown["max_attempts"] > 1 and shown["attempt"]):
        lines.append(f"Attempt {shown['attempt']} of {shown['max_attempts']}.")
    for each in shown.get("attempts", ()):
        if each["error"] and each["error"] != shown["error"]:
            lines.append(fence.told(f"Attempt {each['attempt']}", str(each["error"])))
    return lines


def _failing(shown: JobObject) -> list[str]:
    failing = shown.get("failing")
    return [fence.fenced("What seems to have failed", failing)] if failing else []


def _end_of(text: str, failing: str) -> str:
    """Return the last lines of an output; nothing when its failing part has them all."""
    last = text.rstrip("\n").split("\n")[-_LAST_LINES:]
    return "" if set(failing.split("\n")).issuperset(last) else "\n".join(last)


def _output(shown: JobObject) -> list[str]:
    """Show a part of the output, and say how much of it that is and where it goes on."""
    output = shown.get("output")
    if output is None or shown["started_at"] is None:
        return []
    total, lines = output["lines_total"], output["lines_shown"]
    counted = f"{total} line{'' if total == 1 else 's'}"
    cursor = f"next_cursor {output['next_cursor']}"
    if output["text"]:
        part = counted if lines >= total else f"{lines} of {counted}"
        return [fence.fenced(f"Output ({part}, {cursor})", output["text"])]
    if output["bytes_total"]:
        return [f"Nothing to show of the output ({counted}, {cursor})."]
    return ["It printed nothing." if shown["finished_at"] else "No output yet."]


def _remarks(shown: JobObject) -> list[str]:
    """Say what is asked, what the caller should know besides, and what to do now."""
    lines = [
        fence.told(f"It asks ({display.line(asked['key'])})", str(asked["message"]))
        for asked in shown.get("questions", ())
    ]
    if shown.get("existing"):
        lines.append("This is the job that the idempotency_key started before; none was added.")
    if shown.get("warning"):
        lines.append(fence.told("Warning", str(shown["warning"])))
    if shown.get("next_step"):
        lines.append(str(shown["next_step"]))
    return lines


def _headline(shown: JobObject) -> str:
    place = display.line(shown["cwd"])
    return f"{shown['job_id']} {_status(shown)}{_times(shown)} in {place}: {shown['title']}"


def _in_a_list(shown: JobObject) -> str:
    return _headline(shown) + _progress_of(shown, " - ") + _turn_of(shown)


def _turn_of(shown: JobObject) -> str:
    """Return what a job that has not begun waits for, which no next_step says in a list."""
    wait = shown["waiting_for"] or {"kind": None}
    if wait["kind"] == "after":
        return f" - waits for {', '.join(wait['job_ids'])}"
    if wait["kind"] == "paused":
        return f" - paused ({', '.join(wait['names'])})"
    if wait["kind"] == "lock":
        return f" - waits for the lock {', '.join(wait['names'])}"
    if shown["queue_position"] is not None:
        return f" - number {shown['queue_position']} in the queue"
    if shown["status"] == "retrying" and shown["next_attempt_at"]:
        return f" - next attempt at {shown['next_attempt_at']}"
    if shown["status"] == "pending" and shown["run_at"] > shown["created_at"]:
        return f" - starts at {shown['run_at']}"
    return ""


def _status(shown: JobObject) -> str:
    if shown["cancel_requested"] and shown["status"] == "running":
        return "running, being stopped"
    why = [] if shown["reason"] in (None, "exit_code") else [shown["reason"]]
    why += [] if shown["exit_code"] is None else [f"exit code {shown['exit_code']}"]
    return f"{shown['status']} ({', '.join(why)})" if why else str(shown["status"])


def _times(shown: JobObject) -> str:
    if shown["duration_seconds"] is None:
        return ""
    spent = _seconds(shown["duration_seconds"])
    if shown["finished_at"]:
        return f" after {spent}"
    quiet_s = shown["quiet_seconds"] or 0
    return f" for {spent}" + (f", quiet for {_seconds(quiet_s)}" if quiet_s >= 1 else "")


def _seconds(number: float) -> str:
    return f"{number:.0f} s" if number >= _WHOLE_S else f"{round(number, 1):g} s"


def _progress_of(shown: JobObject, before: str) -> str:
    """Return the progress of a running job; nothing where there is none."""
    if not shown["progress"] or shown["status"] != "running":
        return ""
    text = progress_text(shown["progress"])
    return f"{before}{text}" if text else ""


def _tests_text(tests: JobObject) -> str:
    names = [str(name) for name in tests.get("failed_names") or ()]
    names += ["and more"] if names and tests.get("failed_names_truncated") else []
    text = f"Tests: {counted_tests(tests)}"
    return display.line(f"{text}: {', '.join(names)}" if names else text)
