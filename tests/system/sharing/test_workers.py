"""`mcp-jobs worker` does what a server does, without MCP, and leaves when it should."""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack
from itertools import accumulate
from typing import TYPE_CHECKING

import anyio
import pytest

from mcp_jobs.execution.launcher_client import Drain
from tests.support import BOUND_S, Place, alive, until
from tests.system.fleet import accept, idle_core, run_command, worker
from tests.system.station import gate, pids_in, release, server, shell, station

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from mcp_jobs.domain.models import Job
    from tests.system.station import Shown

BUSY = "echo +1 >> log; sleep 0.1; echo -1 >> log"


async def eventually(find: Callable[[str], Awaitable[Job | None]], job_id: str) -> None:
    """Return when a job has ended that others work on."""
    with anyio.fail_after(BOUND_S):
        while True:
            job = await find(job_id)
            if job is not None and job.ended:
                return
            await anyio.sleep(0.01)


async def looked_at(place: Place, *job_ids: str) -> list[Shown]:
    """Return jobs as they are stored; nobody works on them."""
    async with idle_core(place) as core:
        found = [await core.store.find(job_id) for job_id in job_ids]
    assert None not in found
    return [
        {"status": job.status.value, "attempt": job.attempt, "code": job.exit_code}
        for job in found
        if job is not None
    ]


def drain_workers(place: Place) -> list[int]:
    return [pid for pid in place.processes() if _arguments(pid)[-2:] == [b"worker", b"--drain"]]


def _arguments(pid: int) -> list[bytes]:
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().rstrip(b"\0").split(b"\0")
    except OSError:
        return []


# -- running jobs --------------------------------------------------------------------------------


async def test_a_worker_runs_what_is_queued_and_what_comes_later(place: Place) -> None:
    (queued,) = await accept(place, shell(place, "echo queued >> ran; exit 7"))
    with worker(place):
        await until((place.project / "ran").exists)
        (later,) = await accept(place, shell(place, "echo later >> ran"))
        async with idle_core(place) as core:
            await eventually(core.store.find, later)
    first, second = await looked_at(place, queued, later)

    assert first == {"status": "failed", "attempt": 1, "code": 7}
    assert second == {"status": "completed", "attempt": 1, "code": 0}


async def test_many_workers_run_no_more_jobs_at_once_than_the_capacity(place: Place) -> None:
    ids = await accept(place, *(shell(place, BUSY) for _ in range(16)))
    with ExitStack() as stack:
        started = [
            stack.enter_context(worker(place, "--drain", MCP_JOBS_CAPACITY="3")) for _ in range(4)
        ]
        codes = [process.wait(30) for process in started]
    steps = [int(line) for line in (place.project / "log").read_text().split()]

    assert codes == [0, 0, 0, 0]
    assert max(accumulate(steps)) == 3
    assert steps.count(1) == 16
    assert {job["attempt"] for job in await looked_at(place, *ids)} == {1}


# -- draining ------------------------------------------------------------------------------------


def test_draining_an_empty_home_ends_well(place: Place) -> None:
    done = run_command(place, "worker", "--drain")

    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_draining_ends_when_delayed_and_retried_jobs_are_done_too(place: Place) -> None:
    retried = shell(place, "echo >> runs; test $(wc -l < runs) -gt 2", max_retries=5)
    delayed = shell(place, "echo >> delayed", delay_seconds=1)
    ids = await accept(place, shell(place, "exit 7"), retried, delayed)
    done = run_command(place, "worker", "--drain")
    failed, third, late = await looked_at(place, *ids)

    assert (done.returncode, done.stderr) == (0, "")
    assert failed == {"status": "failed", "attempt": 1, "code": 7}
    assert third == {"status": "completed", "attempt": 3, "code": 0}
    assert late == {"status": "completed", "attempt": 1, "code": 0}


async def test_draining_waits_for_jobs_that_another_runs(place: Place) -> None:
    path = await gate(place)
    with server(place, shell(place, "echo $$ > pids; read x < gate")) as other:
        await pids_in(place.project / "pids")
        with worker(place, "--drain") as drain:
            owners = place.home / "owners"
            await until(lambda: len([p for p in owners.iterdir() if p.name[0] != "."]) == 2)
            (before,) = await looked_at(place, *other.job_ids)
            still = drain.poll()
            await release(path)
            code = drain.wait(20)
        (after,) = await looked_at(place, *other.job_ids)

    assert (before["status"], still) == ("running", None)
    assert (after["status"], code) == ("completed", 0)


# -- the end of a worker -------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_a_worker_and_leaves_its_job_running(
    place: Place, number: signal.Signals
) -> None:
    path = await gate(place)
    ids = await accept(place, shell(place, "echo $$ >> pids; read x < gate; exit 7"))
    with worker(place) as process:
        (pid,) = await pids_in(place.project / "pids")
        process.send_signal(number)
        code = process.wait(20)
    lives = alive(pid)
    await release(path)
    async with station(place) as jobs:
        job = await jobs.ended(ids[0])

    assert (code, lives) == (0, True)
    assert (job["reason"], job["exit_code"], job["attempt"]) == ("exit_code", 7, 1)
    assert await pids_in(place.project / "pids") == [pid]


async def test_what_is_queued_runs_when_the_last_worker_is_killed(place: Place) -> None:
    path = await gate(place)
    first = shell(place, "echo $$ >> pids; read x < gate; exit 7")
    queued, delayed = shell(place, "exit 8"), shell(place, "exit 9", delay_seconds=1)
    ids = await accept(place, first, queued, delayed)
    with worker(place, MCP_JOBS_CAPACITY="1") as process:
        await pids_in(place.project / "pids")
        process.kill()
    await release(path)
    await until(lambda: not place.processes())

    assert [job["code"] for job in await looked_at(place, *ids)] == [7, 8, 9]
    assert {job["attempt"] for job in await looked_at(place, *ids)} == {1}


async def test_a_draining_worker_that_is_killed_is_replaced(place: Place) -> None:
    path = await gate(place)
    requests = (shell(place, "echo $$ >> pids; read x < gate; exit 7"), shell(place, "exit 8"))
    with server(place, *requests, MCP_JOBS_CAPACITY="1") as dead:
        await pids_in(place.project / "pids")
        dead.kill()
    killed: list[int] = []
    for _ in range(2):
        await until(lambda: set(drain_workers(place)) - set(killed))
        (pid,) = set(drain_workers(place)) - set(killed)
        os.kill(pid, signal.SIGKILL)
        killed.append(pid)
    await release(path)
    await until(lambda: not place.processes())

    assert [job["code"] for job in await looked_at(place, *dead.job_ids)] == [7, 8]
    assert len(await pids_in(place.project / "pids")) == 1


@pytest.mark.parametrize("delay", [0, 1000], ids=["nothing left", "a job left"])
async def test_a_worker_is_started_in_the_end_only_for_what_is_left(
    place: Place, monkeypatch: pytest.MonkeyPatch, delay: int
) -> None:
    mark = place.root / "started"

    def touch(environ: Mapping[str, str]) -> Drain:
        return Drain(argv=("/usr/bin/touch", str(mark)), environ=environ)

    monkeypatch.setattr("mcp_jobs.execution.launcher_client.drain_command", touch)
    async with station(place) as jobs:
        await jobs.run("true")
        await jobs.ask("true", delay_seconds=delay, wait_seconds=0 if delay else 20)
        # Attached, so that the launcher would know of an end without a word.
        await until(lambda: jobs.core.membership._link is not None)
    await until(lambda: not place.processes())

    assert mark.exists() == bool(delay)
