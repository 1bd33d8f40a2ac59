"""Two agents in two projects share a home: each job says whose it is."""

from __future__ import annotations

import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
from mcp_types import Implementation

from mcp_jobs import __version__
from tests.contract import call, start
from tests.support import BOUND_S, ERAS, MODERN, open_client
from tests.system.commands.test_cli_jobs import cli, shown

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mcp import Client

    from tests.support import Place


@asynccontextmanager
async def agent(
    place: Place, project: Path, mode: str = MODERN, **env: str
) -> AsyncIterator[Client]:
    """An agent with a name, whose host has started a server in a project."""
    project.mkdir(exist_ok=True)
    (project / ".git").mkdir(exist_ok=True)
    info = Implementation(name="agent", version="3.1")
    async with open_client(place, mode, cwd=project, env=env, client_info=info) as client:
        yield client


@pytest.mark.parametrize("mode", ERAS)
async def test_a_job_says_which_client_in_which_project_has_started_it(
    place: Place, mode: str
) -> None:
    project = place.root / "one"
    async with agent(place, project, mode, CLAUDE_CODE_SESSION_ID="c-7") as client:
        job = await start(client, "true")
        told = {"client_name": "agent", "client_version": "3.1", "project": str(project)}
        assert job["origin"] == {**told, "session": "c-7"}
        threaded = await call(
            client, "start_job", {"params": {"command": "true"}}, meta={"threadId": "t-1"}
        )
        assert threaded["origin"]["session"] == "t-1"


async def until_noticed(client: Client) -> list[str]:
    """Look at nothing in particular until ends are told; return whose."""
    with anyio.fail_after(BOUND_S):
        while True:
            page = await call(client, "list_jobs", {"status": "pending"})
            if "notices" in page:
                return [notice["job_id"] for notice in page["notices"]]
            await anyio.sleep(0.02)


async def test_two_agents_in_two_projects_see_and_are_told_of_their_own_jobs(
    place: Place,
) -> None:
    async with agent(place, place.root / "one") as one, agent(place, place.root / "two") as two:
        # It runs in the directory of the other project, and is of this one all the same.
        first = await start(one, "true", cwd=str(place.root / "two"))
        second = await start(two, "true")
        for client, job in ((one, first), (two, second)):
            assert await until_noticed(client) == [job["job_id"]]
            page = await call(client, "list_jobs")
            assert [listed["job_id"] for listed in page["jobs"]] == [job["job_id"]]
            assert (page["counts"]["completed"], page["others"]) == (1, 1)
            page = await call(client, "list_jobs", {"scope": "all"})
            assert len(page["jobs"]) == page["counts"]["completed"] == 2
    # Outside of any project a person is shown all of them.
    assert len(shown(place, "list")["jobs"]) == 2
    (place.project / ".git").mkdir()
    done = cli(place, "list")
    assert (done.stdout, done.stderr) == (
        "",
        "No jobs.\n2 more outside of this scope: --scope all\n",
    )


async def test_a_job_that_a_command_starts_within_a_job_names_that_one(place: Place) -> None:
    (place.project / ".git").mkdir()
    started = f"MCP_JOBS_HOME={place.home} {sys.executable} -m mcp_jobs start -- true"
    async with open_client(place) as client:
        outer = shown(place, "start", "--wait", "--", started)
        assert (outer["status"], outer["parent_job_id"]) == ("completed", None)
        inner = await call(client, "check_job", {"job_id": outer["output"]["text"].strip()})
    assert inner["parent_job_id"] == outer["job_id"]
    assert inner["origin"] == {
        "client_name": "mcp-jobs cli", "client_version": __version__,
        "project": str(place.project), "session": None,
    }  # fmt: skip
