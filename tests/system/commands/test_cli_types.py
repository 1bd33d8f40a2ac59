"""The command line starts the job types of the project, as agents do."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from tests.system.commands.test_cli_jobs import cli, good, shown
from tests.system.installing.test_cli_init import JUSTFILE, MAKEFILE, PACKAGE, entries

if TYPE_CHECKING:
    from tests.support import Place

DECLARED = """\
jobs:
  greet:
    description: Greet somebody
    params:
      name: {type: string, required: true, description: Whom}
    command: [echo, "hello {name}"]
    cwd: below
    retries: {count: 1, delay: 0.01}
"""
APP = """\
from mcp_jobs import Jobs

jobs = Jobs("mine")


@jobs.job()
def double(number: int) -> int:
    "Double a number."
    return 2 * number
"""


def test_a_declared_type_is_listed_and_started_on_its_own_terms(place: Place) -> None:
    place.declare(DECLARED)
    (place.project / "below").mkdir()

    told = good(place, "types")
    assert "greet\n  Greet somebody\n    name (required): Whom\n" in told
    job = shown(place, "start", "--type", "greet", "--params", '{"name": "a; b"}', "--wait")
    assert job["output"]["text"] == "hello a; b\n"
    assert (job["cwd"], job["max_attempts"]) == (str(place.project / "below"), 2)
    again = shown(place, "retry", "--wait", job["job_id"])
    assert (again["status"], again["max_attempts"]) == ("completed", 2)
    refused = cli(place, "start", "--type", "greet")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "name" in refused.stderr


def test_what_is_wrong_with_the_declarations_is_told(place: Place) -> None:
    place.declare("jobs:\n  bad:\n    comand: [ls]\n")
    done = cli(place, "types")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "shell")
    assert "jobs.yaml" in done.stderr


def test_a_python_type_of_an_app_is_started(place: Place) -> None:
    (place.project / "mine.py").write_text(APP)
    app = {"MCP_JOBS_APP": f"{place.project}/mine.py:jobs"}
    call = ["--type", "double", "--params", '{"number": 21}', "--wait", "--json"]
    done = cli(place, "start", *call, **app)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["result"] == 42


def test_what_init_writes_is_understood(place: Place) -> None:
    (place.project / "package.json").write_text(json.dumps(PACKAGE))
    (place.project / "pytest.ini").write_text("[pytest]\n")
    (place.project / "Makefile").write_text(MAKEFILE)
    (place.project / "justfile").write_text(JUSTFILE)
    good_init = cli(place, "init")
    assert good_init.returncode == 0

    found = cli(place, "types", "--json")
    assert (found.returncode, found.stderr) == (0, "")
    names = {job_type["name"] for job_type in json.loads(found.stdout)}
    assert names == {"shell", *entries((place.project / "jobs.yaml").read_text())}


@pytest.mark.parametrize("options", [["--app", "{app}"], ["--only-declared", "--app={app}"]])
def test_options_of_the_server_may_stand_before_a_command(place: Place, options: list[str]) -> None:
    path = place.root / "an_app.py"
    path.write_text(
        "from mcp_jobs import Jobs\njobs = Jobs('x')\n@jobs.job()\ndef hello(n: int) -> int: ...\n"
    )
    before = [option.format(app=f"{path}:jobs") for option in options]
    names = [one["name"] for one in json.loads(good(place, *before, "types", "--json"))]

    assert names == (["hello"] if "--only-declared" in options else ["hello", "shell"])
    declared = place.root / "other.yaml"
    declared.write_text("jobs: {greet: {description: d, command: [echo]}}\n")
    assert "greet" in good(place, "--config", str(declared), "types")
