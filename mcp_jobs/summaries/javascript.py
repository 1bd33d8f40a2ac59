"""jest, vitest, node's own test runner and mocha."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mcp_jobs.summaries.text import Found, Text, count, counted_words, duration_s, summary_of

_JEST_TESTS = re.compile(r"Tests:\s+((?:\d{1,9} [a-z]+, ){0,6})\d{1,9} total\Z")
_JEST_TIME = re.compile(r"Time:\s+([^,]+)")
_JEST_FILE = re.compile(r"\s{0,2}(PASS|FAIL)\s+(\S+\.\w+)(?: \([\d.]+ \w+\))?\Z")
_JEST_BULLET = re.compile(r"\s{0,4}● (\S.*)")
_JEST_BROKEN = "Test suite failed to run"
_JEST_NOT_A_TEST = ("Console", "Cannot log after", "Deprecation Warning", "Validation ")


def find_jest(text: Text) -> Found | None:
    """Find ``Tests: 1 failed, 5 passed, 6 total``; files that did not load are errors."""
    end = text.last(_JEST_TESTS) if text.has("Tests:") else -1
    found = _JEST_TESTS.match(text.lines[end]) if end >= 0 else None
    if found is None:
        return None
    words = counted_words(found.group(1))
    begin = _after_earlier_jest(text, end)
    names, broken = _jest_failures(text.lines[begin:end])
    times = [m.group(1) for m in map(_JEST_TIME.match, text.lines[end : end + 4]) if m]
    return Found(
        line=end,
        summary=summary_of(
            "jest",
            passed=words.get("passed", 0),
            failed=words.get("failed", 0),
            skipped=words.get("skipped", 0) + words.get("pending", 0) + words.get("todo", 0),
            errors=broken,
            names=names,
            duration_s=duration_s(times[0]) if times else None,
        ),
    )


_JEST_RAN_ALL = re.compile(r"Ran all test suites")


def _after_earlier_jest(text: Text, end: int) -> int:
    # Not the "Tests:" line: a terminal's live display repeats that one all the time.
    return text.last(_JEST_RAN_ALL, before=end) + 1


def _jest_failures(lines: Sequence[str]) -> tuple[list[str], int]:
    names: list[str] = []
    broken: set[str] = set()
    file, failing = "", False
    for line in lines:
        if found := _JEST_FILE.match(line):
            file, failing = found.group(2), found.group(1) == "FAIL"
        elif failing and (bullet := _JEST_BULLET.match(line)):
            name = bullet.group(1)
            if name == _JEST_BROKEN:
                broken.add(file)
                names.append(file)
            elif not name.startswith(_JEST_NOT_A_TEST):
                names.append(name)
    return names, len(broken)


_VITEST_TESTS = re.compile(r"\s*Tests\s+((?:\d{1,9} [a-z ]+?(?: \| | ?)){1,8})\(\d{1,9}\)\Z")
_VITEST_NO_TESTS = re.compile(r"\s*Tests\s+no tests\Z")
_VITEST_RUN = re.compile(r"\s*(?:RUN|DEV)\s+v\d")
_VITEST_FAIL = re.compile(r"\s*FAIL\s+(\S.*)")
_VITEST_DURATION = re.compile(r"\s*Duration\s+(\S+)")
_VITEST_ERRORS = re.compile(r"\s*Errors\s+(\d{1,9}) errors?\Z")
_VITEST_SUITES = re.compile(r"\W*Failed Suites (\d{1,9})\b")
_LINES_AROUND = 5


def find_vitest(text: Text) -> Found | None:
    """Find ``Tests  1 failed | 2 passed (3)``; files that did not load are errors."""
    if not text.has("Test Files"):
        return None
    end = max(text.last(_VITEST_TESTS), text.last(_VITEST_NO_TESTS))
    if end < 0:
        return None
    found = _VITEST_TESTS.match(text.lines[end])
    words = counted_words(found.group(1)) if found else {}
    begin = text.last(_VITEST_RUN, before=end) + 1
    region, near = text.lines[begin:end], text.lines[end : end + _LINES_AROUND]
    suites = [count(m.group(1)) for m in map(_VITEST_SUITES.match, region) if m]
    unhandled = [count(m.group(1)) for m in map(_VITEST_ERRORS.match, near) if m]
    times = [m.group(1) for m in map(_VITEST_DURATION.match, near) if m]
    return Found(
        line=end,
        summary=summary_of(
            "vitest",
            passed=words.get("passed", 0),
            failed=words.get("failed", 0),
            skipped=words.get("skipped", 0) + words.get("todo", 0),
            errors=sum(suites[-1:]) + sum(unhandled[-1:]),
            names=[m.group(1) for m in map(_VITEST_FAIL.match, region) if m],
            duration_s=duration_s(times[0]) if times else None,
        ),
    )


_NODE_LINE = re.compile(
    r"(?:#|\u2139) (tests|suites|pass|fail|cancelled|skipped|todo|duration_ms)"
    r" (\d{1,9}(?:\.\d{1,9})?)\Z"
)
_NODE_DURATION = re.compile(r"(?:#|\u2139) duration_ms \d")
_NODE_LINES = 8
_NOT_OK = re.compile(r"\s*not ok \d{1,9} - (\S.*)")
_DIRECTIVE = re.compile(r" # (?:TODO|SKIP|time=)", re.IGNORECASE)
_SUITE_YAML = ("type: 'suite'", "failureType: 'subtestsFailed'")
_YAML_MAX_LINES = 8
_CROSSED = re.compile(r"\u2716 (\S.*?) \(\d[\d.]*m?s\)")


def find_node(text: Text) -> Found | None:
    """Find node's closing lines, ``# pass 3`` (TAP) or ``(i) pass 3`` (spec)."""
    end = text.last(_NODE_DURATION) if text.has(" duration_ms ") else -1
    begin = max(0, end + 1 - _NODE_LINES)
    lines = [m.groups() for m in map(_NODE_LINE.match, text.lines[begin : end + 1]) if m]
    numbers = {word: float(number) for word, number in lines}
    if end < 0 or "pass" not in numbers or "fail" not in numbers:
        return None
    spec = text.lines[end].startswith("\u2139")
    names = _spec_names(text.lines[end:]) if spec else list(_not_ok_names(text, begin))
    return Found(
        line=end,
        summary=summary_of(
            "node",
            passed=int(numbers["pass"]),
            failed=int(numbers["fail"] + numbers.get("cancelled", 0)),
            skipped=int(numbers.get("skipped", 0) + numbers.get("todo", 0)),
            names=names,
            duration_s=round(numbers["duration_ms"] / 1000, 6),
        ),
    )


