"""The official conformance suite, against the shipped server and against the fixture server."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.conformance.bearer import bearing
from tests.conformance.servers import FIXTURES, PROJECT, http_server
from tests.npm import installed
from tests.web import serving

if TYPE_CHECKING:
    from tests.support import Place

REVISIONS = ("2025-11-25", "2026-07-28")
BEYOND = ("resources-subscribe", "resources-unsubscribe")
TASKS = (
    "tasks-lifecycle",
    "tasks-capability-negotiation",
    "tasks-wire-fields",
    "tasks-request-state-removal",
    "tasks-mrtr-input",
    "tasks-request-headers",
    "tasks-dispatch-and-envelope",
    "tasks-status-notifications",
    "tasks-required-task-error",
    "tasks-mrtr-composition",
)
SKIPPED_BY_THE_SUITE = "tasks-status-notifications"


def suite(place: Place, url: str, *options: str) -> str:
    """Run the suite, which must be content; return what it said."""
    node = installed()
    command = node.command("conformance", "server", "--url", url, *options)
    done = node.run(command, cwd=place.root)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said[-6000:]
    return said


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_shipped_server_meets_a_revision(place: Place, revision: str) -> None:
    baseline = PROJECT / "tests" / "conformance" / f"baseline-{revision}.yaml"
    with http_server(place) as url:
        said = suite(place, url, "--requirements", revision, "--expected-failures", str(baseline))
    # What passes and what may fail, so that a suite that ran nothing is not taken for content.
    assert len(re.findall(r"✓ [\w-]+: \d+ passed", said)) >= 5


@pytest.mark.parametrize("revision", REVISIONS)
def test_the_server_for_teams_meets_a_revision_with_a_token(place: Place, revision: str) -> None:
    baseline = PROJECT / "tests" / "conformance" / f"baseline-{revision}.yaml"
    with serving(place) as server, bearing(server.port, server.token) as address:
        url = f"{address}/mcp"
        said = suite(place, url, "--requirements", revision, "--expected-failures", str(baseline))
    assert len(re.findall(r"✓ [\w-]+: \d+ passed", said)) >= 5


@pytest.mark.parametrize("scenario", BEYOND)
def test_the_shipped_server_passes_subscriptions(place: Place, scenario: str) -> None:
    with http_server(place) as url:
        said = suite(place, url, "--scenario", scenario, "--spec-version", "2025-11-25")
    assert re.search(r"Passed: ([1-9]\d*)/\1, 0 failed, 0 warnings", said), said[-3000:]


def test_the_fixture_server_passes_every_tasks_scenario(place: Place) -> None:
    with http_server(place, FIXTURES) as url:
        for scenario in TASKS:
            said = suite(place, url, "--scenario", scenario)
            passed = re.search(r"Passed: (\d+)/\1, 0 failed, 0 warnings", said)
            assert passed is not None, said[-3000:]
            # The suite itself has no checks yet for one of them.
            assert (passed[1] == "0") == (scenario == SKIPPED_BY_THE_SUITE), said[-3000:]
