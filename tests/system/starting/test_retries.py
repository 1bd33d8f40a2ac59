"""A failed job is tried again as often as asked, and its key starts it once."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import anyio
import pytest

from mcp_jobs.domain.errors import KeyConflictError
from mcp_jobs.engine.outcomes import backoff_ms
from tests.support import Place
from tests.system.station import gate, release, station

COUNT = "echo >> runs; n=$(wc -l < runs); "
"""Sets $n to the number of this attempt."""


async def test_a_job_that_succeeds_at_the_third_attempt_is_completed(place: Place) -> None:
    async with station(place) as jobs:
        job = await jobs.run(f"{COUNT} echo try $n; test $n -eq 3", max_retries=5)

    assert (job["status"], job["reason"], job["exit_code"]) == ("completed", None, 0)
    assert (job["error"], job["attempt"], job["max_attempts"]) == (None, 3, 6)


async def test_the_history_of_attempts_is_shown(place: Place) -> None:
    async with station(place) as jobs:
        job = await jobs.run(f"{COUNT} exit $n", max_retries=2)

    assert (job["status"], job["exit_code"], job["attempt"]) == ("failed", 3, 3)
    history = job["attempts"]
    assert [attempt["attempt"] for attempt in history] == [1, 2, 3]
    assert [attempt["exit_code"] for attempt in history] == [1, 2, 3]
    assert [attempt["reason"] for attempt in history] == ["exit_code"] * 3
    assert all("exit code" in attempt["error"] for attempt in history)
    assert all(attempt["started_at"] <= attempt["finished_at"] for attempt in history)
    assert all(one["finished_at"] <= next_["started_at"] for one, next_ in pairwise(history))
    assert job["started_at"] <= history[0]["started_at"]
    assert job["finished_at"] == history[2]["finished_at"]


async def test_the_output_of_all_attempts_is_one_stream(place: Place) -> None:
    async with station(place) as jobs:
        job = await jobs.run(f"{COUNT} echo attempt $n; exit 1", max_retries=2)
        parts = [
            (await jobs.check(job["job_id"], after=attempt["output_cursor"]))["output"]["text"]
            for attempt in job["attempts"]
        ]

    lines = ["attempt 1\n", "attempt 2\n", "attempt 3\n"]
    assert job["output"]["text"] == "".join(lines)
    assert parts == ["".join(lines[number:]) for number in range(3)]
    assert job["output"]["next_cursor"] == job["output"]["bytes_total"] == 30


async def test_a_signal_is_retried(place: Place) -> None:
    async with station(place) as jobs:
        job = await jobs.run(f"{COUNT} test $n -gt 1 || kill -9 $$", max_retries=1)

    assert (job["status"], job["attempt"]) == ("completed", 2)
    assert job["attempts"][0]["reason"] == "signal"
    assert "SIGKILL" in job["attempts"][0]["error"]


async def test_progress_starts_anew_with_each_attempt(place: Place) -> None:
    report = 'echo "{\\"percent\\": $p, \\"message\\": \\"$n\\"}" >> $MCP_JOBS_PROGRESS; '
    command = f"{COUNT} p=$((100 - 45 * n)); {report} read x < gate; test $n -eq 2"
    async with station(place) as jobs:
        path = await gate(place)
        job_id = await jobs.start(command, max_retries=1)
        await jobs.seen(job_id, lambda job: (job["progress"] or {}).get("percent") == 55)
        await release(path)
        again = await jobs.seen(job_id, lambda job: job["attempt"] == 2 and job["progress"])
        await release(path)
        await jobs.ended(job_id)

    assert (again["progress"]["percent"], again["progress"]["message"]) == (10, "2")


async def test_a_new_attempt_shows_nothing_of_the_old_progress(place: Place) -> None:
    report = "test $n -gt 1 || echo '{\"percent\": 80}' >> $MCP_JOBS_PROGRESS; "
    async with station(place) as jobs:
        path = await gate(place)
        job_id = await jobs.start(
            f"{COUNT} {report} echo in $n; read x < gate; exit 1", max_retries=1
        )
        await jobs.seen(job_id, lambda job: job["progress"])
        await release(path)
        again = await jobs.seen(job_id, lambda job: "in 2" in job["output"]["text"])
        await release(path)
        await jobs.ended(job_id)

    assert (again["attempt"], again["progress"]) == (2, None)


@pytest.mark.parametrize("command", ["no-such-program", "./plain-file"])
async def test_what_cannot_be_started_is_not_tried_again(place: Place, command: str) -> None:
    (place.project / "plain-file").write_text("")
    async with station(place) as jobs:
        job = await jobs.run(command, max_retries=5)

    assert (job["status"], job["reason"], job["attempt"]) == ("failed", "spawn_error", 1)


async def test_a_success_is_not_tried_again(place: Place) -> None:
    async with station(place) as jobs:
        job = await jobs.run("echo >> runs", max_retries=5)

    assert (job["status"], job["attempt"]) == ("completed", 1)
    assert (place.project / "runs").read_text() == "\n"


async def test_a_retrying_job_holds_no_slot(place: Place) -> None:
    async with station(place, capacity=1, retry_base_seconds=3600.0) as jobs:
        job_id = await jobs.start("exit 1", max_retries=1)
        waiting = await jobs.reaches(job_id, "retrying")
        other = await jobs.run("echo fine")
        await jobs.cancel(job_id)

    assert (waiting["reason"], waiting["finished_at"]) == ("exit_code", None)
    assert waiting["next_attempt_at"] is not None
    assert other["status"] == "completed"


async def test_an_attempt_finds_the_environment_of_the_first(place: Place) -> None:
    async with station(place) as jobs:
        job = await jobs.run(
            f"{COUNT} echo $COLOUR $API_TOKEN; test $n -eq 2",
            max_retries=1,
            env={"COLOUR": "red", "API_TOKEN": "hunter2"},
        )
        assert not (jobs.directory(job["job_id"]) / "env").exists()

    assert job["output"]["text"] == "red [masked]\n" * 2


@pytest.mark.parametrize("attempt", [1, 2, 5, 9, 10, 50, 5000])
def test_the_pause_doubles_up_to_five_minutes(attempt: int) -> None:
    full_ms = min(1000 * 2 ** (attempt - 1), 300_000)
    pauses = {backoff_ms(attempt, base_s=1.0) for _ in range(200)}

    assert full_ms / 2 <= min(pauses) < max(pauses) <= full_ms


# -- idempotency ---------------------------------------------------------------------------------


async def test_the_same_key_returns_the_same_job(place: Place) -> None:
    async with station(place) as jobs:
        first = await jobs.ask("echo >> runs", idempotency_key="deploy-7")
        await jobs.ended(first["job_id"])
        again = await jobs.ask("echo >> runs", idempotency_key="deploy-7")
        directories = [path.name for path in (place.home / "jobs").iterdir()]

    assert "existing" not in first
    assert (again["existing"], again["job_id"]) == (True, first["job_id"])
    assert again["status"] == "completed"
    assert directories == [first["job_id"]]
    assert (place.project / "runs").read_text() == "\n"


async def test_the_same_key_with_other_arguments_is_an_error(place: Place) -> None:
    others: list[dict[str, Any]] = [
        {"params": {"command": "false"}},
        {"timeout_seconds": 5},
        {"env": {"A": "b"}},
        {"max_retries": 1},
        {"cwd": str(place.home)},
    ]
    async with station(place) as jobs:
        job = await jobs.ask("true", idempotency_key="deploy-7")
        for changes in others:
            with pytest.raises(KeyConflictError, match=rf"deploy-7.*{job['job_id']}"):
                await jobs.ask("true", idempotency_key="deploy-7", **changes)
        await jobs.ended(job["job_id"])

    assert len(list((place.home / "jobs").iterdir())) == 1


async def test_how_long_the_call_waits_is_not_part_of_the_key(place: Place) -> None:
    async with station(place) as jobs:
        first = await jobs.ask("true", idempotency_key="deploy-7")
        again = await jobs.ask("true", idempotency_key="deploy-7", wait_seconds=30)

    assert again["job_id"] == first["job_id"]
    assert again["status"] == "completed"


async def test_two_servers_that_get_the_same_key_at_once_run_one_job(place: Place) -> None:
    replies = []
    async with station(place) as one, station(place) as two:

        async def ask(number: int) -> None:
            side = one if number % 2 else two
            replies.append(await side.ask("echo >> runs; sleep 0.01", idempotency_key="k"))

        async with anyio.create_task_group() as tasks:
            for number in range(20):
                tasks.start_soon(ask, number)
        job = await two.ended(replies[0]["job_id"])
        directories = list((place.home / "jobs").iterdir())

    assert len({reply["job_id"] for reply in replies}) == 1
    assert len([reply for reply in replies if "existing" not in reply]) == 1
    assert job["status"] == "completed"
    assert len(directories) == 1
    assert (place.project / "runs").read_text() == "\n"


async def test_a_refused_key_conflict_leaves_the_first_job_alone(place: Place) -> None:
    async with station(place) as jobs:
        path = await gate(place)
        job_id = await jobs.start("read x < gate", idempotency_key="k")
        with pytest.raises(KeyConflictError):
            await jobs.ask("true", idempotency_key="k")
        assert (await jobs.check(job_id))["finished_at"] is None
        await release(path)
        job = await jobs.ended(job_id)

    assert job["status"] == "completed"
