"""Progress of a job: what it says itself, what its output shows, and the two merged."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from mcp_jobs.output.progress.explicit import ProgressFileParser
from mcp_jobs.output.progress.figures import Reading
from mcp_jobs.output.progress.tracker import Progress, ProgressTracker

if TYPE_CHECKING:
    from mcp_jobs.output.progress.declared_pattern import PatternRecogniser
    from mcp_jobs.output.progress.recognise import OutputRecogniser

__all__ = [
    "OutputRecogniser",
    "PatternRecogniser",
    "Progress",
    "ProgressFileParser",
    "ProgressTracker",
    "Reading",
    "Recogniser",
]

_ON_FIRST_USE = {
    # Its patterns take longer to compile than the rest of the package to load.
    "OutputRecogniser": "mcp_jobs.output.progress.recognise",
    "PatternRecogniser": "mcp_jobs.output.progress.declared_pattern",
}


class Recogniser(Protocol):
    """Finds progress in consecutive chunks of raw output; never raises."""

    def feed(self, data: bytes) -> Reading | None:
        """Take the next chunk and return the reading after it, or None if it is unchanged."""
        ...

    def gap(self) -> None:
        """Say that bytes were left out before the next chunk."""
        ...


def __getattr__(name: str) -> object:
    if name in _ON_FIRST_USE:
        return getattr(import_module(_ON_FIRST_USE[name]), name)
    raise AttributeError(name)
