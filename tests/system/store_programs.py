"""Programs that share one store with the tests: `python -m tests.system.store_programs NAME PATH`.

Each says "ready", waits for a line, does its work and prints what it did as JSON, a line each.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import sys
from pathlib import Path
from typing import Any

from mcp_jobs.domain.models import Job
from mcp_jobs.domain.states import Status
from tests.stores import HERE, NOW, claim, claimed, created, ending, progress, sqlite_store


def say(what: Any) -> None:
    """Tell the test something."""
    sys.stdout.write(json.dumps(what) + "\n")
    sys.stdout.flush()


def wait_for_go() -> None:
    """Say that all is prepared, and wait until the test says go."""
    say("ready")
    if not sys.stdin.readline():
        sys.exit("the test is gone")


async def claim_all(path: Path, capacity: int) -> None:
    """Fill every free slot, then end what was claimed, until no job is left; say what was."""
    async with sqlite_store(path) as store:
        wait_for_go()
        while await store.unfinished(HERE):
            held: list[Job] = []
            while job := await claim(store, claimer=str(id(store)), capacity=capacity):
                held.append(job)
            for job in held:
                assert await store.settle(job, ending(Status.COMPLETED)) is not None
                say(job.id)
            await asyncio.sleep(0)


async def write_much(path: Path, count: int) -> None:
    """Create, claim, report and end jobs of this process's own; say the ids that were stored."""
    async with sqlite_store(path) as store:
        wait_for_go()
        for number in range(count):
            locality = str(id(store))
            job = await created(store, locality=locality)
            say(job.id)
            running = await claimed(store, locality=locality, capacity=10_000)
            assert await store.set_progress(running, progress(number)) is not None
            assert await store.settle(running, ending(Status.COMPLETED)) is not None


async def create_for_ever(path: Path, _: int) -> None:
    """Create jobs until killed; say each id once it is stored."""
    async with sqlite_store(path) as store:
        wait_for_go()
        while True:
            say((await created(store)).id)


async def stop_inside(path: Path, count: int) -> None:
    """Write many rows in a transaction that never ends."""
    hold(path, count)
    wait_for_go()


async def hold_lock(path: Path, held_ms: int) -> None:
    """Hold the write lock from before "ready" until so long after go."""
    database = hold(path, 1)
    wait_for_go()
    await asyncio.sleep(held_ms / 1000)
    database.execute("COMMIT")
    database.close()
    say("released")


def hold(path: Path, count: int) -> sqlite3.Connection:
    """Begin a write that is not committed, larger than the page cache if `count` is."""
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA cache_size = 10")
    database.execute("BEGIN IMMEDIATE")
    database.executemany(
        "INSERT INTO changes (job_id, owner, status, created, at_ms) "
        "VALUES (?, 'x', 'failed', 0, ?)",
        ((f"unfinished-{number}", NOW) for number in range(count)),
    )
    return database


PROGRAMS = {f.__name__: f for f in (claim_all, write_much, create_for_ever, stop_inside, hold_lock)}

if __name__ == "__main__":
    asyncio.run(PROGRAMS[sys.argv[1]](Path(sys.argv[2]), int(sys.argv[3])))
