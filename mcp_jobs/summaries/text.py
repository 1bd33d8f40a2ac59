"""The shape of a summary, and the plain text that the runners' modules look through."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypedDict

TAIL_MAX_BYTES = 1024 * 1024
LINE_MAX_CHARS = 500
NAMES_MAX = 20
NAME_MAX_CHARS = 200
_COUNT_MAX_DIGITS = 9

_ESCAPE = re.compile(
    rb"\x1b(?:\[[0-?]{0,32}[ -/]{0,4}[@-~]"
    rb"|\][^\x07\x1b\r\n]{0,512}(?:\x07|\x1b\\)"
    rb"|[()*+][0-9A-Za-z]"
    rb"|[0-9=>@-Z\\-_])"
)
# C0, C1, lone surrogates and the marks that reorder displayed text.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u2028-\u202e\u2066-\u2069\ufeff]")


class RunSummary(TypedDict):
    """What a test runner said in the end.

    ``total`` is passed + failed + skipped + errors, or what the runner itself counted.
    ``failed_names`` has at most NAMES_MAX names of failures and errors, each at most
    NAME_MAX_CHARS; ``failed_names_truncated`` says that it lacks some.
    """

    runner: str
    passed: int
    failed: int
    skipped: int
    errors: int
    total: int
    failed_names: list[str]
    failed_names_truncated: bool
    duration_seconds: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A summary and the index of the line that it ends on."""

    line: int
    summary: RunSummary


class Text:
    """Output as lines without colours; carriage returns end a line too."""

    def __init__(self, output_tail: bytes) -> None:
        raw = _ESCAPE.sub(b"", output_tail[-TAIL_MAX_BYTES:])
        self.whole = raw.decode("utf-8", "replace").replace("\r\n", "\n").replace("\r", "\n")
        self.lines = [line[:LINE_MAX_CHARS].rstrip() for line in self.whole.split("\n")]

    def has(self, needle: str) -> bool:
        """Whether the text contains ``needle`` anywhere: a cheap way to skip a runner."""
        return needle in self.whole

    def last(self, pattern: re.Pattern[str], *, before: int | None = None) -> int:
        """Return the index of the last line that matches, or -1."""
        end = len(self.lines) if before is None else before
        return next((i for i in range(end - 1, -1, -1) if pattern.match(self.lines[i])), -1)


def summary_of(
    runner: str,
    *,
    passed: int,
    failed: int,
    skipped: int = 0,
    errors: int = 0,
    total: int | None = None,
    names: Sequence[str] = (),
    duration_s: float | None = None,
) -> RunSummary:
    """Build a summary; negative counts become 0, double and unsafe names are left out."""
    passed = max(passed, 0)
    unique = _distinct(names)
    return RunSummary(
        runner=runner,
        passed=passed,
        failed=failed,
        skipped=skipped,
        errors=errors,
        total=passed + failed + skipped + errors if total is None else total,
        failed_names=unique[:NAMES_MAX],
        failed_names_truncated=len(unique) > NAMES_MAX or len(names) < failed + errors,
        duration_seconds=duration_s,
    )


def count(digits: str | None) -> int:
    """Return the number, 0 for nothing; absurdly long ones are cut, never refused."""
    return int((digits or "0")[:_COUNT_MAX_DIGITS])


_COUNTED_WORD = re.compile(r"(\d{1,9}) ([a-z]+)")


def counted_words(text: str) -> dict[str, int]:
    """Read ``2 failed, 47 passed`` into a mapping from the word to its number."""
    return {word: int(number) for number, word in _COUNTED_WORD.findall(text)}


_DURATION_PART = re.compile(
    r"(\d{1,9}(?:\.\d{1,9})?)\s?(milliseconds?|minutes?|min|ms|m|seconds?|sec|s|hours?|h)\b"
)
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}


def duration_s(text: str) -> float | None:
    """Read ``1.23s``, ``450ms`` or ``1 minute 2.5 seconds``; None when there is no time."""
    seconds = [float(number) * _unit_s(unit) for number, unit in _DURATION_PART.findall(text)]
    return round(sum(seconds), 6) if seconds else None


def _unit_s(unit: str) -> float:
    if unit.startswith(("milli", "ms")):
        return _UNIT_SECONDS["ms"]
    return _UNIT_SECONDS[unit[0]]


def _distinct(names: Iterable[str]) -> list[str]:
    cleaned = (_UNSAFE.sub("", name).strip()[:NAME_MAX_CHARS] for name in names)
    return list(dict.fromkeys(name for name in cleaned if name))
