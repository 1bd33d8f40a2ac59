"""Ask every finder and add up what the runs of one job said."""

from __future__ import annotations

from collections.abc import Sequence

from mcp_jobs.output.summaries.browser import find_playwright
from mcp_jobs.output.summaries.dotnet import find_dotnet
from mcp_jobs.output.summaries.elixir import find_mix
from mcp_jobs.output.summaries.golang import find_go
from mcp_jobs.output.summaries.javascript import find_ava, find_jest, find_mocha, find_vitest
from mcp_jobs.output.summaries.jvm import find_gradle, find_maven
from mcp_jobs.output.summaries.native import find_cargo, find_ctest, find_gtest, find_nextest
from mcp_jobs.output.summaries.php import find_phpunit
from mcp_jobs.output.summaries.python_runners import find_pytest, find_unittest
from mcp_jobs.output.summaries.report_text import Found, RunSummary, Text, added
from mcp_jobs.output.summaries.ruby import find_minitest, find_rspec
from mcp_jobs.output.summaries.runtimes import find_bun, find_deno, find_node
from mcp_jobs.output.summaries.tap import find_tap

_FINDERS = (
    find_pytest,
    find_unittest,
    find_jest,
    find_vitest,
    find_node,
    find_bun,
    find_deno,
    find_mocha,
    find_ava,
    find_playwright,
    find_cargo,
    find_nextest,
    find_go,
    find_ctest,
    find_gtest,
    find_rspec,
    find_minitest,
    find_phpunit,
    find_maven,
    find_gradle,
    find_dotnet,
    find_mix,
    find_tap,
)


def summarise(output_tail: bytes) -> RunSummary | None:
    """Return what the test runs in the output came to together, or None if there was none.

    A run that another one printed, as tests of test runners do, is part of that one and not
    counted. Looks at no more than the last mebibyte, in linear time; never raises.
    """
    text = Text(output_tail)
    runs = _outermost([run for find in _FINDERS for run in find(text)])
    return added([run.summary for run in runs]) if runs else None


def _outermost(runs: Sequence[Found]) -> list[Found]:
    """Leave out each run that lies within another one; of two for the same lines keep the first."""
    kept: list[Found] = []
    for run in sorted(runs, key=lambda run: (-run.line, run.begin)):
        # All that were kept end here or later, so the last of them began first.
        if not kept or run.begin < kept[-1].begin:
            kept.append(run)
    return kept[::-1]
