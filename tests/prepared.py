"""Commands of `mcp-jobs` in processes that are forked where everything is imported already.

Most of what a command costs is its imports, so tests of many commands and servers start them here.
Each one is a process of its own, with the arguments, environment, directory and streams that it was
given, and differs from one that a host started only in how Python began (and in what /proc shows of
its command and its first environment). What depends on that starts a program with `subprocess`;
every way in does so in some of its tests.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import traceback
from contextlib import ExitStack, suppress
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn, Self

from tests import stand_in
from tests.stand_in import NUMBER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_ROOT = Path(__file__).resolve().parent.parent
_MOST_BYTES = 1 << 20
_BOUND_S = 60.0
_IMPORTED = (
    "aiosqlite",
    "anyio._backends._asyncio",
    "mcp_jobs.__main__",
    "mcp_jobs.interfaces.cli",
    "mcp_jobs.interfaces.http.serve",
    "mcp_jobs.interfaces.mcp.server",
    "uvicorn.lifespan.on",
    "uvicorn.protocols.http.h11_impl",
)


class Process:
    """A command that runs, with what tests use of `subprocess.Popen`."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        cwd: Path,
        env: Mapping[str, str],
        streams: Sequence[IO[bytes]],
        code: str | None = None,
    ) -> None:
        """Start it; `code` is run in the place of `mcp-jobs`, as after `python -c`.

        What `code` changes must not have been bound by other modules when they were imported: a
        method of a class will do, a constant may not.
        """
        self.args = [*arguments]
        self.returncode: int | None = None
        self._link = socket.socket(socket.AF_UNIX)
        self._link.connect(_address())
        request = {
            "arguments": self.args,
            "cwd": str(cwd),
            "env": {**env},
            "code": code,
            "umask": _umask(),
        }
        told = json.dumps(request).encode()
        socket.send_fds(self._link, [told], [one.fileno() for one in streams])
        self.pid = self._number()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.wait(_BOUND_S)

    def poll(self) -> int | None:
        """Return the exit code, or None as long as it runs."""
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code when it has ended."""
        if self.returncode is None:
            if not select.select([self._link], [], [], timeout)[0]:
                raise subprocess.TimeoutExpired(self.args, timeout or 0)
            self.returncode = self._number()
            self._link.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it is known to have ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it by force."""
        self.send_signal(signal.SIGKILL)

    def _number(self) -> int:
        told = self._link.recv(NUMBER.size, socket.MSG_WAITALL)
        assert told, "the process that forks has died"
        return int(NUMBER.unpack(told)[0])


def start(
    arguments: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    streams: Sequence[IO[bytes]],
    code: str | None = None,
) -> Process | subprocess.Popen[bytes]:
    """Start `mcp-jobs`, or a Python of its own for `code` that may change anything."""
    if code is None:
        return Process(arguments, cwd=cwd, env=env, streams=streams)
    stdin, stdout, stderr = streams
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=cwd,
        env=env,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
    )


def stand_in_arguments(*arguments: str) -> list[str]:
    """Return the arguments of a Python that stands in for the server that it has forked."""
    return ["-I", "-S", str(stand_in.__file__), _address(), *arguments]


