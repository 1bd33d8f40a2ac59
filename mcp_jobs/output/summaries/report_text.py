"""The shape of a summary, and the plain text that the runners' modules look through."""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
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
    """One run of a test runner: where it stands in the output, and what it said."""

    begin: int
    """Its first line where the runner announces itself, else the line that it ends on."""
    line: int
    """The line that it ends on."""
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

    def all(self, pattern: re.Pattern[str]) -> list[int]:
        """Return the indices of the lines that match."""
        return [i for i, line in enumerate(self.lines) if pattern.match(line)]

    def runs(self, ends: Sequence[int]) -> Iterator[tuple[int, int]]:
        """Yield each run as its last line and the line after the run before it."""
        begin = 0
        for end in ends:
            yield begin, end
            begin = end + 1

    def spans(self, ends: Sequence[int]) -> Iterator[tuple[int, int, int]]:
        """Yield each run as in ``runs``, with the last line of the run after it, or of the text."""
        afters = [*ends[1:], len(self.lines)]
        for (begin, end), after in zip(self.runs(ends), afters, strict=False):
            yield begin, end, after

    def first(self, pattern: re.Pattern[str], begin: int, end: int) -> int:
        """Return the first line from ``begin`` on that matches, or ``end`` itself."""
        return next((i for i in range(begin, end) if pattern.match(self.lines[i])), end)


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


def lasts(indices: Sequence[int], borders: Iterable[int]) -> list[int]:
    """Return the last one of the rising `indices` before each border and behind the one before."""
    found: list[int] = []
    at = 0
    for border in borders:
        after = bisect_left(indices, border, at)
        if after > at:
            found.append(indices[after - 1])
        at = after
    return found


def added(runs: Sequence[RunSummary]) -> RunSummary:
    """Add up the runs of one job; the runners' names stand in the order of their first run.

    The duration is known only where each run told its own.
    """
    durations_s = [run["duration_seconds"] for run in runs]
    known_s = [duration for duration in durations_s if duration is not None]
    names = [name for run in runs for name in run["failed_names"]]
    unique = list(dict.fromkeys(names))
    return RunSummary(
        runner=", ".join(dict.fromkeys(run["runner"] for run in runs)),
        passed=sum(run["passed"] for run in runs),
        failed=sum(run["failed"] for run in runs),
        skipped=sum(run["skipped"] for run in runs),
        errors=sum(run["errors"] for run in runs),
        total=sum(run["total"] for run in runs),
        failed_names=unique[:NAMES_MAX],
        failed_names_truncated=len(unique) > NAMES_MAX
        or any(run["failed_names_truncated"] for run in runs),
        duration_seconds=round(sum(known_s), 6) if len(known_s) == len(runs) else None,
    )


def count(digits: str | None) -> int:
    """Return the number, 0 for nothing; absurdly long ones are cut, never refused."""
    return int((digits or "0")[:_COUNT_MAX_DIGITS])


def bounded(value: object) -> float:
    """Return a number out of a report in JSON; 0 for what is no sane one."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return value if 0 <= value < 10**_COUNT_MAX_DIGITS else 0


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
