"""How a runner hears that an order lies in its job's directory, from whatever pid namespace.

Linux tells it by a signal when a name in the directory changes (F_NOTIFY, fcntl(2)), which takes no
file. Where the system or the file system cannot do that, there is a FIFO, which is rung.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat

from mcp_jobs.execution.launcher import files, layout, process_tree
from mcp_jobs.execution.launcher.files import OddFileError
from mcp_jobs.execution.launcher.identity import is_here

# A removal tells that the job is being taken away altogether.
_NAMES = ("DN_CREATE", "DN_RENAME", "DN_DELETE", "DN_MULTISHOT")
_CHANGES = sum(getattr(fcntl, name, 0) for name in _NAMES)


class StopNotice:
    """One runner's notice. The order itself is looked up by the runner whenever it wakes."""

    def __init__(self, job_dir: str, *, notify: bool = True) -> None:
        self._path = os.path.join(job_dir, layout.NOTICE)
        self._directory_fd = _watched(job_dir) if notify else None
        self.fd: int | None = None
        """Readable when the notice was given; None where a SIGIO says it instead."""
        if self._directory_fd is None:
            self.fd = self._make_fifo()

    def _make_fifo(self) -> int:
        """Make the FIFO anew: what an earlier attempt left there may be anything."""
        with contextlib.suppress(FileNotFoundError):
            files.displace(self._path)
        os.mkfifo(self._path, layout.PRIVATE_FILE)
        fd = _open_fifo(self._path, os.O_RDWR)
        if fd is None:
            raise OddFileError(self._path, "something else", wanted="a FIFO")
        return fd

    def close(self) -> None:
        """Stop listening, and leave no FIFO behind."""
        for fd in (self._directory_fd, self.fd):
            if fd is not None:
                os.close(fd)
        if self.fd is not None:
            with contextlib.suppress(OSError):
                os.unlink(self._path)


def give(job_dir: str) -> None:
    """Wake the runner of this job, if one is there that needs it."""
    fd = _open_fifo(os.path.join(job_dir, layout.NOTICE), os.O_WRONLY)
    if fd is not None:
        with contextlib.suppress(BlockingIOError, BrokenPipeError):
            os.write(fd, b"!")
        os.close(fd)


def _open_fifo(path: str, flags: int) -> int | None:
    """Open a FIFO; None for anything else, and for one that nobody listens at."""
    try:
        fd = os.open(path, flags | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NOCTTY)
    except OSError:
        return None
    if stat.S_ISFIFO(os.fstat(fd).st_mode):
        return fd
    os.close(fd)
    return None


def wake(job_dir: str) -> bool:
    """Let the runner of this job go on if it was stopped (SIGSTOP): it would carry out no order.

    Only where it can be told from every other process. False when it was not stopped.
    """
    identity = layout.read_identity(job_dir) or {}
    return is_here(identity) and process_tree.resume(
        identity.get("pid"), identity.get("start_time")
    )


def _watched(directory: str) -> int | None:
    """Return a descriptor while which is open SIGIO tells of new names; None if nothing can."""
    if not hasattr(fcntl, "F_NOTIFY"):
        return None
    fd = files.open_directory(directory)
    try:
        fcntl.fcntl(fd, fcntl.F_NOTIFY, _CHANGES)
    except OSError:
        os.close(fd)
        return None
    return fd
