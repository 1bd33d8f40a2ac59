"""How often somebody may do something: a token bucket for each key, in bounded memory."""

from __future__ import annotations

import time
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

_KEYS: Final = 10_000
"""Beyond this many keys the one that was quiet for longest is forgotten."""


class Rates:
    """Buckets that hold `burst` and fill at `per_s`."""

    def __init__(
        self, *, per_s: float, burst: float, now_s: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_s = per_s
        self._burst = max(1.0, burst)
        self._now_s = now_s
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, key: str) -> float:
        """Take one from the bucket of `key`; returns 0, or after how many seconds to try again."""
        now_s = self._now_s()
        level, since_s = self._buckets.pop(key, (self._burst, now_s))
        level = min(self._burst, level + (now_s - since_s) * self._per_s)
        enough = level >= 1
        self._buckets[key] = (level - 1 if enough else level, now_s)
        if len(self._buckets) > _KEYS:
            self._buckets.popitem(last=False)
        return 0.0 if enough else (1 - level) / self._per_s
