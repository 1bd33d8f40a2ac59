"""Start runners through the launcher of this home, and learn when they are gone."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import json
import logging
import os
import socket
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TypeVar

import anyio
import anyio.to_thread
from anyio.abc import SocketAttribute

from mcp_jobs.domain.errors import InvalidInputError, LauncherError, in_words
from mcp_jobs.execution.launcher import layout, process_tree, stop_notice
from mcp_jobs.execution.launcher.exit_record import is_record
from mcp_jobs.execution.launcher.fork_server import PROTOCOL_VERSION
from mcp_jobs.execution.launcher.identity import pid_namespace

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from anyio.abc import SocketStream

    from mcp_jobs.execution.launcher.exit_record import ExitRecord

logger = logging.getLogger(__name__)

Connection = TypeVar("Connection")

_CONNECT_TRIES: Final = 5
_CONNECT_PAUSE_S: Final = 0.05
_ANSWER_WAITS_S: Final = (2.0, 8.0, 10.0)
"""How long an answer is waited for; after each, a launcher that was stopped is woken."""

_SWEEP_WAITS_S: Final = (3.0, 3.0)
_START_S: Final = 30.0
_LINE_LIMIT_BYTES: Final = 1 << 16
_ENDED: Final = b'\n{"event": "ended"'

_NO_CONNECTIONS: Final = (
    "No job can be started from here: this process may not open any connection, not even to the "
    "launcher of mcp-jobs, as in a sandbox without network. Start the job outside of the sandbox, "
    "where the MCP server of a host runs."
)

_LAUNCH = (
    "import sys; sys.path.append(sys.argv[1]);"
    "from mcp_jobs.execution.launcher.fork_server import main;"
    "main(sys.argv[2], float(sys.argv[3]), sys.argv[4])"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LaunchRequest:
    """What a runner is told about one attempt. Times in seconds, None for no limit."""

    job_id: str
    home_id: str
    job_dir: str
    token: int
    attempt: int
    timeout_s: float | None
    idle_timeout_s: float | None
    grace_s: float
    output_cap_bytes: int
    output_limit_bytes: int | None = None
    """The job is stopped when it prints more in this attempt."""
    detach: bool = False
    """What the main process leaves in the background goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drain:
    """The command that works off the queue when no server is left."""

    argv: tuple[str, ...]
    environ: Mapping[str, str]


