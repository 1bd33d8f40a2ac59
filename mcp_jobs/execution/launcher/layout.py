"""Names of the files that servers and runners share in `jobs/<job_id>/`, and how they are written.

| file | written by | holds |
|---|---|---|
| `env` | who accepts or claims | argv, cwd, umask, environment, values to mask; until the start |
| `alive` | runner | JSON lines: pids, start times, boot id, token; how it ended; locked for life |
| `fence` | whoever claims again | the lowest claim token that may still start |
| `stop` | whoever cancels | that the job must end, and its grace, as a symbolic link |
| `bell` | runner | a FIFO; a byte in it makes the runner look at `stop`; only where it is needed |
| `output/` | runner | the spool, from the first output on |
| `progress` | the job | JSON lines, see docs |
| `call` | who accepts or claims | which Python function to call with what; removed at the end |
| `report.<token>` | a Python job | what its function returned or raised |
| `questions/` | a Python job | what it asks, a file for each question |
| `answers/` | whoever has the answer | the answers, in files of the same names |
| `work/` | a Python job | what it likes |

Making a file is most of what a short job costs, so there is none that another could stand in for:
the fence is guarded by a lock on the directory itself, and exists only after a second claim. A
file system without a journal also takes the longer to make a file the more were just removed.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import time
from contextlib import contextmanager

from mcp_jobs.execution.launcher import files
from mcp_jobs.execution.launcher.files import (
    OddFileError,
    names_in,
    open_directory,
    open_file,
    read_file,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

ENV = "env"
ALIVE = "alive"
FENCE = "fence"
STOP = "stop"
NOTICE = "bell"
OUTPUT = "output"
PROGRESS = "progress"
CALL = "call"
QUESTIONS = "questions"
ANSWERS = "answers"
WORK = "work"

EXIT = "exit"
"""What the line of `alive` that is an exit record holds; the other lines are identities."""

PRIVATE_FILE = files.PRIVATE_FILE
PRIVATE_DIR = 0o700

_ROOM = b" \0"
"""What stands in the space that `alive` keeps free."""

FENCE_WAIT_S = 10.0
"""Longer than anybody needs the lock who is not sweeping."""

STOP_GRACE_LIMIT_S = 300.0
"""No order gives a job more time, whoever wrote it."""

_NAMES_LIMIT = 1000
_TAIL_BYTES = 1 << 16
"""The newest lines of `alive` are in its last so many bytes, whatever else stands there."""
_FENCE_BYTES = 64
_STOP_TRIES = 10
_LOCK_TRIES = 50
_LOCK_PAUSE_S = 0.01


def report_name(token: int) -> str:
    """Return the name of what the function of the attempt with this claim token came to."""
    return f"report.{token}"


def question_name(key: str) -> str:
    """Return the file name of a question and its answer; keys may hold any character."""
    # Not for the launcher: OpenSSL makes every fork dearer.
    import hashlib  # noqa: PLC0415

    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def unanswered(job_dir: str) -> list[str]:
    """Return the names of the questions that have no answer yet; of very many, some."""
    asked = _names(os.path.join(job_dir, QUESTIONS))
    return sorted(asked - _names(os.path.join(job_dir, ANSWERS))) if asked else []


def _names(directory: str) -> set[str]:
    # Mostly there is none, and an exception costs more than a look.
    if not os.access(directory, os.F_OK):
        return set()
    try:
        names = names_in(directory, limit=_NAMES_LIMIT)
    except (FileNotFoundError, NotADirectoryError, OddFileError):
        return set()
    return {name for name in names if not name.startswith(".")}


def write_json(
    path: str, value: Mapping[str, Any], *, durable: bool = False, dir_fd: int | None = None
) -> None:
    """Replace `path` by `value` in one step, readable by this user only.

    When this returns, what is `durable` survives a power cut.
    """
    directory, name = os.path.split(path)
    # Random: a pid is the same for all threads, and means nothing across pid namespaces.
    temporary = os.path.join(directory, f".{name}.{os.urandom(6).hex()}")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(temporary, flags, PRIVATE_FILE, dir_fd=dir_fd)
    try:
        write_all(fd, json.dumps(value).encode("utf-8", "surrogateescape"))
        if durable:
            os.fsync(fd)
        os.replace(temporary, path, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        os.unlink(temporary, dir_fd=dir_fd)
        raise
    finally:
        os.close(fd)


def read_json(path: str) -> dict[str, Any] | None:
    """Return the object in `path`; None when it is absent or not a whole JSON object.

    Raises `OddFileError` for what is no file.
    """
    try:
        value = json.loads(read_file(path))
    # RecursionError: thousands of nested brackets fit in a file.
    except (FileNotFoundError, NotADirectoryError, ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def write_all(fd: int, data: bytes) -> None:
    """Write every byte of `data`; a short write is continued."""
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def sync_directory(path: str) -> None:
    """Make renames in `path` survive a power cut."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def lock_file(path: str, *, wait: bool) -> int | None:
    """Return a descriptor that holds an exclusive flock on `path`, created if need be.

    Without `wait`, None means that another process holds it. The lock ends with the descriptor,
    so also with any death of the process. Raises `OddFileError` for what is no file.
    """
    fd = open_file(path, os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
            return None
        raise
    return fd


def lock_file_patiently(path: str) -> int | None:
    """Take the lock, or return None when a process really holds it.

    Observers probe with a shared lock for an instant, so a single refusal proves nothing.
    """
    for _ in range(_LOCK_TRIES):
        fd = lock_file(path, wait=False)
        if fd is not None:
            return fd
        time.sleep(_LOCK_PAUSE_S)
    return None


def is_locked(path: str) -> bool:
    """Say whether some process holds an flock on `path`; an absent file is not locked.

    Raises `OddFileError` for what is no file.
    """
    try:
        fd = open_file(path)
    except FileNotFoundError:
        return False
    try:
        # A shared probe: two observers that look at once must not see each other's lock.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(fd)
    return False


@contextmanager
def fence_lock(job_dir: str) -> Iterator[None]:
    """Hold the job's fence lock. Raises FileNotFoundError for a job without a directory.

    Raises TimeoutError when somebody keeps it, who may stand still.
    """
    fd = open_directory(job_dir)
    try:
        _lock_within(fd, FENCE_WAIT_S)
        yield
    finally:
        os.close(fd)


def _lock_within(fd: int, seconds: float) -> None:
    deadline_s = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= deadline_s:
                raise TimeoutError(errno.ETIMEDOUT, "Another process keeps the job") from None
            time.sleep(_LOCK_PAUSE_S)
        else:
            return


def read_fence(job_dir: str) -> int | None:
    """Return the lowest token that may start; 0 admits every one. Call it under the lock.

    None for what is no number: then nobody can say who may start. Raises `OddFileError`.
    """
    path = os.path.join(job_dir, FENCE)
    # Mostly there is none, and an exception costs more than a look.
    if not os.access(path, os.F_OK):
        return 0
    text = read_file(path, limit_bytes=_FENCE_BYTES).strip()
    return int(text) if text.isdigit() else None


def raise_fence(job_dir: str, token: int) -> None:
    """Refuse, from now on, every runner of this job whose claim token is below `token`."""
    path = os.path.join(job_dir, FENCE)
    with fence_lock(job_dir):
        try:
            lowest = read_fence(job_dir)
            if lowest is not None and token <= lowest:
                return
            fd = open_file(path, os.O_WRONLY | os.O_CREAT)
        except OddFileError:
            files.displace(path)
            fd = open_file(path, os.O_WRONLY | os.O_CREAT)
        try:
            # Always of the same length, so that an overwrite leaves nothing of the old one; and
            # nothing of what was no fence.
            os.ftruncate(fd, os.pwrite(fd, b"%020d\n" % token, 0))
            os.fsync(fd)
        finally:
            os.close(fd)


def used_bytes(fd: int) -> int:
    """Return where the text of an open file of lines ends and the space kept free begins."""
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - _TAIL_BYTES)
        text = os.pread(fd, end - start, start).rstrip(_ROOM)
        if text:
            return start + len(text)
        end = start
    return 0


