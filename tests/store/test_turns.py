"""Slots are shared fairly between owners, and one owner's jobs still go first in, first out."""

from __future__ import annotations

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from mcp_jobs.domain.states import Status
from mcp_jobs.store.sqlite.queries import queries
from tests.stores import HERE, NOW, claim, claimed, created, ending, sqlite_store

if TYPE_CHECKING:
    from mcp_jobs.store import Store


async def test_who_comes_late_gets_half_of_the_slots_at_once(store: Store) -> None:
    for number in range(8):
        await created(store, owner="ann", run_at_ms=NOW - 100 + number)
    for number in range(8):
        await created(store, owner="bob", run_at_ms=NOW - 50 + number)

    running = Counter([(await claimed(store)).owner for _ in range(6)])

    assert running == {"ann": 3, "bob": 3}


async def test_an_owner_who_has_more_running_waits_for_the_others(store: Store) -> None:
    for _ in range(3):
        await created(store, owner="ann")
        await claimed(store)
    await created(store, owner="ann", run_at_ms=NOW - 1000)
    for _ in range(4):
        await created(store, owner="bob")

    owners = [(await claimed(store)).owner for _ in range(5)]

    # Three each; then both have as many, and ann was served longest ago.
    assert owners == ["bob", "bob", "bob", "ann", "bob"]


async def test_with_one_slot_owners_take_turns(store: Store) -> None:
    for owner in ("ann", "ann", "ann", "ann", "bob", "bob", "cid"):
        await created(store, owner=owner)

    order = []
    while (job := await claim(store, capacity=1)) is not None:
        order.append(job.owner)
        assert await store.settle(job, ending(Status.COMPLETED)) is not None

    assert order == ["ann", "bob", "cid", "ann", "bob", "ann", "ann"]


async def test_one_owner_is_served_first_in_first_out(store: Store) -> None:
    late = await created(store, run_at_ms=NOW)
    early = await created(store, run_at_ms=NOW - 10)
    same = await created(store, run_at_ms=NOW - 10)

    assert [(await claimed(store)).id for _ in range(3)] == [early.id, same.id, late.id]


async def test_jobs_that_cannot_run_here_yet_keep_nobody_waiting(store: Store) -> None:
    await created(store, owner="ann", run_at_ms=NOW + 1)
    await created(store, owner="bob", locality="machine-b")
    mine = await created(store, owner="cid")

    assert (await claimed(store)).id == mine.id
    assert await claim(store) is None


async def test_no_owner_is_given_more_than_the_capacity(store: Store) -> None:
    for owner in ("ann", "bob", "cid"):
        await created(store, owner=owner)
        await created(store, owner=owner)

    found = [await claim(store, capacity=4) for _ in range(6)]

    assert Counter(job.owner for job in found if job is not None) == {"ann": 2, "bob": 1, "cid": 1}


async def test_a_claim_takes_no_longer_when_an_owner_has_100_000_jobs_waiting(
    tmp_path: Path,
) -> None:
    work = []
    for name, waiting in (("few", 200), ("many", 100_000)):
        path = tmp_path / name
        async with sqlite_store(path) as store:
            for owner in ("ann", "bob", "cid"):
                await created(store, owner=owner)
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous = OFF")
            database.execute(WAITING, {"total": waiting, "now_ms": NOW, "here": HERE})
            work.append(_instructions_of_a_claim(database))
    assert work[1] <= 2 * work[0] + 1000, work


WAITING = """
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :total)
INSERT INTO jobs (
    id, owner, locality, type, params, title, cwd, max_attempts, created_at_ms, run_at_ms,
    retry_on_interrupt, fingerprint
)
SELECT printf('%025d', n), 'bob', :here, 'shell', '{}', 'waits', '/', 1, :now_ms - n, :now_ms - n,
    0, 'f'
FROM numbers
"""


def _instructions_of_a_claim(database: sqlite3.Connection) -> int:
    ticks = 0

    def tick() -> int:
        nonlocal ticks
        ticks += 1
        return 0

    values = {
        "claimer": "server-1",
        "locality": HERE,
        "incarnation": "home boot",
        "capacity": 1000,
        "now_ms": NOW,
    }
    database.set_progress_handler(tick, 10)
    (row,) = database.execute(queries()["claim_due_job"], values).fetchall()
    database.set_progress_handler(None, 0)
    assert row is not None
    return ticks * 10
