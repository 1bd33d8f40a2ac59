"""A part that fails is started again, is told of, and takes nothing down. Real processes."""

from __future__ import annotations

import json
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from mcp_jobs.domain.clock import SystemClock
from mcp_jobs.domain.errors import FatalError
from mcp_jobs.engine.upkeep import Fault, Upkeep
from mcp_jobs.execution.owner_locks import told_by_others
from tests.processes.test_main import mcp_jobs
from tests.receiver import receiving
from tests.support import BOUND_S, ended, open_client, start, wait_until
from tests.system.faulty import FAULTS, WORD, part_of, program
from tests.web import Json, start_forked
from tests.web import ended as ended_over_http
from tests.web import start as start_over_http

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support import Place
    from tests.web import WebServer

LOCAL = {"MCP_JOBS_WEBHOOK_HOSTS": "127.0.0.1", "MCP_JOBS_WEBHOOK_PRIVATE": "127.0.0.0/8"}
ALWAYS = 1_000_000


@contextmanager
def faulty(place: Place, fault: str, times: int) -> Iterator[WebServer]:
    server = start_forked(place, program(fault, times), **LOCAL)
    try:
        yield server
    finally:
        if server.process.poll() is None:
            assert server.end() == 0


def ready(server: WebServer) -> Json:
    with server.client() as client:
        found: Json = client.get("/readyz").json()
        return found


@pytest.mark.parametrize("fault", FAULTS)
def test_a_server_goes_on_when_a_part_of_it_fails_twice(place: Place, fault: str) -> None:
    with (
        receiving() as receiver,
        faulty(place, fault, 2) as server,
        server.client() as client,
    ):
        done = [start_over_http(client, f"echo {n}", webhook=receiver.url) for n in range(3)]
        for job in done:
            assert ended_over_http(client, job["job_id"])["status"] == "completed"
        wait_until(lambda: len(receiver.got) == 3)
        wait_until(lambda: ready(server) == {"status": "ok"})
        assert server.process.poll() is None
        # Once for both faults: they are alike.
        told = f"{part_of(fault)} failed (ValueError: {WORD})"
        if fault != "executor in the middle":
            wait_until(lambda: server.text.count(told) == 2)
            assert server.text.count("Traceback") == 1


@pytest.mark.parametrize("fault", ["retention", "webhooks", "catalogue", "backend: claims", "feed"])
def test_a_part_that_fails_again_and_again_is_told_by_readyz_and_doctor(
    place: Place, fault: str
) -> None:
    with faulty(place, fault, ALWAYS) as server, server.client() as client:
        wait_until(lambda: server.text.count("starts again") >= 3)
        answer = client.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["code"] == "part_failed"
        assert fault in answer.json()["detail"]
        assert WORD not in answer.text
        assert client.get("/healthz").status_code == 200
        shown = json.loads(mcp_jobs(place, "doctor", "--json").stdout)
        (found,) = [each for each in shown["findings"] if each["check"] == "parts"]
        assert found["level"] == "warning"
        assert f"{fault} of the server or worker with pid {server.process.pid}" in found["message"]
        assert WORD in found["message"]
        # The doctor's own job was run by the server that it started, or by this one.
        assert server.process.poll() is None
        assert server.text.count("Traceback") == 1
    shown = json.loads(mcp_jobs(place, "doctor", "--json").stdout)
    (found,) = [each for each in shown["findings"] if each["check"] == "parts"]
    assert found["level"] == "ok"


@pytest.mark.parametrize("fault", [name for name in FAULTS if not name.startswith("live")])
async def test_a_server_over_stdio_goes_on_when_a_part_of_it_fails(
    place: Place, fault: str
) -> None:
    async with open_client(place, args=["-c", program(fault, 1)]) as client:
        job = await start(client, "echo done")
        shown = await ended(client, job["job_id"])
        assert shown["status"] == "completed"


# -- by itself -----------------------------------------------------------------------------------


async def kept(run: Any, told: list[Sequence[Fault]], until: anyio.Event) -> Upkeep:
    upkeep = Upkeep(SystemClock(), tell=lambda faults: told.append(tuple(faults)))
    with anyio.fail_after(BOUND_S):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(upkeep.keep, "part", run)
            await until.wait()
            tasks.cancel_scope.cancel()
    return upkeep


async def test_a_part_that_just_ends_is_started_again() -> None:
    runs = 0
    twice = anyio.Event()

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs == 2:
            twice.set()
            await anyio.sleep_forever()

    told: list[Sequence[Fault]] = []
    upkeep = await kept(run, told, twice)
    assert [(fault.part, fault.count) for fault in told[0]] == [("part", 1)]
    assert upkeep.faults() == told[0]


async def test_what_is_fatal_ends_the_process_also_from_inside_of_a_group() -> None:
    async def run() -> None:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(fail)
            await anyio.sleep_forever()

    async def fail() -> None:
        raise FatalError("The home is gone.")

    with pytest.raises(BaseExceptionGroup) as caught:
        await kept(run, [], anyio.Event())
    assert caught.group_contains(FatalError)


async def test_a_part_that_runs_again_is_told_of_no_more() -> None:
    runs = 0
    over = anyio.Event()
    told: list[Sequence[Fault]] = []

    class Told(list[Any]):
        def append(self, faults: Any) -> None:
            told.append(faults)
            if not faults:
                over.set()

    async def run() -> None:
        nonlocal runs
        runs += 1
        if runs <= 2:
            raise ValueError("no")
        await anyio.sleep_forever()

    upkeep = await kept(run, Told(), over)
    assert [[fault.count for fault in faults] for faults in told] == [[1], [2], []]
    assert upkeep.faults() == ()


def test_only_living_processes_are_heard(place: Place) -> None:
    owners = place.settings().owners_dir
    owners.mkdir()
    (owners / "dead").write_text('{"pid": 1, "faults": []}')
    assert told_by_others(owners) == {}
