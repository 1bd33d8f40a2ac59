"""A server over stdio that is spoken to byte by byte, where a real client would be too polite."""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests import prepared
from tests.support import BOUND_S, MODERN

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.support import Place

Message = dict[str, Any]

_HANDSHAKE = "2025-11-25"
_PREFIX = "io.modelcontextprotocol/"
_META = {
    f"{_PREFIX}protocolVersion": MODERN,
    f"{_PREFIX}clientInfo": {"name": "raw", "version": "1"},
    f"{_PREFIX}clientCapabilities": {},
}


class RawServer:
    """`mcp-jobs` as a child process; what it writes must be JSON-RPC, a line each."""

    def __init__(
        self,
        place: Place,
        *,
        modern: bool = True,
        code: str | None = None,
        arguments: Sequence[str] = (),
        capabilities: Message | None = None,
    ) -> None:
        self.modern = modern
        self._capabilities = capabilities or {}
        self.offered: Message = {}
        """What the server answered to initialize."""
        self._stderr_path = place.root / f"stderr-{os.urandom(4).hex()}"
        self.notifications: list[Message] = []
        self._lines: queue.Queue[bytes | None] = queue.Queue()
        self._ids = 0
        self._pipes = contextlib.ExitStack()
        stdin, self._stdin = prepared.pipe(self._pipes)
        self._stdout, stdout = prepared.pipe(self._pipes)
        with stdin, stdout, self._stderr_path.open("wb") as stderr:
            self.process = prepared.start(
                arguments,
                code=code,
                cwd=place.project,
                env={
                    "PATH": os.environ["PATH"],
                    "PYTHONPATH": str(Path(__file__).parent.parent),
                    **place.environment(),
                },
                streams=(stdin, stdout, stderr),
            )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        if not modern:
            self._shake_hands()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close_stdin()
        try:
            self.process.wait(BOUND_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise
        finally:
            self._reader.join(BOUND_S)
            self._pipes.close()

    @property
    def stderr(self) -> str:
        """What the server logged so far."""
        return self._stderr_path.read_text("utf-8", "replace")

    def write(self, line: bytes) -> None:
        """Send bytes as they are."""
        left = memoryview(line)
        while left:
            left = left[self._stdin.write(left) :]

    def send(self, method: str, params: Message, *, raw: str | None = None) -> int:
        """Send a request and return its id; `raw` replaces the word RAW in it, unescaped."""
        self._ids += 1
        params = (
            {**params, "_meta": {**_META, **params.get("_meta", {})}} if self.modern else params
        )
        message = {"jsonrpc": "2.0", "id": self._ids, "method": method, "params": params}
        text = json.dumps(message)
        self.write((text if raw is None else text.replace('"RAW"', raw)).encode() + b"\n")
        return self._ids

    def answer(self, request_id: int) -> Message:
        """Return the answer to a request; what comes before it is kept in `notifications`."""
        while True:
            line = self._lines.get(timeout=BOUND_S)
            assert line is not None, f"the server is dead: {self.stderr}"
            assert b"Traceback" not in line
            message: Message = json.loads(line)
            assert message["jsonrpc"] == "2.0"
            if message.get("id") == request_id:
                return message
            self.notifications.append(message)

    def asked(self) -> Message:
        """Return the next request that the server makes of its client."""
        while True:
            line = self._lines.get(timeout=BOUND_S)
            assert line is not None, f"the server is dead: {self.stderr}"
            message: Message = json.loads(line)
            if "id" in message and "method" in message:
                return message
            self.notifications.append(message)

    def respond(self, request: Message, result: Message) -> None:
        """Answer a request of the server."""
        message = {"jsonrpc": "2.0", "id": request["id"], "result": result}
        self.write(json.dumps(message).encode() + b"\n")

    def rest(self) -> list[Message]:
        """Return what a server that has ended wrote and nobody took yet; a torn line is dropped."""
        self._reader.join(BOUND_S)
        rest = []
        while line := self._lines.get(timeout=BOUND_S):
            assert b"Traceback" not in line
            if line.endswith(b"\n"):
                rest.append(json.loads(line))
        kept = [message for message in self.notifications if "method" not in message]
        return kept + [message for message in rest if "method" not in message]

    def request(self, method: str, params: Message, *, raw: str | None = None) -> Message:
        """Send a request and return its answer."""
        return self.answer(self.send(method, params, raw=raw))

    def call(self, tool: str, arguments: Message, *, raw: str | None = None) -> Message:
        """Call a tool and return its result."""
        answer = self.request("tools/call", {"name": tool, "arguments": arguments}, raw=raw)
        assert "result" in answer, answer
        result: Message = answer["result"]
        return result

    def refusal(self, tool: str, arguments: Message, *, raw: str | None = None) -> str:
        """Call a tool that must refuse, and return the text of the tool error."""
        result = self.call(tool, arguments, raw=raw)
        assert result["isError"], result
        (block,) = result["content"]
        text: str = block["text"]
        return text

    def assert_alive(self) -> None:
        """Hold that the server still answers and has logged no fault."""
        assert self.call("list_jobs", {})["structuredContent"]["counts"] is not None
        assert "Traceback" not in self.stderr

    def close_stdin(self) -> None:
        """Tell the server that its client is gone."""
        self._stdin.close()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the server alone."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Return the exit code."""
        return self.process.wait(BOUND_S)

    def _shake_hands(self) -> None:
        offer = {
            "protocolVersion": _HANDSHAKE,
            "capabilities": self._capabilities,
            "clientInfo": {"name": "raw", "version": "1"},
        }
        self.offered = self.request("initialize", offer)["result"]
        assert self.offered["protocolVersion"] == _HANDSHAKE
        self.write(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}\n')

    def _read(self) -> None:
        with open(self._stdout.fileno(), "rb", closefd=False) as buffered:
            for line in buffered:
                self._lines.put(line)
        self._lines.put(None)
