"""Progress of test runners that say what ended, and not how much there is: a count of tests.

go test, mocha, ava, unittest in its verbose form and node:test; Playwright does say how many tests
it runs. unittest's dots are left alone: any program prints dots.
"""

from __future__ import annotations

import re

from mcp_jobs.output.progress.builds import counted
from mcp_jobs.output.progress.figures import Reading

_SUITES_MAX = 1024
_LINE = re.compile(
    # go test -v; subtests are indented.
    r"(?P<go> {0,40}--- (?:PASS|FAIL|SKIP): \S{1,300} \(\d[\d.]*s\))"
    # go test: a package.
    r"|(?P<package>(?:ok|FAIL) {0,3}\t\S{1,300}\t?\s*"
    r"(?:\d[\d.]*s|\(cached\)|\[[a-z ]{1,30} failed\]))"
    # unittest -v
    r"|(?P<unittest>(?!setUp|tearDown)\w{1,200} \([\w.]{1,300}\) \.\.\. "
    r"(?:ok|FAIL|ERROR|skipped .*|(?:un)?expected (?:failure|success))\Z)"
    # node:test as TAP says after each line what it was for.
    r"|(?P<tap>\s{0,80}(?:not )?ok \d{1,7} - \S)|(?P<tap_test>\s{1,80}type: 'test'\Z)"
    # node:test, mocha and ava; a suite that begins, and one that ends.
    r"|\s{0,80}(?:▶ (?P<suite>\S.{0,300})|[✔✖\ufe63] (?P<node>\S.{0,300}?) \(\d[\d.]*ms\))"
    r"|(?P<mocha> {2,80}(?:✔ \S|✘ \[fail\]: \S|\d{1,6}\) \S))"
)
_FAILED = ("FAIL", "ERROR", "unexpected success", "✖", "✘")
_MOCHA_FAILED = re.compile(r" {2,80}\d{1,6}\) ")
_REPORT = re.compile(r" {1,8}\d{1,9} passing \(|\s{0,2}✖ failing tests:|\u2139 tests \d|# tests \d")
_GO_TESTS = ("go", "package")


class TestTally:
    """Counts the tests that have ended, whatever runner ran them."""

    __test__ = False

    def __init__(self) -> None:
        self._tests = 0
        self._packages = 0
        self._failed = 0
        self._all_shown = False
        self._not_ok = False
        self._suites: set[str] = set()
        self._reporting = False

    def line(self, line: str) -> Reading | None:
        """Take a complete line."""
        if _REPORT.match(line):
            # What follows repeats the tests that failed.
            self._reporting = True
            return None
        found = _LINE.match(line)
        kind = found.lastgroup if found else None
        if found is None or kind is None or not self._is_end(kind, found, line):
            return None
        self._count(kind, line)
        return self._reading() if self._all_shown or self._packages else None

    def _is_end(self, kind: str, found: re.Match[str], line: str) -> bool:
        """Say whether the line tells the end of a test, or of a package of go."""
        if kind == "tap":
            self._not_ok = "not ok" in line
        elif kind == "suite":
            self._reporting = False
            if len(self._suites) < _SUITES_MAX:
                self._suites.add(found.group("suite"))
        elif kind == "node" and found.group("node") in self._suites:
            self._suites.discard(found.group("node"))
        elif "✔" in line or kind in _GO_TESTS:
            self._reporting = False
            return True
        else:
            return not self._reporting
        return False

    def _count(self, kind: str, line: str) -> None:
        failed = self._not_ok if kind == "tap_test" else any(mark in line for mark in _FAILED)
        failed = failed or (kind == "mocha" and _MOCHA_FAILED.match(line) is not None)
        if kind == "package":
            self._packages += 1
            # With -v, or below the name of a test, this failure was counted.
            return
        self._tests += 1
        self._failed += failed
        # Without -v go shows only the tests that failed.
        self._all_shown = self._all_shown or kind != "go" or "PASS" in line

    def _reading(self) -> Reading:
        if self._all_shown:
            failures = f", {self._failed} failed" if self._failed else ""
            return _counted(self._tests, "test", failures)
        failures = f", {_plural(self._failed, 'test')} failed" if self._failed else ""
        return _counted(self._packages, "package", failures)


def _counted(number: int, noun: str, failures: str) -> Reading:
    return Reading(current=number, message=f"{_plural(number, noun)}{failures}")


def _plural(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


_PLAYWRIGHT_START = re.compile(r"Running (\d{1,7}) tests? using \d{1,5} workers?")
_PLAYWRIGHT_TEST = re.compile(r" {2}([✓✘-]) {1,8}\d{1,7} \S.{0,400} \u203a ")


class PlaywrightProgress:
    """Counts the tests of Playwright's list; a test that is tried again counts once."""

    def __init__(self) -> None:
        self._total = 0
        self._done = 0
        self._failed = 0

    def line(self, line: str) -> Reading | None:
        """Take a complete line."""
        if started := _PLAYWRIGHT_START.match(line):
            self._total, self._done, self._failed = int(started.group(1)), 0, 0
        elif self._total and " \u203a " in line and (test := _PLAYWRIGHT_TEST.match(line)):
            if "(retry #" in line:
                return None
            self._done = min(self._done + 1, self._total)
            self._failed += test.group(1) == "✘"
        else:
            return None
        failures = f", {self._failed} failed" if self._failed else ""
        message = f"{self._done} of {self._total} tests{failures}"
        return counted(str(self._done), str(self._total), message)
