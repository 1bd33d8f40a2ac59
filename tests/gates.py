"""Fifos that hold a job back until a test lets it go on: no test waits for time to pass."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import anyio.to_thread

from tests.support import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.support import Place


def gate(place: Place, name: str) -> Path:
    """Make a fifo in the project; a job waits at it with `read x < name`."""
    path = place.project / name
    os.mkfifo(path)
    return path


async def open_gate(path: Path) -> None:
    """Let the job that waits at this fifo, or will, go on; returns when it does."""
    await anyio.to_thread.run_sync(open_gate_now, path)


def open_gate_now(path: Path) -> None:
    """Let a job go on, without an event loop; fails when none comes to the fifo."""
    wait_until(lambda: _opened(path))


def _opened(path: Path) -> bool:
    try:
        # Without a reader this is refused, where a blocking open would wait for ever.
        fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
    except OSError:
        return False
    os.write(fd, b"\n")
    os.close(fd)
    return True
