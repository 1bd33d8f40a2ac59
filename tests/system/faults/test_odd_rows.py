"""A row that makes no sense harms its own job at most."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.domain.policy import DEFAULT
from mcp_jobs.domain.states import Status
from tests.stores import ending, in_state, open_store, sqlite_store
from tests.support import wait_until
from tests.system.fleet import accept
from tests.system.station import shell, station
from tests.web import ended, serving, start

if TYPE_CHECKING:
    from tests.support import Place

ODD = ("[", "x", "5", "null", "[]", '"x"', "{}", '{"x": 1}', "[" * 5000)
COLUMNS = {
    "params": ODD,
    "policy": (
        *ODD, '{"success_codes": 5}', '{"success_codes": ["x"]}', '{"retry_on": 5}',
        '{"retry_on": {"x": 1}}', '{"retry_on": {"output": [1]}}', '{"progress": 5}',
        '{"backoff": "x", "delay_s": "soon"}', '{"delay_s": 1e999}', '{"detach": "no"}',
        '{"output_limit_bytes": -1}', '{"webhook": 5}',
    ),
    "progress": (*ODD, '{"current": "x", "updated_at_ms": 1}', '{"updated_at_ms": 1e999}'),
    "result": ODD,
}  # fmt: skip
CASES = [(column, text) for column, texts in COLUMNS.items() for text in texts]


def spoil(place: Place, statement: str, *values: object) -> None:
    """Write what no program of ours would."""
    with closing(sqlite3.connect(place.home / "jobs.db", timeout=20)) as database, database:
        database.execute("PRAGMA ignore_check_constraints = ON")
        database.execute(statement, values)


def test_a_server_lists_and_works_on_though_rows_of_jobs_make_no_sense(place: Place) -> None:
    with serving(place, MCP_JOBS_CAPACITY="8") as server, server.client() as client:
        waiting = [
            start(client, "true", delay_seconds=3000, idempotency_key=f"k{n}")["job_id"]
            for n in range(len(CASES))
        ]
        for job_id, (column, text) in zip(waiting, CASES, strict=True):
            spoil(place, f"UPDATE jobs SET {column} = ? WHERE id = ?", text, job_id)  # noqa: S608 - names of this test
        # Times that cannot be written down, and changes of a state that there is not.
        late = start(client, "true", delay_seconds=3000)["job_id"]
        spoil(place, "UPDATE jobs SET created_at_ms = ? WHERE id = ?", 2**62, late)
        for _ in range(3):
            spoil(
                place,
                "INSERT INTO changes (job_id, owner, status, created, at_ms) "
                "VALUES ('x', 'local', 'melted', 0, 1)",
            )
        spoil(place, "INSERT INTO job_counts (owner, status, total) VALUES ('local', 'melted', 5)")
        spoil(
            place,
            "UPDATE jobs SET run_at_ms = 1 WHERE id <> ? AND status = 'pending'",
            late,
        )
        good = start(client, "echo good")["job_id"]
        assert ended(client, good)["status"] == "completed"
        for job_id in waiting:
            assert ended(client, job_id)["finished_at"], job_id
        listed = client.get("/jobs", params={"limit": 100})
        assert listed.status_code == 200
        assert {good, late, *waiting} <= {job["job_id"] for job in listed.json()["jobs"]}
        wait_until(lambda: client.get("/readyz").status_code == 200)
        client.post(f"/jobs/{late}/cancel")


def test_questions_that_make_no_sense_keep_no_other_job_from_going_on(place: Place) -> None:
    with serving(place) as server, server.client() as client:
        asking = start(client, "sleep 60")["job_id"]
        for n, text in enumerate((*ODD, '{"action": "accept", "content": 5, "x": 1}')):
            spoil(
                place,
                "INSERT INTO questions (job_id, key, message, schema, asked_at_ms, answer, "
                "answered_at_ms) VALUES (?, ?, 'm', ?, 1, '{\"action\": \"accept\"}', 1)",
                asking, f"a{n}", text,
            )  # fmt: skip
        good = start(client, "echo good")["job_id"]
        assert ended(client, good)["status"] == "completed"
        assert client.get(f"/jobs/{asking}").status_code == 200
        client.post(f"/jobs/{asking}/cancel", json={"grace_seconds": 0})
        assert ended(client, asking)["status"] == "cancelled"


@pytest.mark.parametrize("text", COLUMNS["policy"])
async def test_rules_that_make_no_sense_are_the_usual_ones(place: Place, text: str) -> None:
    with serving(place) as server, server.client() as client:
        job_id = start(client, "true")["job_id"]
        ended(client, job_id)
    with closing(sqlite3.connect(place.home / "jobs.db")) as database, database:
        database.execute("DROP TRIGGER jobs_terminal")
    spoil(place, "UPDATE jobs SET policy = ? WHERE id = ?", text, job_id)
    store = await open_store(place.home / "jobs.db")
    try:
        job = await store.find(job_id)
    finally:
        await store.close()
    assert job is not None
    assert (job.policy, job.status) == (DEFAULT, Status.COMPLETED)


@pytest.mark.parametrize("text", ["5", "[]", "{}", '{"argv": 5, "rlimit_nofile": null}'])
async def test_a_job_whose_launch_makes_no_sense_ends_and_says_so(place: Place, text: str) -> None:
    (job_id,) = await accept(place, shell(place, "true"))
    spoil(place, "UPDATE launches SET launch = ?", text)
    spoil(place, "UPDATE jobs SET prepared_in = 'elsewhere'")
    shutil.rmtree(place.home / "jobs" / job_id)
    async with station(place) as jobs:
        job = await jobs.ended(job_id)

    assert (job["status"], job["reason"]) == ("failed", "spawn_error")
    assert "its stored environment is gone" in job["error"]


@pytest.mark.parametrize("result", [float("nan"), {"a": [float("inf")]}, {"a": {1, 2}}, "\ud800"])
async def test_an_end_with_a_result_that_is_no_json_is_stored(place: Place, result: object) -> None:
    async with sqlite_store(place.home / "jobs.db") as store:
        job = await in_state(store, Status.RUNNING)
        end = ending(Status.COMPLETED, error="odd \ud800", result=result)
        settled = await store.settle(job, end)
        assert settled is not None
        assert settled.error == "odd ?"
        assert settled.result == ("?" if result == "\ud800" else None)
