"""Open files of places where others may have put something else: a FIFO, a link, a device.

A job can write in its own directory, and a project's files come with the project. Whoever reads
them must not wait for anybody, must not be led elsewhere, and must not take all the memory.
"""

from __future__ import annotations

import errno
import os
import stat
from itertools import islice

PRIVATE_FILE = 0o600
READ_LIMIT_BYTES = 64 << 20
"""The most that is read of a file as a whole."""

DISPLACED = ".odd."
"""How the names of things begin that stood in the way."""

_READ_BYTES = 1 << 16
_SAFELY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = {
    stat.S_IFIFO: "a FIFO",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a directory",
    stat.S_IFREG: "a file",
}
_TO_BLAME = frozenset(
    getattr(errno, name)
    for name in (
        *("ELOOP", "EMLINK", "ENXIO", "ENODEV", "EISDIR", "ENOTDIR"),
        *("EACCES", "EPERM", "EOPNOTSUPP", "EBUSY", "ETXTBSY"),
    )
)
"""Errors of `open` that come from what stands there, and not from a system in want."""


class OddFileError(OSError):
    """Where a file (or a directory) should be stands something that is not opened.

    `what` names it in words, as "a FIFO"; the text says it with the name, and quotes no content.
    """

    def __init__(self, path: str, what: str, *, wanted: str = "a file") -> None:
        text = f"{what} stands where {wanted} should be"
        super().__init__(errno.EINVAL, text, path)
        self.what = what

    def __str__(self) -> str:
        return f"{self.strerror}: {os.path.basename(self.filename)}"


def open_file(
    path: str | os.PathLike[str],
    flags: int = os.O_RDONLY,
    *,
    dir_fd: int | None = None,
    limit_bytes: int | None = None,
    owned: bool = True,
) -> int:
    """Open a regular file that others may have put there; it is private when it is made.

    It never waits for anybody, and follows no link: what is no regular file, belongs to another
    user (unless not `owned`), is larger than `limit_bytes` or may not be opened is refused with
    `OddFileError`. Raises FileNotFoundError and NotADirectoryError as `os.open` does.
    """
    name = os.fspath(path)
    try:
        fd = os.open(name, flags | _SAFELY, PRIVATE_FILE, dir_fd=dir_fd)
    except (FileNotFoundError, NotADirectoryError):
        raise
    except OSError as error:
        what = _refused(name, dir_fd, error)
        if what is None:
            raise
        raise OddFileError(name, what) from None
    try:
        what = _odd(os.fstat(fd), limit_bytes, owned=owned)
        if what is not None:
            raise OddFileError(name, what)
    except BaseException:
        os.close(fd)
        raise
    return fd


def read_file(
    path: str | os.PathLike[str],
    *,
    dir_fd: int | None = None,
    limit_bytes: int = READ_LIMIT_BYTES,
    owned: bool = True,
) -> bytes:
    """Return what a file holds that `open_file` opens; also of one that grows under our eyes."""
    # A tenth of what a file object costs, in a runner that has just been forked.
    fd = open_file(path, dir_fd=dir_fd, limit_bytes=limit_bytes, owned=owned)
    try:
        parts = [os.read(fd, _READ_BYTES)]
        size = len(parts[0])
        while parts[-1]:
            if size > limit_bytes:
                raise OddFileError(os.fspath(path), _too_large(size, limit_bytes))
            parts.append(os.read(fd, _READ_BYTES))
            size += len(parts[-1])
    finally:
        os.close(fd)
    return b"".join(parts)


def open_directory(path: str | os.PathLike[str], *, dir_fd: int | None = None) -> int:
    """Open a directory of ours, through no link. Raises `OddFileError` as `open_file` does."""
    name = os.fspath(path)
    wanted = "a directory"
    try:
        fd = os.open(name, _DIRECTORY, dir_fd=dir_fd)
    except FileNotFoundError:
        raise
    except OSError as error:
        what = _refused(name, dir_fd, error)
        if what in (None, _KINDS[stat.S_IFDIR]):
            raise
        raise OddFileError(name, what or "", wanted=wanted) from None
    if os.fstat(fd).st_uid == os.geteuid():
        return fd
    os.close(fd)
    raise OddFileError(name, "a directory of another user", wanted=wanted)


def names_in(path: str | os.PathLike[str] | int, *, limit: int) -> list[str]:
    """Return the names in a directory of ours, or in an open one; of very many `limit` of them."""
    fd = path if isinstance(path, int) else open_directory(path)
    try:
        with os.scandir(fd) as entries:
            return [entry.name for entry in islice(entries, limit)]
    finally:
        if fd != path:
            os.close(fd)


def displace(path: str, *, dir_fd: int | None = None) -> None:
    """Make room at a name, whatever stands there: it gets another name in the same directory."""
    directory, name = os.path.split(path)
    other = os.path.join(directory, f"{DISPLACED}{name}.{os.urandom(6).hex()}")
    os.rename(path, other, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)


def _odd(info: os.stat_result, limit_bytes: int | None, *, owned: bool) -> str | None:
    """Say what a thing is that is not to be read as a file; None for a good file."""
    if not stat.S_ISREG(info.st_mode):
        return _KINDS.get(stat.S_IFMT(info.st_mode), "something strange")
    if owned and info.st_uid != os.geteuid():
        return f"a file of another user (uid {info.st_uid})"
    if limit_bytes is not None and info.st_size > limit_bytes:
        return _too_large(info.st_size, limit_bytes)
    return None


def _too_large(size: int, limit_bytes: int) -> str:
    return f"a file of {size} bytes or more, where {limit_bytes} are allowed,"


def _refused(name: str, dir_fd: int | None, error: OSError) -> str | None:
    """Say what stands at a name that could not be opened; None when that was not to blame."""
    if error.errno == errno.EWOULDBLOCK:
        # Else the system would wait up to 45 s for whoever has the lease (fcntl(2), F_SETLEASE).
        return "a file under the lease of another process"
    if error.errno not in _TO_BLAME:
        return None
    try:
        info = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except OSError:
        return "a loop of links" if error.errno == errno.ELOOP else None
    what = _odd(info, None, owned=True)
    if what is None and error.errno == errno.ENOTDIR:
        return _KINDS[stat.S_IFREG]
    if what is None and error.errno in (errno.EACCES, errno.EPERM):
        return f"a file with the mode {stat.S_IMODE(info.st_mode):04o}"
    return what
