"""The example files of job types are ready to use: each type is run through a stdio client."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import anyio.to_thread
import pytest
from mcp_types import ElicitResult

from tests.contract import accepted, call, ended, refused
from tests.markdown import ROOT
from tests.processes.test_main import mcp_jobs
from tests.support import ERAS, Place, open_client

if TYPE_CHECKING:
    from mcp import Client

EXAMPLES = ROOT / "examples"


@pytest.fixture
def shop(place: Place) -> Place:
    shutil.copytree(EXAMPLES / "declared", place.project, dirs_exist_ok=True)
    place.trust()
    return place


@pytest.fixture
def tools(place: Place) -> Place:
    shutil.copytree(EXAMPLES / "gantz", place.project, dirs_exist_ok=True)
    place.trust()
    return place


async def run(client: Client, type_: str, **params: Any) -> dict[str, Any]:
    job = await call(client, "start_job", {"type": type_, "params": params})
    assert "warning" not in job
    return await ended(client, job["job_id"])


async def test_run_tests_runs_the_tests(shop: Place) -> None:
    async with open_client(shop) as client:
        everything = await run(client, "run_tests")
        one = await run(client, "run_tests", matching="best")
        hostile = await refused(
            client, "start_job", {"type": "run_tests", "params": {"directory": "--help"}}
        )

    assert (everything["status"], one["status"]) == ("completed", "completed")
    assert "Ran 2 tests" in everything["output"]["text"]
    assert "Ran 1 test " in one["output"]["text"]
    assert "directory: must match" in hostile


WHERE = {"environment": "staging", "version": "v1.2.0"}


@pytest.mark.parametrize("mode", ERAS)
async def test_deploy_asks_the_user_and_puts_the_build_where_it_belongs(
    shop: Place, mode: str
) -> None:
    asked: list[str] = []

    async def user(context: object, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action="accept", content={})

    async with open_client(shop, mode, elicitation_callback=user) as client:
        built = await run(client, "build", profile="debug")
        result = await client.call_tool("deploy", {**WHERE, "wait_seconds": 20})

    deployed = accepted("start_job", result)
    assert built["output"]["text"].splitlines()[-1] == "built dist/shop.pyz (debug)"
    assert built["progress"]["percent"] == 100
    assert [text.splitlines()[0] for text in asked] == ["Deploy this version?"]
    assert (deployed["status"], deployed["max_attempts"]) == ("completed", 4)
    assert deployed["cwd"] == str(shop.project)
    assert (shop.project / "deployments/staging/current/shop.pyz").exists()


async def test_deploy_waits_for_a_terminal_where_nobody_can_be_asked(shop: Place) -> None:
    async with open_client(shop) as client:
        await run(client, "build")
        told = await refused(client, "start_job", {"type": "deploy", "params": WHERE})
        (job_id,) = re.findall(r"mcp-jobs approve (\w+)", told)
        assert not (shop.project / "deployments").exists()
        done = await anyio.to_thread.run_sync(mcp_jobs, shop, "approve", "--yes", job_id)
        deployed = await ended(client, job_id)

    assert done.returncode == 0, done.stderr
    assert deployed["output"]["text"] == "deployed v1.2.0 to staging\n"


async def test_refactor_renames_and_tells_its_progress(shop: Place) -> None:
    async with open_client(shop) as client:
        done = await run(client, "refactor", old="sales_of", new="monthly_sales")

    source = (shop.project / "shop" / "report.py").read_text("utf-8")
    assert done["status"] == "completed"
    assert (done["progress"]["current"], done["progress"]["total"]) == (2, 2)
    assert "def monthly_sales(" in source
    assert "sales_of" not in source


async def test_migrations_run_once_and_nothing_to_do_is_a_success(shop: Place) -> None:
    async with open_client(shop) as client:
        first = await run(client, "migrations")
        second = await run(client, "migrations")

    assert (first["status"], first["exit_code"]) == ("completed", 0)
    assert (second["status"], second["exit_code"]) == ("completed", 3)
    with closing(sqlite3.connect(shop.project / "shop.db")) as database:
        assert database.execute("SELECT count(*) FROM orders").fetchone() == (0,)


async def test_report_is_a_tool_of_its_own(shop: Place) -> None:
    async with open_client(shop) as client:
        result = await client.call_tool("report", {"month": "2026-11", "wait_seconds": 20})
        wrong = await refused(client, "report", {"month": "2026-13"})

    shown: Any = result.structured_content
    assert shown["output"]["text"].startswith("# Sales in 2026-11\n")
    assert shown["output"]["text"].count("\n- ") == 3
    assert (shop.project / "reports" / "2026-11.md").exists()
    assert "month: must match" in wrong


async def test_the_tools_of_the_gantz_file_run_as_they_are(tools: Place) -> None:
    text = "$(touch PWNED); 'x'"
    (tools.project / "notes.txt").write_text(f"first\nsecond {text}\n", "utf-8")
    async with open_client(tools) as client:
        offered = [tool.name for tool in (await client.list_tools()).tools]
        start = {"type": "check_job", "params": {"job_id": "7"}}
        first = await call(client, "start_job", start)
        checked = await ended(client, first["job_id"])
        found = await run(client, "find_text", text=text, directory="notes.txt")
        queued = await run(client, "queue_message", channel="a'; touch PWNED; '")

    assert offered == [
        *("start_job", "check_job", "cancel_job", "list_jobs", "find_text", "queue_message")
    ]
    assert "there is a tool check_job already, which stays" in first["warning"]
    assert checked["output"]["text"] == "status of 7\n"
    assert found["output"]["text"] == f"2:second {text}\n"
    assert queued["status"] == "completed"
    queue = (tools.project / "queue.jsonl").read_text("utf-8")
    assert json.loads(queue) == {"channel": "a'; touch PWNED; '", "priority": 5}
    assert not (tools.project / "PWNED").exists()
