"""One launcher for each home, private, hard to hurt, and never missed when it is killed."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from mcp_jobs.execution import job_directory, launcher_client
from mcp_jobs.execution.launcher import exit_record
from tests.support import Place, alive, ended, open_client, start, until, wait_until
from tests.system.attempts import client_of, make_job, request_for, run_attempt
from tests.system.station import (
    all_gone,
    connections,
    gate,
    identity_of,
    kill_launchers,
    launcher,
    launchers,
    pids_in,
    release,
    socket_path,
    station,
)

if TYPE_CHECKING:
    from collections.abc import Iterator


# -- starting and leaving ------------------------------------------------------------------------


async def test_two_clients_that_start_it_at_once_get_one_launcher(place: Place) -> None:
    async with open_client(place) as one, open_client(place) as two:
        jobs: list[tuple[Any, str, Path]] = []

        async def begin(client: Any, name: str) -> None:
            path = await gate(place, name)
            jobs.append((client, (await start(client, f"read x < {name}"))["job_id"], path))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(begin, one, "one")
            tasks.start_soon(begin, two, "two")
        identities = [await identity_of(place.home / "jobs" / job_id) for _, job_id, _ in jobs]
        assert len(launchers(place)) == 1
        assert {_parent(identity["pid"]) for identity in identities} == set(launchers(place))
        for _, _, path in jobs:
            await release(path)
        ends = [await ended(client, job_id) for client, job_id, _ in jobs]

    assert [job["status"] for job in ends] == ["completed"] * 2


async def test_many_starts_at_once_make_one_launcher(place: Place) -> None:
    clients = [client_of(place) for _ in range(8)]
    links = []

    async def attach(client: launcher_client.LauncherClient) -> None:
        links.append(await client.attach(launcher_client.Drain(argv=("/bin/true",), environ={})))

    async with anyio.create_task_group() as tasks:
        for client in clients:
            tasks.start_soon(attach, client)
    assert len(launchers(place)) == 1
    for link in links:
        await link.release()
        await link.aclose()
    await until(lambda: not launchers(place))


async def test_it_leaves_when_idle_and_removes_its_socket(place: Place) -> None:
    assert await run_attempt(client_of(place), request_for(make_job(place, "true"), 1))
    await until(lambda: not launchers(place))

    assert not socket_path(place).exists()


async def test_it_stays_as_long_as_a_job_runs(place: Place) -> None:
    path = await gate(place)
    link = await client_of(place, idle_s=0.01).run(
        request_for(make_job(place, "echo $$ > pids; read x < gate"), 1)
    )
    assert link is not None
    link.close()
    await pids_in(place.project / "pids")
    first = launcher(place)
    # Each takes longer than the launcher may be idle.
    for number in range(3):
        directory = make_job(place, "sleep 0.05", f"other-{number}")
        assert await run_attempt(client_of(place), request_for(directory, 1))
    assert launchers(place) == [first]
    await release(path)
    await all_gone([first])


async def test_the_server_starts_a_new_one_after_the_old_one_left(place: Place) -> None:
    client = client_of(place)
    job_dir = make_job(place, "true")
    assert await run_attempt(client, request_for(job_dir, 1))
    await until(lambda: not launchers(place))

    assert await run_attempt(client, request_for(make_job(place, "true"), 2))


# -- killed --------------------------------------------------------------------------------------


async def test_jobs_of_a_killed_launcher_go_on_to_their_true_end(place: Place) -> None:
    async with station(place) as jobs:
        path = await gate(place)
        job_id = await jobs.start("echo one; read x < gate; echo two; exit 7")
        await jobs.seen(job_id, lambda job: job["output"]["bytes_total"])
        first = launcher(place)
        kill_launchers(place)
        other = await jobs.run("echo other")
        second = launchers(place)
        await release(path)
        job = await jobs.ended(job_id)

    assert (job["status"], job["exit_code"], job["output"]["text"]) == ("failed", 7, "one\ntwo\n")
    assert (other["status"], other["output"]["text"]) == ("completed", "other\n")
    assert first not in second


async def test_a_job_that_ends_while_there_is_no_launcher_is_settled(place: Place) -> None:
    async with station(place) as jobs:
        path = await gate(place)
        job_id = await jobs.start("read x < gate; exit 7")
        await identity_of(jobs.directory(job_id))
        kill_launchers(place)
        await release(path)
        job = await jobs.ended(job_id)

    assert (job["reason"], job["exit_code"]) == ("exit_code", 7)


async def test_a_request_that_a_killed_launcher_had_not_read_is_made_again(place: Place) -> None:
    async with station(place, capacity=5) as jobs:
        path = await gate(place)
        first = await jobs.start("read x < gate", cwd=str(place.project))
        await identity_of(jobs.directory(first))
        stopped = launcher(place)
        os.kill(stopped, signal.SIGSTOP)
        before = connections(place)
        job_id = await jobs.start("echo >> runs", max_retries=0)
        await until(lambda: connections(place) > before)
        os.kill(stopped, signal.SIGKILL)
        job = await jobs.ended(job_id)
        await release(path)
        await jobs.ended(first)

    assert (job["status"], job["reason"]) == ("completed", None)
    assert (place.project / "runs").read_text() == "\n"


# -- claims --------------------------------------------------------------------------------------


async def test_the_same_claim_runs_once(place: Place) -> None:
    client, job_dir = client_of(place), make_job(place, "echo >> runs")
    answers = [await run_attempt(client, request_for(job_dir, 1)) for _ in range(3)]

    assert answers == [True, False, False]
    assert (place.project / "runs").read_text() == "\n"


async def test_the_same_claim_made_many_times_at_once_runs_once(place: Place) -> None:
    client, job_dir = client_of(place), make_job(place, "echo >> runs; read x < gate")
    path = await gate(place)
    links = []

    async def ask() -> None:
        links.append(await client.run(request_for(job_dir, 1)))

    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(ask)
    (link,) = [link for link in links if link is not None]
    await release(path)
    await link.wait_closed()
    link.close()

    assert (place.project / "runs").read_text() == "\n"


async def test_a_claim_below_the_fence_is_refused(place: Place) -> None:
    client, job_dir = client_of(place), make_job(place, "echo >> runs")
    job_directory.raise_fence(job_dir, 3, ())
    answers = []
    for token in (1, 2, 3, 2, 4):
        make_job(place, "echo >> runs")
        answers.append(await run_attempt(client, request_for(job_dir, token)))

    assert answers == [False, False, True, False, True]
    assert (place.project / "runs").read_text() == "\n\n"


async def test_a_claim_is_refused_while_a_runner_lives(place: Place) -> None:
    client, job_dir = client_of(place), make_job(place, "echo >> runs; read x < gate")
    path = await gate(place)
    link = await client.run(request_for(job_dir, 1))
    assert link is not None
    second = await client.run(request_for(job_dir, 2))
    await release(path)
    await link.wait_closed()
    link.close()

    assert second is None
    assert exit_record.read(str(job_dir), 2) is None


# -- the runner ----------------------------------------------------------------------------------


async def test_a_runner_takes_less_than_ten_megabytes_of_its_own(place: Place) -> None:
    async with station(place) as jobs:
        path = await gate(place)
        write = "head -c 20000000 /dev/zero; echo"
        job_id = await jobs.start(f"{write}; read x < gate")
        await jobs.seen(job_id, lambda job: job["output"]["bytes_total"] > 20_000_000)
        identity = await identity_of(jobs.directory(job_id))
        rollup = Path(f"/proc/{identity['pid']}/smaps_rollup").read_text()
        await release(path)
        await jobs.ended(job_id)

    private = [int(size) for size in re.findall(r"(?m)^Private_\w+: +(\d+) kB", rollup)]
    assert private
    assert sum(private) < 10_000


async def test_a_runner_is_apart_from_the_sessions_of_server_and_job(place: Place) -> None:
    async with station(place) as jobs:
        path = await gate(place)
        job_id = await jobs.start("read x < gate")
        identity = await identity_of(jobs.directory(job_id))
        # It is written down while it is held, perhaps before its first step of its own.
        await until(lambda: os.getsid(identity["job_pid"]) == identity["job_pid"])
        sessions = [os.getsid(pid) for pid in (identity["pid"], identity["job_pid"], 0)]
        await release(path)
        await jobs.ended(job_id)
        await until(lambda: not alive(identity["pid"]))

    assert sessions[:2] == [identity["pid"], identity["job_pid"]]
    assert len(set(sessions)) == 3


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])


@pytest.fixture(autouse=True)
def _no_launcher_is_left(place: Place) -> Iterator[None]:
    yield
    wait_until(lambda: not launchers(place))
