"""Who supervises jobs, and whether they still do.

Each server and worker holds an flock on `owners/<id>` for life and touches the file every few
seconds. A free lock means that the process is gone; the kernel frees it at any death. A lock that
is held while the file is not touched for a whole lease means that the process is stopped (SIGSTOP,
a frozen container): its jobs are taken over too, and fencing makes its late writes void.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from typing import TYPE_CHECKING, Final

from mcp_jobs.execution.base import LEASE_S
from mcp_jobs.execution.launcher import layout

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_jobs.domain.clock import Clock

logger = logging.getLogger(__name__)

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,100}")
_TOLD_BYTES: Final = 1 << 16


def anybody(directory: Path) -> bool:
    """Say whether any server or worker of a home is there."""
    try:
        names = [name for name in os.listdir(directory) if not name.startswith(".")]
    except FileNotFoundError:
        return False
    return any(layout.is_locked(str(directory / name)) for name in names)


class Owners:
    """This process among the owners of one home."""

    def __init__(self, directory: Path, own_id: str, clock: Clock) -> None:
        self.own_id = own_id
        self._directory = directory
        self._clock = clock
        self._lock_fd: int | None = None
        self._registered = False
        self._seen: dict[str, tuple[int, float]] = {}

    def join(self) -> None:
        """Become a known owner, and remove the files of dead ones. Raises OSError."""
        hidden = self._directory / f".{self.own_id}"
        self._registered = True
        self._unlock()
        self._lock_fd = layout.lock_file(str(hidden), wait=True)
        # Visible only once locked, so that no cleaner takes it for a dead owner's.
        hidden.rename(self._directory / self.own_id)
        for path in self._directory.iterdir():
            if not path.name.startswith(".") and not layout.is_locked(str(path)):
                path.unlink(missing_ok=True)

    def renew(self) -> None:
        """Renew the lease."""
        with contextlib.suppress(OSError):
            os.utime(self._directory / self.own_id)

    def mend(self) -> None:
        """Be known by a new file should the old one have been removed. Raises OSError."""
        if self._registered and not self._named():
            self.join()
            logger.warning("%s was removed; it was made anew", self._directory / self.own_id)

    def _named(self) -> bool:
        """Say whether the path still names the file that is locked."""
        if self._lock_fd is None:
            return False
        try:
            found = os.stat(self._directory / self.own_id)
        except FileNotFoundError:
            return False
        return os.path.samestat(found, os.fstat(self._lock_fd))

    def leave(self) -> None:
        """Stop being an owner; the jobs are free to be taken over."""
        (self._directory / self.own_id).unlink(missing_ok=True)
        self._registered = False
        self._unlock()

    def _unlock(self) -> None:
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None

    def tell(self, text: str) -> None:
        """Let others read how this process is, as long as it lives."""
        if self._lock_fd is not None:
            with contextlib.suppress(OSError):
                os.ftruncate(self._lock_fd, 0)
                os.pwrite(self._lock_fd, text.encode(), 0)

    def is_gone(self, owner_id: str) -> bool:
        """Say whether an owner is dead, or has been standing still for a whole lease."""
        if not _NAME.fullmatch(owner_id):
            # No process has such an id, so none with it lives.
            return True
        path = self._directory / owner_id
        if not layout.is_locked(str(path)):
            return True
        try:
            beaten_ns = path.stat().st_mtime_ns
        except FileNotFoundError:
            return True
        now_s = self._clock.monotonic_s()
        last_ns, since_s = self._seen.get(owner_id, (None, now_s))
        if beaten_ns != last_ns:
            self._seen[owner_id] = (beaten_ns, now_s)
            return False
        return now_s - since_s >= LEASE_S


def told_by_others(directory: Path) -> dict[str, str]:
    """Return what the living owners of a home tell of themselves, by id."""
    told: dict[str, str] = {}
    for path in sorted(directory.iterdir()):
        if _NAME.fullmatch(path.name) and layout.is_locked(str(path)):
            with contextlib.suppress(OSError), path.open("rb") as file:
                text = file.read(_TOLD_BYTES).decode("utf-8", "replace")
                if text:
                    told[path.name] = text
    return told
