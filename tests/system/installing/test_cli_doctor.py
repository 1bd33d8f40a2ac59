"""`mcp-jobs doctor` finds what goes wrong in the field and says what to do."""

from __future__ import annotations

import json
import os
import shutil
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest
from mcp import MCPDeprecationWarning

from mcp_jobs.domain.models import Outcome
from mcp_jobs.domain.states import Status
from mcp_jobs.interfaces.cli.doctor import home_checks as home_check
from tests import contract
from tests.stores import new_job, open_store
from tests.support import LEGACY, Inbox, open_client
from tests.system.commands.test_cli_jobs import cli, good

if TYPE_CHECKING:
    from tests.support import Place

SCRIPT = str(Path(sys.executable).with_name("mcp-jobs"))


def examine(place: Place, **more: str) -> tuple[int, dict[str, list[dict[str, str]]]]:
    done = cli(place, "doctor", "--json", **more)
    assert done.stderr == ""
    report: dict[str, Any] = json.loads(done.stdout)
    found: dict[str, list[dict[str, str]]] = {}
    for finding in report["findings"]:
        found.setdefault(finding["check"], []).append(finding)
        assert bool(finding["advice"]) == (finding["level"] != "ok")
    levels = [finding["level"] for finding in report["findings"]]
    assert report["faults"] == levels.count("fault")
    assert report["warnings"] == levels.count("warning")
    return done.returncode, found


def level(found: dict[str, list[dict[str, str]]], check: str) -> str:
    return found[check][0]["level"]


def test_a_sound_installation_has_no_fault_and_a_job_went_round(place: Place) -> None:
    good_install = cli(place, "install", "--yes", "cursor")
    assert good_install.returncode == 0
    code, found = examine(place)

    assert code == 0
    checks = ["versions", "disk", "sockets", "database", "launcher", "stale jobs", "Cursor"]
    assert {check: level(found, check) for check in checks} == dict.fromkeys(checks, "ok")
    assert "started and completed over stdio" in found["round trip"][0]["message"]
    assert json.loads(good(place, "list", "--json"))["jobs"] == []


async def test_no_agent_is_shown_the_job_of_the_doctor_or_told_of_its_end(place: Place) -> None:
    inbox = Inbox()
    async with open_client(place, LEGACY, message_handler=inbox) as client:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MCPDeprecationWarning)
            await client.subscribe_resource("jobs://all")
        code, found = await anyio.to_thread.run_sync(examine, place)
        # The end of one more job comes after those of all jobs before it.
        last = await contract.run(client, "true")
        page = await contract.call(client, "list_jobs")
    assert (code, level(found, "round trip")) == (0, "ok")
    assert [job["job_id"] for job in page["jobs"]] == [last["job_id"]]
    assert (sum(page["counts"].values()), page.get("notices", [])) == (1, [])
    listed = "notifications/resources/list_changed"
    assert [getattr(m, "method", "") for m in inbox.messages].count(listed) == 1


def test_a_copied_home_is_told(place: Place) -> None:
    cli(place, "list")
    copy = place.root / "copy"
    shutil.copytree(place.home, copy)
    cli(place, "list", MCP_JOBS_HOME=str(copy))

    _, found = examine(place, MCP_JOBS_HOME=str(copy))
    _, original = examine(place)

    assert found["home"][0]["message"].endswith("It began as a copy of another home.")
    assert "copy of another" not in original["home"][0]["message"]


def test_nothing_set_up_is_a_warning_and_exits_0(place: Place) -> None:
    done = cli(place, "doctor")
    assert done.returncode == 0
    assert "warning  hosts: No host is set up." in done.stdout
    assert "Run mcp-jobs install HOST" in done.stdout
    assert done.stdout.rstrip().splitlines()[-1].startswith("no faults, ")


