"""Python jobs run in their own processes, and come to what their functions came to."""

from __future__ import annotations

import os
import shutil
import signal
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from mcp_jobs.domain.states import Reason
from tests import contract
from tests.support import Place, alive, open_client, until

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from mcp import Client

APP = Path(__file__).parents[1] / "python_app.py"


@pytest.fixture
def script(place: Place) -> Path:
    """The application, where its developer keeps it."""
    path = place.root / "app" / "tools.py"
    path.parent.mkdir()
    shutil.copy(APP, path)
    return path


def served(place: Place, script: Path, **options: Any) -> AbstractAsyncContextManager[Client]:
    return open_client(place, args=[str(script)], **options)


async def run(client: Client, kind: str, params: dict[str, Any], **more: Any) -> dict[str, Any]:
    job = await contract.call(client, "start_job", {"type": kind, "params": params, **more})
    return await contract.ended(client, job["job_id"])


# -- ways to serve -------------------------------------------------------------------------------


async def test_three_lines_serve_typed_functions(place: Place, script: Path) -> None:
    async with served(place, script) as client:
        job = await run(client, "total", {"numbers": [1, 2.5], "scale": 2})

    assert (job["status"], job["title"]) == ("completed", "total")
    assert job["result"] == {"count": 2, "sum": 7.0}
    assert job["progress"]["percent"] == 100
    assert job["progress"]["message"] == "added 2.5"
    assert job["output"]["text"] == "all added\n"


@pytest.mark.parametrize("app", ["tools:jobs", "{script}:jobs"])
async def test_the_setting_app_serves_them_too(place: Place, script: Path, app: str) -> None:
    args = ["-m", "mcp_jobs", "--app", app.format(script=script)]
    path = os.pathsep.join([str(APP.parent.parent.parent), str(script.parent)])
    async with open_client(place, args=args, env={"PYTHONPATH": path}) as client:
        job = await run(client, "doze", {})
        shell = await contract.run(client, "echo still here")

    assert job["result"] == f"attempt 1 of {job['job_id']}"
    assert shell["output"]["text"] == "still here\n"


async def test_the_process_of_a_job_loads_nothing_of_mcp(place: Place, script: Path) -> None:
    async with served(place, script) as client:
        job = await run(client, "imported", {})

    assert job["result"] == []


# -- what a function comes to --------------------------------------------------------------------


async def test_an_exception_fails_the_job_for_good_with_its_text_and_traceback(
    place: Place, script: Path
) -> None:
    async with served(place, script) as client:
        job = await run(client, "broken-job", {})

    assert (job["status"], job["reason"], job["attempt"]) == ("failed", Reason.EXCEPTION, 1)
    assert job["error"] == "ValueError: it cannot work: ünlucky"
    text = job["output"]["text"]
    assert 'raise ValueError("it cannot work' in text
    assert text.rstrip().endswith("ValueError: it cannot work: ünlucky")
    assert "mcp_jobs/job_types/python/child.py" not in text
    assert (place.project / "tries").read_text() == "x"


@pytest.mark.parametrize("after", [None, 0.01])
async def test_a_transient_fault_is_tried_again(
    place: Place, script: Path, after: float | None
) -> None:
    async with served(place, script) as client:
        job = await run(client, "flaky", {"fail": 2, "after": after})

    assert (job["status"], job["result"], job["attempt"]) == ("completed", 3, 3)
    assert [a["error"] for a in job["attempts"]][:2] == [
        ("Retry" if after else "RetryableError") + ": not yet"
    ] * 2


async def test_a_transient_fault_that_does_not_go_away_fails_the_job(
    place: Place, script: Path
) -> None:
    async with served(place, script) as client:
        job = await run(client, "flaky", {"fail": 9})

    assert (job["status"], job["reason"], job["attempt"]) == ("failed", Reason.EXCEPTION, 3)
    assert job["error"] == "RetryableError: not yet"


async def test_a_retry_later_waits_as_long_as_it_asked_for(place: Place, script: Path) -> None:
    async with served(place, script) as client:
        call = {"type": "flaky", "params": {"fail": 1, "after": 3600}}
        job = await contract.call(client, "start_job", call)
        with anyio.fail_after(20):
            while job["status"] != "retrying":
                ask = {"job_id": job["job_id"], "wait_seconds": 0.05}
                job = await contract.call(client, "check_job", ask)
        due = datetime.fromisoformat(job["next_attempt_at"])
        pause = due - datetime.fromisoformat(job["created_at"])
        assert timedelta(hours=1) <= pause < timedelta(hours=1.1)
        await contract.call(client, "cancel_job", {"job_id": job["job_id"]})


