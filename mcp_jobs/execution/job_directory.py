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
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from mcp_jobs.domain.models import Launch
from mcp_jobs.execution.launcher import exit_record, files, layout, process_tree, stop_notice
from mcp_jobs.execution.launcher.files import OddFileError
from mcp_jobs.execution.launcher.identity import Stat, is_here, pid_namespace
from mcp_jobs.execution.verdicts import Traces

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


Homes: TypeAlias = tuple[str | None, ...]
"""Which homes the processes of a job may carry as their mark; None stands for no mark."""

logger = logging.getLogger(__name__)

_FILES_AFTER_END: Final = frozenset(
    {layout.CALL, layout.ALIVE, layout.FENCE, layout.STOP, layout.NOTICE}
)
_PREFIXES_AFTER_END: Final = (
    *(".stop.", "report.", ".report.", ".alive.", ".env.", ".call."),
    files.DISPLACED,
)
_CHILD_ONCE: Final = "mcp_jobs.child"
_CHILD_NOW: Final = "mcp_jobs.job_types.python.child"
"""The module of a Python job's process, as version 0.1.0 called it and as it is called now."""

_FEW_NAMES: Final = 50
"""So many files are removed in less time than another thread takes."""
_PATIENCE_S: Final = 10.0
_PAUSE_S: Final = 0.05
_NAMES_OF_DIRECTORIES: Final = frozenset({layout.QUESTIONS, layout.ANSWERS})
_NAMES_AFTER_END: Final = _FILES_AFTER_END | _NAMES_OF_DIRECTORIES


def make_job_dir(job_dir: Path, launch: Launch) -> None:
    """Create a job's directory with the files that its launch needs, for this user only.

    It appears with `env` in it, so that one without it has been started in. Nothing is synced: what
    a power cut takes is made again from the store.
    """
    part = _part(job_dir)
    part.mkdir(mode=layout.PRIVATE_DIR)
    try:
        _write_new(part / layout.ENV, _launch_fields(launch))
        if launch.call is not None:
            _write_new(part / layout.CALL, launch.call)
        part.rename(job_dir)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _part(job_dir: Path) -> Path:
    return job_dir.with_name(f".{job_dir.name}")


def make_ready(job_dir: Path, launch: Launch) -> None:
    """Make what a launch needs once more, whatever is left of it. Raises OSError."""
    if not job_dir.is_dir() or job_dir.is_symlink():
        _displace(job_dir)
        shutil.rmtree(_part(job_dir), ignore_errors=True)
        make_job_dir(job_dir, launch)
        return
    _replace(job_dir / layout.ENV, _launch_fields(launch))
    if launch.call is not None:
        _replace(job_dir / layout.CALL, launch.call)


def _launch_fields(launch: Launch) -> dict[str, Any]:
    """Return what `env` holds. The call has a file of its own, which the job's process reads."""
    fields = {name: getattr(launch, name) for name in Launch.__slots__ if name != "call"}
    return {**fields, "takes_directory": launch.call is not None}


def _replace(path: Path, fields: Mapping[str, Any]) -> None:
    try:
        layout.write_json(str(path), fields)
    except IsADirectoryError:
        _displace(path)
        layout.write_json(str(path), fields)


def _displace(path: Path) -> None:
    with contextlib.suppress(FileNotFoundError):
        files.displace(str(path))


def _write_new(path: Path, fields: Mapping[str, Any]) -> None:
    # Nobody looks for the file before the job is stored, so it need not appear in one step.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    fd = os.open(path, flags, layout.PRIVATE_FILE)
    try:
        layout.write_all(fd, json.dumps(fields).encode())
    finally:
        os.close(fd)


