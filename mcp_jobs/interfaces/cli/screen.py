"""What commands write: JSON, plain lines, or colours on a terminal."""

from __future__ import annotations

import sys
from functools import cache
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from mcp_jobs.domain import display

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
    sys.stdout.write(display.json_line(value) + "\n")
    sys.stdout.flush()


def write_line(text: str, style: str = "") -> None:
    """Write a line to stdout, never wrapped or cut."""
    text = display.lines(text)
    if on_terminal() and style:
        console().print(Text(text, style=style), soft_wrap=True)
    else:
        sys.stdout.write(text + "\n")
    sys.stdout.flush()


def note(text: str, style: str = "dim") -> None:
    """Tell the person something that is not the answer, on stderr."""
    sys.stdout.flush()
    errors().print(Text(display.lines(text), style=style), soft_wrap=True)


def clean(text: str) -> str:
    """Return text without characters that a terminal would obey."""
    return display.blanked(text)


def write_columns(rows: Sequence[Sequence[str]], indent: str = "") -> None:
    """Write rows in columns, for files and pipes; the last column is as long as it is."""
    widths = [max(len(cell) for cell in column) + _TAB for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)]
        sys.stdout.write((indent + "".join([*cells, row[-1]])).rstrip() + "\n")
    sys.stdout.flush()
