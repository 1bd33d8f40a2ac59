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

_DOCS: Final = Path(__file__).parent.parent / "docs"
PAGES: Final[dict[Path, tuple[str, type[Any]]]] = {
    _DOCS / "tools.md": ("job object", ShownJob),
    _DOCS / "schedules.md": ("schedule object", ScheduleObject),
}
"""Each page that has a table, between two comments with a name, and of what."""

_WORDS: Final = {
    Any: "anything",
    bool: "true or false",
    dict: "object",
    float: "number",
    int: "whole number",
    list: "list",
    str: "text",
}


def written(page: Path) -> str:
    """Return the text of a page with its table as it must be now."""
    name, shape = PAGES[page]
    begin, end = f"<!-- {name}: begin -->\n", f"<!-- {name}: end -->"
    before, _, rest = page.read_text("utf-8").partition(begin)
    return before + begin + _table(shape) + end + rest.partition(end)[2]


def _table(shape: type[Any]) -> str:
    """Return the table: name, type and meaning of each field, and of those within it."""
    return "\n".join(["| Field | Type | Meaning |", "|---|---|---|", *_rows(shape), ""])


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
    for each in PAGES:
        each.write_text(written(each), "utf-8")
