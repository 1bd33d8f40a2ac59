"""Progress of a job: what it says itself, what its output shows, and the two merged."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from mcp_jobs.progress.explicit import ProgressFileParser
from mcp_jobs.progress.reading import Reading
from mcp_jobs.progress.tracker import Progress, ProgressTracker

if TYPE_CHECKING:
    from mcp_jobs.progress.recognise import OutputRecogniser

__all__ = ["OutputRecogniser", "Progress", "ProgressFileParser", "ProgressTracker", "Reading"]


def __getattr__(name: str) -> object:
    # Its patterns take longer to compile than the rest of the package to load.
    if name == "OutputRecogniser":
        return import_module("mcp_jobs.progress.recognise").OutputRecogniser
    raise AttributeError(name)
