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
    """The lines that seem to say what went wrong; empty when nothing did."""


def read_excerpt(source: OutputSource, *, failed: bool, limit_bytes: int) -> Excerpt:
    """Return the whole output if it fits into `limit_bytes`, else its failing part, head and tail.

    A line states what is left out and the cursors to read it with.
    """
    failing = _failing_part(source, limit_bytes // 3) if failed else ""
    whole = read_after(source, cursor=0, limit_bytes=limit_bytes)
    if not whole.truncated:
        return Excerpt(output=whole, failing=failing)
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
    if failing:
        parts.insert(
            0, f"[what seems to have failed]\n{failing}\n[the output from its beginning]\n"
        )
    text = "".join(parts)
    return Excerpt(output=replace(tail, text=text, first_cursor=0, truncated=True), failing=failing)


def _failing_part(source: OutputSource, limit_bytes: int) -> str:
    raw = read_recent(source, limit_bytes=_SEARCHED_BYTES)
    lines = text_of(raw).rstrip("\n").split("\n")
    found = _beginning(lines)
    if found is None:
        chosen = lines[-_LAST_LINES:]
    else:
        chosen = lines[max(0, found - _LINES_BEFORE) : found + _LINES_AFTER]
    kept: list[str] = []
    room = limit_bytes
    for line in chosen:
        room -= size_of(line) + 1
        if room < 0:
            break
        kept.append(line)
    return "\n".join(kept or [chosen[0][: limit_bytes // 4]]).strip("\n")


def _beginning(lines: list[str]) -> int | None:
    for pattern in _BEGINNINGS:
        for index, line in enumerate(lines):
            if pattern.match(line[:_LINE_CHARS]):
                return index
    return None
