"""Read how far an attempt is: from what it reports, and from what it prints."""

from __future__ import annotations

import os
from collections import deque
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from mcp_jobs.domain.patterns import searcher
from mcp_jobs.execution.launcher import layout
from mcp_jobs.execution.launcher.files import open_file
from mcp_jobs.execution.launcher.mask import mask_text
from mcp_jobs.output import progress
from mcp_jobs.output.source import Unreadable
from mcp_jobs.output.view import OutputView

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_jobs.output.source import OutputSource

_READ_LIMIT_BYTES: Final = 1 << 16


@dataclass(slots=True)
class Secrets:
    """What must not be shown of an attempt; somebody tells it when there is something to show."""

    values: tuple[bytes, ...] | None = None
    """None as long as nobody has told, or when they are forgotten."""
    told: bool = False
    unread: bool = False
    """There is something to read that cannot be shown without knowing the secrets."""

    @property
    def wanted(self) -> bool:
        """Whether there is something to read for which they must be told."""
        return self.unread and not self.told

    @property
    def opens(self) -> bool:
        """Whether what could not be read can be now."""
        return self.unread and self.values is not None


class ProgressReader:
    """The progress of one attempt. `read` blocks; `take` does not, in whatever thread."""

    def __init__(
        self, job_dir: Path, source: OutputSource, secrets: Secrets, pattern: str | None
    ) -> None:
        self.path: Final = str(job_dir / layout.PROGRESS)
        self._source = source
        self._secrets = secrets
        self._pattern = pattern
        self._signs: _Signs | None = None
        """Made when there is something to read; most short jobs have ended before."""
        self._offset = 0
        self._news: deque[progress.Progress] = deque(maxlen=1)
        """The newest progress that nobody has taken. No lock: the event loop waits for none."""

    def read(self, start: int, end: int, now_s: float) -> None:
        """Read what was printed from `start` to `end`, and what was reported since the last."""
        if self._signs is None:
            self._signs = _Signs(_recogniser(self._pattern))
        if end > start:
            self._read_output(self._signs, start, end, now_s)
        self._read_reports(self._signs, now_s)

    def may_have_more(self) -> bool:
        """Say, without reading anything, whether something was reported that is not read."""
        try:
            return os.stat(self.path, follow_symlinks=False).st_size > self._offset
        except OSError:
            return False

    def take(self) -> progress.Progress | None:
        """Return the newest progress that nobody has taken yet."""
        try:
            return self._news.pop()
        except IndexError:
            return None

    def __bool__(self) -> bool:
        return bool(self._news)

    def _read_output(self, signs: _Signs, start: int, end: int, now_s: float) -> None:
        if end - start > 2 * _READ_LIMIT_BYTES:
            # The beginning says how much there is to do, the end how much is done.
            self._read_part(signs, start, start + _READ_LIMIT_BYTES, now_s)
            signs.recogniser.gap()
            start = end - _READ_LIMIT_BYTES
        self._read_part(signs, start, end, now_s)

    def _read_part(self, signs: _Signs, start: int, end: int, now_s: float) -> None:
        try:
            data = OutputView(self._source).read(start, end)
        except (FileNotFoundError, Unreadable):
            # Dropped by the cap between two looks, or spoiled by the job.
            signs.recogniser.gap()
            return
        reading = signs.recogniser.feed(data)
        if reading is not None:
            self._note(signs.tracker.update(reading, now_s=now_s))

    def _read_reports(self, signs: _Signs, now_s: float) -> None:
        try:
            fd = open_file(self.path)
        except OSError:
            return
        try:
            size = os.fstat(fd).st_size
            start = max(self._offset, size - _READ_LIMIT_BYTES)
            data = os.pread(fd, max(0, size - start), start)
        finally:
            os.close(fd)
        secrets = self._secrets.values
        if secrets is None:
            # Nobody has said yet what must not be shown; or can say it any more.
            self._secrets.unread = self._secrets.unread or bool(data)
            return
        if start > self._offset:
            # Only the newest lines count; the first of them may be half a line.
            data = b"\n" + data.partition(b"\n")[2]
        reading = signs.parser.feed(data) if data else None
        if reading is not None:
            if reading.message is not None:
                reading = replace(reading, message=mask_text(reading.message, secrets))
            self._note(signs.tracker.update(reading, now_s=now_s, explicit=True))
        # Only now: until the reading is kept, `may_have_more` must ask for another look.
        self._offset = size

    def _note(self, snapshot: progress.Progress | None) -> None:
        if snapshot is not None:
            self._news.append(snapshot)


@dataclass(slots=True)
class _Signs:
    """By what progress is known."""

    recogniser: progress.Recogniser
    parser: progress.ProgressFileParser = field(default_factory=progress.ProgressFileParser)
    tracker: progress.ProgressTracker = field(default_factory=progress.ProgressTracker)


def _recogniser(pattern: str | None) -> progress.Recogniser:
    if pattern is None:
        return progress.OutputRecogniser()
    return progress.PatternRecogniser(searcher(pattern))
