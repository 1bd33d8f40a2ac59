"""Several processes bring a database file to the newest schema at once."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from mcp_jobs.store.sqlite.migrate import migrations
from tests.store.test_migrate import made_at, open_and_close, schema

PROJECT = Path(__file__).resolve().parents[3]


OPENER = """
import asyncio, sys
from pathlib import Path
from tests.stores import open_store

async def main() -> None:
    print("ready", flush=True)
    sys.stdin.readline()
    store = await open_store(Path(sys.argv[1]))
    print(await store.last_change())
    await store.close()

asyncio.run(main())
"""


HOLDER = """
import sqlite3, sys, time

database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("BEGIN IMMEDIATE")
print("ready", flush=True)
sys.stdin.readline()
time.sleep(0.5)
database.execute("COMMIT")
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


def started(code: str, path: Path) -> subprocess.Popen[str]:
    """Start a program that opens the file, and wait until it is ready."""
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(PROJECT)},
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


@pytest.mark.parametrize("version", [None, 0, len(migrations())])
def test_several_processes_that_migrate_at_once_all_succeed(
    path: Path, version: int | None
) -> None:
    if version is not None:
        made_at(path, version)
    processes = [started(OPENER, path) for _ in range(4)]
    for process in processes:
        go(process)
    results = [process.communicate(timeout=20) for process in processes]

    assert results == [("0\n", "")] * len(processes)
    assert schema(path)[0] == len(migrations())


def test_a_new_file_that_another_process_has_locked_is_waited_for(path: Path) -> None:
    # SQLite does not wait by itself for the locks that the change to WAL mode needs.
    with started(HOLDER, path) as holder:
        go(holder)
        try:
            open_and_close(path)
        finally:
            assert holder.communicate(timeout=20) == ("", "")
    assert schema(path)[0] == len(migrations())
