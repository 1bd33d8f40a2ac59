"""The exit record: what a runner leaves behind, durably, about one attempt.

It is written once, after the process tree is verified gone, and it is the only source for how an
attempt ended. Its claim token says which one, so it is never taken for that of another attempt.
"""

from __future__ import annotations

import errno
import os
import time

from mcp_jobs.execution.launcher.layout import EXIT, add_line, read_lines, sync_directory

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection
    from typing import Any, TypedDict, TypeGuard

    class ExitRecord(TypedDict):
        """One ended attempt. Times are wall-clock milliseconds, UTC."""

        token: int
        reason: str | None
        """Why the runner ended it (a `Reason` value); None when it ended by itself."""
        exit_code: int | None
        signal: int | None
        error: str | None
        started_at_ms: int | None
        finished_at_ms: int
        cpu_s: float
        memory_peak_bytes: int
        bytes_total: int
        dropped_bytes: int
        output_start: int
        """Offset of this attempt's first output byte in the job's output."""
        output_error: str | None
        """The errno name that stopped the output files (ENOSPC), or None."""


ROOM_BYTES = 8192
"""What a runner keeps free for its record: a job that fills the disk must be able to say how it
ended."""

_ERROR_CHARACTERS = 500
"""Longer errors are cut. A character takes up to twelve bytes, so that every record has room."""

_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("reason", "error", "output_error"), (str, type(None))),
    **dict.fromkeys(("exit_code", "signal", "started_at_ms"), (int, type(None))),
    **dict.fromkeys(("token", "finished_at_ms", "memory_peak_bytes"), (int,)),
    **dict.fromkeys(("bytes_total", "dropped_bytes", "output_start"), (int,)),
    "cpu_s": (int, float),
}

_FULL_PAUSE_S = 1.0
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
_ANY = frozenset(errno.errorcode)


def write(job_dir: str, alive_fd: int, record: ExitRecord, *, written: Callable[[], None]) -> None:
    """Add the record to the open `alive`, call `written`, and make it survive a power cut.

    Should the disk be full in spite of the room, this waits for space: an end that is not written
    down would be called an interruption.
    """
    record = {**record, "error": short(record["error"])}
    _patiently(lambda: add_line(alive_fd, {EXIT: record}), _ANY)
    written()
    _patiently(lambda: os.fsync(alive_fd), _FULL)
    # FileNotFoundError: the job's directory was removed, and nobody is left to tell.
    _patiently(lambda: sync_directory(job_dir), _FULL)


def short(error: str | None) -> str | None:
    """Return an error as a record has room for it."""
    if error is None or len(error) <= _ERROR_CHARACTERS:
        return error
    return f"{error[: _ERROR_CHARACTERS - 1]}…"


def _patiently(step: Callable[[], object], wait_for: Collection[int]) -> None:
    """Do a step, again and again where its error may pass; another error is left at that.

    Not every file system can bring a directory to the disk.
    """
    while True:
        try:
            step()
        except OSError as error:
            if error.errno not in wait_for:
                return
            time.sleep(_FULL_PAUSE_S)
        else:
            return


def read(job_dir: str, token: int) -> ExitRecord | None:
    """Return the record of the attempt with this claim token, or None if it has not ended."""
    return find(read_lines(job_dir), token)


def newest(lines: list[dict[str, Any]]) -> ExitRecord | None:
    """Return the last record among the lines of runners, whichever attempt it is of."""
    return next((r for line in reversed(lines) if is_record(r := line.get(EXIT))), None)


def is_record(value: object) -> TypeGuard[ExitRecord]:
    """Say whether a JSON value is a whole exit record; a job could have written another one."""
    return isinstance(value, dict) and all(
        isinstance(value.get(name), kinds) for name, kinds in _KINDS.items()
    )


def find(lines: list[dict[str, Any]], token: int) -> ExitRecord | None:
    """Return the record of the attempt with this claim token among the lines of runners."""
    for line in reversed(lines):
        record = line.get(EXIT)
        if is_record(record) and record["token"] == token:
            return record
    return None
