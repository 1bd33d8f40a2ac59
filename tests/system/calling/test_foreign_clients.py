"""Clients that are not ours start a job, are told of its end and read it, over stdio and HTTP."""

from __future__ import annotations

import json
import sys
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from fastmcp import Client as FastMCPClient
from fastmcp.client.transports import StdioTransport
from mcp.client.subscriptions import listen
from mcp.shared.subscriptions import ResourceUpdated

from tests.conformance.servers import PROJECT, environment, http_server
from tests.gates import gate, open_gate
from tests.npm import installed
from tests.support import BOUND_S, ERAS, LEGACY, Inbox, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.npm import Node
    from tests.support import Place

TRANSPORTS = ("stdio", "http")
SERVER = (sys.executable, "-m", "mcp_jobs")


@contextmanager
def target(place: Place, transport: str) -> Iterator[list[str]]:
    """How a program names the server: its command line, or the URL of one that runs."""
    if transport == "stdio":
        yield list(SERVER)
        return
    with http_server(place) as url:
        yield [url]


@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("era", ["2025-11-25", "2026-07-28"])
def test_the_typescript_client_runs_a_job_as_a_task(place: Place, era: str, transport: str) -> None:
    node = installed()
    gate(place, "end")
    script = PROJECT / "tests" / "foreign" / "typescript.mjs"
    with target(place, transport) as server:
        command = node.script(script, era, *server)
        done = node.run(command, cwd=place.project, env=environment(place))
    assert done.returncode == 0, done.stderr[-4000:]
    told = json.loads(done.stdout)
    assert told["result"]["structuredContent"]["output"]["text"] == "from afar\n"
    assert (told["read"]["job_id"], told["read"]["status"]) == (told["taskId"], "completed")
    assert f"jobs://job/{told['taskId']}" in told["updated"]
    if era == "2026-07-28":
        (task,) = [t for t in told["notified"] if t["status"] == "completed"]
        assert task["taskId"] == told["taskId"]


def inspect(node: Node, place: Place, server: list[str], *arguments: str) -> Any:
    """Run the inspector's command line once and return what it printed."""
    command = node.command("mcp-inspector", "--cli", *server, *arguments)
    home = {"HOME": str(place.root)}
    done = node.run(command, cwd=place.project, env={**environment(place), **home})
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-4000:]
    return json.loads(done.stdout)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_the_inspector_starts_a_job_waits_for_its_end_and_reads_it(
    place: Place, transport: str
) -> None:
    node = installed()
    call = ("--method", "tools/call", "--tool-name")
    with target(place, transport) as server:
        started = inspect(
            node, place, server, *call, "start_job", "--tool-arg",
            'params={"command": "sleep 1; echo seen"}', f"cwd={place.project}",
        )  # fmt: skip
        job_id = started["structuredContent"]["job_id"]
        # It is told by the reply of a call that waits: the inspector's command line does one thing.
        ended = inspect(
            node, place, server, *call, "check_job", "--tool-arg", f"job_id={job_id}",
            "wait_seconds=20",
        )  # fmt: skip
        assert ended["structuredContent"]["status"] == "completed"
        uri = f"jobs://job/{job_id}/output"
        read = inspect(node, place, server, "--method", "resources/read", "--uri", uri)
    assert read["contents"][0]["text"] == "seen\n"


@asynccontextmanager
async def fastmcp(place: Place, server: list[str], mode: Any, hear: Any) -> AsyncIterator[Any]:
    """Open FastMCP's client."""
    where: Any = server[0]
    if len(server) > 1:
        variables = environment(place)
        where = StdioTransport(server[0], server[1:], env=variables, cwd=str(place.project))
    async with FastMCPClient(where, mode=mode, message_handler=hear) as client:
        yield client


@pytest.mark.filterwarnings("ignore:resources/subscribe is removed")
@pytest.mark.parametrize("transport", TRANSPORTS)
@pytest.mark.parametrize("mode", ERAS)
async def test_the_client_of_fastmcp_is_told_of_an_end_and_reads_it(
    place: Place, mode: str, transport: str
) -> None:
    inbox, end = Inbox(), gate(place, "end")
    arguments = {"params": {"command": "read x < end; echo heard"}, "cwd": str(place.project)}
    with target(place, transport) as server:
        async with fastmcp(place, server, mode, inbox) as client:
            job = (await client.call_tool("start_job", arguments)).structured_content

            async def read() -> Any:
                (contents,) = await client.read_resource(job["uri"])
                return json.loads(contents.text)

            with anyio.fail_after(BOUND_S):
                if mode == LEGACY:
                    await client.session.subscribe_resource(job["uri"])
                    await open_gate(end)
                    seen = 0
                    while not (shown := await read())["finished_at"]:
                        await until(lambda: len(inbox.updated()) > seen)  # noqa: B023
                        seen = len(inbox.updated())
                    assert set(inbox.updated()) == {job["uri"]}
                else:
                    uris = [job["uri"]]
                    async with listen(client.session, resource_subscriptions=uris) as stream:
                        await open_gate(end)
                        while not (shown := await read())["finished_at"]:
                            event = await anext(stream)
                            assert event == ResourceUpdated(uri=job["uri"])
    assert (shown["status"], shown["output"]["text"]) == ("completed", "heard\n")
