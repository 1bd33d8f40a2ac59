"""Locks between processes are held until their holders leave or die."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import TYPE_CHECKING

from mcp_jobs.execution.launcher import layout

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


_HOLD = """
import sys
from mcp_jobs.execution.launcher import exit_record, layout
fd = layout.lock_file(sys.argv[1], wait=True)
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def _holder(path: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds a lock."""
    command = [sys.executable, "-c", _HOLD, str(path)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def test_a_lock_is_seen_until_its_holder_dies(tmp_path: Path) -> None:
    path = tmp_path / "alive"
    with _holder(path) as process:
        assert layout.is_locked(str(path)) is True
        assert layout.lock_file(str(path), wait=False) is None
        process.kill()
        process.wait()
        assert layout.is_locked(str(path)) is False


def test_a_waiting_lock_is_given_when_the_holder_leaves(tmp_path: Path) -> None:
    path = tmp_path / "fence"
    with _holder(path) as process, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(layout.lock_file, str(path), wait=True)
        assert not waiting.done()
        process.kill()
        fd = waiting.result(timeout=20)
        assert fd is not None
        os.close(fd)
