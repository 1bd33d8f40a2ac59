"""Callers give variables and a directory to a type only where its declaration lets them."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests import contract, web
from tests.support import ERAS, LEGACY, MODERN, Place, open_client
from tests.system.commands.test_cli_jobs import cli
from tests.tasks_client import TaskClient, TasksExtension

if TYPE_CHECKING:
    from collections.abc import Mapping

APP = Path(__file__).parents[1] / "choices_app.py"
LOADERS = {
    "PYTHONWARNINGS": "all:0:antigravity.x:0:0",
    "BROWSER": "touch PWNED; false %s",
    "LD_PRELOAD": "/tmp/evil.so",
    "PYTHONPATH": "/tmp",
    "BASH_ENV": "/tmp/evil",
    "PATH": "/tmp",
    "HOME": "/tmp",
}
MODES = pytest.mark.parametrize("only_declared", ["false", "true"])


@pytest.fixture
def app(place: Place) -> dict[str, str]:
    """The settings of a server with the application, and the directories that jobs are given."""
    path = place.root / "app" / "choices.py"
    (path.parent / "allowed" / "deep").mkdir(parents=True)
    shutil.copy(APP, path)
    return {"MCP_JOBS_APP": f"{path}:jobs"}


def settings(app: Mapping[str, str], only_declared: str) -> dict[str, str]:
    return {**app, "MCP_JOBS_ONLY_DECLARED": only_declared}


def asks_too_much(place: Place) -> list[dict[str, Any]]:
    """Return requests that go beyond what the types declare."""
    loaders = [{"type": t, "env": {n: v}} for t in ("closed", "chosen") for n, v in LOADERS.items()]
    return [
        *loaders,
        {"type": "closed", "env": {"LEVEL": "3"}},
        {"type": "chosen", "env": {"LEVEL": "3", "OTHER": "x"}},
        {"type": "below", "env": {"LEVEL": "3"}},
        {"type": "closed", "cwd": str(place.root)},
        {"type": "below", "cwd": str(place.root)},
        {"type": "below", "cwd": str(place.root / "app" / "allowed" / ".." / "..")},
    ]


@MODES
@pytest.mark.parametrize("era", ERAS)
async def test_over_mcp_what_is_not_declared_is_refused(
    place: Place, app: dict[str, str], era: str, only_declared: str
) -> None:
    async with open_client(place, era, env=settings(app, only_declared)) as client:
        told = [
            await contract.refused(client, "start_job", asked) for asked in asks_too_much(place)
        ]
        # The tool of a type takes its params and nothing of the kind.
        own = await contract.refused(client, "closed", {"env": {"LEVEL": "3"}})
        jobs = await contract.call(client, "list_jobs")

    assert all("takes no env" in text for text in told[:7])
    assert all("takes the env variables LEVEL and no others" in text for text in told[7:14])
    assert f"runs in {place.project} and nowhere else" in told[-3]
    assert all(f"runs in {place.root}/app/allowed or below" in text for text in told[-2:])
    assert "env" in own
    assert jobs["jobs"] == []


async def test_as_a_task_it_is_refused_too(place: Place, app: dict[str, str]) -> None:
    extension = TasksExtension()
    async with open_client(place, env=settings(app, "true"), extensions=[extension]) as client:
        agent = TaskClient(client)
        told = [await agent.call("start_job", asked) for asked in asks_too_much(place)]
        good = await agent.call("start_job", {"type": "closed"})
        await agent.ended(good["taskId"])

    assert {(answer["resultType"], answer["isError"]) for answer in told} == {("complete", True)}
    assert good["resultType"] == "task"


@MODES
def test_over_rest_it_is_refused_too(place: Place, app: dict[str, str], only_declared: str) -> None:
    with web.serving(place, **settings(app, only_declared)) as server, server.client() as client:
        answers = [client.post("/jobs", json=asked) for asked in asks_too_much(place)]
        jobs = client.get("/jobs").json()["jobs"]

    assert [answer.status_code for answer in answers] == [422] * len(answers)
    assert jobs == []


@MODES
def test_on_the_command_line_it_is_refused_too(
    place: Place, app: dict[str, str], only_declared: str
) -> None:
    told = []
    for asked in asks_too_much(place)[-6:]:
        more = [f"--env={name}={value}" for name, value in asked.get("env", {}).items()]
        more += [f"--cwd={asked['cwd']}"] if "cwd" in asked else []
        done = cli(place, "start", "--type", asked["type"], *more, **settings(app, only_declared))
        told.append((done.returncode == 0, done.stdout))

    assert told == [(False, "")] * 6


@MODES
async def test_what_is_declared_reaches_the_job(
    place: Place, app: dict[str, str], only_declared: str
) -> None:
    allowed = place.root / "app" / "allowed"
    (place.root / "link").symlink_to(allowed / "deep")
    asked: list[dict[str, Any]] = [
        {"type": "closed"},
        {"type": "closed", "cwd": str(place.project)},
        {"type": "chosen"},
        {"type": "chosen", "env": {"LEVEL": "3"}, "cwd": str(place.root)},
        {"type": "below"},
        {"type": "below", "cwd": str(allowed / "deep")},
        {"type": "below", "cwd": str(place.root / "link")},
    ]
    async with open_client(place, env=settings(app, only_declared)) as client:
        jobs = [await contract.call(client, "start_job", one) for one in asked]
        done = [(await contract.ended(client, job["job_id"]))["result"] for job in jobs]

    assert [(one["cwd"], one["LEVEL"]) for one in done] == [
        (str(place.project), None),
        (str(place.project), None),
        (str(place.project), None),
        (str(place.root), "3"),
        (str(allowed), None),
        (str(allowed / "deep"), None),
        (str(allowed / "deep"), None),
    ]


def test_a_job_is_tried_again_where_it_ran_also_from_elsewhere(
    place: Place, app: dict[str, str]
) -> None:
    first = cli(place, "start", "--type", "closed", "--wait", "--json", **app)
    job = json.loads(first.stdout)
    again = cli(place, "retry", job["job_id"], "--wait", "--json", CLAUDE_PROJECT_DIR="/usr", **app)

    assert job["result"]["cwd"] == str(place.project)
    assert json.loads(again.stdout)["result"] == job["result"]


YAML = """\
jobs:
  anywhere: {description: d, command: [pwd]}
  named:
    description: d
    shell: echo "$LEVEL in $(pwd)"
    callers: {env: [LEVEL], cwd: true}
"""


@pytest.mark.parametrize("only_declared", ["false", "true"])
@pytest.mark.parametrize("era", [LEGACY, MODERN])
async def test_a_type_of_the_user_alone_takes_a_directory_unless_only_declared_ones_are_served(
    place: Place, era: str, only_declared: str
) -> None:
    directory = place.root / "config" / "mcp-jobs"
    directory.mkdir(parents=True)
    (directory / "jobs.yaml").write_text(YAML)
    env = {"XDG_CONFIG_HOME": str(place.root / "config"), "MCP_JOBS_ONLY_DECLARED": only_declared}
    elsewhere = os.path.realpath(place.root)
    async with open_client(place, era, env=env) as client:
        result = await client.call_tool("start_job", {"type": "anywhere", "cwd": elsewhere})
        call = {"type": "named", "cwd": elsewhere, "env": {"LEVEL": "3"}, "wait_seconds": 30}
        named = await contract.call(client, "start_job", call)
        other = {"type": "named", "env": {"LD_PRELOAD": "x"}}
        refused = await contract.refused(client, "start_job", other)

    assert result.is_error == (only_declared == "true")
    assert named["output"]["text"] == f"3 in {elsewhere}\n"
    assert "takes the env variables LEVEL and no others" in refused
