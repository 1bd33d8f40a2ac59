"""Several servers on one home are one service, also in different pid namespaces."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Final

import anyio
import pytest

from mcp_jobs.execution.launcher import exit_record
from mcp_jobs.service.assembly import LOCAL_OWNER
from mcp_jobs.service.requests import ListJobs
from tests.support import Place, ended, job_of, open_client, start, until
from tests.system.fleet import SHORT_LEASE, server_in, shorten_lease
from tests.system.station import gate, identity_of, pids_in, release, shell, station

if TYPE_CHECKING:
    from mcp import Client

    from tests.system.station import Server, Shown

# -- one service ---------------------------------------------------------------------------------


async def test_every_server_sees_every_job(place: Place) -> None:
    async with open_client(place) as one, open_client(place) as two:
        mine = await start(one, "echo from one; exit 7", title="one")
        yours = await start(two, "echo from two", title="two")
        ends = [await ended(two, mine["job_id"]), await ended(one, yours["job_id"])]
        lists = [job_of(await client.call_tool("list_jobs", {})) for client in (one, two)]

    assert [job["output"]["text"] for job in ends] == ["from one\n", "from two\n"]
    assert [job["exit_code"] for job in ends] == [7, 0]
    assert lists[0] == lists[1]
    assert [job["title"] for job in lists[0]["jobs"]] == ["two", "one"]


async def test_agents_that_attach_in_the_same_instant_get_the_same_job(place: Place) -> None:
    arguments = {"params": {"command": "sleep 60"}, "if_running": "attach"}
    found: list[Shown] = []
    async with open_client(place) as one, open_client(place) as two:

        async def attach(client: Client) -> None:
            found.append(job_of(await client.call_tool("start_job", arguments)))

        async with anyio.create_task_group() as tasks:
            for client in (one, two) * 5:
                tasks.start_soon(attach, client)
        new = job_of(await two.call_tool("start_job", {**arguments, "if_running": "supersede"}))
        old = await ended(one, found[0]["job_id"])
        await one.call_tool("cancel_job", {"job_id": new["job_id"]})

    assert len({job["job_id"] for job in found}) == 1
    assert sorted(job.get("existing", False) for job in found) == [False] + [True] * 9
    assert (old["status"], old["reason"]) == ("cancelled", "superseded")
    assert new["job_id"] in old["error"]


async def test_a_call_that_waits_at_one_server_sees_the_end_of_a_job_of_another(
    place: Place,
) -> None:
    path = await gate(place)
    seen: list[Shown] = []
    async with station(place) as one, station(place) as two:
        job_id = await one.start("read x < gate; exit 7")
        await two.reaches(job_id, "running")

        async def wait() -> None:
            seen.append(await two.check(job_id, wait_seconds=40))

        with anyio.fail_after(20):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(wait)
                await release(path)

    assert [(job["status"], job["exit_code"]) for job in seen] == [("failed", 7)]


async def test_servers_share_the_capacity_and_the_queue(place: Place) -> None:
    paths = [await gate(place, f"gate{n}") for n in range(3)]
    async with station(place, capacity=1) as one, station(place, capacity=1) as two:
        ids = []
        for n, jobs in enumerate((one, two, one)):
            ids.append(await jobs.start(f"echo $$ >> pids; read x < gate{n}; echo {n} >> order"))
            if n == 0:
                await one.reaches(ids[0], "running")
        for n, path in enumerate(paths):
            await pids_in(place.project / "pids", n + 1)
            listed = await two.core.service.list(LOCAL_OWNER, ListJobs())
            states = {job["job_id"]: job for job in listed["jobs"]}
            waiting = [states[job_id]["queue_position"] for job_id in ids[n + 1 :]]
            assert waiting == list(range(1, 3 - n))
            assert listed["counts"]["running"] == 1
            await release(path)
        for job_id in ids:
            assert (await one.ended(job_id))["status"] == "completed"

    assert (place.project / "order").read_text() == "0\n1\n2\n"


async def test_servers_that_start_at_once_on_a_new_home_all_work(place: Place) -> None:
    shutil.rmtree(place.home)
    ends: list[Shown] = []

    async def one_server(number: int) -> None:
        async with open_client(place) as client:
            job = await start(client, f"echo {number} >> ran", idempotency_key=str(number))
            ends.append(await ended(client, job["job_id"]))

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(one_server, number)

    assert [job["status"] for job in ends] == ["completed"] * 4
    assert sorted((place.project / "ran").read_text().split()) == ["0", "1", "2", "3"]


async def test_a_retry_of_a_call_at_another_server_starts_nothing(place: Place) -> None:
    path = await gate(place)
    async with AsyncExitStack() as stack:
        servers = [await stack.enter_async_context(station(place)) for _ in range(3)]
        command = "echo $$ >> pids; read x < gate"
        asked = [await jobs.ask(command, idempotency_key="deploy") for jobs in servers]
        await pids_in(place.project / "pids")
        await release(path)
        await servers[2].ended(asked[0]["job_id"])
        again = await servers[1].ask(command, idempotency_key="deploy")

    assert len({job["job_id"] for job in [*asked, again]}) == 1
    assert [job.get("existing", False) for job in [*asked, again]] == [False, True, True, True]
    assert again["status"] == "completed"
    assert len(await pids_in(place.project / "pids")) == 1


# -- pid namespaces ------------------------------------------------------------------------------

UNSHARE: Final = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
WAITS = "echo $$ >> pids; read x < gate; exit 7"

_CANCEL: Final = """
import json, sys
import anyio
from mcp_jobs.service.assembly import LOCAL_OWNER, open_core
from mcp_jobs.service.requests import CancelJob, CheckJob
from mcp_jobs.settings import Settings

