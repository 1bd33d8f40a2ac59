"""cargo test, nextest, ctest and GoogleTest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from mcp_jobs.output.summaries.report_text import (
    Found,
    Text,
    count,
    counted_words,
    duration_s,
    summary_of,
)

_CARGO_RESULT = re.compile(
    r"test result: (?:ok|FAILED)\. (\d{1,9}) passed; (\d{1,9}) failed; (\d{1,9}) ignored;"
    r"(?:.* finished in (\d{1,9}\.\d{1,6})s)?"
)
_CARGO_NAME = re.compile(r" {4}(\S.*)")


def find_cargo(text: Text) -> list[Found]:
    """Find the ``test result:`` lines: one for each binary of each run, which all add up."""
    ends = text.all(_CARGO_RESULT) if text.has("test result: ") else []
    return [_cargo_binary(text, begin, end) for begin, end in text.runs(ends)]


def _cargo_binary(text: Text, begin: int, end: int) -> Found:
    found = _CARGO_RESULT.match(text.lines[end])
    passed, failed, ignored = map(count, found.groups()[:3]) if found else (0, 0, 0)
    return Found(
        begin=end,
        line=end,
        summary=summary_of(
            "cargo",
            passed=passed,
            failed=failed,
            skipped=ignored,
            names=_cargo_names(text.lines, begin, end),
            duration_s=float(found.group(4)) if found and found.group(4) else None,
        ),
    )


def _cargo_names(lines: Sequence[str], begin: int, result: int) -> list[str]:
    """Return the indented list between ``failures:`` and the result line."""
    names: list[str] = []
    for index in range(result - 1, begin - 1, -1):
        if found := _CARGO_NAME.match(lines[index]):
            names.append(found.group(1))
        elif lines[index] == "failures:":
            return names[::-1]
        elif lines[index]:
            break
    return []


_NEXTEST_END = re.compile(
    r"\s*Summary \[\s*(\d{1,9}\.\d{1,6})s\] (?:\d{1,9}/)?(\d{1,9}) tests? run: (.{1,300})\Z"
)
_NEXTEST_START = re.compile(r"\s*Nextest run ID \S")
_NEXTEST_FAILED = re.compile(
    r"\s*(?:TRY \d{1,3} )?(?:FAIL|TIMEOUT|ABORT|SIG[A-Z]+|XFAIL|LEAK-FAIL)"
    r" \[\s*[\d.]{1,12}s\] (?:\(\s*\d{1,9}/\d{1,9}\) )?(\S.*)\Z"
)
_IN_PARENTHESES = re.compile(r" \([^)]{0,100}\)")


def find_nextest(text: Text) -> list[Found]:
    """Find ``Summary [0.005s] 3 tests run: 2 passed (1 slow), 1 failed, 1 skipped``."""
    ends = text.all(_NEXTEST_END) if text.has(" run: ") else []
    return [_nextest_run(text, begin, end) for begin, end in text.runs(ends)]


def _nextest_run(text: Text, begin: int, end: int) -> Found:
    found = _NEXTEST_END.match(text.lines[end])
    words = counted_words(_IN_PARENTHESES.sub("", found.group(3))) if found else {}
    failed = words.get("failed", 0) + words.get("timed", 0)
    names = [m.group(1) for m in map(_NEXTEST_FAILED.match, text.lines[begin:end]) if m]
    return Found(
        begin=text.first(_NEXTEST_START, begin, end),
        line=end,
        summary=summary_of(
            "nextest",
            passed=words.get("passed", 0),
            failed=failed,
            skipped=words.get("skipped", 0),
            errors=words.get("exec", 0),
            # A test that was tried again and passed failed in a line of its own, too.
            names=names if failed else (),
            duration_s=float(found.group(1)) if found else None,
        ),
    )


_CTEST_RESULT = re.compile(r"\d{1,3}% tests passed, (\d{1,9}) tests? failed out of (\d{1,9})\s*\Z")
_CTEST_START = re.compile(r"Test project \S|\s+Start +\d{1,9}: ")
_CTEST_TIME = re.compile(r"Total Test time \(real\) = +(.+)")
_CTEST_FAILED = "The following tests FAILED:"
_CTEST_NOT_RUN = "The following tests did not run:"
_CTEST_NAME = re.compile(r"\s+\d{1,9} - (\S.*?) \([^)]*\)(?: .*)?\Z")


def find_ctest(text: Text) -> list[Found]:
    """Find ``90% tests passed, 1 tests failed out of 10`` and the lists below it."""
    ends = text.all(_CTEST_RESULT) if text.has("tests passed, ") else []
    return [_ctest_run(text, begin, end, after) for begin, end, after in text.spans(ends)]


def _ctest_run(text: Text, begin: int, end: int, after: int) -> Found:
    result = _CTEST_RESULT.match(text.lines[end])
    failed, total = map(count, result.groups()) if result else (0, 0)
    below = text.lines[end + 1 : after]
    skipped = len(_ctest_list(below, _CTEST_NOT_RUN))
    times = [m.group(1) for m in map(_CTEST_TIME.match, below) if m]
    return Found(
        begin=text.first(_CTEST_START, begin, end),
        line=end,
        summary=summary_of(
            "ctest",
            passed=total - failed - skipped,
            failed=failed,
            skipped=skipped,
            total=total,
            names=_ctest_list(below, _CTEST_FAILED),
            duration_s=duration_s(times[0]) if times else None,
        ),
    )


def _ctest_list(lines: Sequence[str], title: str) -> list[str]:
    if title not in lines:
        return []
    names: list[str] = []
    for line in lines[lines.index(title) + 1 :]:
        found = _CTEST_NAME.match(line)
        if found is None:
            break
        names.append(found.group(1))
    return names


_GTEST_END = re.compile(
    r"\[=+\] (\d{1,9}) tests? from \d{1,9} test (?:suites?|cases?) ran\."
    r"(?: \((\d{1,9} ms) total\))?\Z"
)
_GTEST_START = re.compile(r"\[=+\] Running \d{1,9} tests? from ")
_GTEST_COUNT = re.compile(r"\[  (PASSED|SKIPPED|FAILED) +\] (\d{1,9}) tests?[.,]")
_GTEST_FAILED = re.compile(r"\[  FAILED  \] ([^\s,]+)(?:, where .*)?\Z")


def find_gtest(text: Text) -> list[Found]:
    """Find ``[==========] 5 tests from 2 test suites ran.`` and the counts below it."""
    ends = text.all(_GTEST_END) if text.has(" ran.") else []
    return [_gtest_run(text, begin, end, after) for begin, end, after in text.spans(ends)]


def _gtest_run(text: Text, begin: int, end: int, after: int) -> Found:
    found = _GTEST_END.match(text.lines[end])
    below = list(_gtest_result(text.lines[end + 1 : after]))
    counts = {m.group(1): count(m.group(2)) for m in map(_GTEST_COUNT.match, below) if m}
    return Found(
        begin=text.first(_GTEST_START, begin, end),
        line=end + len(below),
        summary=summary_of(
            "gtest",
            passed=counts.get("PASSED", 0),
            failed=counts.get("FAILED", 0),
            skipped=counts.get("SKIPPED", 0),
            names=[m.group(1) for m in map(_GTEST_FAILED.match, below) if m],
            duration_s=duration_s(found.group(2)) if found and found.group(2) else None,
        ),
    )


def _gtest_result(lines: Sequence[str]) -> Iterator[str]:
    """Yield the lines below the last one of the tests, which all begin with a label."""
    for line in lines:
        if not line.startswith("[  "):
            return
        yield line
