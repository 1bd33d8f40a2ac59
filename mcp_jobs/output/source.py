"""Where the bytes of an output are: what every store of outputs offers to those that read them."""

from __future__ import annotations

from typing import Protocol, TypeAlias

Segment: TypeAlias = tuple[int, int, int]
"""Offset of the first byte, newlines before it, size in bytes."""


class Unreadable(ValueError):
    """Something stands where the output should be; the text is for whoever asked for it."""


class OutputSource(Protocol):
    """The output of one job, in segments that are appended to, and dropped to keep a cap.

    What lies between the end of one segment and the start of the next is lost. Reading blocks
    and may be done in any thread, and a source can be pickled: long searches run in another
    process.
    """

    def begun(self) -> bool:
        """Say whether anything may have been printed. Does not block."""
        ...

    def printed_at_ms(self) -> int | None:
        """Return when something was printed last, in wall-clock milliseconds. Does not block.

        None: nothing was, or it is not known.
        """
        ...

    def segments(self) -> list[Segment]:
        """Return what is kept now, in the order of the offsets; no two overlap. None: no output.

        Raises `Unreadable`, and `FileNotFoundError` when a segment was dropped meanwhile: ask
        again.
        """
        ...

    def read(self, segment: Segment, start: int, size: int) -> bytes:
        """Return up to `size` bytes of a segment from the offset `start` of the output on.

        Less than that is all there is. Raises `FileNotFoundError` when the segment was dropped.
        """
        ...