async def main():
    async with open_core(Settings()) as core:
        before = await core.service.check(LOCAL_OWNER, CheckJob(job_id=sys.argv[1]))
        after = await core.service.cancel(LOCAL_OWNER, CancelJob(job_id=sys.argv[1]))
        print(json.dumps([before, after]))

anyio.run(main)
"""


_NEVER_SETTLES: Final = """
import anyio as _anyio
from mcp_jobs.engine import supervisor
async def settle(self, *given):
    await _anyio.sleep_forever()
supervisor.Supervisor._settle = settle
"""


def _unshare_works() -> bool:
    try:
        done = subprocess.run([*UNSHARE, "true"], capture_output=True, check=False)
    except OSError:
        return False
    return done.returncode == 0


needs_unshare = pytest.mark.skipif(
    not _unshare_works(), reason="this system does not let us make a pid namespace (unshare)"
)


@pytest.fixture
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    shorten_lease(monkeypatch)


def kill_namespace(elsewhere: Server) -> None:
    """End a pid namespace with everything in it, as the end of a container does."""
    elsewhere.process.kill()
    elsewhere.process.wait()


@needs_unshare
async def test_a_job_runs_in_the_namespace_of_the_server_that_accepted_it(
    place: Place,
) -> None:
    request = shell(place, "readlink /proc/self/ns/pid", delay_seconds=0.3)
    with server_in(place, request, prefix=UNSHARE) as elsewhere:
        async with station(place) as jobs:
            mine = await jobs.run("readlink /proc/self/ns/pid")
            theirs = await jobs.ended(elsewhere.job_ids[0])

    here = os.readlink("/proc/self/ns/pid")
    assert mine["output"]["text"].strip() == here
    assert theirs["output"]["text"].startswith("pid:[")
    assert theirs["output"]["text"].strip() != here


@needs_unshare
async def test_a_job_of_another_namespace_can_be_cancelled(place: Place) -> None:
    await gate(place)
    with server_in(place, shell(place, WAITS), prefix=UNSHARE) as elsewhere:
        (job_id,) = elsewhere.job_ids
        async with station(place) as jobs:
            await pids_in(place.project / "pids")
            identity = await identity_of(jobs.directory(job_id))
            running = await jobs.check(job_id)
            job = await jobs.cancel(job_id)
            left = [pid for pid in place.processes() if _marked(pid, job_id)]

    assert identity["pid_namespace"] != os.readlink("/proc/self/ns/pid")
    assert running["status"] == "running"
    assert (job["status"], job["reason"]) == ("cancelled", "cancelled_by_user")
    assert left == []


@needs_unshare
async def test_a_server_in_another_namespace_can_cancel(place: Place) -> None:
    await gate(place)
    async with station(place) as jobs:
        job_id = await jobs.start(WAITS)
        await pids_in(place.project / "pids")
        with anyio.fail_after(30):
            done = await anyio.run_process(
                [*UNSHARE, sys.executable, "-c", _CANCEL, job_id],
                env={**os.environ, **place.environment(PYTHONPATH=os.pathsep.join(sys.path))},
            )
        before, after = json.loads(done.stdout)
        left = [pid for pid in place.processes() if _marked(pid, job_id)]

    assert before["status"] == "running"
    assert (after["status"], after["reason"]) == ("cancelled", "cancelled_by_user")
    assert left == []


@needs_unshare
@pytest.mark.usefixtures("_quick")
async def test_a_living_job_of_another_namespace_is_left_alone(place: Place) -> None:
    path = await gate(place)
    request = shell(place, WAITS)
    with server_in(place, request, prefix=UNSHARE, change=SHORT_LEASE) as elsewhere:
        (job_id,) = elsewhere.job_ids
        await pids_in(place.project / "pids")
        async with station(place) as jobs:
            before = await jobs.core.store.find(job_id)
            # One of ours outlives a lease; theirs has had that time to be taken over.
            await jobs.run("sleep 1.5")
            after = await jobs.core.store.find(job_id)
            await release(path)
            job = await jobs.ended(job_id)

    assert before is not None
    assert (before.status, after) == ("running", before)
    assert (job["reason"], job["exit_code"]) == ("exit_code", 7)


@needs_unshare
@pytest.mark.usefixtures("_quick")
async def test_a_job_whose_namespace_is_gone_is_interrupted(place: Place) -> None:
    await gate(place)
    command = f"echo printed; {WAITS}"
    with server_in(place, shell(place, command), prefix=UNSHARE) as elsewhere:
        async with station(place) as jobs:
            await pids_in(place.project / "pids")
            await until((jobs.directory(elsewhere.job_ids[0]) / "output").exists)
            await jobs.seen(elsewhere.job_ids[0], lambda job: job["output"]["text"])
            kill_namespace(elsewhere)
            job = await jobs.ended(elsewhere.job_ids[0])

    assert (job["status"], job["reason"], job["attempt"]) == ("failed", "interrupted", 1)
    assert job["output"]["text"] == "printed\n"
    assert len(await pids_in(place.project / "pids")) == 1


@needs_unshare
@pytest.mark.usefixtures("_quick")
async def test_a_recorded_end_is_kept_though_the_namespace_is_gone(place: Place) -> None:
    path = await gate(place)
    with server_in(place, shell(place, WAITS), prefix=UNSHARE, change=_NEVER_SETTLES) as elsewhere:
        (job_id,) = elsewhere.job_ids
        await pids_in(place.project / "pids")
        await release(path)
        await until(lambda: exit_record.read(str(place.home / "jobs" / job_id), 1))
        kill_namespace(elsewhere)
    async with station(place) as jobs:
        job = await jobs.ended(job_id)

    assert (job["status"], job["reason"], job["exit_code"]) == ("failed", "exit_code", 7)


@needs_unshare
@pytest.mark.usefixtures("_quick")
async def test_a_job_that_may_be_repeated_does_not_wait_for_a_namespace_that_is_gone(
    place: Place,
) -> None:
    await gate(place)
    request = shell(place, WAITS, retry_on_interrupt=True)
    with server_in(place, request, prefix=UNSHARE) as elsewhere:
        async with station(place) as jobs:
            await pids_in(place.project / "pids")
            kill_namespace(elsewhere)
            job = await jobs.seen(elsewhere.job_ids[0], lambda job: job["status"] != "running")

    assert (job["status"], job["reason"]) == ("failed", "interrupted")


def _marked(pid: int, job_id: str) -> bool:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"MCP_JOBS_JOB_ID={job_id}".encode() in file.read()
    except OSError:
        return False
