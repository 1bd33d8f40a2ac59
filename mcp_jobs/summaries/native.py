"""cargo test, go test and ctest."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mcp_jobs.summaries.text import Found, Text, count, duration_s, summary_of

_CARGO_RESULT = re.compile(
    r"test result: (?:ok|FAILED)\. (\d{1,9}) passed; (\d{1,9}) failed; (\d{1,9}) ignored;"
    r"(?:.* finished in (\d{1,9}\.\d{1,6})s)?"
)
_CARGO_BUILT = re.compile(r"\s*Finished (?:`?\w+`? profile|\w+) \[")
_CARGO_NAME = re.compile(r" {4}(\S.*)")


def find_cargo(text: Text) -> Found | None:
    """Add up the ``test result:`` lines of the last cargo test (one for each binary).

    Where it began is known from cargo's "Finished" line; with -q all runs add up.
    """
    end = text.last(_CARGO_RESULT) if text.has("test result: ") else -1
    if end < 0:
        return None
    begin = text.last(_CARGO_BUILT, before=end) + 1
    results = [(i, m) for i in range(begin, end + 1) if (m := _CARGO_RESULT.match(text.lines[i]))]
    names = [name for i, _ in results for name in _cargo_names(text.lines, begin, i)]
    times = [float(m.group(4)) for _, m in results if m.group(4)]
    return Found(
        line=end,
        summary=summary_of(
            "cargo",
            passed=sum(count(m.group(1)) for _, m in results),
            failed=sum(count(m.group(2)) for _, m in results),
            skipped=sum(count(m.group(3)) for _, m in results),
            names=names,
            duration_s=round(sum(times), 6) if times else None,
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


_GO_TEST = re.compile(r"\s*--- (PASS|FAIL|SKIP): (\S+) \(\d[\d.]*s\)")
_GO_PACKAGE = re.compile(r"(ok|FAIL) {0,3}\t(\S+)(?:\s+(?:(\d{1,9}\.\d{1,6})s|\[.* failed\]))?")


def find_go(text: Text) -> Found | None:
    """Count the tests of ``go test -v``, or the packages where go was not that verbose.

    Without -v go does not say how many tests passed, so packages are counted, and the runner
    is called "go (packages)"; the names are those of failed tests all the same.
    Nothing tells two runs apart, so they add up.
    """
    end = text.last(_GO_PACKAGE) if text.has("\t") else -1
    if end < 0:
        return None
    packages = [m for m in map(_GO_PACKAGE.match, text.lines) if m]
    tests = [m for m in map(_GO_TEST.match, text.lines) if m]
    verbose = any(m.group(1) == "PASS" for m in tests)
    states = [m.group(1) for m in tests] if verbose else [m.group(1) for m in packages]
    broken = [m.group(2) for m in packages if m.group().endswith("failed]")]
    names = [m.group(2) for m in tests if m.group(1) == "FAIL"]
    times = [float(m.group(3)) for m in packages if m.group(3)]
    return Found(
        line=end,
        summary=summary_of(
            "go" if verbose else "go (packages)",
            passed=states.count("PASS") + states.count("ok"),
            failed=states.count("FAIL") - (0 if verbose else len(broken)),
            skipped=states.count("SKIP"),
            errors=len(broken),
            names=names + broken,
            duration_s=round(sum(times), 6) if times else None,
        ),
    )


_CTEST_RESULT = re.compile(r"\d{1,3}% tests passed, (\d{1,9}) tests? failed out of (\d{1,9})\s*\Z")
_CTEST_TIME = re.compile(r"Total Test time \(real\) = +(.+)")
_CTEST_FAILED = "The following tests FAILED:"
_CTEST_NOT_RUN = "The following tests did not run:"
_CTEST_NAME = re.compile(r"\s+\d{1,9} - (\S.*?) \([^)]*\)(?: .*)?\Z")


def find_ctest(text: Text) -> Found | None:
    """Find ``90% tests passed, 1 tests failed out of 10`` and the lists below it."""
    end = text.last(_CTEST_RESULT) if text.has("tests passed, ") else -1
    result = _CTEST_RESULT.match(text.lines[end]) if end >= 0 else None
    if result is None:
        return None
    below = text.lines[end + 1 :]
    failed, total = count(result.group(1)), count(result.group(2))
    skipped = len(_ctest_list(below, _CTEST_NOT_RUN))
    times = [m.group(1) for m in map(_CTEST_TIME.match, below) if m]
    return Found(
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
