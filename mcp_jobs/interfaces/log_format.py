"""The log on stderr: what others wrote into a message cannot move the cursor of who reads it."""

from __future__ import annotations

import logging
import sys

from mcp_jobs.domain import display


class Formatter(logging.Formatter):
    """Formats a record, traceback and all, in characters that a terminal only shows."""

    def format(self, record: logging.LogRecord) -> str:
        return display.lines(super().format(record))


def to_stderr() -> None:
    """Log warnings to stderr. A second call changes nothing."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(Formatter("mcp-jobs: %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
