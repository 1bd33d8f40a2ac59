"""Progress of tools that must be counted over many lines: pytest, jest, vitest, cargo test."""

from __future__ import annotations

import re

from mcp_jobs.output.progress.builds import counted
from mcp_jobs.output.progress.figures import ALL_PERCENT, Reading

_COLLECTED = re.compile(r"(?:\A|\s)collected (\d{1,8}) items?(?:\s|\Z)")
_SELECTED = re.compile(r" / (\d{1,8}) selected")
_XDIST_ITEMS = re.compile(r"(?:\d{1,4} workers?|gw\d{1,4}) \[(\d{1,8})(?: items?)?\]")
_COLUMN = re.compile(r"\[\s{0,8}(?:(\d{1,3})%|(\d{1,8})/(\d{1,8}))\]\Z")
_COLUMN_BEGINS = re.compile(r"\s\[[\s\d/%]{0,20}\]?\Z")
_SUGAR = re.compile(r"\s(\d{1,3})%\s+[▏▎▍▌▋▊▉█]")
_XDIST_TEST = re.compile(r"\[gw\d{1,4}\](?: \[\s{0,3}(\d{1,3})%\])? ([A-Z]{4,8}) ")
_VERBOSE_TEST = re.compile(r"\S+::.* ([A-Z]{4,8})(?: \(.*\))?\s*\Z")
_SECTION = re.compile(r"={3,} (.+) ={3,}\s*\Z")
_DOTS = frozenset(".FEsxXRuf,-")
# Subtests that passed, failed or were skipped: parts of a test, and not counted.
_SUBTEST_DOTS = "u,-"
_OUTCOMES = frozenset(["PASSED", "FAILED", "ERROR", "SKIPPED", "XFAIL", "XPASS"])


