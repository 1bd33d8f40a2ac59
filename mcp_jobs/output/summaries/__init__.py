"""What a test runner said at the end of a job's output."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mcp_jobs.output.summaries.finders import summarise
    from mcp_jobs.output.summaries.report_text import RunSummary

__all__ = ["RunSummary", "summarise"]

_HOMES = {"RunSummary": "report_text", "summarise": "finders"}


def __getattr__(name: str) -> object:
    # The first job that ends pays for compiling the patterns, not the start of the server.
    if name in _HOMES:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    raise AttributeError(name)
