"""jest, vitest, mocha and ava."""

from __future__ import annotations

import json
import re
from bisect import bisect_right
from collections.abc import Sequence

from mcp_jobs.output.summaries.report_text import (
    Found,
    RunSummary,
    Text,
    bounded,
    count,
    counted_words,
    duration_s,
    lasts,
    summary_of,
)

_JEST_TESTS = re.compile(r"Tests:\s+((?:\d{1,9} [a-z]+, ){0,6})\d{1,9} total\Z")
_JEST_TIME = re.compile(r"Time:\s+([^,]+)")
_JEST_FILE = re.compile(r"\s{0,2}(PASS|FAIL)\s+(\S+\.\w+)(?: \([\d.]+ \w+\))?\Z")
_JEST_BULLET = re.compile(r"\s{0,4}● (\S.*)")
_JEST_RAN_ALL = re.compile(r"Ran all test suites")
_JEST_BROKEN = "Test suite failed to run"
_JEST_NOT_A_TEST = ("Console", "Cannot log after", "Deprecation Warning", "Validation ")


def find_jest(text: Text) -> list[Found]:
    """Find ``Tests: 1 failed, 5 passed, 6 total``; files that did not load are errors."""
    counts = text.all(_JEST_TESTS) if text.has("Tests:") else []
    # A terminal's live display repeats the counts all the time; the last ones of a run count.
    ends = lasts(counts, [*text.all(_JEST_RAN_ALL), len(text.lines)])
    return [_jest_run(text, begin, end) for begin, end in text.runs(ends)]


