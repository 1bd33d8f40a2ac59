"""A server that stood still past its lease harms nothing when it goes on."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Final

import anyio
import pytest

from mcp_jobs.execution.launcher import layout
from tests.support import BOUND_S, Place, until
from tests.system.fleet import SHORT_LEASE, server_in, shorten_lease
from tests.system.station import gate, pids_in, release, shell, station

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_jobs.domain.models import Job
    from tests.system.station import Station

_MARKED: Final = """
import os
from mcp_jobs.engine import supervisor
_run = supervisor.Supervisor.run
async def run(self, job):
    await _run(self, job)
    open("let-go", "a").write(job.id + "\\n")
supervisor.Supervisor.run = run
"""
"""Says when the supervision of a job has ended, in the file `let-go` of the project."""

_STOPS_ITSELF: Final = """
import builtins, signal
import anyio
from mcp_jobs.execution import launcher_client
_print, _said = builtins.print, []
def say(*words, **how):
    _print(*words, **how)
    _said.extend(words)
builtins.print = say
_launch = launcher_client.LauncherClient.run
async def launch(self, request):
    launcher_client.LauncherClient.run = _launch
    while "ready" not in _said:
        await anyio.sleep(0.01)
    open("stopping", "w").write("now")
    os.kill(os.getpid(), signal.SIGSTOP)
    return await _launch(self, request)
