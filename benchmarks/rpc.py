"""A client so small that its own cost does not hide the server's: JSON lines over two pipes."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from typing import IO, TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path
    from types import TracebackType

    from benchmarks.place import Place

PROTOCOL_VERSION = "2025-11-25"
MODERN_VERSION = "2026-07-28"
_PREFIX = "io.modelcontextprotocol/"
BOUND_S = 120.0
"""No reply takes longer, or the run has failed."""

_EXIT_S = 5.0
_READ_BYTES = 1 << 18


class RpcError(Exception):
    """The server answered with an error, or not at all."""


class RawClient:
    """One server process. Every message that is not the awaited reply is kept in `pushed`."""

    def __init__(
        self, command: list[str], *, env: Mapping[str, str], cwd: Path, log: IO[bytes]
    ) -> None:
        self.pushed: list[tuple[int, dict[str, Any]]] = []
        """Notifications with the time of their arrival (`time.time_ns`)."""
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            env=dict(env),
            cwd=cwd,
            bufsize=0,
        )
        if self._process.stdin is None or self._process.stdout is None:
            raise RpcError("no pipes")
        self._in = self._process.stdin.fileno()
        self._out = self._process.stdout.fileno()
        self._poll = select.poll()
        self._poll.register(self._out, select.POLLIN)
        self._lines: list[bytes] = []
        self._rest = b""
        self._replies: dict[int, dict[str, Any]] = {}
        self._last_id = 0
        self._meta: dict[str, Any] | None = None

    def __enter__(self) -> RawClient:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    def close(self) -> None:
        """Close stdin, as hosts do, and wait for the server to leave."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        try:
            self._process.wait(_EXIT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def handshake(self) -> None:
        self.request(
            "initialize",
            {
                "protocolVersion": PROTOCOL_VERSION,
                "capabilities": {},
                "clientInfo": {"name": "benchmarks", "version": "1"},
            },
        )
        self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def declare_tasks(self) -> None:
        """Speak 2026-07-28 from the first request on, and declare the Tasks extension in each."""
        self._meta = {
            f"{_PREFIX}protocolVersion": MODERN_VERSION,
            f"{_PREFIX}clientInfo": {"name": "benchmarks", "version": "1"},
            f"{_PREFIX}clientCapabilities": {"extensions": {f"{_PREFIX}tasks": {}}},
        }

    def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """Call a tool and return its structured content."""
        return _content(self.wait(self.send_call(tool, **arguments)))

    def send_call(self, tool: str, **arguments: Any) -> int:
        return self.send("tools/call", {"name": tool, "arguments": arguments})

    def request(self, method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
        return self.wait(self.send(method, params))

    def send(self, method: str, params: dict[str, Any] | None = None) -> int:
        """Send a request and return its id; `wait` gets the reply."""
        self._last_id += 1
        message: dict[str, Any] = {"jsonrpc": "2.0", "id": self._last_id, "method": method}
        if self._meta is not None:
            params = {**(params or {}), "_meta": self._meta}
        if params is not None:
            message["params"] = params
        self._write(message)
        return self._last_id

    def notify(self, method: str, params: dict[str, Any]) -> None:
        """Send a notification."""
        self._write({"jsonrpc": "2.0", "method": method, "params": params})

    def wait(self, request_id: int) -> dict[str, Any]:
        """Return the result of a request that was sent."""
        deadline_s = time.monotonic() + BOUND_S
        while request_id not in self._replies:
            self.read(deadline_s - time.monotonic())
        return _result(self._replies.pop(request_id))

    def read(self, bound_s: float) -> int | None:
        """Take one message; returns the id of a reply. Raises `RpcError` when none comes."""
        while not self._lines:
            if not self._poll.poll(max(0, bound_s * 1000)):
                raise RpcError(f"nothing from the server within {bound_s:.0f} s")
            data = os.read(self._out, _READ_BYTES)
            if not data:
                raise RpcError(f"the server left with {self._process.wait(_EXIT_S)}")
            *self._lines, self._rest = (self._rest + data).split(b"\n")
        message: dict[str, Any] = json.loads(self._lines.pop(0))
        if "id" in message and "method" not in message:
            self._replies[message["id"]] = message
            return int(message["id"])
        self.pushed.append((time.time_ns(), message))
        return None

    def read_for(self, seconds: float, until: Callable[[], object]) -> None:
        """Take messages until the condition holds; `RpcError` when that takes too long."""
        deadline_s = time.monotonic() + seconds
        while not until():
            self.read(deadline_s - time.monotonic())

    def call_all(
        self, tool: str, calls: Iterable[dict[str, Any]], *, in_flight: int
    ) -> list[dict[str, Any]]:
        """Call a tool many times with some in flight; returns the contents as they came."""
        waiting: set[int] = set()
        results: list[dict[str, Any]] = []
        for arguments in calls:
            if len(waiting) >= in_flight:
                results.append(_content(self.wait_any(waiting)[1]))
            waiting.add(self.send_call(tool, **arguments))
        while waiting:
            results.append(_content(self.wait_any(waiting)[1]))
        return results

    def wait_any(self, waiting: set[int]) -> tuple[int, dict[str, Any]]:
        """Take one of these requests out of the set, with its result."""
        ready = waiting & self._replies.keys()
        while not ready:
            request_id = self.read(BOUND_S)
            ready = {request_id} & waiting if request_id is not None else set()
        request_id = ready.pop()
        waiting.discard(request_id)
        return request_id, _result(self._replies.pop(request_id))

    def _write(self, message: dict[str, Any]) -> None:
        data = json.dumps(message, separators=(",", ":")).encode() + b"\n"
        while data:
            data = data[os.write(self._in, data) :]


def open_server(place: Place, **env: str) -> RawClient:
    """Start `mcp-jobs` in a place; not yet initialised."""
    return _open(place, ["-m", "mcp_jobs"], env)


def open_floor(place: Place) -> RawClient:
    """Start the bare SDK server."""
    return _open(place, ["-m", "benchmarks.floor_server"], {})


def _open(place: Place, arguments: list[str], env: Mapping[str, str]) -> RawClient:
    with place.log.open("ab") as log:
        return RawClient(
            [sys.executable, *arguments], env=place.environment(**env), cwd=place.project, log=log
        )


def _result(reply: dict[str, Any]) -> dict[str, Any]:
    if "error" in reply:
        raise RpcError(str(reply["error"]))
    return dict(reply["result"])


def _content(result: dict[str, Any]) -> dict[str, Any]:
    if result.get("isError"):
        raise RpcError(str(result["content"]))
    return dict(result.get("structuredContent") or {})
