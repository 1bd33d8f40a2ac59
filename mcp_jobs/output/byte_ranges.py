"""The bytes of an output as the runner wrote them, by their offsets and without any folding."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcp_jobs.output.slices import look

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp_jobs.output.source import OutputSource
    from mcp_jobs.output.view import OutputView

_BLOCK_BYTES = 1 << 16


@dataclass(frozen=True, slots=True, kw_only=True)
class RawPiece:
    """Some bytes of an output."""

    data: bytes
    """Empty at the end of what there is so far."""
    next_cursor: int
    lost_bytes: int
    """How many bytes between the cursor and these were dropped by the cap."""


def read_raw(source: OutputSource, cursor: int, limit_bytes: int) -> RawPiece:
    """Return the first kept bytes from `cursor` on, up to the next loss or `limit_bytes`."""

    def read(view: OutputView) -> RawPiece:
        for start, data in view.read_on(cursor, limit_bytes):
            if data:
                end = start + len(data)
                return RawPiece(data=data, next_cursor=end, lost_bytes=max(0, start - cursor))
        return RawPiece(data=b"", next_cursor=cursor, lost_bytes=0)

    return look(source, read)


def tail_start(source: OutputSource, lines: int) -> int:
    """Return the offset at which the last `lines` lines begin, of those that were kept."""

    def find(view: OutputView) -> int:
        left, end = lines, view.bytes_total
        for start, data in _backwards(view):
            position = len(data)
            if start + position == end and data.endswith(b"\n"):
                position -= 1
            while left and position >= 0:
                position = data.rfind(b"\n", 0, position)
                left -= position >= 0
            if not left:
                return start + position + 1 if lines else end
        return view.runs[0][0] if view.runs else 0

    return look(source, find)


def _backwards(view: OutputView) -> Iterator[tuple[int, bytes]]:
    """Give what is kept in blocks, the last one first."""
    for first, last in reversed(view.runs):
        for end in range(last, first, -_BLOCK_BYTES):
            start = max(first, end - _BLOCK_BYTES)
            yield start, view.read(start, end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Which bytes are there."""

    bytes_total: int
    runs: tuple[tuple[int, int], ...]
    """Offsets from and to; what lies between two of them is dropped."""

    def holds(self, start: int, end: int) -> bool:
        """Say whether every byte from `start` to `end` is there."""
        return any(first <= start and end <= last for first, last in self.runs)


def kept_bytes(source: OutputSource) -> Kept:
    """Return which bytes there are now; a missing output is empty. Blocks."""

    def read(view: OutputView) -> Kept:
        return Kept(bytes_total=view.bytes_total, runs=tuple(view.runs))

    return look(source, read)


def read_bytes(source: OutputSource, start: int, end: int) -> bytes:
    """Return the bytes from `start` on, up to `end` or the next drop. Blocks."""
    return look(source, lambda view: view.read(start, end))
