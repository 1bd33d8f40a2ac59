"""A real job, through the server that a host would start, over its stdin and stdout."""

from __future__ import annotations

import json
import subprocess
import time
from typing import TYPE_CHECKING, Any, Final

import anyio
from anyio.streams.buffered import BufferedByteReceiveStream

from mcp_jobs.interfaces.cli.doctor.findings import Finding, fault, fine
from mcp_jobs.interfaces.cli.install import own_command
from mcp_jobs.service.assembly import DOCTOR

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import Process

_BOUND_S: Final = 60.0
_WAIT_S: Final = 30
_WORD: Final = "mcp-jobs doctor was here"
_LINE_BYTES: Final = 1 << 20
_VERSION: Final = "2025-11-25"
_CHECK: Final = "round trip"


async def check() -> AsyncIterator[Finding]:
    """Start the server, run a job, read its end."""
    command = own_command()
    shown = " ".join(command)
    began = time.monotonic()
    try:
        with anyio.fail_after(_BOUND_S):
            job = await _round_trip(command)
    except TimeoutError:
        yield fault(
            _CHECK, f"{shown} did not answer within {_BOUND_S:g} s.", "Run it by hand: does it end?"
        )
        return
    except (OSError, _UnexpectedError) as error:
        yield fault(_CHECK, f"{shown}: {error}", "Run it by hand and read what it says.")
        return
    spent_s = time.monotonic() - began
    if job["status"] == "completed" and job["output"]["text"] == f"{_WORD}\n":
        yield fine(_CHECK, f"a job started and completed over stdio in {spent_s:.1f} s")
    elif not job["finished_at"]:
        yield fault(
            _CHECK,
            f"the job {job['job_id']} is {job['status']} after {_WAIT_S} s.",
            "mcp-jobs list shows what occupies the slots; MCP_JOBS_CAPACITY sets their number.",
        )
    else:
        yield fault(
            _CHECK,
            f"the job {job['job_id']} ended as {job['status']}: {job['error']}",
            "Does the shell work for this user?",
        )


class _UnexpectedError(Exception):
    """The server said something else, or nothing."""


async def _round_trip(command: list[str]) -> dict[str, Any]:
    async with await anyio.open_process(command, stderr=subprocess.PIPE) as server:
        assert server.stdout is not None  # noqa: S101 - for the type checker
        lines = BufferedByteReceiveStream(server.stdout)
        hello = {
            "protocolVersion": _VERSION,
            "capabilities": {},
            "clientInfo": {"name": DOCTOR, "version": "1"},
        }
        await _ask(server, lines, 1, "initialize", hello)
        await _send(server, {"method": "notifications/initialized"})
        arguments = {
            "params": {"command": f"echo '{_WORD}'"},
            "cwd": "/",
            "title": DOCTOR,
            "timeout_seconds": _WAIT_S,
            "wait_seconds": _WAIT_S,
        }
        call = {"name": "start_job", "arguments": arguments}
        result = await _ask(server, lines, 2, "tools/call", call)
        assert server.stdin is not None  # noqa: S101 - for the type checker
        await server.stdin.aclose()
        await server.wait()
    if result.get("isError"):
        raise _UnexpectedError(result["content"][0]["text"])
    return dict(result["structuredContent"])


async def _ask(
    server: Process,
    lines: BufferedByteReceiveStream,
    number: int,
    method: str,
    params: dict[str, Any],
) -> dict[str, Any]:
    await _send(server, {"id": number, "method": method, "params": params})
    while True:
        try:
            line = await lines.receive_until(b"\n", _LINE_BYTES)
        except anyio.IncompleteRead:
            raise _UnexpectedError(await _last_words(server)) from None
        try:
            message = json.loads(line)
        except ValueError:
            raise _UnexpectedError(f"it printed {line[:80]!r}, which is not a message") from None
        if message.get("id") == number and "error" in message:
            raise _UnexpectedError(f"{method} was refused: {message['error'].get('message')}")
        if message.get("id") == number:
            return dict(message["result"])


async def _send(server: Process, message: dict[str, Any]) -> None:
    assert server.stdin is not None  # noqa: S101 - for the type checker
    try:
        await server.stdin.send(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        raise _UnexpectedError(await _last_words(server)) from None


async def _last_words(server: Process) -> str:
    assert server.stderr is not None  # noqa: S101 - for the type checker
    text = b"".join([part async for part in server.stderr]).decode(errors="replace").strip()
    return f"it ended, saying: {text[-300:]}" if text else "it ended without printing anything"
