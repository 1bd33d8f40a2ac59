"""The exit record: what a runner leaves behind, durably, about one attempt.

It is written once, after the process tree is verified gone, and it is the only source for how an
attempt ended. A file named for the claim token cannot be taken for that of another attempt.
"""

from __future__ import annotations

import json
import os
import time

from mcp_jobs.launcher.layout import (
    PRIVATE_FILE,
    exit_name,
    read_json,
    sync_directory,
    write_all,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import TypedDict

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


_RESERVED_BYTES = 4096
_FULL_PAUSE_S = 1.0


def reserve(job_dir: str, token: int) -> None:
    """Take the disk space of a record beforehand. Raises OSError when there is none.

    A job that fills the disk must still be able to say how it ended.
    """
    fd = os.open(_reserved(job_dir, token), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(fd, 0, _RESERVED_BYTES)
    finally:
        os.close(fd)


def write(job_dir: str, record: ExitRecord) -> None:
    """Store the record in one step, so that it survives a power cut.

    Should the disk be full in spite of the reserve, this waits for space: an end that is not
    written down would be called an interruption.
    """
    text = json.dumps(record).encode()
    while True:
        try:
            _write(job_dir, record["token"], text)
        except FileNotFoundError:
            # The job's directory was removed: nobody is left to tell.
            return
        except OSError:
            time.sleep(_FULL_PAUSE_S)
        else:
            return


def _write(job_dir: str, token: int, text: bytes) -> None:
    reserved = _reserved(job_dir, token)
    fd = os.open(reserved, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        write_all(fd, text)
        os.ftruncate(fd, len(text))
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(reserved, os.path.join(job_dir, exit_name(token)))
    sync_directory(job_dir)


def _reserved(job_dir: str, token: int) -> str:
    return os.path.join(job_dir, f".{exit_name(token)}")


def read(job_dir: str, token: int) -> ExitRecord | None:
    """Return the record of the attempt with this claim token, or None if it has not ended."""
    fields = read_json(os.path.join(job_dir, exit_name(token)))
    if fields is None or fields.get("token") != token:
        return None
    return fields  # type: ignore[return-value]  # written by `write` above
