"""How much time is left, in words."""

from __future__ import annotations

from mcp_jobs.domain.limits import PROGRESS_MESSAGE_CHARS

_MINUTE_S = 60.0
_HOUR_S = 3600.0
_HOURS_FROM_S = 1.5 * _HOUR_S


def with_estimate(message: str | None, left_s: float | None) -> str | None:
    """Return a message that ends in about how much time is left, if that is known."""
    if left_s is None:
        return message
    estimate = f"about {rough_duration(left_s)} left"
    if message is None:
        return estimate
    kept = message[: PROGRESS_MESSAGE_CHARS - len(estimate) - 2].rstrip()
    return f"{kept}, {estimate}"


def rough_duration(seconds: float) -> str:
    """Round coarsely, so that the text does not change with every reading."""
    if seconds < 2 * 10:
        return f"{max(5, _nearest(seconds, 5))} s"
    if _nearest(seconds, 10) < _MINUTE_S:
        return f"{_nearest(seconds, 10)} s"
    if seconds < _HOURS_FROM_S:
        return f"{max(1, round(seconds / _MINUTE_S))} min"
    return f"{round(seconds / _HOUR_S)} h"


def _nearest(value: float, step: int) -> int:
    return round(value / step) * step
