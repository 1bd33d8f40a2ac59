"""Playwright's test runner."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mcp_jobs.output.summaries.report_text import Found, Text, count, duration_s, summary_of

_START = re.compile(r"Running \d{1,9} tests? using \d{1,9} workers?(?:, shard .*)?\Z")
_COUNT = re.compile(
    r"  (\d{1,9}) (failed|flaky|interrupted|skipped|did not run|passed)(?: \((\d[\w. ]{0,20})\))?\Z"
)
_OUTSIDE = re.compile(r"  (\d{1,9}) errors? (?:was|were) not a part of any test")
_NAME = re.compile(r"    (\S.*?)[ \u2500]*\Z")
_NAMED = ("failed", "interrupted")


def find_playwright(text: Text) -> list[Found]:
    """Find the block of counts that a run ends with; a flaky test passed in the end."""
    starts = text.all(_START) if text.has("Running ") else []
    found = (_run(text, start, after) for _, start, after in text.spans(starts))
    return [run for run in found if run is not None]


def _run(text: Text, start: int, after: int) -> Found | None:
    lines = text.lines[start:after]
    counts = [(i, m) for i, line in enumerate(lines) if (m := _COUNT.match(line))]
    outside = [m for m in map(_OUTSIDE.match, lines) if m]
    if not counts:
        return None
    numbers = {m.group(2): count(m.group(1)) for _, m in counts}
    times = [m.group(3) for _, m in counts if m.group(3)]
    return Found(
        begin=start,
        line=start + counts[-1][0],
        summary=summary_of(
            "playwright",
            passed=numbers.get("passed", 0) + numbers.get("flaky", 0),
            failed=numbers.get("failed", 0) + numbers.get("interrupted", 0),
            skipped=numbers.get("skipped", 0) + numbers.get("did not run", 0),
            errors=sum(count(m.group(1)) for m in outside),
            names=list(_names(lines[counts[0][0] :])),
            duration_s=duration_s(times[-1]) if times else None,
        ),
    )


def _names(lines: Sequence[str]) -> Iterator[str]:
    """Yield what is listed below the counts of failed and interrupted tests."""
    listing = False
    for line in lines:
        if found := _COUNT.match(line):
            listing = found.group(2) in _NAMED
        elif listing and (name := _NAME.match(line)):
            yield name.group(1)
