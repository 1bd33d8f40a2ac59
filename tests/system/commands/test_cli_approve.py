"""`mcp-jobs approve` answers what a job asks, and the job goes on without the command."""

from __future__ import annotations

import json
import re
import shlex
import sys
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.interfaces.cli.approve import typed
from mcp_jobs.interfaces.cli.exits import WrongOptionError
from tests.support import wait_until
from tests.system.commands.test_cli_jobs import Terminal, cli, environment, good, on_terminal, shown

if TYPE_CHECKING:
    from tests.support import Place


END_OF_INPUT = "\x04"
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
    place.declare(DECLARED)
    job = shown(place, "start", "--type", "deploy")
    assert job["status"] == "input_required"
    return str(job["job_id"])


def test_an_approved_job_runs(place: Place) -> None:
    job_id = asking_job(place)
    told = good(place, "show", job_id)
    assert "Really deploy?" in told
    assert f"mcp-jobs approve {job_id}" in told
    assert "starts:" not in told

    approved = cli(place, "approve", "--yes", job_id)
    assert (approved.returncode, approved.stderr) == (0, "")
    assert cli(place, "wait", job_id).returncode == 0
    assert good(place, "logs", job_id) == "deployed\n"
    again = cli(place, "approve", "--yes", job_id)
    assert (again.returncode, again.stdout) == (1, "")
    assert "asks nothing" in again.stderr


def test_a_start_that_waits_for_a_person_names_the_command(place: Place) -> None:
    place.declare(DECLARED)
    code, text = on_terminal(place, "start", "--type", "deploy")
    assert code == 0
    (job,) = json.loads(good(place, "list", "--json"))["jobs"]
    assert f"mcp-jobs approve {job['job_id']}" in text
    assert "logs -f" not in text


def test_a_declined_job_never_ran(place: Place) -> None:
    job_id = asking_job(place)
    job = json.loads(good(place, "approve", "--json", "--decline", job_id))
    assert (job["status"], job["reason"], job["attempt"]) == ("cancelled", "declined", 0)


def state_of(place: Place, job_id: str) -> tuple[str, str | None]:
    job = json.loads(good(place, "show", "--json", job_id))
    return job["status"], job["reason"]


@pytest.mark.parametrize("text", ["", "n\n", "y\n", "\n"])
@pytest.mark.parametrize("options", [(), ("--json",), ("--set", "region=eu"), ("--key", "confirm")])
def test_without_a_terminal_nothing_approves(
    place: Place, text: str, options: tuple[str, ...]
) -> None:
    job_id = asking_job(place)
    done = cli(place, "approve", *options, job_id, input=text)
    assert (done.returncode, done.stdout) == (2, "")
    assert "no terminal to ask on" in done.stderr
    assert "--yes" in done.stderr
    assert state_of(place, job_id) == ("input_required", None)


@pytest.mark.parametrize("lost", ["stdin", "stderr"])
def test_a_question_that_nobody_sees_or_answers_is_not_asked(place: Place, lost: str) -> None:
    job_id = asking_job(place)
    with Terminal(place, "approve", job_id, without=(lost,)) as terminal:
        terminal.write("y\n")
    assert terminal.code == 2
    assert state_of(place, job_id) == ("input_required", None)


def test_yes_on_the_terminal_approves_and_json_may_go_elsewhere(place: Place) -> None:
    job_id = asking_job(place)
    with Terminal(place, "approve", "--json", job_id, without=("stdout",)) as terminal:
        terminal.read_until("Approve? [y/n]")
        terminal.write("y\n")
    assert terminal.code == 0
    assert "Really deploy?" in terminal.text
    assert cli(place, "wait", job_id).returncode == 0


def test_no_on_the_terminal_declines(place: Place) -> None:
    job_id = asking_job(place)
    code, text = on_terminal(place, "approve", job_id, answer="n\n")
    assert (code, "Really deploy?" in text) == (0, True)
    assert state_of(place, job_id) == ("cancelled", "declined")


@pytest.mark.parametrize("typed_text", [END_OF_INPUT, f"\n\n{END_OF_INPUT}", "\x03"])
def test_nothing_on_the_terminal_answers_nothing(place: Place, typed_text: str) -> None:
    job_id = asking_job(place)
    with Terminal(place, "approve", job_id) as terminal:
        terminal.read_until("Approve? [y/n]")
        terminal.write(typed_text)
    assert terminal.code in (1, 130)
    assert "Traceback" not in terminal.text
    assert state_of(place, job_id) == ("input_required", None)


HIDING = {
    "in its own environment": "{approve}",
    "below a shell that has forgotten it": "env -u MCP_JOBS_JOB_ID {approve}",
    "with a cleared environment": "exec env -i {settings} {approve}",
    "as an orphan in a session of its own": (
        "(setsid env -i {settings} sh -c 'while [ -e held ]; do sleep 0.05; done; "
        "{approve} >told 2>&1; echo $? >code' &) ; rm held; while [ ! -s code ]; do sleep 0.05; "
        "done; cat told; exit $(cat code)"
    ),
}


