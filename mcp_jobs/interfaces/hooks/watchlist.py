"""Which session of a host waits to hear of which job: a file for each job, in the home.

It outlives the host. Whoever listens holds a lock on the files of its jobs; the kernel frees it at
any death, and the next listener of the same place takes them over. A file goes when its session
has heard of the end. All of it is only the word of somebody who can write in this home.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Final

from mcp_jobs.domain.ids import is_id
from mcp_jobs.execution import private_files
from mcp_jobs.execution.launcher import files

if TYPE_CHECKING:
    from pathlib import Path

_FOLDER: Final = "watched"
_SIZE_BYTES: Final = 4096
_MOST: Final = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched:
    """A job, and who wants to hear of its end."""

    job_id: str
    host: str
    session: str
    """As the host names it."""
    place: str
    """The directory that the host works in."""


class Watchlist:
    """The watched jobs of one home."""

    def __init__(self, home: Path) -> None:
        self._folder = home / _FOLDER
        self._held: dict[str, int] = {}

    def add(self, watched: Watched) -> None:
        """Watch a job; one that is watched already stays with its session."""
        fields = asdict(watched)
        text = json.dumps(fields)
        if not is_id(fields.pop("job_id")) or len(text) > _SIZE_BYTES:
            return
        with suppress(FileExistsError):
            self._folder.mkdir(mode=0o700)
        private_files.write_private(self._folder / watched.job_id, text, replace=False)

    def of(self, host: str) -> list[Watched]:
        """Return what the sessions of a host wait for, oldest first."""
        try:
            names = files.names_in(self._folder, limit=_MOST)
        except OSError:
            return []
        found = (self._read(name) for name in sorted(names) if is_id(name))
        return [each for each in found if each is not None and each.host == host]

    def drop(self, job_id: str) -> None:
        """Forget a job, as its end has been told."""
        if not is_id(job_id):
            return
        with suppress(OSError):
            (self._folder / job_id).unlink()
        self._release(job_id)

    def hold(self, job_id: str) -> bool:
        """Take a watched job for this process as long as it lives; False when another has it."""
        if job_id in self._held:
            return True
        try:
            fd = files.open_file(self._folder / job_id, limit_bytes=_SIZE_BYTES)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # It may have been told, and dropped, by whoever held it until just now.
            if os.fstat(fd).st_nlink:
                self._held[job_id] = fd
                return True
        except OSError:
            pass
        os.close(fd)
        return False

    def release_all(self) -> None:
        """Let others take what this process holds."""
        for job_id in list(self._held):
            self._release(job_id)

    def _release(self, job_id: str) -> None:
        fd = self._held.pop(job_id, None)
        if fd is not None:
            os.close(fd)

    def _read(self, name: str) -> Watched | None:
        try:
            told = json.loads(files.read_file(self._folder / name, limit_bytes=_SIZE_BYTES))
            return _watched(name, told)
        except (OSError, ValueError):
            return None


def _watched(job_id: str, told: object) -> Watched | None:
    if not isinstance(told, dict):
        return None
    host, session, place = (told.get(name) for name in ("host", "session", "place"))
    if isinstance(host, str) and isinstance(session, str) and isinstance(place, str):
        return Watched(job_id=job_id, host=host, session=session, place=place)
    return None