def read_launch(job_dir: Path) -> Launch | None:
    """Return how a job is to be run that an older version accepted, which only its files say."""
    try:
        fields = layout.read_json(str(job_dir / layout.ENV))
        call = layout.read_json(str(job_dir / layout.CALL))
        if fields is None or fields.get("takes_directory") is not None:
            return None
        limits = fields["rlimit_nofile"]
        return Launch(
            argv=tuple(fields["argv"] if call is None else _argv_of_function(fields["argv"])),
            cwd=fields["cwd"],
            umask=fields["umask"],
            environ=fields["environ"],
            secrets=tuple(fields["secrets"]),
            rlimit_nofile=None if limits is None else (limits[0], limits[1]),
            call=call,
        )
    except (OddFileError, KeyError, TypeError):
        return None


def _argv_of_function(argv: Sequence[str]) -> list[str]:
    """Return the command of a Python job whose last argument was its directory."""
    return [_CHILD_NOW if part == _CHILD_ONCE else part for part in argv[:-1]]


def secrets_of(launch: Launch | None) -> tuple[bytes, ...] | None:
    """Return the values that must not be shown for a job; None when they are forgotten."""
    return None if launch is None else tuple(os.fsencode(secret) for secret in launch.secrets)


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


def let_in(job_dir: Path) -> None:
    """Undo what a job has done to the modes of its directories: in them stands how it ended."""
    for path in (job_dir, job_dir / layout.OUTPUT):
        with contextlib.suppress(OSError):
            info = path.lstat()
            if stat.S_ISDIR(info.st_mode) and info.st_mode & stat.S_IRWXU != stat.S_IRWXU:
                path.chmod(layout.PRIVATE_DIR)


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


def raise_fence(job_dir: Path, token: int, homes: Homes) -> None:
    """Refuse, from now on, runners with a lower claim token.

    Without a directory of the job's own no runner can start at all.
    """
    with contextlib.suppress(FileNotFoundError, NotADirectoryError, OddFileError):
        try:
            layout.raise_fence(str(job_dir), token)
        except TimeoutError:
            _end_who_locks(job_dir, homes)
            layout.raise_fence(str(job_dir), token)


def _end_who_locks(job_dir: Path, homes: Homes) -> None:
    """End the processes of a job whose runner is gone, and that keep its directory locked."""
    if not runner_alive(job_dir):
        kill_marked(job_dir.name, homes)


def kill_marked(job_id: str, homes: Homes) -> bool:
    """Kill the processes that carry a job's mark; True says that they are gone.

    Its runner, if there is one that nobody can tell to, sees its job end.
    """
    return process_tree.kill_all(
        lambda: _members(job_id, homes, {}), reap=lambda: None, patience_s=_PATIENCE_S
    )


def forbid(job_dir: Path, token: int, homes: Homes) -> bool:
    """Refuse, from now on, a runner with this claim token too; False when one has begun."""
    raise_fence(job_dir, token + 1, homes)
    return read_traces(job_dir).token != token


def request_stop(job_dir: Path, *, reason: str, grace_s: float) -> None:
    """Make the job's runner end it, now or as soon as it starts. Raises OSError.

    The order is written down first and then the notice given, so that it reaches a runner that is
    just starting, in any pid namespace, and also one that nobody supervises.
    """
    layout.order_stop(str(job_dir), reason, grace_s)
    stop_notice.give(str(job_dir))
    wake_runner(job_dir)


def wake_runner(job_dir: Path) -> bool:
    """Let the job's runner go on if it was stopped (SIGSTOP); says whether it was."""
    try:
        return stop_notice.wake(str(job_dir))
    except OddFileError:
        return False


def has_traces(job_dir: Path) -> bool:
    """Say whether a runner has been here; a job has no process before that."""
    return os.path.lexists(job_dir / layout.ALIVE)


def end_from_here(job_id: str, homes: Homes, grace_s: float) -> None:
    """End the processes of a job whose runner no order can reach. Blocks.

    So it is when the job has removed or replaced its directory, where the runner looks.
    """
    for process in _members(job_id, homes, {}):
        process_tree.send(process, signal.SIGTERM)
        process_tree.send(process, signal.SIGCONT)
    deadline_s = time.monotonic() + min(grace_s, _PATIENCE_S)
    while _members(job_id, homes, {}) and time.monotonic() < deadline_s:
        time.sleep(_PAUSE_S)
    kill_marked(job_id, homes)


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
    return 0 if identity is None else identity["output_start"]


