"""The test runners that come with a JavaScript runtime: node, bun and deno."""

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

_NODE_LINE = re.compile(
    r"(?:#|\u2139) (tests|suites|pass|fail|cancelled|skipped|todo|duration_ms)"
    r" (\d{1,9}(?:\.\d{1,9})?)\Z"
)
_NODE_DURATION = re.compile(r"(?:#|\u2139) duration_ms \d")
_NODE_LINES = 8
_TAP_START = re.compile(r"TAP version \d")
_NOT_OK = re.compile(r"\s*not ok \d{1,9} - (\S.*)")
_DIRECTIVE = re.compile(r" # (?:TODO|SKIP|time=)", re.IGNORECASE)
_SUITE_YAML = ("type: 'suite'", "failureType: 'subtestsFailed'")
_YAML_MAX_LINES = 8
_YAML_LOCATION = re.compile(r"\s*location: '(.{1,400}?):\d{1,7}:\d{1,7}'\Z")
_SPEC_LOCATION = re.compile(r"test at (.{1,400}?):\d{1,7}:\d{1,7}\Z")
_CROSSED = re.compile(r"\u2716 (\S.*?) \(\d[\d.]*m?s\)")


def find_node(text: Text) -> list[Found]:
    """Find node's closing lines, ``# pass 3`` (TAP) or ``(i) pass 3`` (spec)."""
    ends = text.all(_NODE_DURATION) if text.has(" duration_ms ") else []
    found = (_node_run(text, begin, end, after) for begin, end, after in text.spans(ends))
    return [run for run in found if run is not None]


def _node_run(text: Text, begin: int, end: int, after: int) -> Found | None:
    closing = max(begin, end + 1 - _NODE_LINES)
    lines = [m.groups() for m in map(_NODE_LINE.match, text.lines[closing : end + 1]) if m]
    numbers = {word: float(number) for word, number in lines}
    if "pass" not in numbers or "fail" not in numbers:
        return None
    spec = text.lines[end].startswith("\u2139")
    names = _spec_names(text.lines[end:after]) if spec else _not_ok_names(text, begin, closing)
    return Found(
        begin=text.first(_TAP_START, begin, end),
        line=end,
        summary=summary_of(
            "node",
            passed=int(numbers["pass"]),
            failed=int(numbers["fail"] + numbers.get("cancelled", 0)),
            skipped=int(numbers.get("skipped", 0) + numbers.get("todo", 0)),
            names=list(names),
            duration_s=round(numbers["duration_ms"] / 1000, 6),
        ),
    )


def _spec_names(lines: Sequence[str]) -> list[str]:
    """Return the tests below "failing tests", each with the file that the line above it names.

    Before node 20 there was no such line.
    """
    located: list[str] = []
    plain: list[str] = []
    file = ""
    for line in lines:
        if location := _SPEC_LOCATION.match(line):
            file = location.group(1)
        elif found := _CROSSED.match(line):
            # Without a file it may be from the lines of the next run, too.
            (located if file else plain).append(_within(file, found.group(1)))
            file = ""
    return located or plain


def _not_ok_names(text: Text, begin: int, end: int) -> Iterator[str]:
    """Yield failing tests, but not the suites that fail because of them."""
    for index in range(begin, end):
        found = _NOT_OK.match(text.lines[index])
        if found is None or _DIRECTIVE.search(found.group(1)):
            continue
        yaml = text.lines[index + 1 : index + 1 + _YAML_MAX_LINES]
        own = yaml[: next((i for i, line in enumerate(yaml) if line.strip() == "..."), None)]
        if not any(line.strip() in _SUITE_YAML for line in own):
            files = [m.group(1) for m in map(_YAML_LOCATION.match, own) if m]
            yield _within(files[0] if files else "", found.group(1))


def _within(file: str, name: str) -> str:
    return f"{file} > {name}" if file else name


_BUN_RAN = re.compile(r"Ran (\d{1,9}) tests? across \d{1,9} files?\. \[([\d.]{1,12}m?s)\]\Z")
_BUN_COUNT = re.compile(r" {1,4}(\d{1,9}) (pass|fail|skip|todo|error)s?\Z")
_BUN_COUNTS = 9
_BUN_START = re.compile(r"bun test v\d")
_BUN_FILE = re.compile(r"(\S.*\.[cm]?[jt]sx?):\Z")
_BUN_FAILED = re.compile(r"(?:\(fail\)|✗) (\S.*?)(?: \[[\d.]{1,12}m?s\])?\Z")


def find_bun(text: Text) -> list[Found]:
    """Find ``Ran 5 tests across 2 files.`` of bun and the counts above it."""
    ends = text.all(_BUN_RAN) if text.has(" tests across ") or text.has(" test across ") else []
    found = (_bun_run(text, begin, end) for begin, end in text.runs(ends))
    return [run for run in found if run is not None]


def _bun_run(text: Text, begin: int, end: int) -> Found | None:
    ran = _BUN_RAN.match(text.lines[end])
    above = text.lines[max(begin, end - _BUN_COUNTS) : end]
    numbers = {m.group(2): count(m.group(1)) for m in map(_BUN_COUNT.match, above) if m}
    if ran is None or not numbers:
        return None
    return Found(
        begin=text.first(_BUN_START, begin, end),
        line=end,
        summary=summary_of(
            "bun",
            passed=numbers.get("pass", 0),
            failed=numbers.get("fail", 0),
            skipped=numbers.get("skip", 0) + numbers.get("todo", 0),
            errors=numbers.get("error", 0),
            names=list(_bun_names(text.lines[begin:end])),
            duration_s=duration_s(ran.group(2)),
        ),
    )


def _bun_names(lines: Sequence[str]) -> Iterator[str]:
    file = ""
    for line in lines:
        if heading := _BUN_FILE.match(line):
            file = heading.group(1)
        elif found := _BUN_FAILED.match(line):
            yield _within(file, found.group(1))


_DENO_END = re.compile(r"(?:ok|FAILED) \| (\d{1,9} passed.{0,200}?) \((\d[\w. ]{0,20})\)\Z")
_DENO_START = re.compile(r"running \d{1,9} tests? from \S")
_DENO_STEPS = re.compile(r" \(\d{1,9} steps?\)")
_DENO_FAILED = re.compile(r"(\S.*) => (\S+?):\d{1,7}:\d{1,7}\Z")


def find_deno(text: Text) -> list[Found]:
    """Find ``FAILED | 1 passed (1 step) | 2 failed (22ms)``; steps belong to their test."""
    ends = text.all(_DENO_END) if text.has(" passed") else []
    return [_deno_run(text, begin, end) for begin, end in text.runs(ends)]


def _deno_run(text: Text, begin: int, end: int) -> Found:
    found = _DENO_END.match(text.lines[end])
    words = counted_words(_DENO_STEPS.sub("", found.group(1))) if found else {}
    return Found(
        begin=text.first(_DENO_START, begin, end),
        line=end,
        summary=summary_of(
            "deno",
            passed=words.get("passed", 0),
            failed=words.get("failed", 0),
            skipped=words.get("ignored", 0),
            names=list(_deno_names(text.lines[begin:end])),
            duration_s=duration_s(found.group(2)) if found else None,
        ),
    )


def _deno_names(lines: Sequence[str]) -> Iterator[str]:
    """Yield the list below FAILURES, which stands at the end."""
    listing = False
    for line in lines:
        if line.strip() == "FAILURES":
            listing = True
        elif listing and (found := _DENO_FAILED.match(line)):
            yield _within(found.group(2), found.group(1))
