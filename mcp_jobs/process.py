"""What servers and runners tell each other through the files of a job, and the sweep.

With `launcher/` this is the only module that sends signals. It keeps no state about jobs.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import shutil
import signal
import stat
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.launcher import bell, files, layout, record, tree
from mcp_jobs.launcher.files import OddFileError
from mcp_jobs.launcher.identity import Stat, is_here, pid_namespace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp_jobs.launcher.record import ExitRecord

logger = logging.getLogger(__name__)

_FILES_AFTER_END: Final = frozenset(
    {layout.CALL, layout.ALIVE, layout.FENCE, layout.STOP, layout.BELL}
)
_PREFIXES_AFTER_END: Final = (".stop.", "report.", ".report.", ".alive.", files.DISPLACED)
_FEW_NAMES: Final = 50
"""So many files are removed in less time than another thread takes."""
_PATIENCE_S: Final = 10.0
_PAUSE_S: Final = 0.05
_NAMES_OF_DIRECTORIES: Final = frozenset({layout.QUESTIONS, layout.ANSWERS})
_NAMES_AFTER_END: Final = _FILES_AFTER_END | _NAMES_OF_DIRECTORIES


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a job takes from the process that accepts it."""

    locality: str
    shared: bool
    """Whether any worker of the store may run its jobs, wherever it is."""
    environ: Mapping[str, str] = field(repr=False)
    umask: int
    rlimit_nofile: tuple[int, int] | None
    """The limits on open files that jobs get, soft and hard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchFile:
    """What `jobs/<id>/env` holds: how the accepting server would have run the job.

    `secrets` are the values to mask in the output. Nothing of this may reach a log.
    """

    argv: tuple[str, ...]
    cwd: str
    umask: int
    environ: Mapping[str, str]
    secrets: tuple[str, ...]
    rlimit_nofile: tuple[int, int] | None

    def __repr__(self) -> str:
        return "LaunchFile(...)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What the files of a job say about its newest runner."""

    token: int | None
    """The claim token that the newest runner was started with; None before the first."""
    output_start: int
    """Where that runner's output begins, in bytes."""
    record: ExitRecord | None
    """How that runner's attempt ended, if it wrote it down."""


def make_job_dir(job_dir: Path, launch: LaunchFile, call: Mapping[str, Any] | None = None) -> None:
    """Create a job's directory with its launch file, readable by this user only.

    `call` says which Python function the job is to call.
    """
    job_dir.mkdir(mode=layout.PRIVATE_DIR)
    _write_new(job_dir / layout.ENV, {name: getattr(launch, name) for name in LaunchFile.__slots__})
    if call is not None:
        _write_new(job_dir / layout.CALL, call)


def _write_new(path: Path, fields: Mapping[str, Any]) -> None:
    # Nobody looks for the file before the job is stored, so it need not appear in one step.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(path, flags, layout.PRIVATE_FILE)
    try:
        layout.write_all(fd, json.dumps(fields).encode())
    finally:
        os.close(fd)


def read_launch_secrets(job_dir: Path) -> tuple[bytes, ...] | None:
    """Return the values that must not be shown for this job; None when they are forgotten."""
    try:
        launch = layout.read_json(str(job_dir / layout.ENV))
    except OddFileError:
        return None
    secrets = None if launch is None else launch.get("secrets", ())
    if not isinstance(secrets, list | tuple):
        return None
    return tuple(os.fsencode(secret) for secret in secrets if isinstance(secret, str))


def remove_job_dir(job_dir: Path) -> None:
    """Remove everything of a job; absent is fine."""
    remove(job_dir)