def _jest_run(text: Text, begin: int, end: int) -> Found:
    found = _JEST_TESTS.match(text.lines[end])
    words = counted_words(found.group(1)) if found else {}
    names, broken = _jest_failures(text.lines[begin:end])
    times = [m.group(1) for m in map(_JEST_TIME.match, text.lines[end : end + 4]) if m]
    return Found(
        begin=text.first(_JEST_FILE, begin, end),
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


_VITEST_TESTS = re.compile(
    r"\s*Tests\s+(?:((?:\d{1,9} [a-z ]+?(?: \| | ?)){1,8})\(\d{1,9}\)|no tests)\Z"
)
_VITEST_RUN = re.compile(r"\s*(?:RUN|DEV)\s+v\d")
_VITEST_FAIL = re.compile(r"\s*FAIL\s+(\S.*)")
_VITEST_DURATION = re.compile(r"\s*Duration\s+(\S+)")
_VITEST_ERRORS = re.compile(r"\s*Errors\s+(\d{1,9}) errors?\Z")
_VITEST_SUITES = re.compile(r"\W*Failed Suites (\d{1,9})\b")
_LINES_AROUND = 5


def find_vitest(text: Text) -> list[Found]:
    """Find ``Tests  1 failed | 2 passed (3)``; files that did not load are errors."""
    counts = text.all(_VITEST_TESTS) if text.has("Test Files") else []
    starts = text.all(_VITEST_RUN) if counts else []
    # A terminal shows the counts all the time; the last ones of a run count.
    ends = lasts(counts, [*starts, len(text.lines)])
    return [
        _vitest_run(text, max([begin, *starts[: bisect_right(starts, end)][-1:]]), end)
        for begin, end in text.runs(ends)
    ]


def _vitest_run(text: Text, begin: int, end: int) -> Found:
    found = _VITEST_TESTS.match(text.lines[end])
    words = counted_words(found.group(1) or "") if found else {}
    region, near = text.lines[begin:end], text.lines[end : end + _LINES_AROUND]
    suites = [count(m.group(1)) for m in map(_VITEST_SUITES.match, region) if m]
    unhandled = [count(m.group(1)) for m in map(_VITEST_ERRORS.match, near) if m]
    times = [m.group(1) for m in map(_VITEST_DURATION.match, near) if m]
    return Found(
        begin=begin if _VITEST_RUN.match(text.lines[begin]) else end,
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


_MOCHA_PASSING = re.compile(r"\s+(\d{1,9}) passing \((\w[^)]{0,20})\)\Z")
_MOCHA_STATE = re.compile(r"\s+(\d{1,9}) (pending|failing)\Z")
_MOCHA_NUMBERED = re.compile(r"  \d{1,9}\) (\S.*)")
_MOCHA_TITLE_LINES = 12
_MOCHA_JSON = '{\n  "stats": {\n    "suites"'


def find_mocha(text: Text) -> list[Found]:
    """Find ``12 passing (2s)`` and the numbered failures below it, or a report in JSON."""
    ends = text.all(_MOCHA_PASSING) if text.has(" passing (") else []
    printed = [_mocha_run(text, end, after) for _, end, after in text.spans(ends)]
    return printed + _mocha_reports(text)


def _mocha_run(text: Text, end: int, after: int) -> Found:
    passing = _MOCHA_PASSING.match(text.lines[end])
    states = [m.groups() for m in map(_MOCHA_STATE.match, text.lines[end + 1 : end + 4]) if m]
    numbers = {word: int(number) for number, word in states}
    failed = numbers.get("failing", 0)
    return Found(
        begin=end,
        line=end,
        summary=summary_of(
            "mocha",
            passed=count(passing.group(1)) if passing else 0,
            failed=failed,
            skipped=numbers.get("pending", 0),
            names=_mocha_names(text.lines[end + 1 : after]) if failed else (),
            duration_s=duration_s(passing.group(2)) if passing else None,
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


def _mocha_reports(text: Text) -> list[Found]:
    """Read what ``--reporter json`` printed, as far as it is whole."""
    runs: list[Found] = []
    line, after = 0, 0
    while (at := text.whole.find(_MOCHA_JSON, after)) >= 0:
        begin = line + text.whole.count("\n", after, at)
        try:
            report, after = json.JSONDecoder().raw_decode(text.whole, at)
            summary = _mocha_summary(report)
        except (ValueError, RecursionError, LookupError, TypeError, AttributeError):
            break
        line = begin + text.whole.count("\n", at, after)
        runs.append(Found(begin=begin, line=line, summary=summary))
    return runs


def _mocha_summary(report: dict[str, dict[str, int]]) -> RunSummary:
    stats = report["stats"]
    return summary_of(
        "mocha",
        passed=int(bounded(stats["passes"])),
        failed=int(bounded(stats["failures"])),
        skipped=int(bounded(stats["pending"])),
        names=[_mocha_json_name(failure) for failure in report["failures"]],
        duration_s=round(bounded(stats["duration"]) / 1000, 6),
    )


def _mocha_json_name(failure: object) -> str:
    return str(failure["fullTitle"]) if isinstance(failure, dict) else ""


_AVA_COUNT = re.compile(
    r"  (\d{1,9}) (?:(?:tests?|hooks?) (passed|failed|skipped|todo)|known failures?|"
    r"(uncaught exceptions?|unhandled rejections?))\Z"
)
_AVA_TEST = re.compile(r"  (?:✔|✘) (\[expected fail\])?(?:\[fail\]: (\S.*))?")


def find_ava(text: Text) -> list[Found]:
    """Find the block of counts that ava ends with; passed tests are counted where some failed."""
    counts = set(text.all(_AVA_COUNT)) if text.has("✔") or text.has("✘") else set[int]()
    ends = sorted(index for index in counts if index + 1 not in counts)
    return [_ava_run(text, begin, end) for begin, end in text.runs(ends)]


def _ava_run(text: Text, begin: int, end: int) -> Found:
    numbers: dict[str, int] = {}
    for found in map(_AVA_COUNT.match, text.lines[begin : end + 1]):
        if found is not None:
            word = "error" if found.group(3) else found.group(2) or "known"
            numbers[word] = numbers.get(word, 0) + count(found.group(1))
    tests = [m for m in map(_AVA_TEST.match, text.lines[begin:end]) if m]
    names = [m.group(2) for m in tests if m.group(2)]
    shown = sum(1 for m in tests if not m.group(2) and not m.group(1))
    return Found(
        begin=text.first(_AVA_TEST, begin, end),
        line=end,
        summary=summary_of(
            "ava",
            passed=numbers.get("passed", shown),
            failed=numbers.get("failed", 0),
            skipped=sum(numbers.get(word, 0) for word in ("skipped", "todo", "known")),
            errors=numbers.get("error", 0),
            names=names,
        ),
    )
