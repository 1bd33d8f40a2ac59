"""The output of a job on this machine: the files that its runner writes."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from mcp_jobs.execution.launcher.files import OddFileError
from mcp_jobs.execution.launcher.spool import list_segments, newest_segment, read_part, segment_name
from mcp_jobs.output.source import Unreadable

if TYPE_CHECKING:
    from mcp_jobs.output.source import Segment

_SETTLED_NS: Final = 3_000_000_000
"""Longer than a tick of any file system's clock: what changes from then on has a later time."""


class SpoolFiles:
    """An `OutputSource` on the segments in a directory; one that is missing has none."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        self._directory = os.fspath(directory)

    def begun(self) -> bool:
        """Say whether there is a directory, which the runner makes at the first byte."""
        return os.path.lexists(self._directory)

    def printed_at_ms(self) -> int | None:
        """Return when the newest segment was written to, by the clock of this machine."""
        with contextlib.suppress(OSError):
            info = os.stat(self._newest(), follow_symlinks=False)
            if stat.S_ISREG(info.st_mode):
                return info.st_mtime_ns // 1_000_000
        return None

    def _newest(self) -> str:
        """Return the path of the newest segment; the directory is only listed when it changes."""
        changed_ns = os.stat(self._directory, follow_symlinks=False).st_mtime_ns
        if time.time_ns() - changed_ns < _SETTLED_NS:
            return newest_segment(self._directory)
        return _newest_since(self._directory, changed_ns)

    def segments(self) -> list[Segment]:
        """Return the segments that are there, as `OutputSource.segments`."""
        try:
            return list_segments(self._directory)
        except OddFileError as error:
            raise Unreadable(
                f"The output cannot be read: {error}. Only the job itself can have put it there."
            ) from error

    def read(self, segment: Segment, start: int, size: int) -> bytes:
        """Return a part of a segment, as `OutputSource.read`; nothing of what is no file."""
        first, newlines, _ = segment
        path = os.path.join(self._directory, segment_name(first, newlines))
        return read_part(path, start - first, size)


@lru_cache(1024)
def _newest_since(directory: str, _changed_ns: int) -> str:
    return newest_segment(directory)
