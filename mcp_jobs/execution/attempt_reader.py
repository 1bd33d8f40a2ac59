"""Read what the files of an attempt tell besides how much it printed: progress and questions."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.execution.job_directory import read_output_start
from mcp_jobs.execution.launcher import layout
from mcp_jobs.execution.progress_reader import ProgressReader, Secrets
from mcp_jobs.execution.python_files import read_questions

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mcp_jobs.output.source import OutputSource

_QUESTIONS: Final = 1000
"""The most that one attempt may ask; what it asks beyond is not taken."""


class AttemptReader:
    """The progress and the questions of one attempt. `begin` and `read` block."""

    def __init__(self, job_dir: Path, source: OutputSource, *, pattern: str | None) -> None:
        self._dir = job_dir
        self._questions_path = str(job_dir / layout.QUESTIONS)
        self._may_ask = False
        self.secrets = Secrets()
        self.progress = ProgressReader(job_dir, source, self.secrets, pattern)
        self.questions: Mapping[str, Mapping[str, Any]] = {}
        """What the job asks, has no answer to, and is not in `stored`; by file name."""
        self.stored: set[str] = set()

    def begin(self) -> int:
        """Return where the output of the attempt begins, also for whoever adopts it later."""
        # Only Python jobs ask, and a look costs what its stats cost.
        self._may_ask = os.path.lexists(self._dir / layout.CALL)
        return read_output_start(self._dir)

    def paths(self) -> Sequence[str]:
        """Return what changes when the attempt tells something."""
        asks = (self._questions_path,) if self._may_ask else ()
        return (self.progress.path, *asks)

    def read(self, start: int, end: int, now_s: float) -> None:
        """Read what is new, of the output from `start` to `end`."""
        if self.secrets.values is not None:
            self.secrets.unread = False
        if self._may_ask:
            self._read_questions()
        self.progress.read(start, end, now_s)

    def _read_questions(self) -> None:
        secrets = self.secrets
        if secrets.values is None:
            secrets.unread = secrets.unread or bool(layout.unanswered(str(self._dir)))
            return
        asked = read_questions(self._dir, secrets.values)
        new = {name: q for name, q in asked.items() if name not in self.stored}
        self.questions = new if len(self.stored) < _QUESTIONS else {}

    def tell_secrets(self, values: tuple[bytes, ...] | None) -> None:
        """Say which values must not be shown; None when they are forgotten.

        What waited for that is read at the next look.
        """
        self.secrets.values, self.secrets.told = values, True

    @property
    def waits(self) -> bool:
        """Whether there is something to read or to take, though no file has changed."""
        return bool(self.questions) or self.secrets.opens

    @property
    def has_news(self) -> bool:
        """Whether somebody should take something, or tell the secrets."""
        return bool(self.progress or self.questions) or self.secrets.wanted
