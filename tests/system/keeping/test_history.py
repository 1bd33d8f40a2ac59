"""A long history slows nothing: no statement's work grows with the jobs that have ended.

Time is not measured. SQLite counts the instructions of its virtual machine, and says how it finds
the rows; both are the same on every machine.
"""

from __future__ import annotations

import asyncio
import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest

from mcp_jobs.domain.models import JobFilter
from mcp_jobs.domain.states import Status
from mcp_jobs.store.sqlite import connection as sqlite
from mcp_jobs.store.sqlite.queries import queries
from tests.stores import HERE, NOW, OWNER, claimed, created, sqlite_store

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

HISTORY = 100_000
FEW = 200
"""The other store's history: enough for full pages, so that both do the same work."""

ENDED = """
WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < :total)
INSERT INTO jobs (
    id, owner, locality, type, params, title, cwd, status, reason, attempt, max_attempts,
    created_at_ms, run_at_ms, started_at_ms, finished_at_ms, retry_on_interrupt, fingerprint,
    idempotency_key
)
SELECT
    printf('%025d', n), 'local', 'machine-a', CASE n % 2 WHEN 0 THEN 'shell' ELSE 'report' END,
    '{}', 'old', '/work/' || (n % 5),
    CASE n % 3 WHEN 0 THEN 'completed' WHEN 1 THEN 'failed' ELSE 'cancelled' END,
    CASE n % 3 WHEN 0 THEN NULL ELSE 'signal' END,
    1, 1, :now_ms + n, :now_ms + n, :now_ms + n, :now_ms + n + 5, 0, 'f', 'key-' || n
FROM numbers
"""
ATTEMPTS = """
INSERT INTO attempts (job_id, number, finished_at_ms, output_start)
SELECT id, 1, finished_at_ms, 0 FROM jobs
"""
EARLY_MS = NOW - 10**9


async def filled(path: Path, total: int) -> Path:
    """Make a store with so many ended jobs, one that runs and one that waits."""
    async with sqlite_store(path) as store:
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            database.execute("PRAGMA synchronous = OFF")
            database.execute("BEGIN")
            database.execute(ENDED, {"total": total, "now_ms": EARLY_MS})
            database.execute(ATTEMPTS)
            database.execute("COMMIT")
        await created(store, id="z-running", idempotency_key="mine")
        await claimed(store)
        await created(store, id="z-waiting")
    return path


@pytest.fixture(scope="module")
def long_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asyncio.run(filled(tmp_path_factory.mktemp("long") / "jobs.db", HISTORY))


@pytest.fixture(scope="module")
def short_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return asyncio.run(filled(tmp_path_factory.mktemp("short") / "jobs.db", FEW))


@pytest.fixture(scope="module")
def long(long_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(long_path, isolation_level=None)) as database:
        yield database


@pytest.fixture(scope="module")
def short(short_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(short_path, isolation_level=None)) as database:
        yield database


VALUES: dict[str, Any] = {
    "id": "z-running",
    "owner": OWNER,
    "locality": HERE,
    "type": "shell",
    "params": "{}",
    "title": "new",
    "cwd": "/work/1",
    "created_at_ms": NOW,
    "run_at_ms": NOW,
    "max_attempts": 1,
    "timeout_s": None,
    "idle_timeout_s": None,
    "retry_on_interrupt": 0,
    "idempotency_key": "fresh",
    "fingerprint": "f",
    "key": "mine",
    "claimer": "server-2",
    "previous": "server-1",
    "now_ms": NOW,
    "capacity": 4,
    "token": 1,
    "status": "failed",
    "reason": "exit_code",
    "exit_code": 1,
    "error": None,
    "result": None,
    "started_at_ms": NOW,
    "finished_at_ms": NOW,
    "output_start": 0,
    "cpu_s": None,
    "memory_peak_bytes": None,
    "progress": "{}",
    "longest_pause_ms": 1,
    "limit": 50,
    "seq": 100,
    "before_ms": 0,
    "keep": 10,
    "ids": '["z-running", "0000000000000000000000007"]',
    "shared": 0,
    "webhooks": "[]",
    "policy": "{}",
    "confirm": None,
    "launch": "{}",
    "prepared_in": "home boot",
    "incarnation": "home boot",
    "message": "Really?",
    "schema": "{}",
    "asked_at_ms": NOW,
    "answer": "{}",
    "job_id": "z-running",
    "http_status": 200,
    "number": 1,
    "next_attempt_at_ms": None,
    "part": "z-run",
    "needing_care_of": "server-1",
    "most": 8,
    "attempt": 1,
    "kind": "lock",
    "name": "build",
    "paused_by": "ann",
    "by": "ann",
    "why": None,
    "at_ms": NOW,
    "declared": 0,
    "priority": 1,
    "locks": '["build"]',
    "after_ids": '["z-running", "0000000000000000000000099"]',
    "after_any_end": 1,
    "if_running": "supersede",
    "likeness": "same",
    "retry_of": None,
    "parent_job_id": None,
    "client_name": None,
    "client_version": None,
    "project": "/work",
    "session": "s",
    "schedule": "nightly",
    "fire_at_ms": NOW,
    "cron": "* * * * *",
    "timezone": "UTC",
    "overlap": "skip",
    "catchup_s": 1,
    "declared_in": None,
    "next_fire_at_ms": NOW,
    "unless_paused": 0,
    "file": "/work/jobs.yaml",
    "after_ms": NOW,
    "missed": 0,
    "skipped": 0,
    "problem": None,
    "seen_ms": NOW,
}
CASES: dict[str, Mapping[str, Any]] = {
    **{name: {} for name in queries()},
    "create_job": {"id": "z-new"},
    "cancel_waiting_job": {"id": "z-waiting"},
    "queue_position": {"id": "z-waiting"},
    "pause": {"kind": "type"},
    # The clock was set back before all of the history.
    "reset_future_run_at": {"now_ms": EARLY_MS - 10**6},
    "future_jobs": {"now_ms": EARLY_MS - 10**6},
}
# Counts `keep` jobs from the newest and stops there.
BOUNDED = {"remove_surplus": ["SCAN jobs"]}