def add_line(fd: int, value: Mapping[str, Any], *, room_bytes: int = 0) -> None:
    """Append a JSON line to an open file of lines.

    After it, `room_bytes` take the disk space of what is to follow. Raises OSError when there is
    none; a part of the line may then be there, which no reader takes for a line.
    """
    used = used_bytes(fd)
    # What a killed writer left half done must not swallow this line.
    torn = used and os.pread(fd, 1, used - 1) != b"\n"
    text = (b"\n" if torn else b"") + json.dumps(value).encode() + b"\n"
    os.lseek(fd, used, os.SEEK_SET)
    if hasattr(os, "posix_fallocate"):
        # Also where an overwrite takes other blocks than it found (btrfs), this keeps them.
        write_all(fd, text)
        if room_bytes:
            os.posix_fallocate(fd, used + len(text), room_bytes)
    else:
        write_all(fd, text.ljust(len(text) + room_bytes))


def read_lines(job_dir: str) -> list[dict[str, Any]]:
    """Return what the newest runners of a job have written about themselves, oldest first.

    Raises `OddFileError` for what is no file.
    """
    try:
        whole = _read_end(os.path.join(job_dir, ALIVE)).rpartition(b"\n")[0]
    except (FileNotFoundError, NotADirectoryError):
        return []
    return [value for line in whole.split(b"\n") if isinstance(value := _parsed(line), dict)]


