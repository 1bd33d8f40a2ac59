"""What the jobs themselves wrote down."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Run:
    """One start of one job."""

    pid: int
    end: int | None = None
    """The exit code that it was about to end with; negative for a signal."""


@dataclass
class Account:
    """Everything in the ledger about one job."""

    runs: list[Run] = field(default_factory=list)
    overlaps: list[str] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)


class Ledger:
    """Reads the file as it grows."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.accounts: dict[str, Account] = {}
        self.path.touch()
        self._offset = 0

    def read(self) -> None:
        """Take in the lines that were added."""
        with self.path.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.decode().splitlines():
            self._take(line)

    def of(self, job_id: str) -> Account:
        return self.accounts.setdefault(job_id, Account())

    def _take(self, line: str) -> None:
        what, job_id, pid, value = line.split()
        account = self.of(job_id)
        account.lines.append(line)
        if what == "start":
            account.runs.append(Run(int(pid)))
        elif what == "end":
            (run,) = [run for run in account.runs if run.pid == int(pid)][-1:] or [Run(0)]
            run.end = int(value)
        elif what == "overlap":
            account.overlaps.append(value)