def bound(sql: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the statement binds; KeyError for a parameter that this test does not know."""
    return {name: values[name] for name in re.findall(r":(\w+)", sql)}


def plan(database: sqlite3.Connection, sql: str, values: Mapping[str, Any]) -> list[str]:
    explained = database.execute(f"EXPLAIN QUERY PLAN {sql}", bound(sql, values))
    return [row[3] for row in explained]


def scans(details: Sequence[str]) -> list[str]:
    """Return the steps that read all of `jobs`, through an index or not."""
    # A scan of a partial index sees only the jobs that wait or run.
    names = ("jobs_due", "jobs_waiting", "jobs_blocked", "jobs_alike", "jobs_live")
    partial = tuple(f"INDEX {name}" for name in names)
    return [
        text
        for text in details
        if re.match(r"SCAN (jobs|other|mine)\b", text) and not text.endswith(partial)
    ]


def work(database: sqlite3.Connection, sql: str, values: Mapping[str, Any]) -> int:
    """Run a statement, undo it, and return how many instructions it took."""
    ticks = 0

    def tick() -> int:
        nonlocal ticks
        ticks += 1
        return 0

    database.execute("BEGIN")
    try:
        database.set_progress_handler(tick, 10)
        database.execute(sql, bound(sql, values)).fetchall()
    finally:
        database.set_progress_handler(None, 0)
        database.execute("ROLLBACK")
    return ticks * 10


def assert_same_work(
    long: sqlite3.Connection, short: sqlite3.Connection, sql: str, values: Mapping[str, Any]
) -> None:
    much, little = work(long, sql, values), work(short, sql, values)
    assert much <= 2 * little + 1000, f"{much} instructions instead of {little}"


def test_the_instruction_count_sees_a_scan(
    long: sqlite3.Connection, short: sqlite3.Connection
) -> None:
    sql = "SELECT count(*) FROM jobs WHERE title = 'none'"
    assert work(long, sql, {}) > 100_000
    assert scans(plan(long, sql, {})) == ["SCAN jobs"]
    with pytest.raises(AssertionError, match="instructions instead of"):
        assert_same_work(long, short, sql, {})


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_named_statement_never_reads_the_history(
    long: sqlite3.Connection, short: sqlite3.Connection, name: str
) -> None:
    sql, values = queries()[name], {**VALUES, **CASES[name]}

    assert scans(plan(long, sql, values)) == BOUNDED.get(name, [])
    assert_same_work(long, short, sql, values)


RUNNING, PENDING, FAILED = (Status.RUNNING,), (Status.PENDING,), (Status.FAILED,)
OLD_ID = "0000000000000000000000100"
FILTERS = {
    "all": JobFilter(),
    "type": JobFilter(type="shell"),
    "rare type": JobFilter(type="none"),
    "cwd": JobFilter(cwd="/work/1"),
    "rare cwd": JobFilter(cwd="/none"),
    "running": JobFilter(statuses=RUNNING),
    "pending": JobFilter(statuses=PENDING),
    "unfinished": JobFilter(statuses=(Status.PENDING, Status.RUNNING, Status.RETRYING)),
    "failed": JobFilter(statuses=FAILED),
    "failed or running": JobFilter(statuses=(Status.FAILED, Status.RUNNING)),
    "every status": JobFilter(statuses=tuple(Status)),
    "no status": JobFilter(statuses=()),
    "ids": JobFilter(job_ids=(OLD_ID, "z-running", "unknown")),
    "type and cwd": JobFilter(type="shell", cwd="/work/1"),
    "running of a type": JobFilter(type="shell", statuses=RUNNING),
    "running in a cwd": JobFilter(cwd="/work/1", statuses=RUNNING),
    "failed of a rare type": JobFilter(type="none", statuses=FAILED),
    "running of a type in a cwd": JobFilter(type="shell", cwd="/work/1", statuses=RUNNING),
    "project": JobFilter(project="/work"),
    "rare session": JobFilter(session="none"),
    "running in a project": JobFilter(project="/work", statuses=RUNNING),
    "ids that run": JobFilter(job_ids=(OLD_ID, "z-running"), statuses=RUNNING),
}


@pytest.mark.parametrize("cursor", [None, "y"], ids=["first page", "later page"])
@pytest.mark.parametrize("where", FILTERS.values(), ids=list(FILTERS))
async def test_a_list_never_reads_the_history(
    long_path: Path,
    long: sqlite3.Connection,
    short: sqlite3.Connection,
    where: JobFilter,
    cursor: str | None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    statements: list[tuple[str, Mapping[str, Any]]] = []
    real = sqlite.run

    async def spy(
        connection: Any, file: Any, sql: str, parameters: Mapping[str, Any]
    ) -> Sequence[sqlite.Row]:
        statements.append((sql, parameters))
        return await real(connection, file, sql, parameters)

    monkeypatch.setattr(sqlite, "run", spy)
    async with sqlite_store(long_path) as store:
        # More than are read without another thread.
        page = await store.list(OWNER, where, limit=30, cursor=cursor)

    assert len(page.jobs) <= 30
    assert statements
    for sql, values in statements:
        assert scans(plan(long, sql, values)) == []
        assert_same_work(long, short, sql, values)