class RunnerLink:
    """The connection of one runner: its answer, that it has written the end down, its going.

    Plain callbacks of the event loop: a stream would take a dozen checkpoints for each job, which
    is more than anything else that the server does for a short one.
    """

    def __init__(self, connection: socket.socket) -> None:
        self.closed = False
        """The runner is gone, for whatever reason. The files say which."""
        self.ended = False
        """The exit record is written; the runner may still be bringing it to the disk."""
        self.record: ExitRecord | None = None
        """What it says, once it has `ended`."""
        self._connection = connection
        self._loop = asyncio.get_running_loop()
        self._text = b""
        self._changed = anyio.Event()
        self._listener: Callable[[], None] | None = None
        self._loop.add_reader(connection, self._on_readable)

    async def answer(self) -> dict[str, Any]:
        """Return what the launcher or the runner said first; nothing if it was killed before."""
        while not self.closed and b"\n" not in self._text and len(self._text) < _LINE_LIMIT_BYTES:
            await self._changed.wait()
        line, newline, _ = self._text.partition(b"\n")
        return dict(json.loads(line)) if newline else {}

    async def wait_closed(self) -> None:
        """Return when the runner is gone, for whatever reason. The files say which."""
        while not self.closed:
            await self._changed.wait()

    def when_over(self, listener: Callable[[], None]) -> None:
        """Call `listener` once the job has `ended` or the link is `closed`, at once if it is."""
        if self.ended or self.closed:
            listener()
        else:
            self._listener = listener

    def close(self) -> None:
        """Stop listening; the runner goes on. Calling it again does nothing."""
        if not self.closed:
            self.closed = True
            self._loop.remove_reader(self._connection)
            self._connection.close()

    def _on_readable(self) -> None:
        try:
            data = self._connection.recv(_LINE_LIMIT_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        self._text += data
        if not self.ended:
            self._look_for_end()
        if not data:
            self.close()
        if (self.ended or self.closed) and self._listener is not None:
            self._listener()
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def _look_for_end(self) -> None:
        place = self._text.find(_ENDED)
        line, newline, _ = self._text[place + 1 :].partition(b"\n")
        if place < 0 or not newline:
            return
        self.ended = True
        record = json.loads(line).get("record")
        self.record = record if is_record(record) else None


class LauncherLink:
    """A connection to the launcher itself, closed when the launcher is gone."""

    def __init__(self, stream: SocketStream) -> None:
        self._stream = stream

    async def wait_closed(self) -> None:
        """Return when the launcher is gone."""
        with contextlib.suppress(anyio.EndOfStream, anyio.BrokenResourceError):
            while True:
                await self._stream.receive()

    def gone(self) -> bool:
        """Say whether the launcher has closed the connection or is dead."""
        raw = self._stream.extra(SocketAttribute.raw_socket)  # noqa: S610 - anyio's extra
        try:
            return raw.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except OSError:
            return True

    async def aclose(self) -> None:
        """Stop being known to the launcher."""
        await anyio.aclose_forcefully(self._stream)

    async def release(self) -> None:
        """Say that nothing is left to do, so that no worker needs to be started."""
        with contextlib.suppress(OSError, anyio.BrokenResourceError, anyio.ClosedResourceError):
            await self._stream.send(b'{"op": "release"}\n')


class LauncherClient:
    """Starts runners through the launcher of this home, user and pid namespace.

    `runtime_dir` names the directory for its socket, and makes it: a logout may remove it.
    """

    def __init__(
        self, *, home: Path, home_id: str, runtime_dir: Callable[[], Path], idle_s: float
    ) -> None:
        scope = f"{home_id}\0{os.getuid()}\0{pid_namespace()}"
        name = hashlib.sha256(scope.encode()).hexdigest()[:16]
        self._runtime_dir = runtime_dir
        self._name = f"{name}-{PROTOCOL_VERSION}.sock"
        self._socket_path = str(runtime_dir() / self._name)
        self._home = home
        self._log_path = home / "launcher.log"
        self._idle_s = idle_s
        self._starting = anyio.Lock()
        self._starts = 0

    async def run(self, request: LaunchRequest) -> RunnerLink | None:
        """Start a runner. None means that it refused.

        The job has one, or a newer claim, or its directory is not as a launch needs it.
        Raises `LauncherError` when no runner could be made at all.
        """
        fields = {name: getattr(request, name) for name in LaunchRequest.__slots__}
        line = json.dumps({"op": "run", **fields}).encode() + b"\n"
        link = RunnerLink(await self._ask(lambda: self._send_at_once(line)))
        try:
            answer = await self._answer(link, request)
        except BaseException:
            link.close()
            raise
        event = answer.get("event")
        if event in ("started", "not_started"):
            return link
        link.close()
        if event in ("refused", "unready"):
            return None
        if event is None:
            # The launcher or the runner was killed in between. Asking again is safe: a runner that
            # has got as far as its first instruction makes the next one refuse.
            raise LauncherError("The launcher was killed before it had started the job's runner.")
        raise LauncherError(f"The job's runner could not start: {answer.get('error')}.")

    async def attach(self, drain: Drain) -> LauncherLink:
        """Keep the launcher from leaving while this process lives.

        When the last process that is attached goes without a `release`, the launcher starts
        `drain`. Raises `LauncherError`.
        """
        line = json.dumps({"op": "attach", "drain": asdict(drain)}).encode() + b"\n"
        link = LauncherLink(await self._ask(lambda: self._send(line)))
        # A stopped one takes connections too, but would not see that this process dies.
        self._wake()
        return link

    async def sweep_orphans(self) -> None:
        """Make the launcher, if there is one, kill what dead runners have left to it.

        It finds what nobody else can: a daemon that has cleared its environment.
        """
        with contextlib.suppress(OSError, anyio.BrokenResourceError):
            async with await self._send(b'{"op": "sweep"}\n') as stream:
                for wait_s in _SWEEP_WAITS_S:
                    with anyio.move_on_after(wait_s) as scope:
                        await _read_line(stream)
                    if not scope.cancelled_caught:
                        return
                    self._wake()

    async def _answer(self, link: RunnerLink, request: LaunchRequest) -> dict[str, Any]:
        """Return the first answer to a request to run. Raises `LauncherError` if none comes."""
        for wait_s in _ANSWER_WAITS_S:
            with anyio.move_on_after(wait_s):
                return await link.answer()
            self._wake()
            with contextlib.suppress(OSError):
                stop_notice.wake(request.job_dir)
        raise LauncherError(f"The launcher at {self._socket_path} does not answer.")

    def _wake(self) -> None:
        """Let the launcher go on, if there is one that was stopped."""
        with contextlib.suppress(OSError):
            found = layout.read_json(f"{self._socket_path}.lock") or {}
            if process_tree.resume(found.get("pid"), found.get("start_time")):
                logger.warning("the launcher had been stopped; it goes on")

    async def _ask(self, send: Callable[[], Awaitable[Connection]]) -> Connection:
        problem: Exception | None = None
        for attempt in range(_CONNECT_TRIES):
            starts_seen = self._starts
            try:
                return await send()
            except (OSError, anyio.BrokenResourceError) as error:
                if isinstance(error, OSError) and error.errno == errno.EPERM:
                    raise LauncherError(_NO_CONNECTIONS) from error
                # None is there, or it left just now. One that leaves holds its lock for a moment
                # longer, so that a second try may have to wait.
                problem = error
                self._wake()
                await anyio.sleep(attempt * _CONNECT_PAUSE_S)
                await self._start(starts_seen)
        raise LauncherError(
            f"The launcher at {self._socket_path} does not answer: {_plain(problem)}. Its log is "
            f"{self._log_path}."
        )

    async def _send_at_once(self, line: bytes) -> socket.socket:
        """Send a line that the socket's buffer takes whole: nothing here ever waits."""
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.setblocking(False)
            connection.connect(self._socket_path)
            connection.sendall(line)
        except BaseException:
            connection.close()
            raise
        return connection

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
                # Made anew, or another one, where the old one was removed.
                self._socket_path = str(self._runtime_dir() / self._name)
                with anyio.fail_after(_START_S):
                    exit_code = await self._run_launcher()
            except InvalidInputError as error:
                raise LauncherError(str(error)) from error
            except TimeoutError:
                raise LauncherError(
                    f"The launcher did not start within {_START_S:.0f} s; see {self._log_path}."
                ) from None
            except OSError as error:
                raise LauncherError(
                    f"The launcher could not be started: {_plain(error)}."
                ) from error
            self._starts += 1
        if exit_code:
            raise LauncherError(f"The launcher could not be started; see {self._log_path}.")

    async def _run_launcher(self) -> int:
        command = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(_package_root())]
        with await anyio.to_thread.run_sync(_open_log, self._log_path) as log:
            done = await anyio.run_process(
                [*command, self._socket_path, str(self._idle_s), str(self._home)],
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
    return Drain(
        argv=(sys.executable, "-P", "-c", code, root, "worker", "--drain"), environ=environ
    )


def _plain(error: Exception | None) -> str:
    return in_words(error) if isinstance(error, OSError) else str(error)


def _package_root() -> Path:
    return Path(__file__).resolve().parents[2]


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
