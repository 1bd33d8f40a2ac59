"""What a launcher and its runners stand on: the home, and the socket that the launcher serves."""

from __future__ import annotations

import errno
import os

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ESTALE})


class Path:
    """A path, as long as it names what it named at first."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._first = _number(path)

    def holds(self) -> bool:
        """Say whether it still does; an error that may pass is none."""
        try:
            return _number(self._path) == self._first
        except OSError as error:
            return error.errno not in _GONE


class Home(Path):
    """The home of a launcher."""

    def __init__(self, path: str) -> None:
        # Open, so that the number of a removed directory is not used again.
        self._fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        super().__init__(path)


def _number(path: str) -> tuple[int, int]:
    found = os.stat(path)
    return found.st_dev, found.st_ino
