"""A server over stdio and its client, which may lose it at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.support import Place

ROOT = Path(__file__).resolve().parents[2]

_PROTOCOL = "2025-11-25"
_LINE_BYTES = 8 << 20
_ANSWER_BOUND_S = 60.0


def send(process: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Signal a child. Its own method would reap it, behind the back of asyncio's watcher."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


class Gone(Exception):
    """The server died before it answered; what it did is not known."""


class Refused(Exception):
    """The server answered with a tool error."""


def environment(place: Place, **more: str) -> dict[str, str]:
    """Return what servers and workers of a campaign run with."""
    return place.environment(
        PATH=os.environ["PATH"],
        PYTHONPATH=str(ROOT),
        MCP_JOBS_CAPACITY="8",
        MCP_JOBS_RETENTION_JOBS="10000000",
        **more,
    )


class Host:
    """`mcp-jobs` as a host starts it. Make it with `start`."""

    def __init__(self, process: asyncio.subprocess.Process, stderr: Path) -> None:
        self.process = process
        self.stderr = stderr
        self.expected_to_die = False
        self.ready = False
        self.gone = False
        self.paused = False
        self._waiting: dict[int, asyncio.Future[dict[str, Any]]] = {}
        self._ids = 0
        self._reader = asyncio.create_task(self._read())

    @classmethod
    async def start(cls, place: Place, name: str, prefix: tuple[str, ...] = ()) -> Host:
        """Start a server, by the command `prefix` if any; `shake_hands` makes it ready."""
        stderr = place.root / name
        with stderr.open("wb") as file:
            process = await asyncio.create_subprocess_exec(
                *prefix,
                sys.executable,
                "-m",
                "mcp_jobs",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=file,
                cwd=place.project,
                env=environment(place),
                limit=_LINE_BYTES,
            )
        return cls(process, stderr)

    async def shake_hands(self) -> None:
        """Do what a client does once. Raises `Gone`."""
        offer = {
            "protocolVersion": _PROTOCOL,
            "capabilities": {},
            "clientInfo": {"name": "chaos", "version": "1"},
        }
        await self._ask("initialize", offer)
        await self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})
        self.ready = True

    async def call(self, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """Call a tool and return its structured content. Raises `Gone` and `Refused`."""
        answer = await self._ask("tools/call", {"name": tool, "arguments": arguments})
        result = answer.get("result")
        # A job that was waited for and failed is an error with its object.
        content: dict[str, Any] | None = None if result is None else result.get("structuredContent")
        if content is None:
            raise Refused(f"{tool} {arguments}: {answer}")
        return content

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal; after SIGKILL the end is expected."""
        self.expected_to_die = self.expected_to_die or number == signal.SIGKILL
        send(self.process, number)

    async def leave(self) -> None:
        """End it as a polite host does."""
        self.expected_to_die = True
        if self.process.stdin is not None:
            self.process.stdin.close()
        await self.wait()

    async def wait(self) -> None:
        """Return when it is dead and everybody who waited for an answer knows."""
        await self.process.wait()
        await self._reader

    async def _ask(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        if self.gone:
            raise Gone
        self._ids += 1
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting[self._ids] = future
        message = {"jsonrpc": "2.0", "id": self._ids, "method": method, "params": params}
        await self._write(message)
        return await asyncio.wait_for(future, _ANSWER_BOUND_S)

    async def _write(self, message: dict[str, Any]) -> None:
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            await self.process.stdin.drain()
        except (BrokenPipeError, ConnectionResetError):
            raise Gone from None

    async def _read(self) -> None:
        assert self.process.stdout is not None
        while line := await self.process.stdout.readline():
            try:
                message = json.loads(line)
            except ValueError:
                break  # cut off by its death
            future = self._waiting.pop(message.get("id", 0), None)
            if future is not None and not future.done():
                future.set_result(message)
        self.gone = True
        self.ready = False
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(Gone())
                future.exception()  # whoever waited may have left
