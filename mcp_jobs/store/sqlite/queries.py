"""Load the named statements of the files in sql/."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files

_NAME = re.compile(r"^-- name: (\w+)$", re.MULTILINE)


@cache
def queries() -> dict[str, str]:
    """Return every named statement, without its comments."""
    folder = files(__package__).joinpath("sql")
    found: dict[str, str] = {}
    for file in folder.iterdir():
        parts = _NAME.split(file.read_text("utf-8"))[1:]
        found |= {name: _strip(body) for name, body in zip(parts[::2], parts[1::2], strict=True)}
    return found


def _strip(body: str) -> str:
    lines = (line for line in body.splitlines() if not line.startswith("--"))
    return "\n".join(lines).strip()