def test_a_host_that_runs_python_in_the_project_without_p_is_a_warning(place: Place) -> None:
    path = place.root / ".cursor/mcp.json"
    path.parent.mkdir()
    entry = {"command": sys.executable, "args": ["-m", "mcp_jobs"]}
    path.write_text(json.dumps({"mcpServers": {"mine": entry}}))
    _, found = examine(place)
    entry["args"] = ["-P", "-m", "mcp_jobs"]
    path.write_text(json.dumps({"mcpServers": {"mine": entry}}))
    _, mended = examine(place)

    assert level(found, "Cursor") == "warning"
    assert "starts Python without -P" in found["Cursor"][0]["message"]
    assert level(mended, "Cursor") == "ok"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"command": "/gone/bin/mcp-jobs"}, "which is not a program"),
        ({"command": "no-such-program", "args": ["mcp-jobs"]}, "not on the PATH"),
        ({"command": SCRIPT, "env": {"MCP_JOBS_CAPACTIY": "2"}}, "MCP_JOBS_CAPACTIY"),
    ],
)
def test_a_host_that_cannot_start_it_is_a_fault(
    place: Place, entry: dict[str, Any], message: str
) -> None:
    path = place.root / ".cursor/mcp.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"mcpServers": {"mine": entry, "other": {"url": "http://x"}}}))
    code, found = examine(place)

    assert (code, level(found, "Cursor")) == (1, "fault")
    assert len(found["Cursor"]) == 1
    assert message in found["Cursor"][0]["message"]


def test_a_bare_name_that_only_a_shell_finds_is_a_warning(place: Place) -> None:
    path = place.project / ".mcp.json"
    path.write_text(json.dumps({"mcpServers": {"jobs": {"command": "mcp-jobs"}}}))
    code, found = examine(place, PATH=f"{Path(SCRIPT).parent}:{os.environ['PATH']}")

    assert (code, level(found, "Claude Code")) == (0, "warning")
    assert "desktop" in found["Claude Code"][0]["message"]


def test_a_file_that_a_host_cannot_read_is_a_warning(place: Place) -> None:
    (place.root / ".gemini").mkdir()
    (place.root / ".gemini/settings.json").write_text("{,}")
    code, found = examine(place)
    assert (code, level(found, "Gemini CLI")) == (0, "warning")
    assert "line 1" in found["Gemini CLI"][0]["message"]


def test_a_home_that_cannot_be_is_a_fault_and_the_rest_is_still_looked_at(place: Place) -> None:
    code, found = examine(place, MCP_JOBS_HOME="/proc/jobs")
    assert (code, level(found, "home"), level(found, "round trip")) == (1, "fault", "fault")
    assert "/proc/jobs cannot be used" in found["round trip"][0]["message"]


def test_a_database_that_is_none_is_a_fault(place: Place) -> None:
    (place.home / "jobs.db").write_bytes(b"not a database at all\n" * 100)
    code, found = examine(place)
    assert (code, level(found, "database")) == (1, "fault")


def test_a_runtime_directory_of_others_is_a_fault(place: Place) -> None:
    directory = place.root / "run" / "mcp-jobs"
    directory.mkdir()
    directory.chmod(0o777)
    code, found = examine(place)
    assert (code, level(found, "sockets")) == (1, "fault")


async def test_jobs_that_nobody_cares_for_are_named(place: Place) -> None:
    store = await open_store(place.home / "jobs.db")
    foreign = await store.create(new_job(locality="elsewhere/1"))
    lost = (await store.create(new_job(locality="gone/2"))).job
    claimed = await store.claim(
        claimer="dead",
        locality="gone/2",
        incarnation="home boot",
        capacity=9,
        now_ms=lost.run_at_ms,
    )
    assert claimed is not None
    await store.close()
    code, found = examine(place)

    assert code == 0
    told = " ".join(finding["message"] for finding in found["stale jobs"])
    assert lost.id in told
    assert foreign.job.id in told
    assert level(found, "stale jobs") == "warning"

    store = await open_store(place.home / "jobs.db")
    job = await store.find(lost.id)
    assert job is not None
    end = Outcome(
        status=Status.COMPLETED,
        reason=None,
        exit_code=0,
        error=None,
        result=None,
        started_at_ms=None,
        finished_at_ms=job.run_at_ms,
        output_start=0,
        cpu_s=None,
        memory_peak_bytes=None,
    )
    await store.settle(job, end)
    await store.request_cancel("local", foreign.job.id, now_ms=job.run_at_ms)
    await store.close()


def test_the_file_system_of_a_place_is_known() -> None:
    assert home_check.file_system(Path("/proc/self")) == "proc"
    assert home_check.file_system(Path("/")) != ""


def test_little_space_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for free, wanted in ((1 << 20, "fault"), (100 << 20, "warning"), (9 << 30, "ok")):
        usage = type("Usage", (), {"free": free})
        monkeypatch.setattr("shutil.disk_usage", lambda _, usage=usage: usage)
        (finding,) = home_check._disk(tmp_path)
        assert finding.level == wanted
