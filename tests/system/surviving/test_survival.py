"""A job outlives its server and its launcher, and its true end is stored by whoever comes next."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.execution.launcher import exit_record
from tests.support import Place, alive, ended, open_client, start, until
from tests.system.station import (
    all_gone,
    connections,
    gate,
    identity_of,
    kill_launchers,
    leave_nobody,
    pids_in,
    release,
    server,
    shell,
    station,
)

if TYPE_CHECKING:
    pass

_REPORT = 'echo "{\\"current\\": %d, \\"total\\": 4}" >> $MCP_JOBS_PROGRESS; '
TALKING = f"echo one; {_REPORT % 1} echo $$ > pids; read x < gate; echo two; {_REPORT % 3} exit 7"


# -- the server is killed ------------------------------------------------------------------------


@pytest.mark.parametrize("nobody", [False, True], ids=["launcher lives", "nobody lives"])
async def test_a_job_runs_on_when_its_server_is_killed(place: Place, nobody: bool) -> None:
    path = await gate(place)
    with server(place, shell(place, TALKING)) as dead:
        pids = await pids_in(place.project / "pids")
        if nobody:
            leave_nobody(place, dead)
        else:
            dead.kill()
    assert alive(pids[0])
    async with station(place) as jobs:
        adopted = await jobs.check(dead.job_ids[0])
        await release(path)
        job = await jobs.ended(dead.job_ids[0])

    assert (adopted["status"], adopted["output"]["text"]) == ("running", "one\n")
    assert (job["status"], job["reason"], job["exit_code"]) == ("failed", "exit_code", 7)
    assert job["output"]["text"] == "one\ntwo\n"
    assert (job["progress"]["current"], job["progress"]["total"]) == (3, 4)
    assert job["attempt"] == 1


async def test_a_job_that_ended_while_nobody_was_there_is_settled_truly(place: Place) -> None:
    path = await gate(place)
    with server(place, shell(place, TALKING)) as dead:
        pids = await pids_in(place.project / "pids")
        leave_nobody(place, dead)
    await release(path)
    await all_gone(pids)
    directory = place.home / "jobs" / dead.job_ids[0]
    await until(lambda: exit_record.read(str(directory), 1))
    written = exit_record.read(str(directory), 1)
    assert written is not None
    finished_at = written["finished_at_ms"]
    async with station(place) as jobs:
        job = await jobs.ended(dead.job_ids[0])
        stored = await jobs.core.store.find(dead.job_ids[0])

    assert (job["status"], job["reason"], job["exit_code"]) == ("failed", "exit_code", 7)
    assert job["output"]["text"] == "one\ntwo\n"
    assert stored is not None
    assert stored.finished_at_ms == finished_at
    assert job["progress"] is not None
    assert (job["progress"]["current"], job["progress"]["total"]) == (3, 4)


async def test_a_job_survives_the_kill_of_a_real_server_over_stdio(place: Place) -> None:
    path = await gate(place)
    async with open_client(place, args=["-m", "mcp_jobs"]) as client:
        job_id = (await start(client, "echo $PPID > ppid; read x < gate; exit 7"))["job_id"]
        await identity_of(place.home / "jobs" / job_id)
        (pid,) = [pid for pid in place.processes() if _is_server(pid)]
        os.kill(pid, signal.SIGKILL)
    async with open_client(place) as client:
        await release(path)
        job = await ended(client, job_id)

    assert (job["status"], job["exit_code"]) == ("failed", 7)


async def test_jobs_that_wait_run_without_any_server(place: Place) -> None:
    retried = "echo >> runs; test $(wc -l < runs) -gt 2"
    requests = [
        shell(place, "touch delayed", delay_seconds=1),
        shell(place, retried, delay_seconds=1, max_retries=5),
    ]
    with server(place, *requests) as dead:
        # The launcher knows of the server that it has to care for the work of.
        await until(lambda: connections(place) > 1)
        dead.kill()
    await until((place.project / "delayed").exists)
    runs = place.project / "runs"
    await until(lambda: runs.exists() and runs.read_text() == "\n" * 3)
    await until(lambda: not place.processes())
    async with station(place) as jobs:
        ends = [await jobs.check(job_id) for job_id in dead.job_ids]

    assert [job["status"] for job in ends] == ["completed", "completed"]


async def test_a_job_runs_although_its_server_was_killed_right_after_the_answer(
    place: Place,
) -> None:
    with server(place, shell(place, "touch ran", delay_seconds=0.5)) as dead:
        dead.kill()
    await until((place.project / "ran").exists, bound_s=5)
    await until(lambda: not place.processes())


async def test_a_second_server_disturbs_nothing(place: Place) -> None:
    path = await gate(place)
    with server(place, shell(place, TALKING)) as first:
        await pids_in(place.project / "pids")
        async with station(place) as jobs:
            before = await jobs.core.store.find(first.job_ids[0])
            other = await jobs.run("echo mine")
            after = await jobs.core.store.find(first.job_ids[0])
        async with station(place) as jobs:
            await release(path)
            job = await jobs.ended(first.job_ids[0])

    assert before is not None
    assert after is not None
    assert (after.status, after.claimed_by) == ("running", before.claimed_by)
    assert after.claim_token == before.claim_token
    assert other["status"] == "completed"
    assert (job["reason"], job["exit_code"]) == ("exit_code", 7)


async def test_many_servers_that_start_after_a_kill_settle_a_job_once(place: Place) -> None:
    path = await gate(place)
    with server(place, shell(place, TALKING)) as dead:
        await pids_in(place.project / "pids")
        dead.kill()
    async with station(place) as one, station(place) as two, station(place) as three:
        await release(path)
        ends = [await jobs.ended(dead.job_ids[0]) for jobs in (one, two, three)]
        attempts = await one.core.store.attempts(dead.job_ids[0])

    assert [job["exit_code"] for job in ends] == [7, 7, 7]
    assert len(attempts) == 1


async def test_jobs_of_two_homes_do_not_meet(place: Place) -> None:
    path = await gate(place)
    async with station(place) as jobs:
        job_id = await jobs.start("read x < gate; exit 7")
        other_home = place.root / "other"
        async with station(place, home=other_home) as others:
            other = await others.run("echo other")
            assert (await others.core.store.find(job_id)) is None
        kill_launchers(place)
        await release(path)
        job = await jobs.ended(job_id)

    assert (other["status"], job["exit_code"]) == ("completed", 7)


def _is_server(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().split(b"\0")[1:4] == [b"-m", b"mcp_jobs", b""]
    except OSError:
        return False
