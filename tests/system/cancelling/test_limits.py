"""Time limits end a job with their reason, also when no server is alive."""

from __future__ import annotations

import pytest

from mcp_jobs.execution import local_executor
from mcp_jobs.execution.launcher import exit_record
from tests.support import Place, alive, python, until
from tests.system.station import (
    all_gone,
    leave_nobody,
    pids_in,
    server,
    shell,
    station,
)

LIMITS = [
    pytest.param({"timeout_seconds": 0.4}, "timeout", id="timeout"),
    pytest.param({"idle_timeout_seconds": 0.4}, "idle_timeout", id="idle timeout"),
]


@pytest.mark.parametrize(("limit", "reason"), LIMITS)
async def test_a_job_over_its_limit_fails_with_that_reason(
    place: Place, limit: dict[str, float], reason: str
) -> None:
    async with station(place) as jobs:
        job = await jobs.run("echo $$ > pids; sleep 1000 & echo $! >> pids; wait", **limit)
        pids = await pids_in(place.project / "pids", 2)

        assert (job["status"], job["reason"]) == ("failed", reason)
        assert "0.4 s" in job["error"]
        assert [pid for pid in pids if alive(pid)] == []


@pytest.mark.parametrize(("limit", "reason"), LIMITS)
async def test_a_job_over_its_limit_that_ignores_term_is_killed(
    place: Place, monkeypatch: pytest.MonkeyPatch, limit: dict[str, float], reason: str
) -> None:
    monkeypatch.setattr(local_executor, "STOP_GRACE_S", 0.1)
    async with station(place) as jobs:
        job = await jobs.run("trap '' TERM; echo $$ > pids; while :; do sleep 1000; done", **limit)
        pids = await pids_in(place.project / "pids")

        assert (job["status"], job["reason"]) == ("failed", reason)
        assert not alive(pids[0])


async def test_a_job_that_ends_on_the_term_of_its_limit_did_not_succeed(place: Place) -> None:
    async with station(place) as jobs:
        job = await jobs.run(
            "trap 'echo bye; exit 0' TERM; while :; do :; done", timeout_seconds=0.3
        )

    assert (job["status"], job["reason"], job["exit_code"]) == ("failed", "timeout", 0)
    assert job["output"]["text"] == "bye\n"


@pytest.mark.parametrize(("limit", "reason"), LIMITS)
async def test_a_limit_holds_when_no_server_is_alive(
    place: Place, limit: dict[str, float], reason: str
) -> None:
    command = "echo $$ > pids; echo started; sleep 1000"
    limit = {name: seconds + 1 for name, seconds in limit.items()}
    with server(place, shell(place, command, **limit)) as dead:
        pids = await pids_in(place.project / "pids")
        leave_nobody(place, dead)
        assert alive(pids[0])
    directory = str(place.home / "jobs" / dead.job_ids[0])
    await until(lambda: exit_record.read(directory, 1))

    written = exit_record.read(directory, 1)
    assert written is not None
    assert written["reason"] == reason
    assert not alive(pids[0])
    async with station(place) as jobs:
        job = await jobs.ended(dead.job_ids[0])
    assert (job["status"], job["reason"], job["output"]["text"]) == ("failed", reason, "started\n")


async def test_output_starts_the_idle_time_anew(place: Place) -> None:
    # It runs three times as long as it may be silent.
    command = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo $i; sleep 0.25; done"
    async with station(place) as jobs:
        job = await jobs.run(command, idle_timeout_seconds=1)

    assert (job["status"], job["reason"]) == ("completed", None)
    assert job["duration_seconds"] > 2


async def test_output_does_not_start_the_whole_time_anew(place: Place) -> None:
    async with station(place) as jobs:
        job = await jobs.run("while echo .; do sleep 0.02; done", timeout_seconds=0.3)

    assert (job["status"], job["reason"]) == ("failed", "timeout")


@pytest.mark.parametrize(("limit", "reason"), LIMITS)
async def test_a_limit_holds_for_a_job_that_closed_its_output(
    place: Place, limit: dict[str, float], reason: str
) -> None:
    async with station(place) as jobs:
        job = await jobs.run("exec >&- 2>&-; sleep 1000", **limit)

    assert (job["status"], job["reason"]) == ("failed", reason)


async def test_a_flood_of_output_does_not_hold_up_a_limit(place: Place) -> None:
    flood = python("import os\nwhile True: os.write(1, b'x' * 65536)")
    async with station(place, output_cap_bytes=1 << 20) as jobs:
        job = await jobs.run(flood, timeout_seconds=0.5)

    assert (job["status"], job["reason"]) == ("failed", "timeout")


async def test_a_background_leftover_does_not_hold_up_the_end(place: Place) -> None:
    leftover = "(trap '' TERM; while echo .; do :; done) & echo $! > pids; exit 0"
    async with station(place, output_cap_bytes=1 << 20) as jobs:
        job = await jobs.run(leftover)
        pids = await pids_in(place.project / "pids")
        await all_gone(pids)

    assert (job["status"], job["reason"]) == ("completed", None)


@pytest.mark.parametrize(("limit", "reason"), LIMITS)
async def test_a_job_over_its_limit_is_retried(
    place: Place, limit: dict[str, float], reason: str
) -> None:
    async with station(place) as jobs:
        job = await jobs.run("echo $$ >> pids; sleep 1000", max_retries=1, **limit)
        pids = await pids_in(place.project / "pids", 2)

    assert (job["status"], job["reason"], job["attempt"]) == ("failed", reason, 2)
    assert [attempt["reason"] for attempt in job["attempts"]] == [reason, reason]
    assert len(pids) == 2


async def test_each_attempt_has_the_whole_time(place: Place) -> None:
    # Two attempts together take longer than one may.
    command = "echo >> runs; sleep 0.6; test $(wc -l < runs) -gt 2"
    async with station(place) as jobs:
        job = await jobs.run(command, max_retries=2, timeout_seconds=1.2)

    assert (job["status"], job["attempt"]) == ("completed", 3)
