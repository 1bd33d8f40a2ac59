"""rspec, phpunit, maven surefire and any producer of TAP."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from mcp_jobs.summaries.text import Found, Text, count, duration_s, summary_of

_RSPEC_RESULT = re.compile(
    r"(\d{1,9}) examples?, (\d{1,9}) failures?(?:, (\d{1,9}) pending)?"
    r"(?:, (\d{1,9}) errors? occurred outside of examples)?\Z"
)
_RSPEC_TIME = re.compile(r"Finished in ([^(]+)")
_RSPEC_NAME = re.compile(r"rspec \S+ # (\S.*)")
_RSPEC_FILE = re.compile(r"rspec ('?\./\S+)\Z")


def find_rspec(text: Text) -> Found | None:
    """Find ``12 examples, 1 failure`` and the ``rspec ./x_spec.rb:3 # name`` lines below it."""
    end = text.last(_RSPEC_RESULT) if text.has(" example") else -1
    result = _RSPEC_RESULT.match(text.lines[end]) if end >= 0 else None
    if result is None:
        return None
    total, failed, pending, errors = map(count, result.groups())
    below = text.lines[end + 1 :]
    found = [_RSPEC_NAME.match(line) or _RSPEC_FILE.match(line) for line in below]
    time = _RSPEC_TIME.match(text.lines[text.last(_RSPEC_TIME, before=end)])
    return Found(
        line=end,
        summary=summary_of(
            "rspec",
            passed=total - failed - pending,
            failed=failed,
            skipped=pending,
            errors=errors,
            names=[m.group(1) for m in found if m],
            duration_s=duration_s(time.group(1)) if time else None,
        ),
    )


_PHPUNIT_OK = re.compile(r"OK \((\d{1,9}) tests?, \d{1,9} assertions?\)\Z")
_PHPUNIT_TESTS = re.compile(
    r"Tests: (\d{1,9}), Assertions: \d{1,9}((?:, [A-Z][A-Za-z ]+: \d{1,9})*)"
)
_PHPUNIT_PART = re.compile(r"([A-Z][A-Za-z ]+): (\d{1,9})")
_PHPUNIT_START = re.compile(r"PHPUnit \d")
_PHPUNIT_SECTION = re.compile(r"There (?:was|were) \d{1,9} (\w+)")
_PHPUNIT_NAME = re.compile(r"\d{1,9}\) (\S+::\S.*)")
_PHPUNIT_TIME = re.compile(r"Time: (?:(\d\d):)?(\d\d):(\d\d(?:\.\d{1,6})?)|Time: ([\d.]+ \w+)")


def find_phpunit(text: Text) -> Found | None:
    """Find ``OK (12 tests, 30 assertions)`` or ``Tests: 5, ... Failures: 1.`` of PHPUnit."""
    if not text.has("ssertion"):
        return None
    end = max(text.last(_PHPUNIT_OK), text.last(_PHPUNIT_TESTS))
    if end < 0:
        return None
    line = text.lines[end]
    result = _PHPUNIT_TESTS.match(line) or _PHPUNIT_OK.match(line)
    rest = line.partition(", Assertions")[2]
    parts = {name: int(number) for name, number in _PHPUNIT_PART.findall(rest)}
    total = count(result.group(1)) if result else 0
    failed, errors = parts.get("Failures", 0), parts.get("Errors", 0)
    skipped = parts.get("Skipped", 0) + parts.get("Incomplete", 0)
    begin = text.last(_PHPUNIT_START, before=end) + 1
    return Found(
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


_MAVEN_LEVEL = r"(?:\[(?:INFO|ERROR|WARNING|WARN)\] )?"
_MAVEN_TESTS = re.compile(
    rf"{_MAVEN_LEVEL}Tests run: (\d{{1,9}}), Failures: (\d{{1,9}}), Errors: (\d{{1,9}}),"
    r" Skipped: (\d{1,9})(?:, Time elapsed: (\d{1,9}(?:\.\d{1,6})?) s)?"
)
_MAVEN_START = re.compile(rf"{_MAVEN_LEVEL}Scanning for projects")
_MAVEN_LIST = re.compile(rf"{_MAVEN_LEVEL}\s*(?:Failures|Errors|Failed tests|Tests in error): ?\Z")
_MAVEN_NAME = re.compile(rf"{_MAVEN_LEVEL}\s{{2}}\s?([\w$.]+[.:#][\w$.\[\]]+(?::\d{{1,7}})?)")


def find_maven(text: Text) -> Found | None:
    """Add up the totals of the modules of the last mvn: ``Tests run:`` without a class."""
    end = text.last(_MAVEN_TESTS) if text.has("Tests run: ") else -1
    if end < 0:
        return None
    begin = text.last(_MAVEN_START, before=end) + 1
    lines = text.lines[begin : end + 1]
    found = [(line, m) for line in lines if (m := _MAVEN_TESTS.match(line))]
    classes = [m for line, m in found if "Time elapsed" in line]
    counted = [m for line, m in found if "Time elapsed" not in line] or classes
    run, failed, errors, skipped = (
        sum(count(m.group(column)) for m in counted) for column in range(1, 5)
    )
    times = [float(m.group(5)) for m in classes if m.group(5)]
    return Found(
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


_TAP_PLAN = re.compile(r"1\.\.(\d{1,9})(?:\s|\Z)")
_TAP_TEST = re.compile(r"(not )?ok\b(?: (\d{1,9}))?(?: -)? ?([^#]*)(?:# ?(\w+)?)?")


@dataclass(slots=True)
class _TapRun:
    """One TAP document's tests; ``end`` is the index of its last line so far."""

    passed: int = 0
    skipped: int = 0
    failed: list[str] = field(default_factory=list[str])
    planned: bool = False
    end: int = -1

    @property
    def begun(self) -> bool:
        return bool(self.passed or self.skipped or self.failed)

    def test(self, found: re.Match[str]) -> None:
        bad, number, name, directive = found.groups(default="")
        if directive.upper() in {"SKIP", "TODO"} or directive.upper().startswith("SKIP"):
            self.skipped += 1
        elif bad:
            self.failed.append(name.strip() or f"test {number}")
        else:
            self.passed += 1


def find_tap(text: Text) -> Found | None:
    """Count the ``ok`` and ``not ok`` lines of the last TAP document that has a plan."""
    if not (text.has("1..") and text.has("ok ")):
        return None
    last: _TapRun | None = None
    run = _TapRun()
    for index, line in enumerate(text.lines):
        run = _tap_line(run, index, line)
        if run.planned and run.begun:
            last = run
    if last is None:
        return None
    return Found(
        line=last.end,
        summary=summary_of(
            "tap",
            passed=last.passed,
            failed=len(last.failed),
            skipped=last.skipped,
            names=last.failed,
        ),
    )


def _tap_line(run: _TapRun, index: int, line: str) -> _TapRun:
    """Return the document that goes on after the line: the same one, or a new one."""
    if line.startswith("TAP version"):
        return _TapRun()
    if _TAP_PLAN.match(line):
        # A second plan, before or behind its tests, belongs to another document.
        run = _TapRun() if run.planned else run
        run.planned, run.end = True, index
    elif line.startswith(("ok", "not ok")) and (found := _TAP_TEST.match(line)):
        if found.group(2) == "1" and run.begun:
            run = _TapRun()
        run.test(found)
        run.end = index
    return run
