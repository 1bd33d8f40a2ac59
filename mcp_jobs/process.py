"""What servers and runners tell each other through the files of a job, and the sweep.

With `launcher/` this is the only module that sends signals. It keeps no state about jobs.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.launcher import bell, layout, record, tree
from mcp_jobs.launcher.identity import Stat, is_here, pid_namespace

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mcp_jobs.launcher.record import ExitRecord

_FILES_AFTER_END: Final = frozenset(
    {layout.CALL, layout.ALIVE, layout.FENCE, layout.STOP, layout.BELL}
)
_PREFIXES_AFTER_END: Final = (".stop.", "report.", ".report.")
_DIRECTORIES_AFTER_END: Final = frozenset({layout.QUESTIONS, layout.ANSWERS})


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
    launch = layout.read_json(str(job_dir / layout.ENV))
    if launch is None:
        return None
    return tuple(os.fsencode(secret) for secret in launch.get("secrets", ()))


def remove_job_dir(job_dir: Path) -> None:
    """Remove everything of a job; absent is fine."""
    shutil.rmtree(job_dir, ignore_errors=True)


def forget_secrets(job_dir: Path) -> None:
    """Remove the stored environment of a job that will not start again."""
    (job_dir / layout.ENV).unlink(missing_ok=True)


def clean_after_end(job_dir: Path) -> None:
    """Remove what only a living job needs, its environment first; output and progress stay."""
    with contextlib.suppress(FileNotFoundError):
        names = os.listdir(job_dir)
        if layout.ENV in names:
            forget_secrets(job_dir)
        for name in names:
            if name in _FILES_AFTER_END or name.startswith(_PREFIXES_AFTER_END):
                (job_dir / name).unlink(missing_ok=True)
            elif name in _DIRECTORIES_AFTER_END:
                shutil.rmtree(job_dir / name, ignore_errors=True)


def forget_progress(job_dir: Path) -> None:
    """Let the next attempt begin with an empty progress file."""
    (job_dir / layout.PROGRESS).unlink(missing_ok=True)


def raise_fence(job_dir: Path, token: int) -> None:
    """Refuse, from now on, runners with a lower claim token.

    Without the job's directory no runner can start at all.
    """
    with contextlib.suppress(FileNotFoundError):
        layout.raise_fence(str(job_dir), token)


def forbid(job_dir: Path, token: int) -> bool:
    """Refuse, from now on, a runner with this claim token too; False when one has begun."""
    raise_fence(job_dir, token + 1)
    return read_traces(job_dir).token != token


def request_stop(job_dir: Path, *, reason: str, grace_s: float) -> None:
    """Make the job's runner end it, now or as soon as it starts.

    The order is written down first and then the bell rung, so that it reaches a runner that is
    just starting, in any pid namespace, and also one that nobody supervises.
    """
    layout.order_stop(str(job_dir), reason, grace_s)
    bell.ring(str(job_dir))
    wake_runner(job_dir)


def wake_runner(job_dir: Path) -> bool:
    """Let the job's runner go on if it was stopped (SIGSTOP); says whether it was."""
    return bell.wake(str(job_dir))


def stop_requested(job_dir: Path) -> bool:
    """Say whether the job's runner has been told to end it."""
    return layout.read_stop(str(job_dir)) is not None


def runner_alive(job_dir: Path) -> bool:
    """Say whether a runner of this job lives, in whatever pid namespace."""
    return layout.is_locked(str(job_dir / layout.ALIVE))


def read_output_start(job_dir: Path) -> int:
    """Return where the newest runner's output begins, in bytes; 0 before the first."""
    identity = layout.read_identity(str(job_dir))
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
    if not job_dir.exists():
        return True
    with layout.fence_lock(str(job_dir)):
        if layout.read_fence(str(job_dir)) > token:
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