launcher_client.LauncherClient.run = launch
"""
"""Stops the server between its first claim and the launch of that job."""

STOPPED = SHORT_LEASE + _MARKED
STOPPED_BEFORE_LAUNCH = SHORT_LEASE + _MARKED + _STOPS_ITSELF
RUN = "echo $$ >> runs; read x < gate; exit 7"
TWICE = "echo $$ >> runs; test $(wc -l < runs) -gt 1 || exit 7; read x < gate; echo second"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_lease(monkeypatch)


async def taken_over(jobs: Station, job_id: str) -> Job:
    """Return the job as soon as the server in this process has it."""
    with anyio.fail_after(BOUND_S):
        while True:
            job = await jobs.core.store.find(job_id)
            if job is not None and job.claimed_by == jobs.core.membership.members.own_id:
                return job
            await anyio.sleep(0.01)


def owner_file(place: Place, owner: str | None) -> Path:
    return place.home / "owners" / str(owner)


async def goes_on(place: Place, pid: int) -> None:
    """Wake a stopped server and return when it has let its job go."""
    os.kill(pid, signal.SIGCONT)
    await until((place.project / "let-go").exists)


async def test_the_job_of_a_stopped_server_is_taken_over_though_its_lock_is_held(
    place: Place,
) -> None:
    path = await gate(place)
    with server_in(place, shell(place, RUN), change=STOPPED) as stopped:
        (job_id,) = stopped.job_ids
        await pids_in(place.project / "runs")
        async with station(place) as jobs:
            before = await jobs.core.store.find(job_id)
            assert before is not None
            stopped.process.send_signal(signal.SIGSTOP)
            after = await taken_over(jobs, job_id)
            locked = layout.is_locked(str(owner_file(place, before.claimed_by)))
            await release(path)
            job = await jobs.ended(job_id)

    assert locked
    assert (before.claimed_by, before.claim_token) != (after.claimed_by, after.claim_token)
    assert (after.attempt, after.launch_token) == (before.attempt, before.launch_token)
    assert (job["status"], job["exit_code"], job["attempt"]) == ("failed", 7, 1)


async def test_a_server_that_goes_on_does_not_touch_the_end_that_another_stored(
    place: Place,
) -> None:
    path = await gate(place)
    with server_in(place, shell(place, RUN), change=STOPPED) as stopped:
        (job_id,) = stopped.job_ids
        await pids_in(place.project / "runs")
        stopped.process.send_signal(signal.SIGSTOP)
        async with station(place) as jobs:
            await taken_over(jobs, job_id)
            await release(path)
            await jobs.ended(job_id)
            settled = await jobs.core.store.find(job_id)
            await goes_on(place, stopped.process.pid)
            afterwards = await jobs.core.store.find(job_id)
            attempts = await jobs.core.store.attempts(job_id)

    assert settled is not None
    assert (settled.exit_code, afterwards) == (7, settled)
    assert len(attempts) == 1
    assert len(await pids_in(place.project / "runs")) == 1


async def test_a_server_that_goes_on_leaves_the_next_attempt_of_another_alone(
    place: Place,
) -> None:
    path = await gate(place)
    first = await gate(place, "first")
    command = "test -s runs || { echo $$ >> runs; read x < first; exit 7; }; " + TWICE
    request = shell(place, command, max_retries=1)
    with server_in(place, request, change=STOPPED) as stopped:
        (job_id,) = stopped.job_ids
        await pids_in(place.project / "runs")
        stopped.process.send_signal(signal.SIGSTOP)
        async with station(place) as jobs:
            await taken_over(jobs, job_id)
            await release(first)
            await pids_in(place.project / "runs", 2)
            running = await jobs.core.store.find(job_id)
            await goes_on(place, stopped.process.pid)
            afterwards = await jobs.core.store.find(job_id)
            await release(path)
            job = await jobs.ended(job_id)

    assert running is not None
    assert (running.status, running.attempt, afterwards) == ("running", 2, running)
    assert (job["status"], job["output"]["text"]) == ("completed", "second\n")
    assert len(await pids_in(place.project / "runs")) == 2


async def test_a_server_stopped_between_claim_and_launch_finds_the_job_ended(
    place: Place,
) -> None:
    request = shell(place, "echo $$ >> runs; exit 7")
    with server_in(place, request, change=STOPPED_BEFORE_LAUNCH) as stopped:
        await until((place.project / "stopping").exists)
        async with station(place) as jobs:
            job = await jobs.ended(stopped.job_ids[0])
            settled = await jobs.core.store.find(stopped.job_ids[0])
            await goes_on(place, stopped.process.pid)
            afterwards = await jobs.core.store.find(stopped.job_ids[0])

    assert (job["status"], job["exit_code"], job["attempt"]) == ("failed", 7, 1)
    assert afterwards == settled
    assert len(await pids_in(place.project / "runs")) == 1


async def test_a_server_stopped_between_claim_and_launch_finds_the_job_running(
    place: Place,
) -> None:
    path = await gate(place)
    with server_in(place, shell(place, RUN), change=STOPPED_BEFORE_LAUNCH) as stopped:
        (job_id,) = stopped.job_ids
        await until((place.project / "stopping").exists)
        async with station(place) as jobs:
            await pids_in(place.project / "runs")
            await goes_on(place, stopped.process.pid)
            seen = await jobs.check(job_id)
            await release(path)
            job = await jobs.ended(job_id)

    assert seen["status"] == "running"
    assert (job["status"], job["exit_code"], job["attempt"]) == ("failed", 7, 1)
    assert len(await pids_in(place.project / "runs")) == 1


async def test_a_server_stopped_between_claim_and_launch_finds_the_next_attempt(
    place: Place,
) -> None:
    path = await gate(place)
    request = shell(place, TWICE, max_retries=1)
    with server_in(place, request, change=STOPPED_BEFORE_LAUNCH) as stopped:
        (job_id,) = stopped.job_ids
        await until((place.project / "stopping").exists)
        async with station(place) as jobs:
            await pids_in(place.project / "runs", 2)
            await goes_on(place, stopped.process.pid)
            await release(path)
            job = await jobs.ended(job_id)

    assert (job["status"], job["attempt"], job["output"]["text"]) == ("completed", 2, "second\n")
    assert [attempt["reason"] for attempt in job["attempts"]] == ["exit_code", None]
    assert len(await pids_in(place.project / "runs")) == 2


async def test_a_server_stopped_between_claim_and_launch_starts_nothing_between_two_attempts(
    place: Place,
) -> None:
    request = shell(place, "echo $$ >> runs; exit 7", max_retries=1)
    with server_in(place, request, change=STOPPED_BEFORE_LAUNCH) as stopped:
        (job_id,) = stopped.job_ids
        await until((place.project / "stopping").exists)
        async with station(place, retry_base_seconds=1000) as jobs:
            await jobs.reaches(job_id, "retrying")
            await goes_on(place, stopped.process.pid)
            job = await jobs.check(job_id)
            await jobs.cancel(job_id)

    assert (job["status"], job["exit_code"], job["attempt"]) == ("retrying", 7, 1)
    assert len(await pids_in(place.project / "runs")) == 1


async def test_a_server_that_goes_on_takes_part_again(place: Place) -> None:
    path = await gate(place)
    with server_in(place, shell(place, RUN), change=STOPPED) as stopped:
        await pids_in(place.project / "runs")
        stopped.process.send_signal(signal.SIGSTOP)
        async with station(place) as jobs:
            await taken_over(jobs, stopped.job_ids[0])
        # Nobody else is left but the one that goes on.
        os.kill(stopped.process.pid, signal.SIGCONT)
        await release(path)
        async with station(place) as jobs:
            job = await jobs.ended(stopped.job_ids[0])

    assert (job["status"], job["exit_code"], job["attempt"]) == ("failed", 7, 1)
