"""Whether the calls stay as fast with 100,000 jobs in the history as with 10."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import closing

from benchmarks.figures import Figure, Options, p50, spread
from benchmarks.place import Place, new_place
from benchmarks.rpc import open_server
from mcp_jobs.domain.ids import new_id

_FEW = 10
_FAILED = 4
_MANY = 100_000
_CALLS = 120
_PAUSE_S = 0.005


def run(options: Options) -> Iterator[Figure]:
    calls = options.count(_CALLS)
    many = options.count(_MANY)
    with new_place() as few_place, new_place() as many_place:
        few_id, many_id = _fill(few_place, _FEW), _fill(many_place, many)
        with open_server(few_place) as few, open_server(many_place) as lots:
            for client in (few, lots):
                client.handshake()
            pairs: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
                "check_job": (
                    lambda: few.call("check_job", job_id=few_id),
                    lambda: lots.call("check_job", job_id=many_id),
                ),
                "list_jobs": (
                    lambda: few.call("list_jobs", limit=_FEW),
                    lambda: lots.call("list_jobs", limit=_FEW),
                ),
                "list_jobs status=failed": (
                    lambda: few.call("list_jobs", limit=_FAILED, status="failed"),
                    lambda: lots.call("list_jobs", limit=_FAILED, status="failed"),
                ),
                "start_job": (
                    lambda: few.call("start_job", params={"command": "true"}),
                    lambda: lots.call("start_job", params={"command": "true"}),
                ),
            }
            for name, (with_few, with_many) in pairs.items():
                floor, found = _alternating(with_few, with_many, calls)
                yield Figure(
                    name=f"{name}, p50, {many:,} jobs against {_FEW}",
                    value=p50(found),
                    unit="ms",
                    floor=p50(floor),
                    at_most=1.2,
                    notes=[spread(found)],
                )


def _alternating(
    first: Callable[[], object], second: Callable[[], object], calls: int
) -> tuple[list[float], list[float]]:
    samples: tuple[list[float], list[float]] = ([], [])
    for index in range(calls + 10):
        for call, found in zip((first, second), samples, strict=True):
            time.sleep(_PAUSE_S)
            began_s = time.perf_counter()
            call()
            if index >= 10:  # the first ones warm up
                found.append(1000 * (time.perf_counter() - began_s))
    return samples


def _fill(place: Place, jobs: int) -> str:
    """Run one real job and copy its row; returns the id of the real one."""
    with open_server(place) as client:
        client.handshake()
        job = client.call("start_job", params={"command": "echo done"}, wait_seconds=20)
    if job["status"] != "completed":
        raise AssertionError(job)
    with closing(sqlite3.connect(place.home / "jobs.db")) as database:
        database.row_factory = sqlite3.Row
        row = dict(database.execute("SELECT * FROM jobs").fetchone())
        _copy(database, row, jobs - 1)
    return str(job["job_id"])


def _copy(database: sqlite3.Connection, row: dict[str, object], copies: int) -> None:
    """Insert ended jobs like this one in one transaction; a few of the newest failed."""
    names = [name for name in row if name != "number"]
    # The names come from the database itself.
    insert = f"INSERT INTO jobs ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"  # noqa: S608
    newest_ms = int(str(row["created_at_ms"]))
    failed = {"status": "failed", "reason": "exit_code", "exit_code": 1}

    def rows() -> Iterator[list[object]]:
        for index in range(copies):
            at_ms = newest_ms - 10 * index
            copy = {**row, "id": new_id(at_ms), "created_at_ms": at_ms}
            if index % 2 and index < _FEW:
                copy |= failed
            yield [copy[name] for name in names]

    with database:
        database.executemany(insert, rows())
