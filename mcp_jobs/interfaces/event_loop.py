"""Run a program in an event loop that other threads can wake also where sockets do not work.

asyncio wakes its loop by a `send` on a socket pair. Sandboxes without network refuse that call too
(Codex's does, with EPERM), asyncio says nothing of it, and whoever waits for a thread, as for each
statement on a database, waits for ever. There the loop is woken by a byte in a pipe as well. It is
not where sockets work, as to be woken twice costs a tenth of what the server does for a job.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from typing import TYPE_CHECKING, Any, Final, TypeVar, TypeVarTuple, Unpack

import anyio

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextvars import Context

T = TypeVar("T")
Arguments = TypeVarTuple("Arguments")

_DRAINED_BYTES: Final = 4096


def run(function: Callable[..., Awaitable[T]], *arguments: Any) -> T:
    """Run an async function to its end, as `anyio.run` does."""
    factory = asyncio.SelectorEventLoop if _sockets_send() else PipedLoop
    return anyio.run(function, *arguments, backend_options={"loop_factory": factory})


def _sockets_send() -> bool:
    """Say whether this process may do what asyncio wakes its loop with."""
    try:
        reader, writer = socket.socketpair()
        with reader, writer:
            return writer.send(b"\0") == 1
    except OSError:
        return False


class PipedLoop(asyncio.SelectorEventLoop):
    """The usual event loop of Unix, and a pipe that wakes it, made of asyncio's public parts."""

    def __init__(self) -> None:
        # Reentrant, as signal handlers call into the loop as well.
        self._lock = threading.RLock()
        self._whole = False
        """Without a descriptor left it is made by half, and closed like that by its `__del__`."""
        super().__init__()
        try:
            self._wakes, self._wake = os.pipe()
        except OSError:
            super().close()
            raise
        self._whole = True
        os.set_blocking(self._wakes, False)
        os.set_blocking(self._wake, False)
        self.add_reader(self._wakes, self._drain)

    def call_soon_threadsafe(
        self,
        callback: Callable[[Unpack[Arguments]], object],
        *args: *Arguments,
        context: Context | None = None,
    ) -> asyncio.Handle:
        """Have something called in the loop's thread soon. Raises RuntimeError once closed."""
        handle = super().call_soon_threadsafe(callback, *args, context=context)
        with self._lock, contextlib.suppress(BlockingIOError):
            # A full pipe wakes it as well; and a number that is closed may be another file's.
            if not self.is_closed():
                os.write(self._wake, b"\0")
        return handle

    def close(self) -> None:
        """Close the loop. Calling it again does nothing."""
        with self._lock:
            if self.is_closed() or not self._whole:
                return
            self.remove_reader(self._wakes)
            super().close()
            os.close(self._wakes)
            os.close(self._wake)

    def _drain(self) -> None:
        with contextlib.suppress(BlockingIOError):
            os.read(self._wakes, _DRAINED_BYTES)
