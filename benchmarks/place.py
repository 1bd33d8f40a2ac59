"""A private home for one benchmark, of which nothing is left afterwards."""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from mcp_jobs.job_types.trust_marks import Trust

if TYPE_CHECKING:
    from collections.abc import Iterator

_PROJECT = Path(__file__).resolve().parent.parent
_LEAVE_S = 3.0
_DIE_S = 10.0


@dataclass(frozen=True)
class Place:
    """Where the servers, the launcher and the jobs of one benchmark live."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def project(self) -> Path:
        return self.root / "project"

    @property
    def log(self) -> Path:
        """What the servers wrote to stderr."""
        return self.root / "log"

    def output_of(self, job_id: str) -> Path:
        return self.home / "jobs" / job_id / "output"

    def trust(self, path: Path) -> None:
        """Trust a file of job types, as a person does."""
        trust = Trust(self.root / "state" / "mcp-jobs" / "trusted")
        trust.add(str(path), path.read_bytes())

    def environment(self, **more: str) -> dict[str, str]:
        """Return what a server gets: nothing of the caller's settings."""
        return {
            "HOME": str(self.root),
            "LANG": "C.UTF-8",
            "MCP_JOBS_HOME": str(self.home),
            "MCP_JOBS_LAUNCHER_IDLE_SECONDS": "1",
            "PATH": os.environ.get("PATH", os.defpath),
            "PYTHONPATH": str(_PROJECT),
            "XDG_RUNTIME_DIR": str(self.root / "run"),
            "XDG_STATE_HOME": str(self.root / "state"),
            **more,
        }

    def processes(self) -> list[int]:
        """Every process that names this place in its command line or environment."""
        marker = os.fsencode(self.root)
        return [pid for pid in _pids() if pid != os.getpid() and _mentions(pid, marker)]

    def launcher_and_runners(self) -> tuple[int, list[int]]:
        """Return the launcher and the runners that it forked: they have one command line."""
        marker = os.fsencode(self.root / "run")
        pids = [pid for pid in _pids() if marker in _read(f"/proc/{pid}/cmdline")]
        # One that has ended since it was found has no parent.
        (launcher,) = [pid for pid in pids if _parent(pid) not in (*pids, 0)]
        return launcher, [pid for pid in pids if pid != launcher]


@contextmanager
def new_place() -> Iterator[Place]:
    """Make a place in `TMPDIR`; its files go when this process ends.

    The path must be short, as socket paths are limited. ext4 without a journal makes files up to
    ten times more slowly for minutes after many were removed: one benchmark would spoil the next,
    and what ran before spoils all. Then wait, or name another file system in `TMPDIR`.
    """
    place = Place(Path(tempfile.mkdtemp(prefix="mjb-")))
    try:
        for directory in (place.home, place.project, place.root / "run"):
            directory.mkdir(mode=0o700)
        yield place
    finally:
        _leave(place)
        atexit.register(_remove, place)


def _leave(place: Place) -> None:
    """Let everything leave by itself for a moment, then kill what did not."""
    if not _wait_gone(place, _LEAVE_S, kill=False):
        _wait_gone(place, _DIE_S, kill=True)


def _remove(place: Place) -> None:
    shutil.rmtree(place.root, ignore_errors=True)
    if place.root.exists():
        print(f"not removed: {place.root}", file=sys.stderr)


def _wait_gone(place: Place, bound_s: float, *, kill: bool) -> bool:
    deadline_s = time.monotonic() + bound_s
    while left := place.processes():
        for pid in left if kill else ():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.05)
    return True


def _pids() -> list[int]:
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _mentions(pid: int, marker: bytes) -> bool:
    # A zombie has neither.
    return any(marker in _read(f"/proc/{pid}/{name}") for name in ("cmdline", "environ"))


def _parent(pid: int) -> int:
    fields = _read(f"/proc/{pid}/stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError:
        return b""
