"""PHPUnit."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mcp_jobs.output.summaries.report_text import Found, Text, count, duration_s, summary_of

_PHPUNIT_OK = re.compile(r"OK \((\d{1,9}) tests?, \d{1,9} assertions?\)\Z")
_PHPUNIT_TESTS = re.compile(
    r"Tests: (\d{1,9}), Assertions: \d{1,9}((?:, [A-Z][A-Za-z ]+: \d{1,9})*)"
)
_PHPUNIT_PART = re.compile(r"([A-Z][A-Za-z ]+): (\d{1,9})")
_PHPUNIT_START = re.compile(r"PHPUnit \d")
_PHPUNIT_SECTION = re.compile(r"There (?:was|were) \d{1,9} (\w+)")
_PHPUNIT_NAME = re.compile(r"\d{1,9}\) (\S+::\S.*)")
_PHPUNIT_TIME = re.compile(r"Time: (?:(\d\d):)?(\d\d):(\d\d(?:\.\d{1,6})?)|Time: ([\d.]+ \w+)")


def find_phpunit(text: Text) -> list[Found]:
    """Find ``OK (12 tests, 30 assertions)`` or ``Tests: 5, ... Failures: 1.`` of PHPUnit."""
    if not text.has("ssertion"):
        return []
    ends = sorted([*text.all(_PHPUNIT_OK), *text.all(_PHPUNIT_TESTS)])
    return [_phpunit_run(text, begin, end) for begin, end in text.runs(ends)]


def _phpunit_run(text: Text, begin: int, end: int) -> Found:
    line = text.lines[end]
    result = _PHPUNIT_TESTS.match(line) or _PHPUNIT_OK.match(line)
    rest = line.partition(", Assertions")[2]
    parts = {name: int(number) for name, number in _PHPUNIT_PART.findall(rest)}
    total = count(result.group(1)) if result else 0
    failed, errors = parts.get("Failures", 0), parts.get("Errors", 0)
    skipped = parts.get("Skipped", 0) + parts.get("Incomplete", 0)
    return Found(
        begin=text.first(_PHPUNIT_START, begin, end),
        line=end,
        summary=summary_of(
            "phpunit",
            passed=total - failed - errors - skipped,
            failed=failed,
            skipped=skipped,
            errors=errors,
            total=total,
            names=_phpunit_names(text.lines[begin:end]),
            duration_s=_phpunit_s(text.lines[begin:end]),
        ),
    )


def _phpunit_names(lines: Sequence[str]) -> list[str]:
    names: list[str] = []
    failures = False
    for line in lines:
        if section := _PHPUNIT_SECTION.match(line):
            failures = section.group(1).startswith(("fail", "error"))
        elif failures and (found := _PHPUNIT_NAME.match(line)):
            names.append(found.group(1))
    return names


def _phpunit_s(lines: Sequence[str]) -> float | None:
    times = [m for m in map(_PHPUNIT_TIME.match, lines) if m]
    if not times:
        return None
    hours, minutes, seconds, words = times[-1].groups()
    if words:
        return duration_s(words)
    return round(count(hours) * 3600 + count(minutes) * 60 + float(seconds), 6)
