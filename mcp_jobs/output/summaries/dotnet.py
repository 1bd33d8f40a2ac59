"""dotnet test: VSTest's lines, and those of the terminal logger since .NET 9."""

from __future__ import annotations

import re

from mcp_jobs.output.summaries.report_text import Found, Text, count, duration_s, summary_of

_VSTEST = re.compile(
    r"(?:Passed|Failed|Skipped)!\s+- Failed:\s+(\d{1,9}), Passed:\s+(\d{1,9}),"
    r" Skipped:\s+(\d{1,9}), Total:\s+(\d{1,9}), Duration: ([^-]{1,40}) - "
)
_TERMINAL = re.compile(
    r"Test summary: total: (\d{1,9}), failed: (\d{1,9}), succeeded: (\d{1,9}),"
    r" skipped: (\d{1,9}), duration: (\S{1,20})\Z"
)
_FAILED = re.compile(r"  Failed (\S.*) \[[^\]]{1,20}\]\Z|.{0,400}?error TESTERROR: ?(\S+) \(")


def find_dotnet(text: Text) -> list[Found]:
    """Find the line of each test project, or the summary of all of them."""
    if not (text.has("Duration: ") or text.has("Test summary: ")):
        return []
    ends = sorted([*text.all(_VSTEST), *text.all(_TERMINAL)])
    return [_run(text, begin, end) for begin, end in text.runs(ends)]


def _run(text: Text, begin: int, end: int) -> Found:
    failed, passed, skipped, total, duration = _numbers(text.lines[end])
    names = [m.group(1) or m.group(2) for m in map(_FAILED.match, text.lines[begin:end]) if m]
    return Found(
        begin=end,
        line=end,
        summary=summary_of(
            "dotnet",
            passed=passed,
            failed=failed,
            skipped=skipped,
            total=total,
            names=names,
            duration_s=duration_s(duration),
        ),
    )


def _numbers(line: str) -> tuple[int, int, int, int, str]:
    """Return failed, passed, skipped, total and the duration in words."""
    if found := _VSTEST.match(line):
        failed, passed, skipped, total = map(count, found.groups()[:4])
        return failed, passed, skipped, total, found.group(5)
    if found := _TERMINAL.match(line):
        total, failed, passed, skipped = map(count, found.groups()[:4])
        return failed, passed, skipped, total, found.group(5)
    return 0, 0, 0, 0, ""
