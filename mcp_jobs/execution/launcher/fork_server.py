"""The launcher: one detached, single-threaded process that forks a runner for each job.

It exists because a fork takes about a millisecond and an interpreter start ten, and because a
runner must not be a child of a server. When it is killed, its runners go on; the next start makes
a new launcher. A request is one JSON line on a private Unix socket:

* `{"op": "run", ...}`: the connection passes to the runner, which tells `started`, `refused` or
  `unready` on it, then `ended` with the exit record, and closes it when it leaves.
* `{"op": "sweep"}`: kills what dead runners left behind, and answers when it is gone.
* `{"op": "attach", "drain": {...}}`: keeps the launcher from leaving while the connection is open.
  When the last one ends without `{"op": "release"}`, its process died: the launcher then starts
  the drain command, which works off what is queued.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import struct
import sys
import time

from mcp_jobs.execution.launcher import layout, process_tree
from mcp_jobs.execution.launcher.drain_worker import DrainKeeper
from mcp_jobs.execution.launcher.identity import Stat, boot_id, pid_namespace, start_time
from mcp_jobs.execution.launcher.pinned import PinnedHome, PinnedPath
from mcp_jobs.execution.launcher.runner import Runner
from mcp_jobs.execution.launcher.warmup import warm_up

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

PROTOCOL_VERSION = 5
"""Part of the socket's name, so that another version's launcher is never spoken to."""

_REQUEST_LIMIT_BYTES = 4 << 20
_BACKLOG = 512
_ACCEPT_PAUSE_S = 0.05
_SWEEP_PATIENCE_S = 1.0
_LOOK_EVERY_S = 2.0
"""How often the launcher looks whether its home and its socket are still there."""


class Launcher:
    """Serves one socket until idle for `idle_s` seconds, or until its home or socket is removed."""

    def __init__(
        self, socket_path: str, lock_fd: int, idle_s: float, home: PinnedHome | None = None
    ) -> None:
        self._path = socket_path
        self._lock_fd = lock_fd
        self._idle_s = idle_s
        self._selector = selectors.DefaultSelector()
        self._wakeup_read, self._wakeup_write = os.pipe()
        self._listener = _listen(socket_path)
        self._socket = PinnedPath(socket_path)
        self._home = home
        self._withdrawn = False
        self._runners: set[int] = set()
        self._clients: dict[socket.socket, bytes] = {}
        self._drain = DrainKeeper()

    def serve(self) -> None:
        """Accept requests; return when no runner and no connection is left for a while."""
        self._set_up()
        busy_s = time.monotonic()
        while True:
            ready = self._selector.select(self._wait_s())
            for key, _ in ready:
                self._on_ready(key.fileobj)
            self._reap()
            self._drain.start_if_due()
            if not self._withdrawn and not self._stands():
                self._withdraw()
            if ready or self._busy():
                busy_s = time.monotonic()
            elif self._withdrawn or time.monotonic() - busy_s >= self._idle_s:
                break
        self._withdraw()

    def _stands(self) -> bool:
        """Say whether clients can still find this launcher, and the home that it is for."""
        return self._socket.holds() and (self._home is None or self._home.holds())

    def _withdraw(self) -> None:
        """Serve nobody any more; who is connected finds or starts another launcher.

        Runners that are left keep this one as their subreaper until they have ended.
        """
        if self._withdrawn:
            return
        self._withdrawn = True
        if self._listener in self._selector.get_map():
            self._selector.unregister(self._listener)
        for client in list(self._clients):
            self._drain.released(client)
            self._drop(client)
        if self._home is not None and not self._home.holds():
            self._drain.forget()
        # Not of one that others have put there meanwhile.
        if self._socket.holds():
            _remove(self._path)
        if _names(f"{self._path}.lock", self._lock_fd):
            _remove(f"{self._path}.lock")
        self._listener.close()

    def _set_up(self) -> None:
        process_tree.become_subreaper()
        for number in (signal.SIGCHLD, signal.SIGIO):
            # They only have to end a `select`, here and in the runners.
            signal.signal(number, lambda *_: None)
        # Whoever started this may have blocked them, and a runner must hear a cancel.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD, signal.SIGIO})
        warm_up(f"{self._path}.warm-up")
        os.set_blocking(self._wakeup_read, False)
        os.set_blocking(self._wakeup_write, False)
        signal.set_wakeup_fd(self._wakeup_write, warn_on_full_buffer=False)
        self._selector.register(self._wakeup_read, selectors.EVENT_READ)
        self._selector.register(self._listener, selectors.EVENT_READ)
        # What every runner needs is worked out once, before the forks.
        boot_id()
        pid_namespace()
        start_time(os.getpid())
        # Objects that exist now stay shared with every runner: the collector must not touch them.
        gc.collect()
        gc.freeze()

    def _busy(self) -> bool:
        return bool(self._runners or self._clients or self._drain.busy())

    def _wait_s(self) -> float:
        due_s = self._drain.due_in_s() if self._busy() else self._idle_s
        return _LOOK_EVERY_S if due_s is None else min(due_s, _LOOK_EVERY_S)

    def _on_ready(self, source: object) -> None:
        if source is self._listener:
            self._accept()
        elif isinstance(source, socket.socket):
            self._read(source)
        else:
            with contextlib.suppress(BlockingIOError):
                os.read(self._wakeup_read, 4096)

    def _accept(self) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            # Out of descriptors, or the client left: the next turn tries again.
            time.sleep(_ACCEPT_PAUSE_S)
            return
        if _peer_uid(connection) != os.getuid():
            connection.close()
            return
        connection.setblocking(False)
        self._clients[connection] = b""
        # Mostly the request has come with the connection.
        self._read(connection)
        if connection in self._clients:
            self._selector.register(connection, selectors.EVENT_READ)

    def _read(self, client: socket.socket) -> None:
        try:
            data = client.recv(1 << 16)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        text = self._clients[client] + data
        if not data or len(text) > _REQUEST_LIMIT_BYTES:
            self._drop(client)
        elif text.endswith(b"\n"):
            self._serve_request(client, text)
        else:
            self._clients[client] = text

    def _serve_request(self, client: socket.socket, text: bytes) -> None:
        try:
            request = json.loads(text)
            operation = request["op"]
        except (ValueError, KeyError, TypeError, RecursionError):
            self._drop(client)
            return
        self._clients[client] = b""
        if operation == "run":
            self._fork_runner(client, request)
            self._drop(client)
        elif operation == "attach":
            self._drain.attached(client, request.get("drain"))
        elif operation == "sweep":
            self._kill_orphans()
            with contextlib.suppress(OSError):
                client.sendall(b'{"event": "swept"}\n')
        else:
            self._drain.released(client)

    def _kill_orphans(self) -> None:
        """Kill what runners that died have left: it became this process's children."""
        self._reap()
        # Bounded: what cannot be killed must not keep every start of this home waiting.
        process_tree.kill_all(self._orphans, reap=self._reap, patience_s=_SWEEP_PATIENCE_S)

    def _orphans(self) -> list[Stat]:
        below = process_tree.descendants(os.getpid())
        known = {*self._runners, self._drain.pid}
        found = [p for p in below if p.parent == os.getpid() and p.pid not in known]
        # Parents come before their children.
        pids = {process.pid for process in found}
        for process in below:
            if process.parent in pids:
                pids.add(process.pid)
                found.append(process)
        return found

    def _fork_runner(self, client: socket.socket, request: dict[str, Any]) -> None:
        try:
            pid = os.fork()
        except OSError as error:
            reply = json.dumps({"event": "busy", "error": os.strerror(error.errno or 0)})
            with contextlib.suppress(OSError):
                client.sendall(reply.encode() + b"\n")
            return
        if pid == 0:
            self._become_runner(client, request)
        self._runners.add(pid)

    def _become_runner(self, client: socket.socket, request: dict[str, Any]) -> NoReturn:
        # From here on this is another process: no way may lead back into the launcher's loop.
        code = 1
        try:
            os.setsid()
            signal.set_wakeup_fd(-1)
            self._selector.close()
            self._listener.close()
            for fd in (self._wakeup_read, self._wakeup_write, self._lock_fd):
                os.close(fd)
            for other in self._clients:
                if other is not client:
                    other.close()
            client.setblocking(True)
            Runner(request, client, self._home).run()
            code = 0
        except BaseException:  # noqa: BLE001 - the fork must end here, whatever went wrong
            sys.excepthook(*sys.exc_info())
        finally:
            os._exit(code)

    def _drop(self, client: socket.socket) -> None:
        self._drain.left(client)
        if client in self._selector.get_map():
            self._selector.unregister(client)
        del self._clients[client]
        client.close()

    def _reap(self) -> None:
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._runners.discard(pid)
            self._drain.ended(pid, status)


