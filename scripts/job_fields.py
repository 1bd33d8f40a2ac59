"""Write the table of the job object's fields in docs/tools.md anew from their declaration.

Usage: `python -m scripts.job_fields`, after a field was added or changed.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Any, Final, get_args, get_origin, is_typeddict

from mcp_jobs.domain.declaration import declared
from mcp_jobs.domain.job_object import ShownJob

PAGE: Final = Path(__file__).parent.parent / "docs" / "tools.md"
BEGIN: Final = "<!-- job object: begin -->\n"
END: Final = "<!-- job object: end -->"

_WORDS: Final = {
    Any: "anything",
    bool: "true or false",
    dict: "object",
    float: "number",
    int: "whole number",
    list: "list",
    str: "text",
}


def table() -> str:
    """Return the table: name, type and meaning of each field, and of those within it."""
    return "\n".join(["| Field | Type | Meaning |", "|---|---|---|", *_rows(ShownJob), ""])


def written(text: str) -> str:
    """Return the text of a page with the table as it must be now."""
    before, _, rest = text.partition(BEGIN)
    return before + BEGIN + table() + END + rest.partition(END)[2]


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
        return f"[{kind.__name__.lower()}](#states)"
    return _WORDS[get_origin(kind) or kind]


if __name__ == "__main__":
    PAGE.write_text(written(PAGE.read_text("utf-8")), "utf-8")
