"""Names of the files that servers and runners share in `jobs/<job_id>/`, and how they are written.

| file | written by | holds |
|---|---|---|
| `env` | the accepting server | cwd, umask, environment, values to mask; removed at the end |
| `alive` | runner | nothing: the runner holds an flock on it for life |
| `fence` | whoever claims again | the lowest claim token that may still start |
| `runner` | runner | identity: pids, start times, boot id, namespace, token |
| `stop` | whoever cancels | that the job must end, and its grace |
| `bell` | runner | a FIFO; a byte in it makes the runner look at `stop` |
| `exit.<token>` | runner | the exit record of the attempt with that claim token |
| `output/` | runner | the spool |
| `progress` | the job | JSON lines, see docs |
| `call` | the accepting server | which Python function to call with what; removed at the end |
| `report.<token>` | a Python job | what its function returned or raised |
| `questions/` | a Python job | what it asks, a file for each question |
| `answers/` | whoever has the answer | the answers, in files of the same names |
| `work/` | a Python job | what it likes |
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import time
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

ENV = "env"
ALIVE = "alive"
FENCE = "fence"
RUNNER = "runner"
STOP = "stop"
BELL = "bell"
OUTPUT = "output"
PROGRESS = "progress"
CALL = "call"
QUESTIONS = "questions"
ANSWERS = "answers"
WORK = "work"

PRIVATE_FILE = 0o600
PRIVATE_DIR = 0o700

_LOCK_TRIES = 50
_LOCK_PAUSE_S = 0.01


def exit_name(token: int) -> str:
    """Return the name of the exit record of the attempt with this claim token."""
    return f"exit.{token}"


def report_name(token: int) -> str:
    """Return the name of what the function of the attempt with this claim token came to."""
    return f"report.{token}"


def question_name(key: str) -> str:
    """Return the file name of a question and its answer; keys may hold any character."""
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def unanswered(job_dir: str) -> list[str]:
    """Return the names of the questions that have no answer yet."""
    asked = _names(os.path.join(job_dir, QUESTIONS))
    return sorted(asked - _names(os.path.join(job_dir, ANSWERS))) if asked else []


def _names(directory: str) -> set[str]:
    try:
        return {name for name in os.listdir(directory) if not name.startswith(".")}
    except FileNotFoundError:
        return set()


def write_json(path: str, value: Mapping[str, Any], *, durable: bool = False) -> None:
    """Replace `path` by `value` in one step, readable by this user only.

    When this returns, what is `durable` survives a power cut.
    """
    directory, name = os.path.split(path)
    # Random: a pid is the same for all threads, and means nothing across pid namespaces.
    temporary = os.path.join(directory, f".{name}.{os.urandom(6).hex()}")
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        write_all(fd, json.dumps(value).encode("utf-8", "surrogateescape"))
        if durable:
            os.fsync(fd)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    finally:
        os.close(fd)


def read_json(path: str) -> dict[str, Any] | None:
    """Return the object in `path`; None when it is absent or not a whole JSON object."""
    try:
        with open(path, "rb") as file:
            value = json.loads(file.read())
    except (FileNotFoundError, NotADirectoryError, ValueError):
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
    so also with any death of the process.
    """
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, PRIVATE_FILE)
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
    """Say whether some process holds an flock on `path`; an absent file is not locked."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
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
def fence_lock(job_dir: str) -> Iterator[int]:
    """Hold the job's fence lock; yields the descriptor of the fence file."""
    fd = lock_file(os.path.join(job_dir, FENCE), wait=True)
    if fd is None:  # `wait` gives a descriptor or raises
        raise BlockingIOError(errno.EWOULDBLOCK, "the fence lock was not given")
    try:
        yield fd
    finally:
        os.close(fd)


def read_fence(fd: int) -> int:
    """Return the token in an open fence file; an empty one admits every token."""
    text = os.pread(fd, 32, 0).strip()
    return int(text) if text else 0


def raise_fence(job_dir: str, token: int) -> None:
    """Refuse, from now on, every runner of this job whose claim token is below `token`."""
    with fence_lock(job_dir) as fd:
        if token > read_fence(fd):
            os.pwrite(fd, b"%020d\n" % token, 0)
            os.fsync(fd)
