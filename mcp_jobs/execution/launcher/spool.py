"""The files that keep a job's output: a head and a tail under a cap, written and looked at.

A segment is named `<offset of its first byte>-<newlines before it>`, so that offsets and line
numbers stay true after the middle was dropped. What lies between the end of one segment and the
start of the next is lost.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat

from mcp_jobs.execution.launcher.files import OddFileError, names_in, open_directory, open_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeAlias

    Segment: TypeAlias = tuple[int, int, int]
    """Offset of the first byte, newlines before it, size in bytes."""

_OFFSET_DIGITS = 16
_NEWLINES_DIGITS = 12
_MIN_SEGMENT_BYTES = 4096
_MIN_SEGMENTS = 4
_SEGMENTS_PER_CAP = 32
_COUNTED_BYTES = 1 << 20
_DIR_MODE = 0o700
_OPEN_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_APPEND
_NAMES_LIMIT = 4096
"""An output has some forty files, and a few more for each attempt."""
# macOS has no fdatasync.
_datasync = getattr(os, "fdatasync", os.fsync)


def segment_name(start: int, newlines: int) -> str:
    """Return the file name of the segment at this offset, with that many newlines before it."""
    return f"{start:0{_OFFSET_DIGITS}d}-{newlines:0{_NEWLINES_DIGITS}d}"


def newest_segment(directory: str | os.PathLike[str]) -> str:
    """Return the path of the segment that is being written; of none, one that does not exist."""
    try:
        names = names_in(directory, limit=_NAMES_LIMIT)
    except (FileNotFoundError, NotADirectoryError, OddFileError):
        names = []
    newest = max((name for name in names if _parse_name(name) is not None), default="none")
    return os.path.join(directory, newest)


def list_segments(directory: str | os.PathLike[str]) -> list[Segment]:
    """Return the segments in the order of their offsets; a missing directory has none.

    What is no file is left out, and where one goes on into the next, what is beyond. Raises
    `OddFileError` for what is no output, and FileNotFoundError when the writer dropped a segment
    meanwhile: list again.
    """
    try:
        fd = open_directory(directory)
    except (FileNotFoundError, NotADirectoryError):
        return []
    try:
        return _not_beyond_the_next(list(_files_in(fd, os.fspath(directory))))
    finally:
        os.close(fd)


def _files_in(directory_fd: int, path: str) -> Iterator[Segment]:
    names = names_in(directory_fd, limit=_NAMES_LIMIT)
    if len(names) == _NAMES_LIMIT:
        raise OddFileError(path, f"a directory of {_NAMES_LIMIT} files or more", wanted="an output")
    for name in sorted(names):
        numbers = _parse_name(name)
        if numbers is not None:
            try:
                info = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
            except PermissionError:
                what = "a directory that may not be looked into"
                raise OddFileError(path, what, wanted="an output") from None
            if stat.S_ISREG(info.st_mode):
                yield (*numbers, info.st_size)


def _not_beyond_the_next(segments: list[Segment]) -> list[Segment]:
    """Cut what a job has made longer, so that every offset is in one segment alone."""
    for index, (start, newlines, size) in enumerate(segments[:-1]):
        room = segments[index + 1][0] - start
        if size > room:
            segments[index] = (start, newlines, room)
    return segments


def read_part(path: str, offset: int, size: int) -> bytes:
    """Return a part of a file; nothing of what is no file that can be read."""
    try:
        fd = open_file(path)
    except OddFileError:
        return b""
    try:
        return os.pread(fd, size, offset)
    finally:
        os.close(fd)


def _count_lines(path: str, size: int) -> tuple[int, bytes]:
    """Return how many newlines a segment has, and its last byte; it may be of any size."""
    newlines, part = 0, b""
    for start in range(0, size, _COUNTED_BYTES):
        part = read_part(path, start, min(_COUNTED_BYTES, size - start))
        newlines += part.count(b"\n")
    return newlines, part[-1:]


def _parse_name(name: str) -> tuple[int, int] | None:
    start, _, newlines = name.partition("-")
    if not (name.isascii() and start.isdigit() and newlines.isdigit()):
        return None
    if len(start) != _OFFSET_DIGITS or len(newlines) != _NEWLINES_DIGITS:
        return None
    return int(start), int(newlines)


class Spool:
    """Append a stream to `directory`, of which at most the cap stays on disk.

    The first half of the cap is kept for ever, of the rest the last part. What an earlier attempt
    left is continued. Nothing here raises OSError: after the first one nothing more is written,
    `error` names it, and what comes is counted as dropped. A cap under 16 KiB counts as 16 KiB.
    """

    def __init__(self, directory: str, cap_bytes: int) -> None:
        cap_bytes = max(cap_bytes, _MIN_SEGMENTS * _MIN_SEGMENT_BYTES)
        self._cap_bytes = cap_bytes
        self._segment_bytes = max(_MIN_SEGMENT_BYTES, cap_bytes // _SEGMENTS_PER_CAP)
        head_segments = max(1, cap_bytes // 2 // self._segment_bytes)
        self._head_bytes = head_segments * self._segment_bytes
        self._directory = directory
        self._directory_fd: int | None = None
        self._fd: int | None = None
        self._start = self._start_newlines = 0
        self._room = 0
        self._tail: list[Segment] = []
        """Closed segments that may be dropped, oldest first."""
        self._newlines = 0
        self._ends_line = True
        self._kept_bytes = 0
        self._lost_bytes = 0
        self._resumed = False
        self.bytes_total = 0
        """Bytes of the stream so far, also of earlier attempts, kept or not."""
        self.error: str | None = None
        """What stopped the writing, or None: an errno name (ENOSPC), or what stands in the way."""
        self._try(self._resume)

    @property
    def lines_total(self) -> int:
        """Lines of the stream so far; a last one without newline counts too."""
        return self._newlines + (not self._ends_line)

    @property
    def dropped_bytes(self) -> int:
        """Bytes of the stream that are not on disk: dropped by the cap, or lost to an error."""
        return self.bytes_total - self._kept_bytes

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`; the oldest part of the middle is dropped when the cap is reached."""
        chunk = bytes(data)
        done = 0
        while done < len(chunk):
            if self._room <= 0:
                self._try(self._next_segment)
            piece = len(chunk) - done
            if self.error is None:
                piece = min(piece, self._room)
                self._try(self._make_room, piece)
            self._append(memoryview(chunk)[done : done + piece])
            self._newlines += chunk.count(b"\n", done, done + piece)
            done += piece
        if chunk:
            self._ends_line = chunk.endswith(b"\n")

    def sync(self) -> None:
        """Wait until the segment being written is on the disk."""
        if self._fd is not None:
            self._try(_datasync, self._fd)

    def close(self) -> None:
        """Close the files. Calling it again does nothing."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
        self._room = 0
        if self._lost_bytes and self._resumed:
            self._mark_loss()
            self._lost_bytes = 0
        self._close_directory()

    def _resume(self) -> None:
        segments = list_segments(self._directory)
        if segments:
            start, newlines, size = segments[-1]
            lines, last = _count_lines(self._path(start, newlines), size)
            self._kept_bytes = sum(segment[2] for segment in segments)
            self._tail = [s for s in segments[:-1] if s[0] >= self._head_bytes]
            self.bytes_total = start + size
            self._newlines = newlines + lines
            self._ends_line = last in (b"", b"\n")
            self._open(start, newlines, size)
        self._resumed = True

    def _next_segment(self) -> None:
        self._close_segment()
        self._open(self.bytes_total, self._newlines, 0)

    def _make_room(self, size: int) -> None:
        """Drop the oldest of the tail before the cap would be exceeded."""
        while self._tail and self._kept_bytes + size > self._cap_bytes:
            self._drop(self._tail.pop(0))

    def _open(self, start: int, newlines: int, size: int) -> None:
        name = segment_name(start, newlines)
        try:
            self._fd = open_file(name, _OPEN_FLAGS, dir_fd=self._open_directory())
        except FileNotFoundError:
            # The job has removed it.
            self._close_directory()
            self._fd = open_file(name, _OPEN_FLAGS, dir_fd=self._open_directory())
        self._start, self._start_newlines = start, newlines
        self._room = self._segment_bytes - size

    def _open_directory(self) -> int:
        if self._directory_fd is None:
            # With the first output of all: most short jobs print nothing and need no directory.
            with contextlib.suppress(FileExistsError):
                os.mkdir(self._directory, _DIR_MODE)
            self._directory_fd = open_directory(self._directory)
        return self._directory_fd

    def _close_directory(self) -> None:
        if self._directory_fd is not None:
            os.close(self._directory_fd)
            self._directory_fd = None

    def _close_segment(self) -> None:
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        if self._start >= self._head_bytes:
            size = self.bytes_total - self._start
            self._tail.append((self._start, self._start_newlines, size))
        os.close(fd)

    def _drop(self, segment: Segment) -> None:
        start, newlines, size = segment
        # Whoever removed it, it is not on the disk any more.
        with contextlib.suppress(FileNotFoundError):
            os.unlink(segment_name(start, newlines), dir_fd=self._open_directory())
        self._kept_bytes -= size

    def _append(self, piece: memoryview) -> None:
        """Write as much of `piece` as the disk takes; count the rest as lost."""
        kept_before = self._kept_bytes
        self._try(self._write_all, piece)
        self._lost_bytes += len(piece) - (self._kept_bytes - kept_before)
        self.bytes_total += len(piece)
        if self.error is not None:
            self._mark_time()

    def _write_all(self, piece: memoryview) -> None:
        while piece and self._fd is not None:
            written = os.write(self._fd, piece)
            self._kept_bytes += written
            self._room -= written
            piece = piece[written:]

    def _mark_time(self) -> None:
        """Let the newest file tell when something was printed, though it is not kept."""
        if self._fd is not None:
            with contextlib.suppress(OSError):
                os.utime(self._fd)

    def _mark_loss(self) -> None:
        """Leave an empty segment at the end: it tells readers how much is missing before it.

        It takes no data block, so it mostly succeeds on a full disk.
        """
        with contextlib.suppress(OSError):
            name = segment_name(self.bytes_total, self._newlines)
            os.close(open_file(name, _OPEN_FLAGS, dir_fd=self._open_directory()))

    def _path(self, start: int, newlines: int) -> str:
        return os.path.join(self._directory, segment_name(start, newlines))

    def _try(self, action: Callable[..., object], *args: object) -> None:
        """Do `action`, unless something failed before; remember what fails."""
        if self.error is not None:
            return
        try:
            action(*args)
        except OddFileError as error:
            self.error = str(error)
        except OSError as error:
            self.error = errno.errorcode.get(error.errno or 0, type(error).__name__)
