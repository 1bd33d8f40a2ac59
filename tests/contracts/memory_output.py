"""An `OutputSource` in memory: what was printed, in segments of one print each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp_jobs.domain.clock import SystemClock

if TYPE_CHECKING:
    from mcp_jobs.output.source import Segment


class MemoryOutput:
    """The output of one job. Segments are appended to it, and dropped."""

    def __init__(self) -> None:
        self.bytes_total = 0
        self._newlines = 0
        self._printed_at_ms: int | None = None
        self._pieces: dict[int, tuple[int, bytes]] = {}

    def append(self, data: bytes) -> None:
        """Take what was printed."""
        self._pieces[self.bytes_total] = (self._newlines, data)
        self.bytes_total += len(data)
        self._newlines += data.count(b"\n")
        self._printed_at_ms = SystemClock().now_ms()

    def drop(self, segment: Segment) -> None:
        """Lose a segment, as to a cap."""
        del self._pieces[segment[0]]

    def begun(self) -> bool:
        return self._printed_at_ms is not None

    def printed_at_ms(self) -> int | None:
        return self._printed_at_ms

    def segments(self) -> list[Segment]:
        pieces = sorted(self._pieces.items())
        return [(start, newlines, len(data)) for start, (newlines, data) in pieces]

    def read(self, segment: Segment, start: int, size: int) -> bytes:
        first = segment[0]
        if first not in self._pieces:
            raise FileNotFoundError(first)
        return self._pieces[first][1][start - first : start - first + size]
