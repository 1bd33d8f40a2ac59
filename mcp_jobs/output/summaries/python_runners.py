"""pytest and unittest."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from mcp_jobs.output.summaries.report_text import Found, Text, count, counted_words, summary_of

_PYTEST_END = re.compile(
    r"(?:=+ )?((?:\d{1,9} [a-z]+(?: [a-z]+)?(?:, )?){1,12}|no tests ran) in"
    r" (\d{1,9}\.\d{1,6}) ?s(?:econds)?\b"
)
_PYTEST_WORDS = re.compile(
    r"passed|failed|skipped|errors?|xfailed|xpassed|deselected|warnings?|rerun|no tests ran"
)
_PYTEST_START = re.compile(r"=+ test session starts ")
_SHORT_SUMMARY = re.compile(r"=+ short test summary info =+\Z")
_FAILED_LINE = re.compile(r"(?:FAILED|ERROR) (\S.*)")
_SUBFAILED_LINE = re.compile(r"SUBFAILED(?:\[([^\]]{0,100})\])?(?: ?(\([^)]{0,100}\)))? (\S.*)")
_HEADING = re.compile(
    r"_+ (?:ERROR (?:at (?:setup|teardown) of|collecting) )?([^_\s].*?|_\w.*?) _+\Z"
)
_SECTION = re.compile(r"=+ .* =+\Z")
_LOCATION = re.compile(r"(\S+\.py):\d{1,7}: ")


def find_pytest(text: Text) -> list[Found]:
    """Find pytest's last lines, ``== 2 failed, 47 passed in 1.23s ==``, with or without ``=``."""
    if not (text.has(" in ") and _PYTEST_WORDS.search(text.whole)):
        return []
    # "3 files in 0.1s" has the same shape.
    ends = [end for end in text.all(_PYTEST_END) if _PYTEST_WORDS.search(text.lines[end])]
    starts = _pytest_starts(text, ends)
    return [_pytest_run(text, starts.get(end), begin, end) for begin, end in text.runs(ends)]


def _pytest_starts(text: Text, ends: Sequence[int]) -> dict[int, int]:
    """Match each last line with the first line of its run; a test may run pytest itself."""
    closing = set(ends)
    open_runs: list[int] = []
    starts: dict[int, int] = {}
    for index in sorted([*closing, *text.all(_PYTEST_START)]):
        if index not in closing:
            open_runs.append(index)
        elif open_runs:
            starts[index] = open_runs.pop()
    return starts


def _pytest_run(text: Text, start: int | None, after_other: int, end: int) -> Found:
    found = _PYTEST_END.match(text.lines[end])
    words = counted_words(found.group(1)) if found else {}
    failed, errors = words.get("failed", 0), words.get("error", 0) + words.get("errors", 0)
    begin = after_other if start is None else start
    return Found(
        begin=end if start is None else start,
        line=end,
        summary=summary_of(
            "pytest",
            passed=words.get("passed", 0) + words.get("xpassed", 0),
            failed=failed,
            skipped=words.get("skipped", 0) + words.get("xfailed", 0),
            errors=errors,
            names=_pytest_names(text, begin, end) if failed + errors else (),
            duration_s=float(found.group(2)) if found else None,
        ),
    )


def _pytest_names(text: Text, begin: int, end: int) -> list[str]:
    sections = [i for i in range(begin, end) if _SHORT_SUMMARY.match(text.lines[i])]
    lines = text.lines[sections[-1] + 1 : end] if sections else []
    return list(_names_of_summary(lines)) or list(_names_of_headings(text.lines[begin:end]))


def _names_of_summary(lines: Sequence[str]) -> Iterator[str]:
    for line in lines:
        if found := _SUBFAILED_LINE.match(line):
            message, parameters, test = found.groups()
            subtest = " ".join(filter(None, (f"[{message}]" if message else "", parameters)))
            yield f"{_node_id(test)} {subtest}"
        elif found := _FAILED_LINE.match(line):
            yield _node_id(found.group(1))


