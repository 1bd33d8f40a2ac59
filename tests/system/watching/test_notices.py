"""Replies over stdio tell once of other jobs that have ended, and channels tell unasked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.contract import call, check, ended, start
from tests.gates import gate, open_gate
from tests.http import open_http_client, serve_http
from tests.raw import RawServer
from tests.support import BOUND_S, ERAS, LEGACY, open_client
from tests.tasks_client import task_client

if TYPE_CHECKING:
    from mcp import Client

    from tests.contract import Job
    from tests.support import Place


async def until_noticed(client: Client, count: int = 1) -> list[Job]:
    """Look at nothing in particular until that many ends were told."""
    notices: list[Job] = []
    with anyio.fail_after(BOUND_S):
        while len(notices) < count:
            page = await call(client, "list_jobs", {"status": "pending"})
            assert len(page.get("notices", ())) <= 5
            notices += page.get("notices", [])
            await anyio.sleep(0.02)
    return notices


async def none_noticed(client: Client) -> bool:
    """Whether the end of one more job, which is told in order, is all that is told."""
    last = await start(client, "true")
    told = last.get("notices", []) or await until_noticed(client)
    return [notice["job_id"] for notice in told] == [last["job_id"]]


@pytest.mark.parametrize("mode", ERAS)
async def test_a_forgotten_end_is_told_once(place: Place, mode: str) -> None:
    async with open_client(place, mode) as client:
        job = await start(client, "exit 3", title="the tests")
        (notice,) = await until_noticed(client)
        assert notice["job_id"] == job["job_id"]
        assert (notice["title"], notice["status"]) == ("the tests", "failed")
        assert (notice["reason"], bool(notice["error"])) == ("exit_code", True)
        assert await none_noticed(client)


async def test_an_end_that_was_shown_is_not_told(place: Place) -> None:
    async with open_client(place) as client:
        checked = await start(client, "true")
        await ended(client, checked["job_id"])
        waited = await start(client, "true", wait_seconds=20)
        assert waited["finished_at"]
        listed = await start(client, "true", delay_seconds=3600)
        await call(client, "cancel_job", {"job_id": listed["job_id"]})
        assert await none_noticed(client)


async def test_an_end_that_a_task_showed_is_not_told_and_a_task_has_no_notices(
    place: Place,
) -> None:
    async with task_client(place, "stdio") as client:
        await client.start("true", title="unseen")
        created = await client.start("true")
        task = await client.ended(created["taskId"])
        assert "notices" not in task
        assert "notices" not in task["result"]["structuredContent"]
        notices = await until_noticed(client.client)
        assert [notice["title"] for notice in notices] == ["unseen"]


async def test_at_most_five_are_told_at_once_and_none_is_lost(place: Place) -> None:
    async with open_client(place) as client:
        jobs = [await start(client, "true") for _ in range(12)]
        told = [notice for job in jobs for notice in job.get("notices", ())]
        told += await until_noticed(client, 12 - len(told))
        assert len(told) == 12
        assert {notice["job_id"] for notice in told} == {job["job_id"] for job in jobs}


async def test_only_ends_of_this_project_and_this_connection_are_told(place: Place) -> None:
    elsewhere = place.root / "elsewhere"
    elsewhere.mkdir()
    end = gate(place, "end")
    async with (
        open_client(place) as client,
        open_client(place) as other,
        open_client(place, cwd=elsewhere) as stranger,
    ):
        # It is of the project that it was started in, and not of the one that it runs in.
        foreign = await start(stranger, "true", cwd=str(place.project))
        await ended(stranger, foreign["job_id"])
        job = await start(other, "read x < end")
        await open_gate(end)
        # Both connections hear of it: both work on this project.
        for each in (client, other):
            assert [n["job_id"] for n in await until_noticed(each)] == [job["job_id"]]
    async with open_client(place) as later:
        assert await none_noticed(later)


async def test_the_text_tells_it_too(place: Place) -> None:
    async with open_client(place) as client:
        job = await start(client, "true")
        with anyio.fail_after(BOUND_S):
            while True:
                result = await client.call_tool("list_jobs", {"status": "pending"})
                shown: Any = result.structured_content
                check("list_jobs", shown)
                if "notices" in shown:
                    break
        assert f"Ended meanwhile:\n{job['job_id']} completed" in result.content[0].text  # type: ignore[union-attr]


async def test_there_are_none_over_http(place: Place) -> None:
    async with serve_http(place) as url, open_http_client(url, LEGACY) as client:
        await start(client, "true", cwd=str(place.project))
        last = await start(client, "true", cwd=str(place.project))
        await ended(client, last["job_id"])
        assert "notices" not in await call(client, "list_jobs")


def channel_events(server: RawServer) -> list[dict[str, Any]]:
    method = "notifications/claude/channel"
    return [m["params"] for m in server.notifications if m.get("method") == method]


def test_a_channel_tells_each_end_once_in_the_handshake_era(place: Place) -> None:
    with RawServer(place, modern=False, arguments=["--channel"]) as server:
        assert server.offered["capabilities"]["experimental"] == {"claude/channel": {}}
        started = [
            server.call("start_job", {"params": {"command": command}})["structuredContent"]
            for command in ("echo fine", "echo broken; exit 3")
        ]
        while len(channel_events(server)) < 2:
            server.call("list_jobs", {})
        events = {event["meta"]["job_id"]: event for event in channel_events(server)}
        assert set(events) == {job["job_id"] for job in started}
        assert [events[job["job_id"]]["meta"]["status"] for job in started] == [
            "completed",
            "failed",
        ]
        assert "broken" in events[started[1]["job_id"]]["content"]


def test_without_the_flag_there_is_no_channel(place: Place) -> None:
    with RawServer(place, modern=False) as server:
        assert not server.offered["capabilities"].get("experimental")
        server.call("start_job", {"params": {"command": "true"}, "wait_seconds": 20})
        server.call("list_jobs", {})
        assert channel_events(server) == []
