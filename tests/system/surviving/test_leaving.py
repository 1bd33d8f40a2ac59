"""Calls that are open when a server is told to leave get an honest answer."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp.shared.exceptions import MCPError

from mcp_jobs.interfaces.mcp.calls import LEFT
from tests.gates import gate, open_gate_now
from tests.raw import RawServer
from tests.support import BOUND_S, LEGACY, MODERN, until, wait_until
from tests.support import start as start_over
from tests.system.over_http.test_access import mcp_client
from tests.web import serving, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp import Client

    from tests.support import Place

ERAS = [pytest.param(False, id="handshake"), pytest.param(True, id="2026-07-28")]
COMMAND = "echo >> ran; read x < gate"


@contextmanager
def locked(place: Place) -> Iterator[None]:
    """Keep everybody from writing to the store."""
    connection = sqlite3.connect(place.home / "jobs.db", isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
    finally:
        connection.close()


def call(server: RawServer, tool: str, **arguments: Any) -> int:
    return server.send("tools/call", {"name": tool, "arguments": arguments})


def left(server: RawServer, how: str = "SIGTERM") -> list[dict[str, Any]]:
    """Tell a server to leave; returns what it still said."""
    server.assert_alive()
    if how == "stdin":
        server.close_stdin()
    else:
        server.signal(signal.Signals[how])
    assert server.wait() == 0
    assert "Traceback" not in server.stderr
    return server.rest()


@pytest.mark.parametrize("modern", ERAS)
@pytest.mark.parametrize("how", ["stdin", "SIGINT", "SIGTERM"])
def test_calls_that_wait_are_answered_with_the_job_as_it_is(
    place: Place, modern: bool, how: str
) -> None:
    path = gate(place, "gate")
    with RawServer(place, modern=modern) as server:
        starting = call(server, "start_job", params={"command": COMMAND}, wait_seconds=50)
        wait_until((place.project / "ran").exists)
        (listed,) = server.call("list_jobs", {})["structuredContent"]["jobs"]
        job_id = listed["job_id"]
        checking = call(server, "check_job", job_id=job_id, wait_seconds=50)
        listing = call(server, "list_jobs", job_ids=[job_id], wait_for="any", wait_seconds=50)
        answers = {answer["id"]: answer["result"] for answer in left(server, how)}
    open_gate_now(path)
    with RawServer(place) as server:
        after = server.call("check_job", {"job_id": job_id, "wait_seconds": 20})

    for request in (starting, checking):
        shown = answers[request]["structuredContent"]
        assert (shown["job_id"], shown["status"]) == (job_id, "running")
        assert "check_job" in shown["next_step"]
    assert answers[listing]["structuredContent"]["counts"]["running"] == 1
    assert after["structuredContent"]["status"] == "completed"


@pytest.mark.parametrize("modern", ERAS)
def test_a_call_that_cannot_be_finished_is_told_so_in_words(place: Place, modern: bool) -> None:
    with RawServer(place, modern=modern) as server:
        server.assert_alive()
        with locked(place):
            command = {"command": "echo >> ran"}
            starting = call(server, "start_job", params=command, wait_seconds=50)
            (answer,) = left(server)
    with RawServer(place) as server:
        known = server.call("list_jobs", {})["structuredContent"]["jobs"]

    assert (answer["id"], answer["error"]["message"]) == (starting, LEFT)
    # Whoever is told so looks, and finds the truth.
    assert known == []
    assert not (place.project / "ran").exists()


def test_a_wait_for_a_task_of_2025_is_told_that_the_job_goes_on(place: Place) -> None:
    path = gate(place, "gate")
    with RawServer(place, modern=False) as server:
        asked = {"name": "start_job", "arguments": {"params": {"command": COMMAND}}, "task": {}}
        task = server.request("tools/call", asked)["result"]["task"]
        waiting = server.send("tasks/result", {"taskId": task["taskId"]})
        (answer,) = left(server)
    open_gate_now(path)

    assert (answer["id"], answer["error"]["message"]) == (waiting, LEFT)


def test_a_request_over_http_that_waits_is_answered_before_the_server_leaves(
    place: Place,
) -> None:
    path = gate(place, "gate")
    with serving(place) as server, server.client() as client, server.connect() as line:
        job_id = start(client, COMMAND)["job_id"]
        wait_until((place.project / "ran").exists)
        line.sendall(
            f"GET /jobs/{job_id}?wait_seconds=50 HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
            f"Authorization: Bearer {server.token}\r\nConnection: close\r\n\r\n".encode()
        )
        # What is answered after it has been read after it.
        client.get("/jobs").raise_for_status()
        assert server.end() == 0
        with line.makefile("rb") as answer:
            head, _, body = answer.read().partition(b"\r\n\r\n")
    open_gate_now(path)

    assert head.startswith(b"HTTP/1.1 200 ")
    assert json.loads(body)["status"] == "running"


@pytest.mark.parametrize("mode", [LEGACY, MODERN])
async def test_a_call_over_http_that_waits_is_answered_before_the_server_leaves(
    place: Place, mode: str
) -> None:
    path = gate(place, "gate")
    shown: list[dict[str, Any]] = []

    async def wait(client: Client) -> None:
        shown.append(await start_over(client, COMMAND, wait_seconds=50))

    with serving(place) as server:
        async with (
            mcp_client(server, mode, server.token) as client,
            anyio.create_task_group() as tasks,
        ):
            # Else the client asks for the schema of the answer when it has it.
            await client.list_tools()
            tasks.start_soon(wait, client)
            await until((place.project / "ran").exists)
            server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(BOUND_S) == 0
    open_gate_now(path)

    assert [job["status"] for job in shown] == ["running"]


async def test_a_call_over_http_that_cannot_be_finished_is_told_so_in_words(place: Place) -> None:
    with serving(place) as server:
        async with mcp_client(server, MODERN, server.token) as client:
            with locked(place):
                async with anyio.create_task_group() as tasks:
                    await client.list_tools()
                    tasks.start_soon(_ask_in_vain, client)
                    await until(lambda: list((place.home / "jobs").iterdir()))
                    server.process.send_signal(signal.SIGTERM)
                server.process.wait(BOUND_S)


async def _ask_in_vain(client: Client) -> None:
    with pytest.raises(MCPError) as refusal:
        await start_over(client, "true", wait_seconds=50)
    assert refusal.value.error.message == LEFT
