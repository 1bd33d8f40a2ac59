"""The bytes of an output as the runner wrote them, by their offsets."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mcp_jobs.output.slices import StrPath, look

if TYPE_CHECKING:
    from mcp_jobs.launcher.spool import SpoolView


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Which bytes are there."""

    bytes_total: int
    runs: tuple[tuple[int, int], ...]
    """Offsets from and to; what lies between two of them is dropped."""

    def holds(self, start: int, end: int) -> bool:
        """Say whether every byte from `start` to `end` is there."""
        return any(first <= start and end <= last for first, last in self.runs)


def kept_bytes(directory: StrPath) -> Kept:
    """Return which bytes there are now; a missing output is empty. Blocks."""

    def read(view: SpoolView) -> Kept:
        return Kept(bytes_total=view.bytes_total, runs=tuple(view.runs))

    return look(directory, read)


def read_bytes(directory: StrPath, start: int, end: int) -> bytes:
    """Return the bytes from `start` on, up to `end` or the next drop. Blocks."""
    return look(directory, lambda view: view.read(start, end))
