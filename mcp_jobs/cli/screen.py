"""What commands write: JSON, plain lines, or colours on a terminal."""

from __future__ import annotations

import json
import sys
import unicodedata
from functools import cache
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

if TYPE_CHECKING:
    from collections.abc import Sequence

_TAB = 2


@cache
def console() -> Console:
    """Return the console of stdout. rich obeys NO_COLOR and TERM=dumb by itself."""
    return Console(highlight=False, emoji=False, markup=False)


@cache
def errors() -> Console:
    """Return the console of stderr."""
    return Console(stderr=True, highlight=False, emoji=False, markup=False)


def on_terminal() -> bool:
    """Say whether a person looks at stdout."""
    return console().is_terminal


def write_json(value: Any) -> None:
    """Write one value as one line of JSON."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False) + "\n")
    sys.stdout.flush()


def write_line(text: str, style: str = "") -> None:
    """Write a line to stdout, never wrapped or cut."""
    if on_terminal() and style:
        console().print(Text(text, style=style), soft_wrap=True)
    else:
        sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str, style: str = "dim") -> None:
    """Tell the person something that is not the answer, on stderr."""
    sys.stdout.flush()
    errors().print(Text(text, style=style), soft_wrap=True)


def clean(text: str) -> str:
    """Return text without characters that a terminal would obey."""
    return "".join(" " if unicodedata.category(c) in ("Cc", "Cf", "Cs") else c for c in text)


def write_columns(rows: Sequence[Sequence[str]], indent: str = "") -> None:
    """Write rows in columns, for files and pipes; the last column is as long as it is."""
    widths = [max(len(cell) for cell in column) + _TAB for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        sys.stdout.write((indent + "".join([*cells, row[-1]])).rstrip() + "\n")
    sys.stdout.flush()
