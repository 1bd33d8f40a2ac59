"""The output of an ended job in the size that a model reads: what failed, the head, the tail."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from mcp_jobs.output.fold import size_of, text_of
from mcp_jobs.output.slices import OutputSlice, read_after, read_recent, read_tail

if TYPE_CHECKING:
    from mcp_jobs.output.source import OutputSource

_SEARCHED_BYTES: Final = 1 << 18
_LINES_BEFORE: Final = 2
_LINES_AFTER: Final = 40
_LAST_LINES: Final = 12
_LINE_CHARS: Final = 300
"""What is wrong is said at the beginning of a line; what searches further can take for ever."""

# How test runners, compilers, interpreters and shells begin to say what is wrong, best first.
_BEGINNINGS: Final = tuple(
    re.compile(pattern)
    for pattern in (
        r"=+ (?:FAILURES|ERRORS) =+$|--- FAIL:|failures:$|\s*● |not ok \d|_{5,} ",
        r"Traceback \(most recent call last\)|thread '.*' panicked|panic:"
        r"|\s*at [^(]*\([^()]*:\d+:\d+\)",
        r"(?:.*:\d+:(?:\d+:)? )?(?:fatal )?error(?:\[\w+\])?:|npm ERR!|FAILED |FAIL\s|\w*Error: ",
        r"(?i).*\b(?:fatal|error|failed|not found|cannot|denied)\b",
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Excerpt:
    """What a model should see of an output."""

    output: OutputSlice
    failing: str
    """The lines that seem to say what went wrong; empty when none does."""
    ending: str
    """The last lines of a failed job of which none says what went wrong; else empty."""


def read_excerpt(source: OutputSource, *, failed: bool, limit_bytes: int) -> Excerpt:
    """Return the whole output if it fits into `limit_bytes`, else its head and its tail.

    A line states what is left out and the cursors to read it with.
    """
    failing, ending = _failing_or_last(source, limit_bytes // 3) if failed else ("", "")
    whole = read_after(source, cursor=0, limit_bytes=limit_bytes)
    shown = _head_and_tail(source, limit_bytes) if whole.truncated else whole
    return Excerpt(output=shown, failing=failing, ending=ending)


def read_failing(source: OutputSource, *, limit_bytes: int) -> str:
    """Return the lines that seem to say what went wrong; empty when none does."""
    return _failing_or_last(source, limit_bytes)[0]


def _head_and_tail(source: OutputSource, limit_bytes: int) -> OutputSlice:
    head = read_after(source, cursor=0, limit_bytes=limit_bytes // 6)
    tail = read_tail(source, lines=1000, limit_bytes=limit_bytes // 2 - 256)
    parts = [head.text]
    if tail.first_cursor > head.next_cursor:
        left_out = tail.first_cursor - head.next_cursor
        begun = "" if head.text.endswith("\n") else "\n"
        parts.append(
            f"{begun}[... {left_out} bytes from cursor {head.next_cursor} on left out ...]\n"
        )
    else:
        tail = read_after(source, cursor=head.next_cursor, limit_bytes=limit_bytes)
    parts.append(tail.text)
    lines = head.lines_shown + tail.lines_shown
    return replace(tail, text="".join(parts), lines_shown=lines, first_cursor=0, truncated=True)


def _failing_or_last(source: OutputSource, limit_bytes: int) -> tuple[str, str]:
    """Return the lines that seem to say what went wrong or, where none does, the last ones."""
    raw = read_recent(source, limit_bytes=_SEARCHED_BYTES)
    lines = text_of(raw).rstrip("\n").split("\n")
    found = _beginning(lines)
    if found is None:
        last = _fitting(lines[-_LAST_LINES:][::-1], limit_bytes)[::-1]
        return "", "\n".join(last).strip("\n")
    chosen = lines[max(0, found - _LINES_BEFORE) : found + _LINES_AFTER]
    return "\n".join(_fitting(chosen, limit_bytes)).strip("\n"), ""


def _fitting(lines: list[str], room: int) -> list[str]:
    """Return the first lines that fit into `room` bytes, or a part of the first one."""
    kept: list[str] = []
    for line in lines:
        size = size_of(line) + 1
        if size > room:
            # A character has at most four bytes.
            return kept or [line[: room // 4]]
        room -= size
        kept.append(line)
    return kept


def _beginning(lines: list[str]) -> int | None:
    for pattern in _BEGINNINGS:
        for index, line in enumerate(lines):
            if pattern.match(line[:_LINE_CHARS]):
                return index
    return None