def read_traces(job_dir: Path) -> Traces:
    """Read what the newest runner of a job left, whatever has become of it. Raises OSError.

    The lock first: what a runner wrote before it left must be read after that is known.
    """
    path = str(job_dir)
    if not os.path.isdir(path) or os.path.islink(path):
        there = os.path.lexists(path)
        missing = "something else stands where its directory should be" if there else None
        return Traces(directory=False, missing=missing)
    try:
        locked = layout.is_locked(os.path.join(path, layout.ALIVE))
        lines, unusable, missing = layout.read_lines(path), False, None
    except OddFileError as error:
        locked, lines, unusable, missing = False, [], True, f"in its directory, {error}"
    identity = layout.newest_identity(lines)
    # What a job has written over the identity of its runner does not keep it from its record.
    newest = exit_record.newest(lines) if identity is None else None
    known = identity or newest
    token = None if known is None else known["token"]
    if token is None and missing is None and os.path.lexists(os.path.join(path, layout.ALIVE)):
        missing = "its file `alive` is not whole"
    return Traces(
        token=token,
        output_start=0 if known is None else known["output_start"],
        record=None if token is None else exit_record.find(lines, token),
        locked=locked,
        environment=os.path.lexists(os.path.join(path, layout.ENV)),
        printed=os.path.lexists(os.path.join(path, layout.OUTPUT)),
        fence=_fence(path),
        missing=missing,
        unusable=unusable,
    )


def _fence(path: str) -> int:
    try:
        return layout.read_fence(path) or 0
    except OddFileError:
        return 0


def lives(job_id: str, homes: Homes) -> bool:
    """Say whether any process of a job lives that carries its mark."""
    return bool(process_tree.marked(job_id, homes))


def sweep(job_id: str, job_dir: Path, token: int, homes: Homes) -> bool:
    """Kill what is left of a job whose runner is gone, until two scans find nothing. Blocks.

    False means that the job is not this claim's any more: a runner lives, or a newer claim exists.
    Processes are known by the ids of the job and of the home in their environment, which no
    stranger has, and by the session of the job's main process as long as that process is verified
    to be the one that the runner wrote down, in this home, boot and pid namespace.
    """
    try:
        try:
            return _sweep(job_id, job_dir, token, homes)
        except TimeoutError:
            _end_who_locks(job_dir, homes)
            return _sweep(job_id, job_dir, token, homes)
    except (FileNotFoundError, NotADirectoryError, OddFileError):
        # Without a directory of its own no runner of it can start.
        process_tree.kill_all(lambda: _members(job_id, homes, {}), reap=lambda: None)
        return True


def _sweep(job_id: str, job_dir: Path, token: int, homes: Homes) -> bool:
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
            if not is_here(identity) or identity.get("home_id") not in homes:
                identity = {}
            process_tree.kill_all(lambda: _members(job_id, homes, identity), reap=lambda: None)
        finally:
            os.close(alive_fd)
    return True


def _members(job_id: str, homes: Homes, identity: Mapping[str, Any]) -> list[Stat]:
    table = process_tree.processes()
    found = {process.pid: process for process in process_tree.marked(job_id, homes)}
    leader = table.get(identity.get("job_pid") or 0)
    if leader is not None and leader.start_time == identity.get("job_start_time"):
        for process in table.values():
            if process.session == leader.pid and not process.dead:
                found[process.pid] = process
    for pid in list(found):
        for process in process_tree.descendants(pid):
            found[process.pid] = process
    return list(found.values())


def locality() -> str:
    """Name the place that this process's jobs belong to: machine and pid namespace."""
    machine = ""
    for path in ("/etc/machine-id", "/var/lib/dbus/machine-id"):
        with contextlib.suppress(OSError):
            machine = machine or Path(path).read_text("ascii").strip()
    return f"{machine or os.uname().nodename}/{pid_namespace()}"
