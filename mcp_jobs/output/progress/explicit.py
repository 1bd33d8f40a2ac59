"""The progress file: one JSON object a line, appended by the job itself."""

from __future__ import annotations

import json
from typing import cast

from mcp_jobs.output.progress.figures import (
    Reading,
    clean_message,
    sanitised,
    usable_number,
    usable_percent,
    usable_total,
)

LINE_MAX_BYTES = 8192


class ProgressFileParser:
    """Reads a progress file piece by piece; nonsense is skipped and nothing ever raises.

    A line is a JSON object with any of ``current``, ``total``, ``percent`` (numbers) and
    ``message`` (text). Later lines are merged over earlier ones. A line longer than
    ``LINE_MAX_BYTES`` is skipped, so the buffer for an unfinished line stays bounded.
    """

    def __init__(self) -> None:
        self._partial = b""
        self._skipping = False
        self._merged = Reading()

    def feed(self, data: bytes) -> Reading | None:
        """Take the next bytes of the file.

        Returns the merged reading if these bytes completed a valid line, else None.
        """
        *complete, rest = data.split(b"\n")
        found = False
        for piece in complete:
            self._keep(piece)
            found = self._end_line() or found
        self._keep(rest)
        return sanitised(self._merged) if found else None

    def _keep(self, piece: bytes) -> None:
        if self._skipping or len(self._partial) + len(piece) > LINE_MAX_BYTES:
            self._partial, self._skipping = b"", True
        else:
            self._partial += piece

    def _end_line(self) -> bool:
        line, skipped = self._partial, self._skipping
        self._partial, self._skipping = b"", False
        fields = None if skipped else _parse(line)
        if fields is None:
            return False
        self._merged = _merge(self._merged, fields)
        return True


def _parse(line: bytes) -> Reading | None:
    """Return the usable fields of one line, or None when it has none."""
    try:
        value: object = json.loads(line.decode("utf-8"))
    # RecursionError: thousands of nested brackets fit in a line.
    except (ValueError, RecursionError):
        return None
    if not isinstance(value, dict):
        return None
    fields = cast("dict[str, object]", value)
    message = fields.get("message")
    reading = Reading(
        current=usable_number(fields.get("current")),
        total=usable_total(fields.get("total")),
        percent=usable_percent(fields.get("percent")),
        message=clean_message(message) if isinstance(message, str) else None,
    )
    return None if reading == Reading() else reading


def _merge(old: Reading, new: Reading) -> Reading:
    counted = new.current is not None or new.total is not None
    if new.percent is not None and not counted:
        # A percentage alone replaces the count, which would contradict it from now on.
        current, total = None, None
    else:
        current = old.current if new.current is None else new.current
        total = old.total if new.total is None else new.total
    # For the same reason an old percentage does not outlive a newer count.
    percent = new.percent if counted or new.percent is not None else old.percent
    return Reading(
        current=current, total=total, percent=percent, message=new.message or old.message
    )
