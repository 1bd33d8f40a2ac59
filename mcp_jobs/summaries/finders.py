"""Ask every finder and take the runner that reported last."""

from __future__ import annotations

from mcp_jobs.summaries.javascript import find_jest, find_mocha, find_node, find_vitest
from mcp_jobs.summaries.native import find_cargo, find_ctest, find_go
from mcp_jobs.summaries.others import find_maven, find_phpunit, find_rspec, find_tap
from mcp_jobs.summaries.python import find_pytest, find_unittest
from mcp_jobs.summaries.text import RunSummary, Text

_FINDERS = (
    find_pytest,
    find_unittest,
    find_jest,
    find_vitest,
    find_node,
    find_mocha,
    find_cargo,
    find_go,
    find_ctest,
    find_rspec,
    find_phpunit,
    find_maven,
    find_tap,
)


def summarise(output_tail: bytes) -> RunSummary | None:
    """Return the summary of the test runner that reported last, or None if none did.

    Looks at no more than the last mebibyte, in linear time; never raises.
    """
    text = Text(output_tail)
    found = [summary for find in _FINDERS if (summary := find(text)) is not None]
    return max(found, key=lambda summary: summary.line).summary if found else None
