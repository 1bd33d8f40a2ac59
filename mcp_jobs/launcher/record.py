"""The exit record: what a runner leaves behind, durably, about one attempt.

It is written once, after the process tree is verified gone, and it is the only source for how an
attempt ended. A file named for the claim token cannot be taken for that of another attempt.
"""

from __future__ import annotations

import os

from mcp_jobs.launcher.layout import exit_name, read_json, write_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypedDict

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


def write(job_dir: str, record: ExitRecord) -> None:
    """Store the record so that it survives a power cut."""
    fields: dict[str, Any] = dict(record)
    write_json(os.path.join(job_dir, exit_name(record["token"])), fields, durable=True)


def read(job_dir: str, token: int) -> ExitRecord | None:
    """Return the record of the attempt with this claim token, or None if it has not ended."""
    fields = read_json(os.path.join(job_dir, exit_name(token)))
    if fields is None or fields.get("token") != token:
        return None
    return fields  # type: ignore[return-value]  # written by `write` above