def _names_of_headings(lines: Sequence[str]) -> Iterator[str]:
    """Yield the tests whose failures are shown, with the file that the first location names.

    For runs without ``FAILED`` lines (``-rN``, ``--no-summary``).
    """
    name = ""
    for line in lines:
        heading = _HEADING.match(line)
        if heading is not None or _SECTION.match(line):
            yield name
            name = heading.group(1) if heading else ""
        elif name and (location := _LOCATION.match(line)):
            yield _with_file(name, location.group(1))
            name = ""
    yield name


def _with_file(name: str, file: str) -> str:
    """Return ``file::TestClass::test[p.q]`` for the heading ``TestClass.test[p.q]``."""
    if name.startswith("[") or file in name:
        return name
    test, bracket, parameters = name.partition("[")
    return f"{file}::{test.replace('.', '::')}{bracket}{parameters}"


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
_UNITTEST_VERBOSE = re.compile(r"\w+ \(\S{1,300}\)(?: \.\.\. |\Z)")
_UNITTEST_OK = re.compile(r"(?:.* \.\.\. )?ok\Z")
_UNITTEST_DOTS = re.compile(r"[.FEsxu]+\Z")
_VERDICT_WITHIN_LINES = 4
_SUBTEST = re.compile(r"(\S+ \(\S+\)) [(\[].*")
_NOT_A_TEST = ("setUpClass (", "tearDownClass (", "setUpModule (", "tearDownModule (")


def find_unittest(text: Text) -> list[Found]:
    """Find each ``Ran 12 tests in 0.3s`` and the verdict below it."""
    if not text.has("Ran "):
        return []
    found = (_unittest_run(text, begin, end) for begin, end in text.runs(text.all(_RAN)))
    return [run for run in found if run is not None]


def _unittest_run(text: Text, begin: int, end: int) -> Found | None:
    ran = _RAN.match(text.lines[end])
    verdict = _verdict(text.lines[end + 1 : end + 1 + _VERDICT_WITHIN_LINES])
    if ran is None or verdict is None:
        return None
    lines = text.lines[begin:end]
    names = [m.group(1) for m in map(_UNITTEST_FAILURE.match, lines) if m]
    return Found(
        begin=end,
        line=end,
        summary=summary_of(
            "unittest",
            passed=_unittest_passed(lines, names, verdict, count(ran.group(1))),
            failed=verdict.get("failures", 0) + verdict.get("unexpected successes", 0),
            skipped=verdict.get("skipped", 0) + verdict.get("expected failures", 0),
            errors=verdict.get("errors", 0),
            total=count(ran.group(1)),
            names=names,
            duration_s=float(ran.group(2)),
        ),
    )


def _unittest_passed(
    lines: Sequence[str], names: Sequence[str], verdict: Mapping[str, int], ran: int
) -> int:
    """Return how many tests passed, which unittest counts nowhere.

    Each test shows as a dot or a line. Where these are mixed with what tests print, it is what
    remains: a failing subtest is part of one test, and a class that cannot be set up is none.
    """
    shown = _unittest_shown(lines)
    if shown is not None and shown <= ran:
        return shown
    bad = sum(verdict.get(word, 0) for word in ("failures", "errors", "unexpected successes"))
    if len(names) >= bad:
        tests = (name for name in names if not name.startswith(_NOT_A_TEST))
        bad = len({_SUBTEST.sub(r"\1", name) for name in tests})
    return ran - bad - verdict.get("skipped", 0) - verdict.get("expected failures", 0)


def _unittest_shown(lines: Sequence[str]) -> int | None:
    if any(_UNITTEST_VERBOSE.match(line) for line in lines):
        return sum(_UNITTEST_OK.match(line) is not None for line in lines)
    dots = [line for line in lines if _UNITTEST_DOTS.match(line)]
    return "".join(dots).count(".") if dots else None


def _verdict(lines: Sequence[str]) -> dict[str, int] | None:
    for line in lines:
        if found := _VERDICT.match(line):
            parts = _VERDICT_PART.findall(found.group(1) or "")
            return {name.strip(): int(number) for name, number in parts}
    return None
