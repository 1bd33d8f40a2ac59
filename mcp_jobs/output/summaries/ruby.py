"""RSpec and minitest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mcp_jobs.output.summaries.report_text import Found, Text, count, duration_s, summary_of

_RSPEC_RESULT = re.compile(
    r"(\d{1,9}) examples?, (\d{1,9}) failures?(?:, (\d{1,9}) pending)?"
    r"(?:, (\d{1,9}) errors? occurred outside of examples)?\Z"
)
_RSPEC_TIME = re.compile(r"Finished in ([^(]+)")
_RSPEC_NAME = re.compile(r"rspec \S+ # (\S.*)")
_RSPEC_FILE = re.compile(r"rspec ('?\./\S+)\Z")


def find_rspec(text: Text) -> list[Found]:
    """Find ``12 examples, 1 failure`` and the ``rspec ./x_spec.rb:3 # name`` lines below it."""
    ends = text.all(_RSPEC_RESULT) if text.has(" example") else []
    return [_rspec_run(text, begin, end, after) for begin, end, after in text.spans(ends)]


def _rspec_run(text: Text, begin: int, end: int, after: int) -> Found:
    result = _RSPEC_RESULT.match(text.lines[end])
    total, failed, pending, errors = map(count, result.groups()) if result else (0, 0, 0, 0)
    below = text.lines[end + 1 : after]
    found = [_RSPEC_NAME.match(line) or _RSPEC_FILE.match(line) for line in below]
    times = [m.group(1) for m in map(_RSPEC_TIME.match, text.lines[begin:end]) if m]
    return Found(
        begin=end,
        line=end,
        summary=summary_of(
            "rspec",
            passed=total - failed - pending,
            failed=failed,
            skipped=pending,
            errors=errors,
            names=[m.group(1) for m in found if m],
            duration_s=duration_s(times[-1]) if times else None,
        ),
    )


_MINITEST_RESULT = re.compile(
    r"(\d{1,9}) runs, \d{1,9} assertions, (\d{1,9}) failures, (\d{1,9}) errors, (\d{1,9}) skips\Z"
)
_MINITEST_START = re.compile(r"Run options: ")
_MINITEST_TIME = re.compile(r"Finished in (\d{1,9}\.\d{1,9}s),")
_MINITEST_BAD = re.compile(r"\s{0,3}(?:\d{1,9}\) )?(?:Failure|Error):\Z")
_MINITEST_NAME = re.compile(r"([\w:]+#\S.*?)(?: \[.*\])?:\Z")


def find_minitest(text: Text) -> list[Found]:
    """Find ``4 runs, 2 assertions, 1 failures, 1 errors, 1 skips``."""
    ends = text.all(_MINITEST_RESULT) if text.has(" runs, ") else []
    return [_minitest_run(text, begin, end) for begin, end in text.runs(ends)]


def _minitest_run(text: Text, begin: int, end: int) -> Found:
    result = _MINITEST_RESULT.match(text.lines[end])
    total, failed, errors, skips = map(count, result.groups()) if result else (0, 0, 0, 0)
    times = [m.group(1) for m in map(_MINITEST_TIME.match, text.lines[begin:end]) if m]
    return Found(
        begin=text.first(_MINITEST_START, begin, end),
        line=end,
        summary=summary_of(
            "minitest",
            passed=total - failed - errors - skips,
            failed=failed,
            skipped=skips,
            errors=errors,
            total=total,
            names=list(_minitest_names(text.lines[begin:end])),
            duration_s=duration_s(times[-1]) if times else None,
        ),
    )


def _minitest_names(lines: Sequence[str]) -> Iterator[str]:
    bad = False
    for line in lines:
        if bad and (found := _MINITEST_NAME.match(line)):
            yield found.group(1)
        bad = _MINITEST_BAD.match(line) is not None
