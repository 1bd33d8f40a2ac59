"""Progress recognised in a job's output, whatever tool printed it."""

from __future__ import annotations

from dataclasses import replace

from mcp_jobs.output.progress.builds import step_of, step_of_unfinished
from mcp_jobs.output.progress.counts import KerasProgress, count_of
from mcp_jobs.output.progress.docker import DockerProgress
from mcp_jobs.output.progress.figures import Reading
from mcp_jobs.output.progress.lines import LineAssembler
from mcp_jobs.output.progress.plain import plain_percent
from mcp_jobs.output.progress.runners import CargoTestProgress, JestProgress, PytestProgress
from mcp_jobs.output.progress.tallies import PlaywrightProgress, TestTally


class OutputRecogniser:
    """Finds progress in consecutive chunks of raw output; never raises.

    Knows pytest (also with xdist), jest, vitest, Playwright, cargo, ninja, cmake, ctest, docker
    build, tqdm, keras, counts in words and plain percentages (``counts.py`` and ``plain.py`` have
    the rules), and counts the tests of runners that do not say how many there are. What it says
    after some bytes does not depend on how they were cut into chunks. Memory is bounded and time
    linear in the bytes.
    """

    def __init__(self) -> None:
        self._lines = LineAssembler()
        self._pytest = PytestProgress()
        self._jest = JestProgress()
        self._cargo_test = CargoTestProgress()
        self._docker = DockerProgress()
        self._playwright = PlaywrightProgress()
        self._keras = KerasProgress()
        self._tally = TestTally()
        self._structured = False
        self._latest: Reading | None = None
        self._returned: Reading | None = None

    def feed(self, data: bytes) -> Reading | None:
        """Take the next chunk and return the reading after it, or None if it is unchanged."""
        for line in self._lines.feed(data):
            self._take(line)
        reading = self._unfinished(self._lines.partial) or self._latest
        if reading is None or reading == self._returned:
            return None
        self._returned = reading
        return reading

    def gap(self) -> None:
        """Say that bytes were left out before the next chunk; counts may lag from here on."""
        self._lines.gap()

    def _take(self, line: str) -> None:
        reading = self._counted(line)
        if reading is None and not self._own_output():
            reading = step_of(line) or count_of(line)
        if reading is not None and reading.has_numbers:
            self._structured = True
            self._latest = reading
        elif reading is not None:
            self._latest = replace(self._latest or Reading(), message=reading.message)
        elif "%" in line and not self._structured and (plain := plain_percent(line)):
            self._latest = plain
        elif not self._structured and not self._own_output():
            # A count without a total says less than anything else.
            self._latest = self._tally.line(line) or self._latest

    def _counted(self, line: str) -> Reading | None:
        return (
            self._pytest.line(line)
            or self._docker.line(line)
            or self._jest.line(line)
            or self._cargo_test.line(line)
            or self._playwright.line(line)
            or self._keras.line(line)
        )

    def _own_output(self) -> bool:
        """Whether a step or a bar would only be what a running test printed."""
        return self._pytest.active

    def _unfinished(self, line: str) -> Reading | None:
        if not line:
            return None
        if self._own_output():
            return self._pytest.unfinished(line)
        step = step_of_unfinished(line)
        if step is None or step.message or self._latest is None:
            return step
        return replace(step, message=self._latest.message)
