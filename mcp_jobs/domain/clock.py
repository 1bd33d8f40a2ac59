"""Wall and monotonic time behind one protocol, so that tests can move both."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Where the service reads the time from."""

    def now_ms(self) -> int:
        """Return wall-clock milliseconds since 1970, UTC. It may jump either way."""
        ...

    def monotonic_s(self) -> float:
        """Return seconds that only grow, for measuring spans inside this process."""
        ...


class SystemClock:
    """The machine's clocks."""

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()
