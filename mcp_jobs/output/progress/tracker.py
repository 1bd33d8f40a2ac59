"""One attempt's progress: readings in, snapshots that never go backwards out."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mcp_jobs.domain.time_left import rough_duration
from mcp_jobs.output.progress.figures import ALL_PERCENT, Reading, sanitised

ESTIMATE_AFTER_S = 3.0
ESTIMATE_AFTER_PERCENT = 2.0

_MOST_RECOGNISED = 99.9

_LONGEST_S = 1000 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """A snapshot for people and agents.

    ``percent`` is 0 to 100 with one decimal, or None when unknown; 100 only when the job itself
    reported it: output may show the end of a part, as the last test of the first of two runs is.
    """

    current: float | None
    total: float | None
    percent: float | None
    message: str | None
    left_s: float | None = None
    """How long the rest takes at the rate so far, counted from the reading; None if not known."""


class ProgressTracker:
    """Merges the readings of ONE attempt; make a new tracker for the next attempt.

    Explicit readings win for good: once one had numbers, recognised readings are ignored;
    once one had a message, recognised messages are. Neither percentage nor count ever falls
    (a count starts anew when the job begins to report explicitly): a reading that is behind
    changes the message only. When the total grows, the count goes on and the percentage waits.

    What was recognised may begin anew when it was full: the next test run, the next epoch. How many
    such parts the job has is not known, so from then on there is a count of the part that runs, and
    no percentage.
    """

    def __init__(self) -> None:
        self._current: float | None = None
        self._total: float | None = None
        self._percent: float | None = None
        self._message: str | None = None
        self._explicit_numbers = False
        self._explicit_message = False
        self._full = False
        self._in_parts = False
        self._since: tuple[float, float] | None = None
        self._snapshot: Progress | None = None

    @property
    def snapshot(self) -> Progress | None:
        """The last snapshot that ``update`` returned."""
        return self._snapshot

    def update(self, reading: Reading, *, now_s: float, explicit: bool = False) -> Progress | None:
        """Merge one reading taken at ``now_s`` (monotonic seconds).

        ``explicit`` says that it came from the job's progress file, not from its output.
        Returns the new snapshot, or None when nothing visible changed. Never raises.
        """
        reading = sanitised(reading)
        if reading.message is not None and (explicit or not self._explicit_message):
            self._message = reading.message
            self._explicit_message = explicit
        if reading.has_numbers and (explicit or not self._explicit_numbers):
            self._take_numbers(reading, explicit=explicit)
        self._start_clock(now_s)
        return self._changed(now_s)

    def _take_numbers(self, reading: Reading, *, explicit: bool) -> None:
        if explicit and not self._explicit_numbers:
            # The job counts in its own units: only the percentage is comparable.
            self._explicit_numbers = True
            self._current = self._total = self._since = None
        percent = _percent_of(reading)
        if not explicit and self._full and self._begins_anew(reading, percent):
            self._in_parts = True
            self._percent = self._since = None
        elif self._goes_back(reading, percent):
            return
        self._current, self._total = reading.current, reading.total
        if not explicit:
            self._full = percent == ALL_PERCENT
        if percent is not None and (explicit or not self._in_parts):
            most = ALL_PERCENT if explicit else _MOST_RECOGNISED
            self._percent = max(min(percent, most), self._percent or 0)

    def _begins_anew(self, reading: Reading, percent: float | None) -> bool:
        more = reading.total is not None and self._total is not None and percent != ALL_PERCENT
        return (more and reading.total != self._total) or self._goes_back(reading, percent)

    def _goes_back(self, reading: Reading, percent: float | None) -> bool:
        if reading.current is not None and reading.current < (self._current or 0):
            return True
        if percent is None:
            return reading.current is None and self._current is not None
        # A falling percentage of a changed total only means that more work was found.
        known = None not in (self._total, reading.total, reading.current)
        if known and reading.total != self._total:
            return False
        return percent < min(self._percent or 0, _MOST_RECOGNISED)

    def _start_clock(self, now_s: float) -> None:
        if self._since is None and self._percent is not None:
            self._since = (now_s, self._percent)

    def _changed(self, now_s: float) -> Progress | None:
        known = (self._message, self._percent, self._current) != (None, None, None)
        # A percentage that was given up is told, though nothing else is known yet.
        if not known and self._snapshot is None:
            return None
        snapshot = Progress(
            current=self._current,
            total=self._total,
            percent=self._percent,
            message=self._message,
            left_s=self._seconds_left(now_s),
        )
        if self._snapshot is not None and _look(snapshot) == _look(self._snapshot):
            return None
        self._snapshot = snapshot
        return snapshot

    def _seconds_left(self, now_s: float) -> float | None:
        if self._since is None or self._percent is None or self._percent >= _MOST_RECOGNISED:
            return None
        elapsed_s = now_s - self._since[0]
        gained = self._percent - self._since[1]
        # Written so that a NaN clock gives no estimate.
        if not (elapsed_s >= ESTIMATE_AFTER_S and gained >= ESTIMATE_AFTER_PERCENT):
            return None
        left_s = (100 - self._percent) * elapsed_s / gained
        return left_s if math.isfinite(left_s) and left_s < _LONGEST_S else None


def _percent_of(reading: Reading) -> float | None:
    percent = reading.percent
    if percent is None and reading.current is not None and reading.total is not None:
        percent = min(100.0, reading.current / reading.total * 100)
    if percent is None:
        return None
    # 100 is said only of finished work: 9,999 of 10,000 must not round up to it.
    return 100.0 if percent >= ALL_PERCENT else min(round(float(percent), 1), 99.9)


def _look(progress: Progress) -> tuple[object, ...]:
    """Return what is seen of it, so that an estimate that is told alike is no change."""
    left = None if progress.left_s is None else rough_duration(progress.left_s)
    return progress.current, progress.total, progress.percent, progress.message, left