@pytest.mark.parametrize(
    ("params", "status", "reason", "error"),
    [
        ({"code": 0}, "completed", None, None),
        ({"code": 3}, "failed", "exception", "SystemExit: 3"),
        (
            {"code": 0, "how": "os"},
            "failed",
            "exception",
            "The function's process ended without a result (exit code 0).",
        ),
        ({"code": 3, "how": "os"}, "failed", "exit_code", "The command ended with exit code 3."),
        (
            {"code": int(signal.SIGKILL), "how": "signal"},
            "failed",
            "signal",
            "The command was killed by SIGKILL (signal 9).",
        ),
    ],
)
async def test_a_process_that_leaves_early_is_reported_as_what_it_was(
    place: Place,
    script: Path,
    params: dict[str, Any],
    status: str,
    reason: str | None,
    error: str | None,
) -> None:
    async with served(place, script) as client:
        job = await run(client, "leave", params, max_retries=2)

    assert (job["status"], job["reason"], job["error"]) == (status, reason, error)
    assert (job["attempt"], job["result"]) == (1, None)


async def test_a_result_that_is_too_large_says_what_to_do(place: Place, script: Path) -> None:
    async with served(place, script) as client:
        job = await run(client, "too_much", {})

    assert (job["status"], job["reason"]) == ("failed", "exception")
    assert "allowed are 65536. Write it to a file in the job's workdir" in job["error"]


async def test_a_secret_in_an_exception_is_masked(place: Place, script: Path) -> None:
    async with served(place, script) as client:
        secret = "-".join(["hunter2"] * 2)
        env = {"DB_PASSWORD": secret}
        job = await run(client, "leaks", {"secret": secret}, env=env)

    assert job["error"] == "RuntimeError: cannot log in with [masked]"
    assert secret not in str(job)


async def test_what_a_job_keeps_stays_and_the_rest_goes(place: Place, script: Path) -> None:
    async with served(place, script) as client:
        job = await run(client, "keep", {"text": "kept"})
        await until(lambda: not (place.home / "jobs" / job["job_id"] / "env").exists())

    assert Path(job["result"]).read_text() == "kept"
    left = {path.name for path in (place.home / "jobs" / job["job_id"]).iterdir()}
    assert left == {"work"}


@pytest.mark.parametrize(
    ("kind", "params", "problem"),
    [
        ("total", {}, "numbers: Field required"),
        ("total", {"numbers": ["x"]}, "numbers.0: Input should be a valid number"),
        ("total", {"numbers": [], "scal": 1}, "scal: Extra inputs are not permitted"),
        ("totals", {}, "There is no job type 'totals'"),
    ],
)
async def test_parameters_that_do_not_fit_are_refused_before_anything_runs(
    place: Place, script: Path, kind: str, params: dict[str, Any], problem: str
) -> None:
    async with served(place, script) as client:
        error = await contract.refused(client, "start_job", {"type": kind, "params": params})
        jobs = await contract.call(client, "list_jobs")

    assert problem in error
    assert jobs["jobs"] == []


# -- stopping and surviving ----------------------------------------------------------------------


async def test_a_cancel_sets_cancelled_and_the_function_may_clean_up(
    place: Place, script: Path
) -> None:
    async with served(place, script) as client:
        job = await contract.call(client, "start_job", {"type": "until_cancelled"})
        await until((place.project / "pid").exists)
        job = await contract.call(client, "cancel_job", {"job_id": job["job_id"]})

    assert (job["status"], job["reason"], job["result"]) == ("cancelled", "cancelled_by_user", None)
    assert job["output"]["text"] == "cleaning up\n"


async def test_a_job_that_runs_out_of_time_is_told_so_and_not_tried_again(
    place: Place, script: Path
) -> None:
    async with served(place, script) as client:
        job = await run(client, "until_cancelled", {}, timeout_seconds=0.5, max_retries=2)

    assert (job["status"], job["reason"], job["attempt"]) == ("failed", "timeout", 1)
    assert job["output"]["text"] == "cleaning up\n"


async def test_a_job_goes_on_after_its_server_was_killed_and_its_result_is_kept(
    place: Place, script: Path
) -> None:
    release = place.project / "release"
    async with served(place, script) as client:
        job = await contract.call(
            client, "start_job", {"type": "held", "params": {"release": str(release)}}
        )
        await until((place.project / "pid").exists)
        os.kill(server_pid(place, script), signal.SIGKILL)
    pid = int((place.project / "pid").read_text())
    assert alive(pid)
    release.touch()
    await until(lambda: not alive(pid))

    # Another server, which knows nothing of the application.
    async with open_client(place) as client:
        job = await contract.ended(client, job["job_id"])

    assert (job["status"], job["result"], job["attempt"]) == ("completed", {"pid": pid}, 1)


async def test_a_lost_job_is_run_again_by_a_worker_that_does_not_have_the_application(
    place: Place, script: Path
) -> None:
    async with served(place, script) as client:
        call = {"type": "doze", "params": {"seconds": 0.01}, "delay_seconds": 0.5}
        job = await contract.call(client, "start_job", call)
        os.kill(server_pid(place, script), signal.SIGKILL)

    # The launcher starts a worker by itself.
    async with open_client(place) as client:
        job = await contract.ended(client, job["job_id"])

    assert job["result"] == f"attempt 1 of {job['job_id']}"


def server_pid(place: Place, script: Path) -> int:
    """The process that was started as the script."""
    marker = os.fsencode(script)
    (pid,) = [
        pid
        for pid in place.processes()
        if Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[1:2] == [marker]
    ]
    return pid
