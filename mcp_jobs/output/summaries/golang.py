"""go test, as text and as JSON, and gotestsum."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

from mcp_jobs.output.summaries.report_text import Found, Text, bounded, count, summary_of

_TEST = re.compile(r"\s*--- (PASS|FAIL|SKIP): (\S+) \(\d[\d.]*s\)")
_PACKAGE = re.compile(
    r"(ok|FAIL) {0,3}\t(\S+)(?:\s+(?:(\d{1,9}\.\d{1,6})s|\(cached\)|\[.* failed\]))?(.*)"
)
_NONE_RAN = "[no tests to run]"


def find_go(text: Text) -> list[Found]:
    """Find the runs of gotestsum, which prints what go said as well, else those of go itself."""
    return _gotestsum_runs(text) or _json_run(text) or _text_run(text)


def _text_run(text: Text) -> list[Found]:
    """Count the tests of ``go test -v``, or the packages where go was not that verbose.

    Without -v go does not say how many tests passed, so packages are counted, and the runner
    is called "go (packages)"; the names are those of failed tests all the same. A package without
    a matching test ran none. Nothing tells two runs apart, so they add up.
    """
    ends = text.all(_PACKAGE) if text.has("\t") else []
    if not ends:
        return []
    packages = [m for m in map(_PACKAGE.match, text.lines) if m]
    tests = [m for m in map(_TEST.match, text.lines) if m]
    ran = [m.group(1) for m in packages if _NONE_RAN not in m.group(4)]
    verbose = any(m.group(1) == "PASS" for m in tests)
    states = [m.group(1) for m in tests] if verbose else ran
    broken = [m.group(2) for m in packages if m.group().endswith("failed]")]
    names = [m.group(2) for m in tests if m.group(1) == "FAIL"]
    times = [float(m.group(3)) for m in packages if m.group(3)]
    return [
        Found(
            begin=ends[0],
            line=ends[-1],
            summary=summary_of(
                "go" if verbose or not ran else "go (packages)",
                passed=states.count("PASS") + states.count("ok"),
                failed=states.count("FAIL") - (0 if verbose else len(broken)),
                skipped=states.count("SKIP"),
                errors=len(broken),
                names=names + broken,
                duration_s=round(sum(times), 6) if times else None,
            ),
        )
    ]


_JSON_START = ('{"Time":"', '{"Action":"', '{"ImportPath":"')
_FINAL = ("pass", "fail", "skip")


def _json_run(text: Text) -> list[Found]:
    """Count the ends of tests in ``go test -json``; a package that fails without one is broken."""
    if not text.has('"Action":"'):
        return []
    ends = [(i, event) for i, event in _events(text) if event.get("Action") in _FINAL]
    if not ends:
        return []
    tests = [event for _, event in ends if event.get("Test")]
    states = [str(event["Action"]) for event in tests]
    names = [
        f"{event.get('Package')} {event['Test']}" for event in tests if event["Action"] == "fail"
    ]
    failing = {str(event.get("Package")) for event in tests if event["Action"] == "fail"}
    packages = [event for _, event in ends if not event.get("Test")]
    failed = {str(event.get("Package")) for event in packages if event["Action"] == "fail"}
    broken = sorted(failed - failing)
    return [
        Found(
            begin=ends[0][0],
            line=ends[-1][0],
            summary=summary_of(
                "go",
                passed=states.count("pass"),
                failed=states.count("fail"),
                skipped=states.count("skip"),
                errors=len(broken),
                names=names + broken,
                duration_s=round(sum(bounded(event.get("Elapsed")) for event in packages), 6)
                if packages
                else None,
            ),
        )
    ]


def _events(text: Text) -> Iterator[tuple[int, dict[str, object]]]:
    # What ends something is short; lines of output, which may be cut, are not looked at.
    for index, line in enumerate(text.lines):
        if line.startswith(_JSON_START) and '"Action":"output"' not in line:
            try:
                event = json.loads(line)
            except (ValueError, RecursionError):
                continue
            if isinstance(event, dict):
                yield index, event


_DONE = re.compile(
    r"DONE (?:\d{1,9} runs?, )?(\d{1,9}) tests?(?:, (\d{1,9}) skipped)?"
    r"(?:, (\d{1,9}) failures?)?(?:, (\d{1,9}) errors?)? in (\d{1,9}\.\d{1,6})s\Z"
)
_DONE_FAIL = re.compile(r"=== FAIL: (\S+ \S+)(?: \([\d.]+s\))?")


def _gotestsum_runs(text: Text) -> list[Found]:
    """Find ``DONE 5 tests, 1 skipped, 2 failures in 0.1s``."""
    ends = text.all(_DONE) if text.has("DONE ") else []
    return [_gotestsum_run(text, begin, end) for begin, end in text.runs(ends)]


def _gotestsum_run(text: Text, begin: int, end: int) -> Found:
    found = _DONE.match(text.lines[end])
    tests, skipped, failed, errors = map(count, found.groups()[:4]) if found else (0, 0, 0, 0)
    return Found(
        begin=end,
        line=end,
        summary=summary_of(
            "gotestsum",
            passed=tests - skipped - failed,
            failed=failed,
            skipped=skipped,
            errors=errors,
            names=[m.group(1) for m in map(_DONE_FAIL.match, text.lines[begin:end]) if m],
            duration_s=float(found.group(5)) if found else None,
        ),
    )
