"""What one look at a job's progress said, before it is merged with earlier ones."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

from mcp_jobs.domain.limits import PROGRESS_MESSAGE_CHARS

ALL_PERCENT = 100

_ANSI_TEXT = re.compile(r"\x1b(?:\[[0-?]{0,32}[ -/]{0,4}[@-~]|\][^\x07\x1b]{0,512}(?:\x07|\x1b\\))")
_BLANKS = re.compile(r"[\s\x85\u2028\u2029]+")
# C0, C1, lone surrogates (they break every encoder) and the marks that reorder displayed text.
_UNSAFE = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\u202a-\u202e\u2066-\u2069\ufeff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """One reading of progress; every field may be unknown (None).

    ``current`` and ``total`` count whatever the job counts, ``percent`` is 0 to 100 and
    ``message`` is one line of at most ``PROGRESS_MESSAGE_CHARS`` characters.
    """

    current: float | None = None
    total: float | None = None
    percent: float | None = None
    message: str | None = None

    @property
    def has_numbers(self) -> bool:
        """Whether anything but a message is known."""
        return not (self.current is None and self.total is None and self.percent is None)


def clean_message(text: str, *, max_chars: int = PROGRESS_MESSAGE_CHARS) -> str | None:
    """Return ``text`` as one safe line of at most ``max_chars``, or None if nothing is left."""
    # Cleaning may only shrink the text, so a generous cut first bounds the work.
    text = _ANSI_TEXT.sub("", text[: max_chars * 20])
    text = _UNSAFE.sub("", _BLANKS.sub(" ", text)).strip()
    return text[:max_chars].rstrip() or None


def usable_number(value: object) -> float | None:
    """Return a finite number of 0 or more, whole ones as int; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        number = float(value)
    except OverflowError:
        return None
    if not math.isfinite(number) or number < 0:
        return None
    return int(number) if number.is_integer() else number


def usable_total(value: object) -> float | None:
    """Return a number that can be divided by, or None."""
    return usable_number(value) or None


def usable_percent(value: object) -> float | None:
    """Return a percentage clamped to 100, or None for nonsense."""
    number = usable_number(value)
    return None if number is None else min(number, ALL_PERCENT)


def sanitised(reading: Reading) -> Reading:
    """Return ``reading`` with impossible values dropped and excessive ones clamped."""
    current, total = usable_number(reading.current), usable_total(reading.total)
    if current is not None and total is not None:
        current = min(current, total)
    return Reading(
        current=current,
        total=total,
        percent=usable_percent(reading.percent),
        message=None if reading.message is None else clean_message(reading.message),
    )
