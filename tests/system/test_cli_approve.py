"""`mcp-jobs approve` answers what a job asks, and the job goes on without the command."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from mcp_jobs import core
from mcp_jobs.cli.approving import typed
from mcp_jobs.cli.exits import WrongOptionError
from mcp_jobs.registry import SHELL, Registry
from mcp_jobs.requests import StartJob
from tests.system.test_cli_jobs import cli, good, on_terminal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support import Place


@asynccontextmanager
async def asking_core(place: Place, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[core.Core]:
    """A core whose shell jobs must be confirmed."""
    asking = Registry((replace(SHELL, confirm="Really deploy?"),))
    monkeypatch.setattr(core, "built_in", lambda: asking)
    async with core.visit(place.settings()) as opened:
        yield opened


async def asking_job(place: Place, monkeypatch: pytest.MonkeyPatch) -> str:
    async with asking_core(place, monkeypatch) as opened:
        request = StartJob(params={"command": "echo deployed"}, cwd=str(place.project))
        job: dict[str, Any] = await opened.service.start("local", request)
    assert job["status"] == "input_required"
    return str(job["job_id"])


async def test_an_approved_job_runs(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await asking_job(place, monkeypatch)
    shown = good(place, "show", job_id)
    assert "Really deploy?" in shown
    assert f"mcp-jobs approve {job_id}" in shown

    approved = cli(place, "approve", job_id)
    assert (approved.returncode, approved.stderr) == (0, "")
    assert cli(place, "wait", job_id).returncode == 0
    assert good(place, "logs", job_id) == "deployed\n"
    again = cli(place, "approve", job_id)
    assert (again.returncode, again.stdout) == (1, "")
    assert "asks nothing" in again.stderr


async def test_a_declined_job_never_ran(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await asking_job(place, monkeypatch)
    job = json.loads(good(place, "approve", "--json", "--decline", job_id))
    assert (job["status"], job["reason"], job["attempt"]) == ("cancelled", "declined", 0)


async def test_a_person_is_asked_once_more(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await asking_job(place, monkeypatch)
    code, text = on_terminal(place, "approve", job_id, answer="n\n")
    assert (code, "Really deploy?" in text) == (0, True)
    assert json.loads(good(place, "show", "--json", job_id))["reason"] == "declined"


async def test_a_field_that_is_not_asked_for_is_refused_and_the_job_still_waits(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id = await asking_job(place, monkeypatch)
    done = cli(place, "approve", job_id, "--set", "region=eu")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no field 'region'" in done.stderr
    assert json.loads(good(place, "show", "--json", job_id))["status"] == "input_required"
    good(place, "approve", "--decline", job_id)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("string", "7", "7"),
        ("integer", "7", 7),
        ("number", "0.5", 0.5),
        ("boolean", "Yes", True),
        ("boolean", "false", False),
        ("array", "a, b", ["a", "b"]),
    ],
)
def test_a_value_is_of_the_kind_that_is_asked_for(kind: str, text: str, value: object) -> None:
    assert typed({"type": kind}, text, "field") == value


@pytest.mark.parametrize(("kind", "text"), [("integer", "x"), ("number", "x"), ("boolean", "x")])
def test_a_value_of_another_kind_is_refused(kind: str, text: str) -> None:
    with pytest.raises(WrongOptionError, match="field must be"):
        typed({"type": kind}, text, "field")
