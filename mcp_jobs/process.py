"""Talk to the launcher, and read what runners leave behind.

With `launcher/` this is the only module that sends signals. It keeps no state about jobs.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import anyio
import anyio.to_thread

from mcp_jobs.errors import LauncherError
from mcp_jobs.launcher import layout, record, tree
from mcp_jobs.launcher.identity import Stat, boot_id, pid_namespace
from mcp_jobs.launcher.server import PROTOCOL_VERSION

if TYPE_CHECKING:
    from collections.abc import Mapping

    from anyio.abc import SocketStream

    from mcp_jobs.launcher.record import ExitRecord

_CONNECT_TRIES: Final = 5
_CONNECT_PAUSE_S: Final = 0.05
_LINE_LIMIT_BYTES: Final = 1 << 16
_FILES_AFTER_END: Final = (
    layout.CALL,
    layout.ALIVE,
    layout.FENCE,
    layout.RUNNER,
    layout.STOP,
    layout.BELL,
)

_LAUNCH = (
    "import sys; sys.path.insert(0, sys.argv[1]);"
    "from mcp_jobs.launcher.server import main; main(sys.argv[2], float(sys.argv[3]))"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """What a job takes from the process that accepts it."""

    locality: str
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
class LaunchRequest:
    """What a runner is told about one attempt. Times in seconds, None for no limit."""

    job_id: str
    job_dir: str
    token: int
    attempt: int
    timeout_s: float | None
    idle_timeout_s: float | None
    grace_s: float
    output_cap_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """The command that works off the queue when no server is left."""

    argv: tuple[str, ...]
    environ: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traces:
    """What the files of a job say about its newest runner."""

    token: int | None
    """The claim token that the newest runner was started with; None before the first."""
    alive: bool
    """Whether a runner holds the job's lock now."""
    output_start: int
    """Where that runner's output begins, in bytes."""
    record: ExitRecord | None
    """How that runner's attempt ended, if it wrote it down."""


class RunnerLink:
    """A connection that its runner keeps open until the job has ended."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream

    async def wait_closed(self) -> None:
        """Return when the runner is gone, for whatever reason. The files say which."""
        try:
            with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
                while True:
                    await self._stream.receive()
        finally:
            await anyio.aclose_forcefully(self._stream)

    async def aclose(self) -> None:
        """Stop listening; the runner goes on."""
        await anyio.aclose_forcefully(self._stream)


class LauncherLink:
    """A connection to the launcher itself, closed when the launcher is gone."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream

    async def wait_closed(self) -> None:
        """Return when the launcher is gone."""
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                await self._stream.receive()

    async def aclose(self) -> None:
        """Stop being known to the launcher."""
        await anyio.aclose_forcefully(self._stream)

    async def release(self) -> None:
        """Say that nothing is left to do, so that no worker needs to be started."""
        with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._stream.send(b'{"op": "release"}\n')


class LauncherClient:
    """Starts runners through the launcher of this home, user and pid namespace."""

    def __init__(self, *, home: Path, runtime_dir: Path, idle_s: float) -> None:
        scope = f"{os.path.realpath(home)}\0{os.getuid()}\0{pid_namespace()}"
        name = hashlib.sha256(scope.encode()).hexdigest()[:16]
        self._socket_path = str(runtime_dir / f"{name}-{PROTOCOL_VERSION}.sock")
        self._log_path = home / "launcher.log"
        self._idle_s = idle_s
        self._starting = anyio.Lock()
        self._starts = 0

    async def run(self, request: LaunchRequest) -> RunnerLink | None:
        """Start a runner. None means that it refused: the job has one, or a newer claim.

        Raises `LauncherError` when no runner could be made at all.
        """
        stream = await self._ask({"op": "run", **asdict(request)})
        try:
            answer = await _read_line(stream)
        except BaseException:
            await anyio.aclose_forcefully(stream)
            raise
        event = answer.get("event")
        if event in ("busy", "failed"):
            await stream.aclose()
            raise LauncherError(f"The job's runner could not start: {answer.get('error')}.")
        if event is None:
            # The launcher or the runner was killed in between. Asking again is safe: a runner that
            # has got as far as its first instruction makes the next one refuse.
            await stream.aclose()
            raise LauncherError("The launcher was killed before it had started the job's runner.")
        if event == "refused":
            await stream.aclose()
            return None
        return RunnerLink(stream)

    async def attach(self, drain: Drain) -> LauncherLink:
        """Keep the launcher from leaving while this process lives.

        When the last process that is attached goes without a `release`, the launcher starts
        `drain`. Raises `LauncherError`.
        """
        return LauncherLink(await self._ask({"op": "attach", "drain": asdict(drain)}))

    async def sweep_orphans(self) -> None:
        """Make the launcher, if there is one, kill what dead runners have left to it.

        It finds what nobody else can: a daemon that has cleared its environment.
        """
        with contextlib.suppress(OSError, anyio.BrokenResourceError):
            async with await self._send(b'{"op": "sweep"}\n') as stream:
                await _read_line(stream)

    async def _ask(self, message: Mapping[str, Any]) -> SocketStream:
        problem: Exception | None = None
        for attempt in range(_CONNECT_TRIES):
            starts_seen = self._starts
            try:
                return await self._send(json.dumps(message).encode() + b"\n")
            except (OSError, anyio.BrokenResourceError) as error:
                # None is there, or it left just now. One that leaves holds its lock for a moment
                # longer, so that a second try may have to wait.
                problem = error
                await anyio.sleep(attempt * _CONNECT_PAUSE_S)
                await self._start(starts_seen)
        raise LauncherError(
            f"The launcher at {self._socket_path} does not answer: {problem}. Its log is "
            f"{self._log_path}."
        )

    async def _send(self, line: bytes) -> SocketStream:
        stream = await anyio.connect_unix(self._socket_path)
        try:
            await stream.send(line)
        except BaseException:
            await anyio.aclose_forcefully(stream)
            raise
        return stream

    async def _start(self, starts_seen: int) -> None:
        async with self._starting:
            if self._starts != starts_seen:
                # Another task has started it while this one waited.
                return
            try:
                exit_code = await self._run_launcher()
            except OSError as error:
                raise LauncherError(f"The launcher could not be started: {error}.") from error
            self._starts += 1
        if exit_code:
            raise LauncherError(f"The launcher could not be started; see {self._log_path}.")

    async def _run_launcher(self) -> int:
        command = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(_package_root())]
        with await anyio.to_thread.run_sync(_open_log, self._log_path) as log:
            done = await anyio.run_process(
                [*command, self._socket_path, str(self._idle_s)],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                check=False,
                start_new_session=True,
                cwd="/",
                env={"PATH": os.defpath},
            )
        return done.returncode