@pytest.mark.parametrize("way", HIDING)
def test_a_job_approves_nothing(place: Place, way: str) -> None:
    asking = asking_job(place)
    (place.project / "held").touch()
    program = f"{sys.executable} -m mcp_jobs approve --yes {asking}"
    settings = " ".join(f"{k}={shlex.quote(v)}" for k, v in environment(place).items())
    line = HIDING[way].format(approve=program, settings=settings)
    done = cli(place, "start", "--json", "--wait", "--", line, MCP_JOBS_HOME=str(place.home))
    job = json.loads(done.stdout)
    assert (job["status"], job["exit_code"]) == ("failed", 1), job["output"]["text"]
    assert "only a person may decide this" in job["output"]["text"]
    assert state_of(place, asking) == ("input_required", None)


def test_a_job_may_decline_as_it_may_cancel(place: Place) -> None:
    asking = asking_job(place)
    line = f"{sys.executable} -m mcp_jobs approve --decline {asking}"
    variables = [f"--env={k}={v}" for k, v in (("PYTHONPATH", environment(place)["PYTHONPATH"]),)]
    home = f"MCP_JOBS_HOME={shlex.quote(str(place.home))}"
    done = cli(place, "start", "--json", "--wait", *variables, "--", f"{home} {line}")
    assert json.loads(done.stdout)["exit_code"] == 0
    assert state_of(place, asking) == ("cancelled", "declined")


LONG = """\
jobs:
  deploy:
    description: Deploy
    params:
      notes: {type: string}
      target: {type: string, required: true}
      force: {type: boolean, default: false}
      tag: {type: string}
    command: [echo, "{notes} {target} {force} {tag}"]
    confirm: Really deploy?
"""


def test_the_terminal_shows_every_parameter_and_no_trick(place: Place) -> None:
    place.declare(LONG)
    params = {"target": 'prod\u202e\x1b[2J\r\n  target: "test"', "notes": "x" * 5000}
    job = shown(place, "start", "--type", "deploy", "--params", json.dumps(params))
    with Terminal(place, "approve", job["job_id"]) as terminal:
        terminal.read_until("Approve? [y/n]")
        terminal.write("n\n")
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in terminal.text.splitlines()]
    told = lines[lines.index("Really deploy?") + 1 :][:6]
    assert told == [
        "deploy",
        f'  notes: "{"x" * 99} … 4802 characters left out … {"x" * 99}"',
        '  target: "prod\\u202e\\u001b[2J\\r\\n  target: \\"test\\""',
        "  force: false (default)",
        "  tag: -",
        f"mcp-jobs show {job['job_id']} shows all of it.",
    ]
    assert f'"notes": "{"x" * 5000}"' in good(place, "show", job["job_id"])


def test_a_field_that_is_not_asked_for_is_refused_and_the_job_still_waits(place: Place) -> None:
    job_id = asking_job(place)
    done = cli(place, "approve", "--yes", job_id, "--set", "region=eu")
    assert (done.returncode, done.stdout) == (1, "")
    assert "there is no field 'region'" in done.stderr
    assert json.loads(good(place, "show", "--json", job_id))["status"] == "input_required"
    good(place, "approve", "--decline", job_id)


def asks_where(place: Place) -> str:
    (place.project / "mine.py").write_text(APP)
    done = cli(place, "start", "--type", "deploy_to", MCP_JOBS_APP=f"{place.project}/mine.py:jobs")
    job_id = done.stdout.strip()
    wait_until(lambda: shown(place, "show", job_id)["status"] == "input_required")
    return job_id


def test_what_a_job_asks_in_the_middle_is_answered_by_fields(place: Place) -> None:
    job_id = asks_where(place)
    refused = cli(place, "approve", "--yes", job_id, "--set", "region=eu")
    assert (refused.returncode, "copies is missing" in refused.stderr) == (1, True)
    good(place, "approve", "-y", job_id, "--set", "region=eu", "--set", "copies=3")
    assert cli(place, "wait", job_id).returncode == 0
    assert shown(place, "show", job_id)["result"] == "3 in eu"


def test_a_person_is_asked_for_each_field(place: Place) -> None:
    job_id = asks_where(place)
    code, told = on_terminal(place, "approve", job_id, answer="us\n2\n")
    assert (code, "Where to?" in told) == (0, True)
    assert cli(place, "wait", job_id).returncode == 0
    assert shown(place, "show", job_id)["result"] == "2 in us"


def test_fields_given_as_options_are_agreed_to_on_the_terminal(place: Place) -> None:
    job_id = asks_where(place)
    options = ["--set", "region=eu", "--set", "copies=3"]
    with Terminal(place, "approve", job_id, *options) as terminal:
        terminal.read_until("Answer so? [y/n]")
        terminal.write(END_OF_INPUT)
    assert terminal.code == 1
    code, _ = on_terminal(place, "approve", job_id, *options, answer="y\n")
    assert code == 0
    assert cli(place, "wait", job_id).returncode == 0
    assert shown(place, "show", job_id)["result"] == "3 in eu"


def test_a_field_that_is_left_open_answers_nothing(place: Place) -> None:
    job_id = asks_where(place)
    with Terminal(place, "approve", job_id) as terminal:
        terminal.read_until("Region")
        terminal.write("us\n")
        terminal.read_until("Copies")
        terminal.write(END_OF_INPUT)
    assert (terminal.code, "Traceback" in terminal.text) == (1, False)
    assert state_of(place, job_id) == ("input_required", None)
    good(place, "cancel", job_id)


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
