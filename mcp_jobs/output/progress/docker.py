"""Progress of docker build: BuildKit in both its output styles, and the classic builder."""

from __future__ import annotations

import re

from mcp_jobs.output.progress.figures import Reading, clean_message

_STAGES_MAX = 64
_VERTICES_MAX = 1024

_BRACKET = r"\[(?:([^\]\[]{1,120}?) +)?(\d{1,4})/(\d{1,4})\] (.+)"
_PLAIN_STEP = re.compile(rf"#(\d{{1,6}}) {_BRACKET}")
_TTY_STEP = re.compile(rf"\s{{0,2}}=> (?:(CACHED|ERROR) )?{_BRACKET}")
_VERTEX_ENDS = re.compile(r"#(\d{1,6}) (?:DONE|CACHED)\b")
_CLASSIC_STEP = re.compile(r"Step (\d{1,4})/(\d{1,4}) : (.+)")
_EXPORTING = re.compile(r"(?:#\d{1,6}|\s{0,2}=>) exporting to \S+")
_ALL_BUILT = re.compile(r"Successfully built [0-9a-f]{6,64}\s*\Z")


class DockerProgress:
    """Counts finished build steps over all stages that have shown up.

    A step counts when it is done, so "[3/9]" appearing means that 2 steps of 9 are.
    """

    def __init__(self) -> None:
        self._stages: dict[str, tuple[int, int]] = {}
        self._vertices: dict[str, tuple[str, int]] = {}
        self._message: str | None = None

    @property
    def active(self) -> bool:
        """Whether a docker build was seen."""
        return bool(self._stages)

    def line(self, line: str) -> Reading | None:
        """Take a complete line."""
        if line.startswith("#"):
            known = self._plain(line)
        elif "=>" in line:
            known = self._tty(line)
        else:
            known = self._classic(line)
        return self._reading() if known and self._stages else None

    def _plain(self, line: str) -> bool:
        if step := _PLAIN_STEP.match(line):
            vertex, stage, number, total, what = step.groups(default="")
            self._step(stage, int(number) - 1, int(total), f"[{number}/{total}] {what}")
            if len(self._vertices) < _VERTICES_MAX:
                self._vertices[vertex] = (stage, int(number))
            return True
        if ended := _VERTEX_ENDS.match(line):
            stage, done = self._vertices.get(ended.group(1), ("", 0))
            return self._step(stage, done, None, None)
        return self._exporting(line)

    def _tty(self, line: str) -> bool:
        step = _TTY_STEP.match(line)
        if step is None:
            return self._exporting(line)
        state, stage, number, total, what = step.groups(default="")
        done = int(number) - (state != "CACHED")
        return self._step(stage, done, int(total), f"[{number}/{total}] {what}")

    def _classic(self, line: str) -> bool:
        if line.startswith("Step ") and (step := _CLASSIC_STEP.match(line)):
            number, total, what = step.groups()
            return self._step("", int(number) - 1, int(total), f"[{number}/{total}] {what}")
        if line.startswith("Successfully built") and _ALL_BUILT.match(line):
            return self._all_done()
        return False

    def _exporting(self, line: str) -> bool:
        if "exporting" not in line or not _EXPORTING.match(line):
            return False
        self._message = "exporting the image"
        return self._all_done()

    def _all_done(self) -> bool:
        self._stages = {stage: (total, total) for stage, (_, total) in self._stages.items()}
        return True

    def _step(self, stage: str, done: int, total: int | None, message: str | None) -> bool:
        old_done, old_total = self._stages.get(stage, (0, 0))
        if stage not in self._stages and (total is None or len(self._stages) >= _STAGES_MAX):
            return False
        total = max(old_total, total or 0)
        self._stages[stage] = (min(max(old_done, done, 0), total), total)
        if message is not None:
            self._message = clean_message(message)
        return True

    def _reading(self) -> Reading | None:
        total = sum(total for _, total in self._stages.values())
        done = sum(done for done, _ in self._stages.values())
        if total == 0:
            return None
        return Reading(current=done, total=total, message=self._message)