def remove(path: Path) -> None:
    """Remove whatever stands at a name, a link itself and not what it leads to."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        if not _is_directory(path):
            raise OSError(error.errno, error.strerror, path.name) from None
        shutil.rmtree(path, ignore_errors=True)
        if _is_directory(path):
            _open_up(path)
            shutil.rmtree(path, ignore_errors=True)


def _is_directory(path: Path) -> bool:
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def _open_up(path: Path) -> None:
    """Make directories that may not be written (module caches are so) such that they can go."""
    with contextlib.suppress(OSError):
        path.chmod(layout.PRIVATE_DIR)
        for _, names, _, directory_fd in os.fwalk(path):
            for name in names:
                with contextlib.suppress(OSError):
                    info = os.stat(name, dir_fd=directory_fd, follow_symlinks=False)
                    if stat.S_ISDIR(info.st_mode):
                        os.chmod(name, layout.PRIVATE_DIR, dir_fd=directory_fd)


def forget_secrets(job_dir: Path) -> None:
    """Remove the stored environment of a job that will not start again."""
    remove(job_dir / layout.ENV)


def clean_after_end(job_dir: Path, *, at_once: bool = False) -> bool:
    """Remove what only a living job needs, its environment first; output and progress stay.

    With `at_once` only where that takes hardly any time; False says that it would not.
    """
    try:
        # A directory that is a link was not made by us, and nothing is removed behind it.
        names = files.names_in(job_dir, limit=_FEW_NAMES if at_once else sys.maxsize)
    except FileNotFoundError:
        return True
    if at_once and (len(names) == _FEW_NAMES or not _NAMES_OF_DIRECTORIES.isdisjoint(names)):
        return False
    if layout.ENV in names:
        forget_secrets(job_dir)
    for name in names:
        if name in _NAMES_AFTER_END or name.startswith(_PREFIXES_AFTER_END):
            remove(job_dir / name)
    return True


def forget_attempt(job_dir: Path) -> None:
    """Let the next attempt begin without progress and questions; the answers given stay."""
    remove(job_dir / layout.PROGRESS)
    remove(job_dir / layout.QUESTIONS)


def raise_fence(job_dir: Path, token: int) -> None:
    """Refuse, from now on, runners with a lower claim token.

    Without the job's directory no runner can start at all.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError):
        try:
            layout.raise_fence(str(job_dir), token)
        except TimeoutError:
            _end_who_locks(job_dir)
            layout.raise_fence(str(job_dir), token)


def _end_who_locks(job_dir: Path) -> None:
    """End the processes of a job whose runner is gone, and that keep its directory locked."""
    if not runner_alive(job_dir):
        tree.kill_all(lambda: _members(job_dir.name, {}), reap=lambda: None, patience_s=_PATIENCE_S)


def forbid(job_dir: Path, token: int) -> bool:
    """Refuse, from now on, a runner with this claim token too; False when one has begun."""
    raise_fence(job_dir, token + 1)
    return read_traces(job_dir).token != token


def request_stop(job_dir: Path, *, reason: str, grace_s: float) -> None:
    """Make the job's runner end it, now or as soon as it starts. Blocks.

    The order is written down first and then the bell rung, so that it reaches a runner that is
    just starting, in any pid namespace, and also one that nobody supervises. A job that has
    removed or replaced its directory, where its runner looks, is ended from here.
    """
    try:
        layout.order_stop(str(job_dir), reason, grace_s)
        bell.ring(str(job_dir))
        wake_runner(job_dir)
    except (FileNotFoundError, NotADirectoryError, OddFileError):
        # What is in the way there, it has put there itself.
        logger.warning("the directory of job %s is not what it should be", job_dir.name)
    if not has_traces(job_dir):
        _end_from_here(job_dir.name, grace_s)


def wake_runner(job_dir: Path) -> bool:
    """Let the job's runner go on if it was stopped (SIGSTOP); says whether it was."""
    return bell.wake(str(job_dir))


def has_traces(job_dir: Path) -> bool:
    """Say whether a runner has been here; a job has no process before that."""
    return os.path.lexists(job_dir / layout.ALIVE)