def run(
    arguments: Sequence[str], *, cwd: Path, env: Mapping[str, str], given: str, timeout_s: float
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end and that of its output; `given` is its input."""
    with ExitStack() as opened:
        stdin, stdout, stderr = (pipe(opened) for _ in range(3))
        theirs = (stdin[0], stdout[1], stderr[1])
        process = Process(arguments, cwd=cwd, env=env, streams=theirs)
        for end in theirs:
            end.close()
        stdin[1].write(given.encode())
        stdin[1].close()
        try:
            out, err = _read((stdout[0], stderr[0]), timeout_s)
            code = process.wait(timeout_s)
        except BaseException:
            process.kill()
            raise
    texts = [told.decode().replace("\r\n", "\n").replace("\r", "\n") for told in (out, err)]
    return subprocess.CompletedProcess(process.args, code, *texts)


def _umask() -> int:
    umask = os.umask(0o077)
    os.umask(umask)
    return umask


def pipe(opened: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    """Return the end to read and the end to write, which are closed at last with `opened`."""
    read, write = os.pipe()
    ends = os.fdopen(read, "rb", 0), os.fdopen(write, "wb", 0)
    for end in ends:
        opened.enter_context(end)
    return ends


def _read(pipes: Sequence[IO[bytes]], timeout_s: float) -> list[bytes]:
    """Return what comes out of each pipe until all have ended."""
    found = {pipe.fileno(): b"" for pipe in pipes}
    left = [*found]
    while left:
        ready, _, _ = select.select(left, [], [], timeout_s)
        assert ready, f"nothing came for {timeout_s} s, after {[*found.values()]}"
        for number in ready:
            data = os.read(number, 65_536)
            found[number] += data
            if not data:
                left.remove(number)
    return [*found.values()]


@cache
def _address() -> str:
    """Start the process that forks, which ends with this one; return where it listens."""
    directory = tempfile.TemporaryDirectory(prefix="mj-prepared-", dir="/tmp")
    address = f"{directory.name}/socket"
    forks = subprocess.Popen(
        [sys.executable, "-m", "tests.prepared", address],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        # Pipes, as those of the commands will be: Python looks at what its streams are only once.
        stderr=subprocess.STDOUT,
        cwd=_ROOT,
        env={"PATH": os.environ["PATH"], "HOME": directory.name, "PYTHONPATH": str(_ROOT)},
    )
    assert forks.stdout is not None
    assert forks.stdout.readline() == b"ready\n"
    atexit.register(directory.cleanup)
    atexit.register(forks.communicate)
    return address


# -- the process that forks ----------------------------------------------------------------------


def _serve(address: str) -> None:
    _import_all()
    gc.freeze()
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    os.write(1, b"ready\n")
    tests = sys.stdin.fileno()
    while tests not in select.select([listener.fileno(), tests], [], [])[0]:
        link, _ = listener.accept()
        if os.fork() == 0:
            listener.close()
            _attend(link)
        link.close()


def _import_all() -> None:
    """Import what commands do, and what they do when they begin to work."""
    for name in _IMPORTED:
        importlib.import_module(name)


def _attend(link: socket.socket) -> NoReturn:
    """Run what is asked for in a child, and tell how it ended; kill it when nobody listens."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    data, streams, _, _ = socket.recv_fds(link, _MOST_BYTES, 3)
    child = os.fork()
    if child == 0:
        link.close()
        _become(json.loads(data), streams)
    for stream in (*streams, 0, 1, 2):
        os.close(stream)
    link.send(NUMBER.pack(child))
    watch = os.pidfd_open(child)
    if watch not in select.select([link.fileno(), watch], [], [])[0]:
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    with suppress(OSError):
        link.send(NUMBER.pack(os.waitstatus_to_exitcode(status)))
    os._exit(0)


def _become(request: dict[str, Any], streams: Sequence[int]) -> NoReturn:
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ.clear()
    os.environ.update(request["env"])
    named = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    sys.path[:0] = [path for path in named if os.path.isabs(path) and path not in sys.path]
    os.umask(request["umask"])
    os.chdir(request["cwd"])
    code: object = 1
    try:
        _run_as_main(request["code"], request["arguments"])
        code = 0
    except SystemExit as end:
        code = end.code
    except BaseException:  # noqa: BLE001 - as the interpreter does
        traceback.print_exc()
    if isinstance(code, str):
        sys.stderr.write(f"{code}\n")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code if isinstance(code, int) else int(code is not None))


def _run_as_main(code: str | None, arguments: Sequence[str]) -> None:
    if code is not None:
        sys.argv = ["-c", *arguments]
        exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})  # noqa: S102 - that is it
        return
    program = importlib.import_module("mcp_jobs.__main__")
    sys.argv = [str(program.__file__), *arguments]
    program.main()


if __name__ == "__main__":
    _serve(sys.argv[1])
