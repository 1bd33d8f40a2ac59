"""What a process takes of this machine: a home, a directory for sockets, limits."""

from __future__ import annotations

import os
import resource
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.settings import foreign_variable

if TYPE_CHECKING:
    from mcp_jobs.settings import Settings


def prepare_home(settings: Settings) -> None:
    """Create the home, private to the user.

    Raises `InvalidInputError` when that cannot be, or when it is another user's.
    """
    directories = (settings.home, settings.jobs_dir, settings.owners_dir)
    try:
        for directory in directories:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            _refuse_foreign(directory)
        _refuse_foreign(settings.database)
        if stat.S_IMODE(settings.home.stat().st_mode) & 0o077:
            settings.home.chmod(0o700)
    except OSError as error:
        raise InvalidInputError(
            f"The home {settings.home} cannot be used: {error.strerror}. Make it a directory that "
            f"this user can write to, or name another one in MCP_JOBS_HOME."
        ) from error


def require_own_home(settings: Settings) -> None:
    """Raise `InvalidInputError` when what is in the home is another user's; makes nothing."""
    for path in (settings.home, settings.jobs_dir, settings.owners_dir, settings.database):
        _refuse_foreign(path)


def _refuse_foreign(path: Path) -> None:
    """Whoever owns the home can put into it what he likes, and read what jobs leave there."""
    try:
        owner = path.stat().st_uid
    except FileNotFoundError:
        return
    if owner != os.getuid():
        raise InvalidInputError(
            f"{path} belongs to another user (uid {owner}; this is uid {os.getuid()}). Name a home "
            f"of your own in MCP_JOBS_HOME, or run mcp-jobs as that user."
        )


def socket_directory() -> Path:
    """Return where the directory for sockets is, or would be made."""
    # Hosts pass few variables on; every process of the user must come to the same directory.
    base = foreign_variable("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}"
    if os.path.isdir(base) and os.access(base, os.W_OK):
        return Path(base) / "mcp-jobs"
    return Path("/tmp") / f"mcp-jobs-{os.getuid()}"  # noqa: S108 - checked before it is used


def runtime_directory() -> Path:
    """Return the short private directory for sockets, created if need be.

    Socket paths are limited to 104 bytes on macOS, so the home itself may be too long. A directory
    in a shared place must be ours alone, or anyone could answer in the launcher's name.
    """
    directory = socket_directory()
    try:
        directory.mkdir(mode=0o700, exist_ok=True)
        info = directory.lstat()
    except OSError as error:
        raise InvalidInputError(
            f"The directory for sockets {directory} cannot be made: {error.strerror}. Remove what "
            "is there, or set XDG_RUNTIME_DIR to a private directory."
        ) from error
    if not stat.S_ISDIR(info.st_mode) or info.st_uid != os.getuid() or info.st_mode & 0o077:
        raise InvalidInputError(
            f"{directory} must be a directory that belongs to this user alone (mode 0700); "
            "remove it, or set XDG_RUNTIME_DIR to a private directory."
        )
    return directory


def current_umask() -> int:
    """Return this process's umask, which can only be read by setting it."""
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def file_limit() -> tuple[int, int]:
    """Return how many files this process may open: the soft and the hard limit."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)


def raise_file_limit() -> tuple[int, int]:
    """Allow this process as many files as the system lets it; returns the limits from before.

    Each running job takes a connection. Jobs get the old limits back: programs that use select(2)
    break with descriptors above 1024.
    """
    before = file_limit()
    soft, hard = before
    wanted = hard if hard != resource.RLIM_INFINITY else 65_536
    if soft < wanted:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (min(wanted, 65_536), hard))
        except (OSError, ValueError):
            return before
    return before