def main(socket_path: str, idle_s: float, home: str | None = None) -> None:
    """Detach and serve. The starting process returns as soon as the socket answers.

    When another launcher has the lock, there is nothing to do.
    """
    lock_path = f"{socket_path}.lock"
    lock_fd = layout.lock_file(lock_path, wait=False)
    if lock_fd is None:
        return
    if not _names(lock_path, lock_fd):
        # The launcher that held it removed the file as it left; who starts next has a new one.
        os.close(lock_fd)
        main(socket_path, idle_s, home)
        return
    # A server that was started before an upgrade names no home.
    launcher = Launcher(socket_path, lock_fd, idle_s, PinnedHome(home) if home else None)
    if os.fork():
        os._exit(0)
    os.setsid()
    os.chdir("/")
    _write_identity(lock_fd)
    launcher.serve()


def _write_identity(lock_fd: int) -> None:
    """Say in the lock file who this is, for clients that get no answer."""
    pid = os.getpid()
    text = json.dumps({"pid": pid, "start_time": start_time(pid)}).encode()
    # Without it a stopped launcher is only not woken.
    with contextlib.suppress(OSError):
        os.ftruncate(lock_fd, os.pwrite(lock_fd, text, 0))


def _names(path: str, fd: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(fd))
    except FileNotFoundError:
        return False


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def _listen(path: str) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    # The holder of the lock is alone, so what lies here belongs to a launcher that died.
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    old_umask = os.umask(0o177)
    try:
        listener.bind(path)
    finally:
        os.umask(old_umask)
    listener.listen(_BACKLOG)
    return listener


def _peer_uid(connection: socket.socket) -> int:
    """Return the uid of the process at the other end, as the kernel knows it."""
    if hasattr(socket, "SO_PEERCRED"):
        size = struct.calcsize("3i")
        credentials = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
        return int(struct.unpack("3i", credentials)[1])
    # macOS: struct xucred {u_int version; uid_t uid; ...}, LOCAL_PEERCRED at level SOL_LOCAL.
    credentials = connection.getsockopt(0, 1, 76)
    return int(struct.unpack_from("2I", credentials)[1])