class PytestProgress:
    """Counts the tests of a pytest run whose header said how many there are."""

    def __init__(self) -> None:
        self._total = 0
        self._done = 0
        self._failed = 0
        self._errors = 0
        self._reporting = False

    @property
    def active(self) -> bool:
        """Whether the lines now belong to pytest: its tests run or its report is written."""
        return self._total > 0 or self._reporting

    def line(self, line: str) -> Reading | None:
        """Take a complete line."""
        if "[" in line or "item" in line:
            self._header(line)
        if not self.active:
            return None
        if line.startswith("===") and (section := _SECTION.match(line)):
            self._section(section.group(1))
            return None
        if self._total == 0:
            return None
        self._count(line.rstrip())
        return self._reading(self._done, self._failed, self._errors)

    def unfinished(self, line: str) -> Reading | None:
        """Return the reading as if the line, which may still go on, ended here."""
        outcomes = _dots_of(_COLUMN_BEGINS.sub("", line)) if self._total else ""
        return self._reading(*self._with(outcomes)) if outcomes else None

    def _header(self, line: str) -> None:
        found = _COLLECTED.search(line) or _XDIST_ITEMS.search(line)
        if found is None or self._reporting or self._done:
            return
        selected = _SELECTED.search(line)
        self._total = int(selected.group(1) if selected else found.group(1))

    def _section(self, title: str) -> None:
        if title.startswith("test session starts"):
            self._total, self._reporting = 0, False
        else:
            # The closing line, "2 failed in 0.10s", ends the report as well.
            self._reporting = " in " not in title or not title[0].isdigit()
            self._total = 0
        self._done = self._failed = self._errors = 0

    def _count(self, line: str) -> None:
        column = _COLUMN.search(line)
        body = line[: column.start()].rstrip() if column else line
        self._done, self._failed, self._errors = self._with(_dots_of(body) or _outcome_of(body))
        if column and column.group(1):
            self._catch_up(int(column.group(1)))
        elif column:
            self._done = max(self._done, min(int(column.group(2)), self._total))
        elif painted := _SUGAR.search(line) or _XDIST_TEST.match(line):
            self._catch_up(int(painted.group(1) or 0))

    def _with(self, outcomes: str) -> tuple[int, int, int]:
        tests = len(outcomes) - sum(map(outcomes.count, _SUBTEST_DOTS))
        done = min(self._done + tests, self._total)
        return done, self._failed + outcomes.count("F"), self._errors + outcomes.count("E")

    def _catch_up(self, percent: int) -> None:
        """The column is cut down to whole percents: at least so many tests are done."""
        self._done = max(self._done, -(-min(percent, ALL_PERCENT) * self._total // 100))

    def _reading(self, done: int, failed: int, errors: int) -> Reading:
        failures = f", {failed} failed" if failed else ""
        if errors:
            failures += ", 1 error" if errors == 1 else f", {errors} errors"
        message = f"{done} of {self._total} tests{failures}"
        return Reading(current=done, total=self._total, message=message)


def _dots_of(line: str) -> str:
    """Return the outcome letters that end ``path/test_a.py ..F.`` or make up ``..F.``."""
    head, _, tail = line.strip().rpartition(" ")
    head = head.rstrip()
    if not tail or not _DOTS.issuperset(tail):
        return ""
    is_path = " " not in head and ("." in head or "/" in head) and "::" not in head
    return tail if not head or is_path else ""


def _outcome_of(line: str) -> str:
    """Return one outcome letter for a verbose line, else nothing."""
    if line.startswith("[gw"):
        found = _XDIST_TEST.match(line)
        outcome = found.group(2) if found else ""
    else:
        found = _VERBOSE_TEST.match(line)
        outcome = found.group(1) if found else ""
    return outcome[0] if outcome in _OUTCOMES else ""


_JEST_FILE = re.compile(
    r"\s{0,2}(?:PASS|FAIL)\s+\S+\.(?:[cm]?[jt]sx?|vue|svelte)(?:\s*\Z| \([\d.]+ )"
)
_JEST_SUITES = re.compile(r"Test Suites: (?:.*, )?(?:(\d{1,7}) of )?(\d{1,7}) total\Z")
_VITEST_FILE = re.compile(r"\s{0,2}[\u2713\u2714\u2717\u276f\u00d7] \S+\.\w+ \(\d{1,7} tests?\b")
_VITEST_FILES = re.compile(r"\s*Test Files\s+(.*)\((\d{1,7})\)\Z")
_STATE_COUNT = re.compile(r"(\d{1,7}) (?:failed|passed|skipped)")


class JestProgress:
    """Counts the test files of jest and vitest; their live line tells the total."""

    def __init__(self) -> None:
        self._done = 0
        self._total: int | None = None
        self._repeating = False

    def line(self, line: str) -> Reading | None:
        """Take a complete line."""
        if "Test " in line and self._live(line.rstrip()):
            return self._reading()
        if "Summary of all failing tests" in line:
            # The files that follow were counted when they failed.
            self._repeating = True
        if self._repeating or not _ends_test_file(line):
            return None
        self._done += 1
        return self._reading()

    def _live(self, line: str) -> bool:
        if suites := _JEST_SUITES.match(line):
            self._total = int(suites.group(2))
            self._done = int(suites.group(1) or self._total)
            return True
        if files := _VITEST_FILES.match(line):
            self._done = sum(map(int, _STATE_COUNT.findall(files.group(1))))
            self._total = int(files.group(2))
            return True
        return False

    def _reading(self) -> Reading:
        if not self._total:
            files = "file" if self._done == 1 else "files"
            return Reading(current=self._done, message=f"{self._done} test {files}")
        done = min(self._done, self._total)
        return Reading(
            current=done, total=self._total, message=f"{done} of {self._total} test files"
        )


def _ends_test_file(line: str) -> bool:
    if "PASS" in line or "FAIL" in line:
        return _JEST_FILE.match(line) is not None
    return " test" in line and _VITEST_FILE.match(line) is not None


_CARGO_RUNNING = re.compile(r"running (\d{1,7}) tests?\Z")
_CARGO_TEST = re.compile(r"test \S.* \.\.\. (ok|FAILED|ignored)")
_CARGO_QUIET = re.compile(r"[.iF]{1,200} (\d{1,7})/(\d{1,7})\Z")


class CargoTestProgress:
    """Counts the tests of all binaries that one cargo test runs, as they become known."""

    def __init__(self) -> None:
        self._total = 0
        self._before = 0
        self._done = 0

    def line(self, line: str) -> Reading | None:
        """Take a complete line."""
        if not self._total and not line.startswith("running "):
            return None
        line = line.rstrip()
        if running := _CARGO_RUNNING.match(line):
            self._before, self._total = self._total, self._total + int(running.group(1))
            self._done = self._before
        elif _CARGO_TEST.match(line):
            self._done = min(self._done + 1, self._total)
        elif quiet := _CARGO_QUIET.match(line):
            self._done = min(self._before + int(quiet.group(1)), self._total)
        else:
            return None
        return counted(str(self._done), str(self._total), f"{self._done} of {self._total} tests")
