"""What the command line says of the order of jobs: attach, after, locks, and starting again."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.system.commands.test_cli_jobs import cli, good, shown

if TYPE_CHECKING:
    from tests.support import Place


def test_what_waits_for_a_cancelled_job_ends_with_it_and_leaves_no_variables(place: Place) -> None:
    root = good(place, "start", "--delay", "1h", "--", "true").strip()
    child = good(place, "start", "--after", root[-8:], "--env", "A=1", "--", "true").strip()
    same = shown(place, "start", "--delay", "1h", "--if-running", "attach", "--", "true")
    assert (same["job_id"], same["existing"]) == (root, True)
    assert (place.home / "jobs" / child / "env").exists()

    good(place, "cancel", root)

    job = shown(place, "show", child)
    assert (job["status"], job["reason"]) == ("cancelled", "dependency_failed")
    assert root in job["error"]
    # By the command itself: no server is there.
    assert not (place.home / "jobs" / child / "env").exists()
    refused = cli(place, "retry", child)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "variables were given with it" in refused.stderr
    again = shown(place, "retry", "--no-env", "--priority", "5", "--lock", "a b", "--wait", child)
    assert (again["status"], again["priority"], again["locks"]) == ("completed", 5, ["a b"])
    assert again["retry_of"] == child