def drain_command(environ: Mapping[str, str]) -> Drain:
    """Return how to start `mcp-jobs worker --drain` with this interpreter and this code."""
    code = "import sys; sys.path.append(sys.argv.pop(1));from mcp_jobs.__main__ import main; main()"
    root = str(_package_root())
    return Drain(argv=(sys.executable, "-c", code, root, "worker", "--drain"), environ=environ)


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
    forget_secrets(job_dir)
    for name in _FILES_AFTER_END:
        (job_dir / name).unlink(missing_ok=True)
    for name in (layout.QUESTIONS, layout.ANSWERS):
        shutil.rmtree(job_dir / name, ignore_errors=True)
    for pattern in ("exit.*", ".exit.*", "report.*", ".report.*"):
        for path in job_dir.glob(pattern):
            path.unlink(missing_ok=True)


def forget_progress(job_dir: Path) -> None:
    """Let the next attempt begin with an empty progress file."""
    (job_dir / layout.PROGRESS).unlink(missing_ok=True)


def raise_fence(job_dir: Path, token: int) -> None:
    """Refuse, from now on, runners with a lower claim token.

    Without the job's directory no runner can start at all.
    """
    with contextlib.suppress(FileNotFoundError):
        layout.raise_fence(str(job_dir), token)


def request_stop(job_dir: Path, *, reason: str, grace_s: float) -> None:
    """Make the job's runner end it, now or as soon as it starts.

    The order is written down first and then the bell rung, so that it reaches a runner that is
    just starting, in any pid namespace, and also one that nobody supervises.
    """
    layout.write_json(str(job_dir / layout.STOP), {"reason": reason, "grace_s": grace_s})
    try:
        bell_fd = os.open(job_dir / layout.BELL, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENXIO):
            return
        raise
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        os.write(bell_fd, b"!")
    os.close(bell_fd)


def stop_requested(job_dir: Path) -> bool:
    """Say whether the job's runner has been told to end it."""
    return (job_dir / layout.STOP).exists()


def runner_alive(job_dir: Path) -> bool:
    """Say whether a runner of this job lives, in whatever pid namespace."""
    return layout.is_locked(str(job_dir / layout.ALIVE))


def read_output_start(job_dir: Path) -> int:
    """Return where the newest runner's output begins, in bytes; 0 before the first."""
    identity = layout.read_json(str(job_dir / layout.RUNNER))
    return 0 if identity is None else int(identity["output_start"])


def read_traces(job_dir: Path) -> Traces:
    """Read what the newest runner of a job left."""
    # The lock first: a runner that ends in between is then seen with its record.
    alive = runner_alive(job_dir)
    identity = layout.read_json(str(job_dir / layout.RUNNER))
    token = None if identity is None else int(identity["token"])
    return Traces(
        token=token,
        alive=alive,
        output_start=0 if identity is None else int(identity["output_start"]),
        record=None if token is None else record.read(str(job_dir), token),
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
    with layout.fence_lock(str(job_dir)) as fence_fd:
        if layout.read_fence(fence_fd) > token:
            return False
        # No runner may start while its job's processes are being killed.
        alive_fd = layout.lock_file_patiently(str(job_dir / layout.ALIVE))
        if alive_fd is None:
            return False
        try:
            identity = layout.read_json(str(job_dir / layout.RUNNER)) or {}
            here = (boot_id(), pid_namespace())
            if (identity.get("boot_id"), identity.get("pid_namespace")) != here:
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


def _package_root() -> Path:
    return Path(__file__).resolve().parent.parent


def _open_log(path: Path) -> Any:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, layout.PRIVATE_FILE)
    return os.fdopen(fd, "ab")


async def _read_line(stream: SocketStream) -> dict[str, Any]:
    """Read one JSON line; an early end of the stream is an empty object."""
    text = b""
    with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
        while not text.endswith(b"\n") and len(text) < _LINE_LIMIT_BYTES:
            text += await stream.receive()
    return dict(json.loads(text)) if text.endswith(b"\n") else {}