def _end_from_here(job_id: str, grace_s: float) -> None:
    for process in _members(job_id, {}):
        tree.send(process, signal.SIGTERM)
        tree.send(process, signal.SIGCONT)
    deadline_s = time.monotonic() + min(grace_s, _PATIENCE_S)
    while _members(job_id, {}) and time.monotonic() < deadline_s:
        time.sleep(_PAUSE_S)
    tree.kill_all(lambda: _members(job_id, {}), reap=lambda: None, patience_s=_PATIENCE_S)


def stop_requested(job_dir: Path) -> bool:
    """Say whether the job's runner has been told to end it."""
    return layout.read_stop(str(job_dir)) is not None


def runner_alive(job_dir: Path) -> bool:
    """Say whether a runner of this job lives, in whatever pid namespace.

    Where something else stands in the place of its lock, nobody can tell: then it counts as gone,
    and the sweep ends what is left.
    """
    try:
        return layout.is_locked(str(job_dir / layout.ALIVE))
    except (OddFileError, NotADirectoryError):
        return False


def read_output_start(job_dir: Path) -> int:
    """Return where the newest runner's output begins, in bytes; 0 when nobody can tell."""
    try:
        identity = layout.read_identity(str(job_dir))
    except OddFileError:
        return 0
    return 0 if identity is None else int(identity["output_start"])


def read_traces(job_dir: Path) -> Traces:
    """Read what the newest runner of a job left."""
    lines = layout.read_lines(str(job_dir))
    identity = layout.newest_identity(lines)
    token = None if identity is None else int(identity["token"])
    return Traces(
        token=token,
        output_start=0 if identity is None else int(identity["output_start"]),
        record=None if token is None else record.find(lines, token),
    )


def sweep(job_id: str, job_dir: Path, token: int) -> bool:
    """Kill what is left of a job whose runner is gone, until two scans find nothing. Blocks.

    False means that the job is not this claim's any more: a runner lives, or a newer claim exists.
    Processes are known by the job's id in their environment, which no stranger has, and by the
    session of the job's main process as long as that process is verified to be the one that the
    runner wrote down, in this boot and pid namespace.
    """
    try:
        try:
            return _sweep(job_id, job_dir, token)
        except TimeoutError:
            _end_who_locks(job_dir)
            return _sweep(job_id, job_dir, token)
    except (FileNotFoundError, NotADirectoryError, OddFileError):
        # Without a directory of its own no runner of it can start.
        tree.kill_all(lambda: _members(job_id, {}), reap=lambda: None)
        return True


def _sweep(job_id: str, job_dir: Path, token: int) -> bool:
    with layout.fence_lock(str(job_dir)):
        try:
            fence = layout.read_fence(str(job_dir))
        except OddFileError:
            fence = None
        if fence is not None and fence > token:
            return False
        # No runner may start while its job's processes are being killed.
        alive_fd = layout.lock_file_patiently(str(job_dir / layout.ALIVE))
        if alive_fd is None:
            return False
        try:
            identity = layout.read_identity(str(job_dir)) or {}
            if not is_here(identity):
                identity = {}
            tree.kill_all(lambda: _members(job_id, identity), reap=lambda: None)
        finally:
            os.close(alive_fd)
    return True


def _members(job_id: str, identity: Mapping[str, Any]) -> list[Stat]:
    table = tree.processes()
    found = {process.pid: process for process in tree.marked(job_id)}
    leader = table.get(identity.get("job_pid") or 0)
    if leader is not None and leader.start_time == identity.get("job_start_time"):
        for process in table.values():
            if process.session == leader.pid and not process.dead:
                found[process.pid] = process
    for pid in list(found):
        for process in tree.descendants(pid):
            found[process.pid] = process
    return list(found.values())


def locality() -> str:
    """Name the place that this process's jobs belong to: machine and pid namespace."""
    machine = ""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        with contextlib.suppress(OSError):
            machine = machine or Path(path).read_text("ascii").strip()
    return f"{machine or os.uname().nodename}/{pid_namespace()}"