def _read_end(path: str) -> bytes:
    """Return the last bytes of a file of lines that may have grown for any time."""
    fd = open_file(path)
    try:
        return os.pread(fd, _TAIL_BYTES, max(0, os.fstat(fd).st_size - _TAIL_BYTES))
    finally:
        os.close(fd)


def _parsed(line: bytes) -> object:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def read_identity(job_dir: str) -> dict[str, Any] | None:
    """Return the identity of the newest runner, or None before the first."""
    return newest_identity(read_lines(job_dir))


def newest_identity(lines: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Return the last identity among the lines of runners, or None."""
    return next((line for line in reversed(lines) if _is_identity(line)), None)


def _is_identity(line: dict[str, Any]) -> bool:
    """Say whether a runner may have written this line; the job can write there, too."""
    numbers = ("token", "attempt", "output_start")
    return (
        EXIT not in line
        and all(isinstance(line.get(name), int) for name in numbers)
        and isinstance(line.get("job_pid"), int | None)
    )


def order_stop(job_dir: str, reason: str, grace_s: float) -> None:
    """Write down that the job must end, in one step and over whatever stands there.

    A short symbolic link takes no disk block, so a job that has filled the disk can be ended.
    """
    temporary = f".{STOP}.{os.urandom(6).hex()}"
    fd = open_directory(job_dir)
    try:
        os.symlink(f"{reason} {grace_s!r}", temporary, dir_fd=fd)
        try:
            _put_in_place(temporary, STOP, fd)
        except FileNotFoundError:
            # The job has ended in between, and whoever cleaned up took this away.
            return
        except BaseException:
            os.unlink(temporary, dir_fd=fd)
            raise
    finally:
        os.close(fd)


def _put_in_place(temporary: str, name: str, directory_fd: int) -> None:
    for _ in range(_STOP_TRIES):
        try:
            os.replace(temporary, name, src_dir_fd=directory_fd, dst_dir_fd=directory_fd)
        except IsADirectoryError:
            files.displace(name, dir_fd=directory_fd)
        else:
            return
    raise OddFileError(name, "a directory that comes back", wanted="an order")


def read_stop(job_dir: str) -> tuple[str, float] | None:
    """Return why and with which grace (seconds) the job must end; None without an order.

    What is no order says nothing: a job may write what it likes there.
    """
    try:
        reason, _, text = os.readlink(os.path.join(job_dir, STOP)).partition(" ")
        grace_s = float(text)
    except ValueError:
        return None
    except OSError as error:
        if error.errno in _NO_LINK:
            return None
        raise
    return (reason, min(grace_s, STOP_GRACE_LIMIT_S)) if grace_s >= 0 else None


_NO_LINK = frozenset({errno.ENOENT, errno.ENOTDIR, errno.EINVAL, errno.ELOOP, errno.EACCES})
"""Errors of `readlink` that come from what stands there."""
