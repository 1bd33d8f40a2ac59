"""Which files of job types a person trusts: by their path and content, as direnv does.

A project's file comes with the project, and what it declares would reach agents and run on their
word. So it counts for nothing until a person has seen it. That is written down as an empty file,
named by a hash of the content, in a directory that a hash of the path names: another content or
another place is not trusted, and to trust no longer is to remove the directory.
"""

from __future__ import annotations

import hashlib
import os
import shlex
import shutil
import stat
from typing import TYPE_CHECKING

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.questions import visible

if TYPE_CHECKING:
    from pathlib import Path


class Trust:
    """What is trusted, kept in a directory that only its user can write to."""

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)

    def mark(self, path: str, data: bytes) -> str:
        """Return the file whose being there says that `data`, as the content of `path`, is trusted.

        Links on the way to `path` are resolved; the file itself is none.
        """
        return os.path.join(self._of(path), hashlib.sha256(data).hexdigest())

    def holds(self, mark: str) -> bool:
        """Say whether a mark is there, and was made by this user."""
        try:
            # A mark in a directory that others can write to says nothing.
            room, info = os.lstat(self._directory), os.lstat(mark)
        except OSError:
            return False
        ours = room.st_uid == info.st_uid == os.getuid()
        private = stat.S_ISDIR(room.st_mode) and not stat.S_IMODE(room.st_mode) & 0o022
        return ours and private and stat.S_ISREG(info.st_mode)

    def add(self, path: str, data: bytes) -> None:
        """Trust a file with this content. Raises `InvalidInputError` when that cannot be kept."""
        mark = self.mark(path, data)
        try:
            os.makedirs(self._directory, 0o700, exist_ok=True)
            os.makedirs(os.path.dirname(mark), 0o700, exist_ok=True)
            os.close(os.open(mark, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        except OSError as error:
            raise InvalidInputError(f"{mark} cannot be written: {error.strerror}.") from error
        if not self.holds(mark):
            raise InvalidInputError(
                f"{self._directory} must be a directory that belongs to this user and that no "
                "other can write to: chmod go-w it, or remove it."
            )

    def remove(self, path: str) -> bool:
        """Trust no content of a file any more; says whether any was trusted."""
        try:
            shutil.rmtree(self._of(path))
        except FileNotFoundError:
            return False
        except OSError as error:
            raise InvalidInputError(
                f"{self._of(path)} cannot be removed: {error.strerror}."
            ) from error
        return True

    def _of(self, path: str) -> str:
        folder, name = os.path.split(os.path.abspath(path))
        real = os.path.join(os.path.realpath(folder), name)
        return os.path.join(self._directory, hashlib.sha256(os.fsencode(real)).hexdigest())


def distrust(path: str) -> str:
    """Say that a file is not trusted, and how a person changes that."""
    command = f"mcp-jobs trust {shlex.quote(visible(os.path.dirname(path)))}"
    return (
        f"{visible(path)} is new or has changed, and its job types cannot be started before a "
        f"person has read it and trusts it. That person runs `{command}` in a terminal of their "
        "own; an agent must not."
    )


def unfit(path: str, what: str) -> str:
    """Say that something is no file of job types; nothing of its content is told."""
    return (
        f"{visible(path)} is {what.rstrip(',')}; job types are read from a plain file, and through "
        "no link."
    )
