"""Jobs are run by the user's bash, with pipefail, and by nothing that the project brings along."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.service.assembly import LOCAL_OWNER
from mcp_jobs.service.requests import StartJob
from tests.support import open_client
from tests.system.station import gate, release, station

if TYPE_CHECKING:
    from tests.support import Place

NAME = 'echo "${BASH_VERSION:+bash}"; case $(set -o) in *pipefail*) set -o | grep pipefail; esac'
DECLARED = """\
jobs:
  by_default: {description: d, shell: 'echo "${BASH_VERSION:+bash}"'}
  by_sh: {description: d, shell: 'echo $0', interpreter: sh}
"""


async def test_a_command_is_run_by_bash_with_pipefail_unless_it_asks_for_sh(place: Place) -> None:
    async with station(place) as jobs:
        by_bash = await jobs.run(NAME)
        by_sh = await jobs.run("x", params={"command": "echo $0", "interpreter": "sh"})
        hidden = await jobs.run("false | true")
        cut = await jobs.run("yes | head -1")

    assert by_bash["output"]["text"].split() == ["bash", "pipefail", "on"]
    assert by_sh["output"]["text"] == "/bin/sh\n"
    assert (hidden["status"], hidden["exit_code"]) == ("failed", 1)
    assert (cut["status"], cut["exit_code"], cut["output"]["text"]) == ("failed", 141, "y\n")
    assert "That is SIGPIPE" in cut["error"]


async def test_an_accepted_job_keeps_its_shell_whatever_is_set_later(place: Place) -> None:
    async with station(place, capacity=1) as jobs:
        path = await gate(place)
        first = await jobs.start("read x < gate")
        waits = await jobs.start('echo "${BASH_VERSION:+bash}"')
        async with station(place, **{"capacity": 1, "shell": "sh"}) as others:
            await release(path)
            await jobs.ended(first)
            later = await others.run("echo $0")
        assert (await jobs.ended(waits))["output"]["text"] == "bash\n"
    assert later["output"]["text"] == "/bin/sh\n"


async def test_a_bash_that_the_project_brings_along_runs_no_job(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = place.project / "bash"
    planted.write_text("#!/bin/sh\necho planted\n")
    planted.chmod(0o755)
    monkeypatch.chdir(place.project)
    monkeypatch.setenv("PATH", f".::{place.project}:{os.environ['PATH']}")
    async with station(place) as jobs:
        job = await jobs.run('echo "${BASH_VERSION:+true}"')

    assert job["output"]["text"] == "true\n"


async def test_declared_scripts_are_run_by_bash_unless_they_say_sh(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(place.project)
    monkeypatch.setenv("XDG_STATE_HOME", str(place.root / "state"))
    place.declare(DECLARED)
    async with station(place) as jobs:
        seen = [
            (await jobs.ended((await jobs.core.service.start(LOCAL_OWNER, wanted))["job_id"]))
            for wanted in (StartJob(type="by_default"), StartJob(type="by_sh"))
        ]

    assert seen[0]["output"]["text"] == "bash\n"
    assert seen[1]["output"]["text"].startswith("/bin/sh")


@pytest.mark.parametrize(("setting", "told"), [("auto", "bash -o pipefail"), ("sh", "/bin/sh")])
async def test_the_description_of_start_job_names_the_shell(
    place: Place, setting: str, told: str
) -> None:
    place.declare(DECLARED)
    async with open_client(place, env={"MCP_JOBS_SHELL": setting}) as client:
        (tool,) = [one for one in (await client.list_tools()).tools if one.name == "start_job"]

    assert f"Type shell: Run a command line with {told}.\n" in (tool.description or "")
