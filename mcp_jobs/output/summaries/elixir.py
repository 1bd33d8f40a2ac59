"""ExUnit, as mix test runs it."""

from __future__ import annotations

import re

from mcp_jobs.output.summaries.report_text import Found, Text, counted_words, duration_s, summary_of

_RESULT = re.compile(
    r"((?:\d{1,9} (?:doctest|test|propert(?:y|ie)|feature)s?, ){1,4}\d{1,9} failures?"
    r"(?:, \d{1,9} (?:invalid|skipped|excluded)){0,3})\Z"
)
_TIME = re.compile(r"Finished in (\d{1,9}(?:\.\d{1,6})? seconds)")
_FAILED = re.compile(r"  {1,3}\d{1,9}\) (\S.*\([\w.]+\))\Z")
_TESTS = ("doctest", "doctests", "test", "tests", "property", "properties", "feature", "features")


def find_mix(text: Text) -> list[Found]:
    """Find ``4 tests, 2 failures, 1 skipped`` and the numbered failures above it."""
    ends = text.all(_RESULT) if text.has(" failure") else []
    return [_run(text, begin, end) for begin, end in text.runs(ends)]


def _run(text: Text, begin: int, end: int) -> Found:
    words = counted_words(text.lines[end])
    failed = words.get("failures", 0) + words.get("failure", 0)
    skipped = words.get("skipped", 0) + words.get("excluded", 0)
    invalid = words.get("invalid", 0)
    total = sum(words.get(word, 0) for word in _TESTS)
    region = text.lines[begin:end]
    times = [m.group(1) for m in map(_TIME.match, region) if m]
    return Found(
        begin=end,
        line=end,
        summary=summary_of(
            "mix",
            passed=total - failed - skipped - invalid,
            failed=failed,
            skipped=skipped,
            errors=invalid,
            total=total,
            names=[m.group(1) for m in map(_FAILED.match, region) if m],
            duration_s=duration_s(times[-1]) if times else None,
        ),
    )
