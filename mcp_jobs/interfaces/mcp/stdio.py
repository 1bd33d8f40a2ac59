"""stdin and stdout for the SDK's stdio transport, without a thread for each line.

The SDK reads and writes through worker threads, because a file may block: three trips for each
call. Hosts give a server pipes or sockets, which can be asked whether they are ready.
"""

from __future__ import annotations

import fcntl
import os
import select
import stat
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, cast

import anyio
import anyio.lowlevel
from mcp.server.stdio import stdio_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

_READ_BYTES: Final = 1 << 16
_FIRST_PRIVATE_FD: Final = 3
_TURNS: Final = 20
"""Turns of the event loop in which an answer that is made reaches the pipe, and more."""


@asynccontextmanager
async def open_stdio(at_end: Callable[[], Awaitable[None]]) -> AsyncIterator[Any]:
    """Yield the transport's streams over stdin and stdout, whatever these are.

    The third of what it yields returns when nothing is being written any more.

    `at_end` is awaited when a pipe has ended and before the transport hears of it, which then
    breaks off what it has not answered.

    Meanwhile fd 0 is /dev/null and fd 1 is stderr, as the SDK has it: what a library prints cannot
    break the protocol, and no child can read from the host.
    """
    if not (_can_be_asked(0) and _can_be_asked(1)):
        async with stdio_server() as (reader, writer):
            yield reader, writer, turns
        return
    stdin, stdout = _PipeReader(_private(0), at_end), _PipeWriter(_private(1))
    null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    try:
        # The two have what the transport uses of an anyio.AsyncFile.
        async with stdio_server(cast("Any", stdin), cast("Any", stdout)) as (reader, writer):
            yield reader, writer, stdout.settled
    finally:
        os.dup2(stdin.fd, 0)
        os.dup2(stdout.fd, 1)


def _can_be_asked(fd: int) -> bool:
    try:
        mode = os.fstat(fd).st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)


def _private(fd: int) -> int:
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, _FIRST_PRIVATE_FD)


class _PipeReader:
    """Yields lines. Blocking mode is left alone: the host may share the pipe with others."""

    def __init__(self, fd: int, at_end: Callable[[], Awaitable[None]] | None = None) -> None:
        self.fd = fd
        self._at_end = at_end

    async def __aiter__(self) -> AsyncIterator[str]:
        parts: list[bytes] = []
        while True:
            await anyio.wait_readable(self.fd)
            data = os.read(self.fd, _READ_BYTES)
            if not data:
                break
            *lines, rest = data.split(b"\n")
            for line in lines:
                parts.append(line)
                yield b"".join(parts).decode("utf-8", "replace")
                parts.clear()
            parts.append(rest)
        if any(parts):
            yield b"".join(parts).decode("utf-8", "replace")
        if self._at_end is not None:
            await self._at_end()


class _PipeWriter:
    """Writes pieces that a ready pipe takes without blocking (POSIX: PIPE_BUF)."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self._pieces = 0
        self._poller = select.poll()
        self._poller.register(fd, select.POLLOUT)

    async def write(self, text: str) -> None:
        data = memoryview(text.encode())
        while data:
            if not self._ready():
                await anyio.wait_writable(self.fd)
            data = data[os.write(self.fd, data[: select.PIPE_BUF]) :]
            self._pieces += 1

    def _ready(self) -> bool:
        try:
            return bool(self._poller.poll(0))
        except OSError:
            # poll counts against the limit of open files; the event loop's epoll does not.
            return False

    async def flush(self) -> None:
        """Nothing is held back."""

    async def settled(self) -> None:
        """Return when nobody has written for some turns of the event loop."""
        before = None
        while before != self._pieces:
            before = self._pieces
            await turns()


async def turns() -> None:
    """Return when what has been made until now has reached the transport."""
    for _ in range(_TURNS):
        await anyio.lowlevel.checkpoint()
