"""Write the tables of fields in docs/tools.md and docs/schedules.md anew from their declaration.

Usage: `python -m scripts.job_fields`, after a field was added or changed.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, Final, get_args, get_origin, is_typeddict

from mcp_jobs.domain.declaration import declared
from mcp_jobs.domain.job_object import ShownJob
from mcp_jobs.domain.schedule_object import ScheduleObject
from mcp_jobs.domain.states import Reason, Status

DOCS: Final = Path(__file__).parent.parent / "docs"
PAGE: Final = DOCS / "tools.md"
SCHEDULES_PAGE: Final = DOCS / "schedules.md"
BEGIN: Final = "<!-- job object: begin -->\n"
END: Final = "<!-- job object: end -->"
SCHEDULES_BEGIN: Final = "<!-- schedule object: begin -->\n"
SCHEDULES_END: Final = "<!-- schedule object: end -->"

_WORDS: Final = {
    Any: "anything",
    bool: "true or false",
    dict: "object",
    float: "number",
    int: "whole number",
    list: "list",
    str: "text",
}


def table(shape: type[Any] = ShownJob) -> str:
    """Return the table: name, type and meaning of each field, and of those within it."""
    return "\n".join(["| Field | Type | Meaning |", "|---|---|---|", *_rows(shape), ""])


def written(text: str) -> str:
    """Return the text of the page of the tools with the table as it must be now."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


def schedules_written(text: str) -> str:
    """Return the text of the page of schedules with the table as it must be now."""
    before, _, rest = text.partition(SCHEDULES_BEGIN)
    made = table(ScheduleObject)
    return before + SCHEDULES_BEGIN + made + SCHEDULES_END + rest.partition(SCHEDULES_END)[2]


def _rows(shape: type[Any], within: str = "") -> list[str]:
    rows = []
    for each in declared(shape):
        name = f"{within}{each.name}"
        rows.append(f"| `{name}` | {_words(each.type)} | {each.field.about} |")
        for kind in (each.type, *get_args(each.type)):
            if is_typeddict(kind):
                rows += _rows(kind, f"{name}.")
    return rows


def _words(kind: Any) -> str:
    options = get_args(kind)
    if type(None) in options:
        return f"{_words(options[0])}, or null"
    if is_typeddict(kind):
        return "object"
    if isinstance(kind, type) and issubclass(kind, StrEnum):
        if kind not in (Status, Reason):
            return ", ".join(f"`{each}`" for each in kind)
        return f"[{kind.__name__.lower()}](#states)"
    return _WORDS[get_origin(kind) or kind]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
    text = schedules_written(SCHEDULES_PAGE.read_text("utf-8"))
    SCHEDULES_PAGE.write_text(text, "utf-8")
