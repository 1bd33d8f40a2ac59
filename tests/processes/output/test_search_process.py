"""A search that takes long runs in a process that is bounded, and killed when nobody waits."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from mcp_jobs import output
from mcp_jobs.execution.launcher.spool import Spool
from mcp_jobs.execution.spool_reader import SpoolFiles
from mcp_jobs.output import search_process
from tests.support import BOUND_S, until

_SLOW = "^(?:a|aa)+$"
_on_linux = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """An output with a line over which a nested repeat takes for ever."""
    spool = Spool(str(tmp_path / "output"), 1 << 20)
    spool.write(b"a first line\nfind me\n" + b"a" * 50_000 + b"b\nlast\n")
    spool.close()
    return tmp_path / "output"


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every search be one that has taken too long for a thread."""
    monkeypatch.setattr(output, "_THREAD_S", 0.0)


def _children() -> list[str]:
    return [path.name for path in Path("/proc").glob("[0-9]*") if _is_child(path)]


def _is_child(path: Path) -> bool:
    try:
        parent = (path / "stat").read_bytes().rpartition(b")")[2].split()[1]
        return int(parent) == os.getpid() and b"search_process" in (path / "cmdline").read_bytes()
    except OSError:
        return False


async def test_what_a_thread_has_no_time_for_a_child_finds(directory: Path, at_once: None) -> None:
    found = await output.grep(SpoolFiles(directory), pattern="find|last", lines=10, timeout_s=60)

    assert found == output.grep_output(
        SpoolFiles(directory), pattern="find|last", lines=10, timeout_s=60
    )
    assert found.text == "2: find me\n4: last\n"


async def test_errors_of_a_child_are_those_of_a_search(directory: Path, at_once: None) -> None:
    with pytest.raises(output.CursorPastEnd, match="lies outside the output"):
        await output.grep(SpoolFiles(directory), pattern="x", lines=1, after=10**9, timeout_s=60)


async def test_a_search_without_end_is_stopped_and_says_so(directory: Path) -> None:
    with pytest.raises(output.PatternTimeout, match=r"was stopped\. Give a simpler pattern"):
        await output.grep(SpoolFiles(directory), pattern=_SLOW, lines=1, timeout_s=1.5)


@_on_linux
async def test_nothing_is_left_of_a_search_that_nobody_waits_for(
    directory: Path, at_once: None
) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(
            lambda: output.grep(SpoolFiles(directory), pattern=_SLOW, lines=1, timeout_s=600)
        )
        await until(_children)
        tasks.cancel_scope.cancel()

    await until(lambda: not _children())


async def test_a_search_that_was_cancelled_counts_until_its_thread_has_ended(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go = threading.Event(), threading.Event()
    order: list[str] = []

    def slow(*_: object, **__: object) -> None:
        begun.set()
        go.wait(BOUND_S)
        order.append("the thread")

    async def search() -> None:
        try:
            await output.grep(SpoolFiles(directory), pattern="x", lines=1)
        finally:
            order.append("the search")

    monkeypatch.setattr(output, "grep_output", slow)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(search)
        await anyio.to_thread.run_sync(begun.wait, BOUND_S)
        tasks.cancel_scope.cancel()
        with anyio.CancelScope(shield=True):
            await anyio.wait_all_tasks_blocked()
            go.set()

    assert order == ["the thread", "the search"]


@_on_linux
def test_a_child_gets_no_more_memory_than_its_bound() -> None:
    code = (
        "from mcp_jobs.output import search_process as s; s.limit(5)\n"
        "try: bytearray(2 * s.MEMORY_BYTES)\nexcept MemoryError: print('bounded')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert done.stdout == "bounded\n"


async def test_a_child_that_dies_is_a_search_that_was_stopped(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(search_process, "_CODE", "import os; os._exit(9)")

    with pytest.raises(output.PatternTimeout, match="1024 MiB of memory or 5 s"):
        await search_process.search(SpoolFiles(directory), timeout_s=5.0)
    # More than a pipe takes, so that it breaks for certain.
    with pytest.raises(output.PatternTimeout, match="1024 MiB of memory or 5 s"):
        await search_process.search(SpoolFiles(directory), timeout_s=5.0, pattern="x" * 10**6)
