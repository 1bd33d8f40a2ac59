"""Progress that a job type's own pattern finds in the output."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from mcp_jobs.output.progress.figures import Reading, clean_message, sanitised
from mcp_jobs.output.progress.lines import LineAssembler

Search: TypeAlias = Callable[[str], Mapping[str, str | None] | None]
"""Gives the groups of the first match in a line, by name or number."""

_NUMBERS = ("current", "total", "percent")


class PatternRecogniser:
    """Reads progress from the lines that `search` matches; nothing else counts.

    Groups named current, total, percent and message mean what they say. Without names, one group
    is the percentage and two are current and total. A line in which none is a number is its own
    message.
    """

    def __init__(self, search: Search) -> None:
        self._search = search
        self._lines = LineAssembler()
        self._returned: Reading | None = None

    def feed(self, data: bytes) -> Reading | None:
        """Take the next chunk and return the reading after it, or None if it is unchanged."""
        latest: Reading | None = None
        for line in self._lines.feed(data):
            groups = self._search(line)
            if groups is not None:
                latest = _reading(groups, line)
        if latest is None or latest == self._returned:
            return None
        self._returned = latest
        return latest

    def gap(self) -> None:
        """Say that bytes were left out before the next chunk."""
        self._lines.gap()


def _reading(groups: Mapping[str, str | None], line: str) -> Reading:
    named = {name: _number(groups.get(name)) for name in _NUMBERS}
    if not any(name in groups for name in (*_NUMBERS, "message")):
        if "2" in groups:
            named.update(current=_number(groups["1"]), total=_number(groups["2"]))
        elif "1" in groups:
            named["percent"] = _number(groups["1"])
    message = groups.get("message") or line
    return sanitised(Reading(**named, message=clean_message(message)))


def _number(text: str | None) -> float | None:
    try:
        return None if text is None else float(text.replace(",", ""))
    except ValueError:
        return None
