"""Paths that must go on naming what they named at first: a home, its database, a socket."""

from __future__ import annotations

import errno
import os

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})


class PinnedPath:
    """A path, as long as it names what it named when this was made."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._first = _number(path)

    def holds(self) -> bool:
        """Say whether it still does."""
        return self.lost() is None

    def lost(self) -> str | None:
        """Say what has become of the thing; None while it is there, or nobody can tell."""
        try:
            found = _number(self._path)
        except OSError as error:
            # Any other error may pass.
            return "removed" if error.errno in _GONE else None
        return None if found == self._first else "replaced"


class PinnedHome(PinnedPath):
    """A home. It is kept open, so that the number of a removed one is not used again."""

    def __init__(self, path: str) -> None:
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        super().__init__(path)

    def close(self) -> None:
        """Keep it open no longer."""
        os.close(self._fd)


def _number(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino
