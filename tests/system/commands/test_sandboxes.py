"""What the command line does in the sandboxes where hosts run their models' commands."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.gates import gate, open_gate_now
from tests.sandbox import UNSUPPORTED
from tests.support import job_of, open_client, wait_until
from tests.system.commands.test_cli_jobs import BOUND_S, environment, good, shown

if TYPE_CHECKING:
    from tests.support import Place

SANDBOX = str(Path(__file__).parents[2] / "sandbox.py")


@pytest.fixture
def offline() -> tuple[str, ...]:
    return sandbox("--offline")


@pytest.fixture
def closed(place: Place) -> tuple[str, ...]:
    """As Codex runs commands by default: no network, and only the project to write to."""
    return sandbox("--offline", "--writable", str(place.project))


def sandbox(*options: str) -> tuple[str, ...]:
    words = (SANDBOX, *options, "--", sys.executable)
    probe = subprocess.run(
        [sys.executable, *words, "-c", ""], capture_output=True, text=True, check=False
    )
    if probe.returncode == UNSUPPORTED:
        pytest.skip(probe.stderr)
    return words


def inside(
    words: tuple[str, ...], place: Place, *arguments: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *words, "-m", "mcp_jobs", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=BOUND_S,
        cwd=place.project,
        env=environment(place),
    )


def test_without_sends_on_sockets_everything_is_read_and_a_start_says_why_not(
    place: Place, offline: tuple[str, ...]
) -> None:
    job_id = shown(place, "start", "--wait", "--", "echo line")["job_id"]

    found = inside(offline, place, "logs", "--grep", "li", job_id)
    assert (found.returncode, found.stdout, found.stderr) == (0, "1: line\n", "")
    refused = inside(offline, place, "start", "--", "echo other")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.startswith("mcp-jobs: No job can be started from here: ")
    assert "sandbox" in refused.stderr
    listed = inside(offline, place, "list", "--json")
    assert [job["job_id"] for job in json.loads(listed.stdout)["jobs"]] == [job_id]


def test_a_home_that_cannot_be_written_to_is_read_on_when_nobody_works_there(
    place: Place, closed: tuple[str, ...]
) -> None:
    job_id = shown(place, "start", "--wait", "--", "echo line")["job_id"]
    wait_until(lambda: not place.processes())

    for command, expected in (
        (("list",), job_id),
        (("show", job_id), "completed"),
        (("logs", "-f", job_id), "line\n"),
        (("wait", job_id), f"{job_id} completed"),
    ):
        looked = inside(closed, place, *command)
        assert (looked.returncode, looked.stderr) == (0, ""), command
        assert expected in looked.stdout
    refused = inside(closed, place, "start", "--", "true")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "Permission denied" in refused.stderr
    assert "In a sandbox, list, show, logs and wait work all the same" in refused.stderr


def test_a_wait_in_a_home_that_cannot_be_written_to_hears_of_the_end(
    place: Place, closed: tuple[str, ...]
) -> None:
    held = gate(place, "held")
    job_id = good(place, "start", "--", f"read x < {held}; exit 3").strip()
    waiting = subprocess.Popen(
        [sys.executable, *closed, "-m", "mcp_jobs", "wait", job_id],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=place.project,
        env=environment(place),
    )
    assert waiting.stderr is not None
    assert waiting.stderr.readline() == (
        "The home cannot be written to, so this command only reads it.\n"
    )
    open_gate_now(held)
    told, more = waiting.communicate(timeout=BOUND_S)

    assert (waiting.returncode, more) == (1, "")
    assert told.startswith(f"{job_id} failed (3)")


async def test_a_server_that_may_open_no_connection_answers(
    place: Place, offline: tuple[str, ...]
) -> None:
    async with open_client(place, args=[*offline, "-m", "mcp_jobs"]) as client:
        assert job_of(await client.call_tool("list_jobs", {}))["jobs"] == []
