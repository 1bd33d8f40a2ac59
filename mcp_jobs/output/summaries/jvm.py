"""Maven Surefire and Gradle."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mcp_jobs.output.summaries.report_text import Found, Text, count, lasts, summary_of

_MAVEN_LEVEL = r"(?:\[(?:INFO|ERROR|WARNING|WARN)\] )?"
_MAVEN_TESTS = re.compile(
    rf"{_MAVEN_LEVEL}Tests run: (\d{{1,9}}), Failures: (\d{{1,9}}), Errors: (\d{{1,9}}),"
    r" Skipped: (\d{1,9})(?:, Time elapsed: (\d{1,9}(?:\.\d{1,6})?) s)?"
)
_MAVEN_START = re.compile(rf"{_MAVEN_LEVEL}Scanning for projects")
_MAVEN_LIST = re.compile(rf"{_MAVEN_LEVEL}\s*(?:Failures|Errors|Failed tests|Tests in error): ?\Z")
_MAVEN_NAME = re.compile(rf"{_MAVEN_LEVEL}\s{{2}}\s?([\w$.]+[.:#][\w$.\[\]]+(?::\d{{1,7}})?)")


def find_maven(text: Text) -> list[Found]:
    """Add up the totals of the modules of each mvn: ``Tests run:`` without a class."""
    results = text.all(_MAVEN_TESTS) if text.has("Tests run: ") else []
    starts = text.all(_MAVEN_START) if results else []
    # Results before the first start belong to a run whose start lies before the text.
    ends = lasts(results, [*starts, len(text.lines)])
    return [_maven_run(text, begin, end) for begin, end in text.runs(ends)]


def _maven_run(text: Text, begin: int, end: int) -> Found:
    lines = text.lines[begin : end + 1]
    found = [(line, m) for line in lines if (m := _MAVEN_TESTS.match(line))]
    classes = [m for line, m in found if "Time elapsed" in line]
    counted = [m for line, m in found if "Time elapsed" not in line] or classes
    run, failed, errors, skipped = (
        sum(count(m.group(column)) for m in counted) for column in range(1, 5)
    )
    times = [float(m.group(5)) for m in classes if m.group(5)]
    return Found(
        begin=text.first(_MAVEN_START, begin, end),
        line=end,
        summary=summary_of(
            "maven",
            passed=run - failed - errors - skipped,
            failed=failed,
            skipped=skipped,
            errors=errors,
            total=run,
            names=_maven_names(lines),
            duration_s=round(sum(times), 6) if times else None,
        ),
    )


def _maven_names(lines: Sequence[str]) -> list[str]:
    names: list[str] = []
    listing = False
    for line in lines:
        if _MAVEN_LIST.match(line):
            listing = True
        elif listing and (found := _MAVEN_NAME.match(line)):
            names.append(found.group(1))
        elif not line.startswith(("[ERROR]   ", "  ")):
            listing = False
    return names


_GRADLE_RESULT = re.compile(
    r"(\d{1,9}) tests? completed(?:, (\d{1,9}) failed)?(?:, (\d{1,9}) skipped)?\Z"
)
_GRADLE_FAILED = re.compile(r"(\S.* > \S.*) FAILED\Z")


def find_gradle(text: Text) -> list[Found]:
    """Find ``5 tests completed, 1 failed, 1 skipped``, which Gradle says only after a failure."""
    ends = text.all(_GRADLE_RESULT) if text.has(" completed") else []
    return [_gradle_run(text, begin, end) for begin, end in text.runs(ends)]


def _gradle_run(text: Text, begin: int, end: int) -> Found:
    result = _GRADLE_RESULT.match(text.lines[end])
    total, failed, skipped = map(count, result.groups()) if result else (0, 0, 0)
    return Found(
        begin=end,
        line=end,
        summary=summary_of(
            "gradle",
            passed=total - failed - skipped,
            failed=failed,
            skipped=skipped,
            names=[m.group(1) for m in map(_GRADLE_FAILED.match, text.lines[begin:end]) if m],
        ),
    )