def _spec_names(lines: Sequence[str]) -> list[str]:
    return [m.group(1) for m in map(_CROSSED.match, lines) if m]


def _not_ok_names(text: Text, end: int) -> Iterator[str]:
    """Yield failing tests, but not the suites that fail because of them."""
    begin = text.last(_NODE_DURATION, before=end) + 1
    for index in range(begin, end):
        found = _NOT_OK.match(text.lines[index])
        if found is None or _DIRECTIVE.search(found.group(1)):
            continue
        yaml = text.lines[index + 1 : index + 1 + _YAML_MAX_LINES]
        own = yaml[: next((i for i, line in enumerate(yaml) if line.strip() == "..."), None)]
        if not any(line.strip() in _SUITE_YAML for line in own):
            yield found.group(1)


_MOCHA_PASSING = re.compile(r"\s+(\d{1,9}) passing \((\w[^)]{0,20})\)\Z")
_MOCHA_STATE = re.compile(r"\s+(\d{1,9}) (pending|failing)\Z")
_MOCHA_NUMBERED = re.compile(r"  \d{1,9}\) (\S.*)")
_MOCHA_TITLE_LINES = 12


def find_mocha(text: Text) -> Found | None:
    """Find ``12 passing (2s)`` and the numbered failures below it."""
    end = text.last(_MOCHA_PASSING) if text.has(" passing (") else -1
    passing = _MOCHA_PASSING.match(text.lines[end]) if end >= 0 else None
    if passing is None:
        return None
    states = [m.groups() for m in map(_MOCHA_STATE.match, text.lines[end + 1 : end + 4]) if m]
    numbers = {word: int(number) for number, word in states}
    failed = numbers.get("failing", 0)
    return Found(
        line=end,
        summary=summary_of(
            "mocha",
            passed=count(passing.group(1)),
            failed=failed,
            skipped=numbers.get("pending", 0),
            names=_mocha_names(text.lines[end + 1 :]) if failed else (),
            duration_s=duration_s(passing.group(2)),
        ),
    )


def _mocha_names(lines: Sequence[str]) -> list[str]:
    names: list[str] = []
    for index, line in enumerate(lines):
        if found := _MOCHA_NUMBERED.match(line):
            rest = lines[index + 1 : index + _MOCHA_TITLE_LINES]
            names.append(_mocha_title([found.group(1), *rest]))
    return names


def _mocha_title(lines: Sequence[str]) -> str:
    """Join the titles of suites and test, which go on, one a line, up to a colon."""
    ends = (i for i, line in enumerate(lines) if line.endswith(":") or not line.strip())
    return " ".join(line.strip() for line in lines[: next(ends, 0) + 1]).strip().rstrip(":")
