"""pytest and unittest."""

from __future__ import annotations

import re

from mcp_jobs.summaries.text import Found, Text, count, counted_words, summary_of

_PYTEST_END = re.compile(
    r"(?:=+ )?((?:\d{1,9} [a-z]+(?:, )?){1,12}|no tests ran) in (\d{1,9}\.\d{1,6}) ?s(?:econds)?\b"
)
_PYTEST_WORDS = re.compile(
    r"passed|failed|skipped|errors?|xfailed|xpassed|deselected|warnings?|rerun|no tests ran"
)
_SHORT_SUMMARY = re.compile(r"=+ short test summary info =+\Z")
_FAILED_LINE = re.compile(r"(?:FAILED|ERROR) (\S.*)")
_HEADING = re.compile(
    r"_+ (?:ERROR (?:at (?:setup|teardown) of|collecting) )?([^_\s].*?|_\w.*?) _+\Z"
)


def find_pytest(text: Text) -> Found | None:
    """Find pytest's last line, ``== 2 failed, 47 passed in 1.23s ==``, with or without ``=``."""
    if not (text.has(" in ") and _PYTEST_WORDS.search(text.whole)):
        return None
    end = _last_pytest_end(text, len(text.lines))
    found = _PYTEST_END.match(text.lines[end]) if end >= 0 else None
    if found is None:
        return None
    words = counted_words(found.group(1))
    failed, errors = words.get("failed", 0), words.get("error", 0) + words.get("errors", 0)
    return Found(
        line=end,
        summary=summary_of(
            "pytest",
            passed=words.get("passed", 0) + words.get("xpassed", 0),
            failed=failed,
            skipped=words.get("skipped", 0) + words.get("xfailed", 0),
            errors=errors,
            names=_pytest_names(text, end) if failed + errors else (),
            duration_s=float(found.group(2)),
        ),
    )


def _last_pytest_end(text: Text, before: int) -> int:
    end = before
    while (end := text.last(_PYTEST_END, before=end)) >= 0:
        # "3 files in 0.1s" has the same shape.
        if _PYTEST_WORDS.search(text.lines[end]):
            break
    return end


def _pytest_names(text: Text, end: int) -> list[str]:
    begin = _last_pytest_end(text, end) + 1
    section = text.last(_SHORT_SUMMARY, before=end)
    if section >= begin:
        lines = text.lines[section + 1 : end]
        if names := [_node_id(m.group(1)) for m in map(_FAILED_LINE.match, lines) if m]:
            return names
    return [m.group(1) for m in map(_HEADING.match, text.lines[begin:end]) if m]


def _node_id(text: str) -> str:
    """Cut `` - AssertionError: ...`` off, but not a `` - `` inside of ``test_a[b - c]``."""
    dash, bracket = text.find(" - "), text.find("[")
    if 0 <= bracket < dash:
        closing = text.find("] - ", bracket)
        if closing >= 0:
            return text[: closing + 1]
        if text.endswith("]"):
            return text
    return text if dash < 0 else text[:dash]


_RAN = re.compile(r"Ran (\d{1,9}) tests? in (\d{1,9}\.\d{1,6})s\Z")
_VERDICT = re.compile(r"(?:OK|FAILED|NO TESTS RAN)(?: \((.*)\))?\Z")
_VERDICT_PART = re.compile(r"([a-z ]+)=(\d{1,9})")
_UNITTEST_FAILURE = re.compile(r"(?:FAIL|ERROR|UNEXPECTED SUCCESS): (\S.*)")
_VERDICT_WITHIN_LINES = 4
_SUBTEST = re.compile(r"(\S+ \(\S+\)) [(\[].*")


def find_unittest(text: Text) -> Found | None:
    """Find ``Ran 12 tests in 0.3s`` and the verdict below it."""
    end = text.last(_RAN) if text.has("Ran ") else -1
    ran = _RAN.match(text.lines[end]) if end >= 0 else None
    verdict = _verdict(text.lines[end + 1 : end + 1 + _VERDICT_WITHIN_LINES]) if ran else None
    if ran is None or verdict is None:
        return None
    begin = text.last(_RAN, before=end) + 1
    names = [m.group(1) for m in map(_UNITTEST_FAILURE.match, text.lines[begin:end]) if m]
    failed = verdict.get("failures", 0) + verdict.get("unexpected successes", 0)
    errors = verdict.get("errors", 0)
    skipped = verdict.get("skipped", 0) + verdict.get("expected failures", 0)
    # A test with failing subtests is one test, whatever the number of its failures.
    bad = min(failed + errors, len({_SUBTEST.sub(r"\1", name) for name in names} or {""}))
    if len(names) < failed + errors:
        bad = failed + errors
    return Found(
        line=end,
        summary=summary_of(
            "unittest",
            passed=count(ran.group(1)) - bad - skipped,
            failed=failed,
            skipped=skipped,
            errors=errors,
            total=count(ran.group(1)),
            names=names,
            duration_s=float(ran.group(2)),
        ),
    )


def _verdict(lines: list[str]) -> dict[str, int] | None:
    for line in lines:
        if found := _VERDICT.match(line):
            parts = _VERDICT_PART.findall(found.group(1) or "")
            return {name.strip(): int(number) for name, number in parts}
    return None
