"""`mcp-jobs approve` answers what a job asks, and the job goes on without the command."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.cli.approving import typed
from mcp_jobs.cli.exits import WrongOptionError
from tests.support import wait_until
from tests.system.test_cli_jobs import cli, good, on_terminal, shown

if TYPE_CHECKING:
    from tests.support import Place


DECLARED = """\
jobs:
  deploy:
    description: Deploy
    command: [echo, deployed]
    confirm: Really deploy?
"""
APP = """\
from pydantic import BaseModel

from mcp_jobs import JobContext, Jobs

jobs = Jobs("mine")


class Where(BaseModel):
    region: str
    copies: int


@jobs.job()
def deploy_to(context: JobContext) -> str:
    "Deploy somewhere."
    where = context.ask("Where to?", Where)
    return f"{where.copies} in {where.region}"
"""


def asking_job(place: Place) -> str:
    (place.project / "jobs.yaml").write_text(DECLARED)
    job = shown(place, "start", "--type", "deploy")
    assert job["status"] == "input_required"
    return str(job["job_id"])


def test_an_approved_job_runs(place: Place) -> None:
    job_id = asking_job(place)
    told = good(place, "show", job_id)
    assert "Really deploy?" in told
    assert f"mcp-jobs approve {job_id}" in told

    approved = cli(place, "approve", job_id)
    assert (approved.returncode, approved.stderr) == (0, "")
    assert cli(place, "wait", job_id).returncode == 0
    assert good(place, "logs", job_id) == "deployed\n"
    again = cli(place, "approve", job_id)
    assert (again.returncode, again.stdout) == (1, "")
    assert "asks nothing" in again.stderr


def test_a_declined_job_never_ran(place: Place) -> None:
    job_id = asking_job(place)
    job = json.loads(good(place, "approve", "--json", "--decline", job_id))
    assert (job["status"], job["reason"], job["attempt"]) == ("cancelled", "declined", 0)


def test_a_person_is_asked_once_more(place: Place) -> None:
    job_id = asking_job(place)
    code, text = on_terminal(place, "approve", job_id, answer="n\n")
    assert (code, "Really deploy?" in text) == (0, True)
    assert json.loads(good(place, "show", "--json", job_id))["reason"] == "declined"


def test_a_field_that_is_not_asked_for_is_refused_and_the_job_still_waits(place: Place) -> None:
    job_id = asking_job(place)
    done = cli(place, "approve", job_id, "--set", "region=eu")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no field 'region'" in done.stderr
    assert json.loads(good(place, "show", "--json", job_id))["status"] == "input_required"
    good(place, "approve", "--decline", job_id)


def asks_where(place: Place) -> str:
    (place.project / "mine.py").write_text(APP)
    done = cli(place, "start", "--type", "deploy_to", MCP_JOBS_APP="mine:jobs")
    job_id = done.stdout.strip()
    wait_until(lambda: shown(place, "show", job_id)["status"] == "input_required")
    return job_id


def test_what_a_job_asks_in_the_middle_is_answered_by_fields(place: Place) -> None:
    job_id = asks_where(place)
    refused = cli(place, "approve", job_id, "--set", "region=eu")
    assert (refused.returncode, "copies is missing" in refused.stderr) == (1, True)
    good(place, "approve", job_id, "--set", "region=eu", "--set", "copies=3")
    assert cli(place, "wait", job_id).returncode == 0
    assert shown(place, "show", job_id)["result"] == "3 in eu"


def test_a_person_is_asked_for_each_field(place: Place) -> None:
    job_id = asks_where(place)
    code, told = on_terminal(place, "approve", job_id, answer="us\n2\n")
    assert (code, "Where to?" in told) == (0, True)
    assert cli(place, "wait", job_id).returncode == 0
    assert shown(place, "show", job_id)["result"] == "2 in us"


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
