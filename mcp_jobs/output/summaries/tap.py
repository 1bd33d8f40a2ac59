"""Any producer of TAP, https://testanything.org."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from mcp_jobs.output.summaries.report_text import Found, Text, summary_of

_TAP_PLAN = re.compile(r"1\.\.(\d{1,9})(?:\s|\Z)")
_TAP_TEST = re.compile(r"(not )?ok\b(?: (\d{1,9}))?(?: -)? ?([^#]*)(?:# ?(\w+)?)?")


@dataclass(slots=True)
class _TapRun:
    """One TAP document's tests; ``begin`` and ``end`` are its first and last line so far."""

    begin: int

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


def find_tap(text: Text) -> list[Found]:
    """Count the ``ok`` and ``not ok`` lines of each TAP document that has a plan."""
    if not (text.has("1..") and text.has("ok ")):
        return []
    documents = [_TapRun(begin=0)]
    for index, line in enumerate(text.lines):
        run = _tap_line(documents[-1], index, line)
        if run is not documents[-1]:
            documents.append(run)
    return [_tap_found(run) for run in documents if run.planned and run.begun]


def _tap_found(run: _TapRun) -> Found:
    return Found(
        begin=run.begin,
        line=run.end,
        summary=summary_of(
            "tap",
            passed=run.passed,
            failed=len(run.failed),
            skipped=run.skipped,
            names=run.failed,
        ),
    )


def _tap_line(run: _TapRun, index: int, line: str) -> _TapRun:
    """Return the document that goes on after the line: the same one, or a new one."""
    if line.startswith("TAP version"):
        return _TapRun(begin=index)
    if _TAP_PLAN.match(line):
        # A second plan, before or behind its tests, belongs to another document.
        run = _TapRun(begin=index) if run.planned else run
        run.planned, run.end = True, index
    elif line.startswith(("ok", "not ok")) and (found := _TAP_TEST.match(line)):
        if found.group(2) == "1" and run.begun:
            run = _TapRun(begin=index)
        run.test(found)
        run.end = index
    return run
