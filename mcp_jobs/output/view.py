"""An output as it is at one moment, read by offsets and lines."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp_jobs.output.source import OutputSource, Segment

Piece: TypeAlias = tuple[int, bytes]
"""Offset of the first byte, and the bytes."""
Lines: TypeAlias = tuple[int, int, bytes]
"""Offset of the first byte, number of the first line (from 1), and the bytes."""

LINE_BYTES = 1 << 16
"""How much of a long line a search looks at."""

_BLOCK_BYTES = 1 << 16
_COUNTED_BYTES = 1 << 20
_WINDOW_BYTES = 1 << 22


class OutputView:
    """What a source holds at one moment; what is appended later is not seen.

    Making a view and reading raise what the source does. After `FileNotFoundError`, which says that
    a segment was dropped meanwhile, make a new one.
    """

    def __init__(self, source: OutputSource) -> None:
        self._source = source
        self.segments = source.segments()
        self.kept_bytes = sum(size for _, _, size in self.segments)
        self.bytes_total = 0
        """The end of the stream; what comes after the last segment is not known."""
        self.runs: list[tuple[int, int]] = []
        """Offsets of the kept parts, from and to; between two of them bytes are lost."""
        for start, _, size in self.segments:
            joined = self.runs.pop()[0] if self.runs and start == self.bytes_total else start
            self.bytes_total = start + size
            self.runs.append((joined, self.bytes_total))

    def read(self, start: int, end: int) -> bytes:
        """Return the bytes from `start` on, up to `end` or the next loss."""
        parts: list[bytes] = []
        for segment in self.segments:
            first, _, size = segment
            if first <= start < min(end, first + size):
                wanted = min(end, first + size) - start
                parts.append(self._source.read(segment, start, wanted))
                start += len(parts[-1])
        return b"".join(parts)

    def read_on(self, cursor: int, limit_bytes: int) -> list[Piece]:
        """Return the kept pieces from `cursor` on, with at most `limit_bytes` together."""
        pieces: list[Piece] = []
        for first, last in self.runs:
            if last > cursor and (limit_bytes > 0 or first == last):
                start = max(first, cursor)
                pieces.append((start, self.read(start, min(last, start + limit_bytes))))
                limit_bytes -= len(pieces[-1][1])
                if start + len(pieces[-1][1]) < last:
                    break
        return pieces

    def read_back(self, newlines: int, limit_bytes: int) -> list[Piece]:
        """Return the last kept pieces: until that many newlines are in them, or `limit_bytes`."""
        pieces: list[Piece] = []
        for first, last in reversed(self.runs):
            start, blocks = last, list[bytes]()
            while start > first and limit_bytes > 0 and newlines > 0:
                end, start = start, max(first, start - min(_BLOCK_BYTES, limit_bytes))
                blocks.append(self.read(start, end))
                limit_bytes -= end - start
                newlines -= blocks[-1].count(b"\n")
            pieces.append((start, b"".join(reversed(blocks))))
            if limit_bytes <= 0 or newlines <= 0:
                break
        return pieces[::-1]

    def windows(self, segment: Segment) -> list[Segment]:
        """Cut a segment into parts of a bounded size, each as if it were a segment."""
        start, newlines, size = segment
        parts: list[Segment] = []
        for at in range(start, start + size, _WINDOW_BYTES):
            parts.append((at, newlines, min(_WINDOW_BYTES, start + size - at)))
            if at + _WINDOW_BYTES < start + size:
                newlines += self.count_lines(parts[-1])
        return parts or [segment]

    def count_lines(self, segment: Segment) -> int:
        """Return how many newlines a segment or a part of one has, in bounded memory."""
        start, _, size = segment
        ends = range(start, start + size, _COUNTED_BYTES)
        return sum(
            self.read(at, min(at + _COUNTED_BYTES, start + size)).count(b"\n") for at in ends
        )

    def lines_begun(self, segment: Segment, after: int) -> list[Lines]:
        """Return the lines that begin in `segment` and not before `after`.

        What has no beginning, because it was lost or lies before `after`, is a line too. Of a
        line longer than LINE_BYTES only the start is given.
        """
        start, newlines, size = segment
        number, end = newlines + 1, start + size
        if after > start:
            number += self.read(start, after).count(b"\n")
            start = after
        # The last line may go on into other segments.
        data = self.read(start, end + LINE_BYTES)
        data = data[: data.find(b"\n", end - start - 1) + 1] or data
        # Where the byte before it is lost, a line begins here.
        if start > after and self.read(start - 1, start) not in (b"", b"\n"):
            begun = data.find(b"\n") + 1 or len(data)
            start, number, data = start + begun, number + 1, data[begun:]
        return list(_cut_lines(start, number, data))


def _cut_lines(start: int, number: int, data: bytes) -> Iterator[Lines]:
    """Cut into blocks of whole lines; a line longer than a block is cut short."""
    done = 0
    while done < len(data):
        block = data[done : done + LINE_BYTES]
        if len(data) - done > LINE_BYTES:
            block = block[: block.rfind(b"\n") + 1] or block
        yield start + done, number, block
        number += block.count(b"\n")
        done += len(block)
        if not block.endswith(b"\n"):
            done = data.find(b"\n", done) + 1 or len(data)
            number += 1
