"""What a type declares about its jobs holds, whoever runs and settles them."""

from __future__ import annotations

import os
import signal
import sys
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from mcp_jobs.service.assembly import LOCAL_OWNER
from mcp_jobs.service.requests import StartJob
from tests.support import Place, alive, open_client, until
from tests.system.attempts import client_of
from tests.system.station import Station, pids_in, station

if TYPE_CHECKING:
    from collections.abc import AsyncIterator


def declare(place: Place, entry: str) -> Path:
    """Declare one type, `a`, in the project."""
    return place.declare(f"jobs:\n  a:\n    description: d\n{entry}")


@asynccontextmanager
async def declared(place: Place, entry: str) -> AsyncIterator[Station]:
    async with station(place, config=(declare(place, entry),)) as jobs:
        yield jobs


async def run(jobs: Station, **arguments: Any) -> dict[str, Any]:
    request = StartJob.model_validate({"type": "a", **arguments})
    job = await jobs.core.service.start(LOCAL_OWNER, request)
    return await jobs.ended(job["job_id"])


# -- codes and retries -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "status"), [(0, "failed"), (1, "completed"), (3, "completed"), (2, "failed")]
)
async def test_only_the_declared_codes_are_success(place: Place, code: int, status: str) -> None:
    entry = f"    success_codes: [1, 3]\n    shell: exit {code}\n"
    async with declared(place, entry) as jobs:
        job = await run(jobs)

    assert (job["status"], job["exit_code"]) == (status, code)


RETRIES = {
    "every failure": ("", "exit 3", 3),
    "the code": (", on: {exit_codes: [3, 4]}", "exit 3", 3),
    "another code": (", on: {exit_codes: [4]}", "exit 3", 1),
    "the pattern": (
        ", on: {output: ['^connection reset$']}",
        "echo x; printf 'connection \\033[1mreset\\033[0m\\n'; exit 1",
        3,
    ),
    "another pattern": (", on: {output: timeout}", "echo connection reset; exit 1", 1),
    "the signal": (", on: {signal: true}", "kill -9 $$", 3),
    "not the signal": (", on: {exit_codes: [1]}", "kill -9 $$", 1),
    "nothing": (", on: {}", "exit 1", 1),
}


@pytest.mark.parametrize("name", RETRIES)
async def test_what_is_tried_again_is_what_the_type_says(place: Place, name: str) -> None:
    on, script, attempts = RETRIES[name]
    entry = f"    retries: {{count: 2, delay: 10ms{on}}}\n    shell: |\n      {script}\n"
    async with declared(place, entry) as jobs:
        job = await run(jobs)

    assert (job["status"], job["attempt"]) == ("failed", attempts)
    assert job["max_attempts"] == 3


@pytest.mark.parametrize(("on", "attempts"), [("{timeout: true}", 2), ("{exit_codes: [1]}", 1)])
async def test_a_time_limit_is_tried_again_where_the_type_says_so(
    place: Place, on: str, attempts: int
) -> None:
    entry = (
        f"    retries: {{count: 1, delay: 10ms, on: {on}}}\n"
        "    timeout: 200ms\n    command: [sleep, '1000']\n"
    )
    async with declared(place, entry) as jobs:
        job = await run(jobs)

    assert (job["reason"], job["attempt"]) == ("timeout", attempts)


async def test_the_callers_number_of_retries_wins(place: Place) -> None:
    async with declared(place, "    retries: 5\n    shell: exit 1\n") as jobs:
        job = await run(jobs, max_retries=0)

    assert (job["attempt"], job["max_attempts"]) == (1, 1)


async def test_the_rules_hold_where_the_file_is_gone(place: Place) -> None:
    """The next attempt is settled by a server that has never seen the declaration."""
    entry = (
        "    success_codes: [7]\n    retries: {count: 1, delay: 10ms, on: {exit_codes: [5]}}\n"
        "    shell: 'if [ -e go ]; then exit 7; fi; touch ready; while [ ! -e go ]; do "
        "sleep 0.01; done; exit 5'\n"
    )
    async with declared(place, entry) as jobs:
        request = StartJob.model_validate({"type": "a"})
        job_id = (await jobs.core.service.start(LOCAL_OWNER, request))["job_id"]
        await until((place.project / "ready").exists)
    (place.project / "jobs.yaml").unlink()
    (place.project / "go").touch()
    async with station(place) as jobs:
        job = await jobs.ended(job_id)

    assert (job["status"], job["exit_code"], job["attempt"]) == ("completed", 7, 2)


# -- limits ----------------------------------------------------------------------------------------


async def test_a_job_that_prints_too_much_is_stopped(place: Place) -> None:
    entry = "    output_limit: 100KiB\n    retries: 3\n    command: [yes]\n"
    async with declared(place, entry) as jobs:
        job = await run(jobs)

    assert (job["status"], job["reason"]) == ("failed", "output_limit")
    assert (job["error"], job["attempt"]) == (
        "Stopped: it printed more than its limit of 102400 bytes.",
        1,
    )
    assert job["output"]["bytes_total"] > 102_400


async def test_a_job_that_ends_over_its_limit_has_not_succeeded(place: Place) -> None:
    entry = "    output_limit: 10\n    command: [echo, '0123456789']\n"
    async with declared(place, entry) as jobs:
        job = await run(jobs)

    assert job["reason"] == "output_limit"
    # None when it was told to end before it came to that by itself.
    assert job["exit_code"] in (0, None)


async def test_a_job_within_its_limit_is_left_alone(place: Place) -> None:
    entry = "    output_limit: 11\n    command: [echo, '0123456789']\n"
    async with declared(place, entry) as jobs:
        job = await run(jobs)

    assert job["status"] == "completed"


async def test_declared_jobs_have_ten_minutes_unless_they_say_otherwise(place: Place) -> None:
    async with declared(place, "    command: ['true']\n") as jobs:
        job = await run(jobs)
        row = await jobs.core.service.find(LOCAL_OWNER, job["job_id"])

    assert row.timeout_s == 600


# -- progress --------------------------------------------------------------------------------------

PROGRESS = {
    "names": (
        "(?P<message>step) (?P<current>[0-9]+)/(?P<total>[0-9]+)",
        (3, 4, 75, "step"),
    ),
    "two groups": ("step ([0-9]+)/([0-9]+)", (3, 4, 75, "step 3/4 at 12%")),
    "one group": ("at ([0-9]+)%", (None, None, 12, "step 3/4 at 12%")),
}


@pytest.mark.parametrize("name", PROGRESS)
async def test_progress_is_read_by_the_types_pattern(place: Place, name: str) -> None:
    pattern, expected = PROGRESS[name]
    # It fails, since a job that has completed is done, whatever was read.
    script = "echo 'step 3/4 at 12%'; echo '99% done'; exit 1"
    entry = f"    progress: '{pattern}'\n    shell: {script}\n"
    async with declared(place, entry) as jobs:
        job = await run(jobs)

    told = job["progress"]
    assert (told["current"], told["total"], told["percent"], told["message"]) == expected


# -- detach ----------------------------------------------------------------------------------------

LEAVES = (
    "    shell: |\n"
    "      (trap '' HUP; while :; do echo tick; sleep 0.01; done) &\n"
    "      echo $! > pids; {daemon} echo done\n"
)


async def test_what_a_detached_job_leaves_goes_on_after_the_end_and_a_sweep(place: Place) -> None:
    """Also a daemon that has cleared its environment and left its session."""
    program = (
        "import os, time\n"
        "if os.fork() == 0:\n"
        "    os.setsid()\n"
        "    if os.fork(): os._exit(0)\n"
        "    open('daemon', 'w').write(str(os.getpid()) + chr(10))\n"
        "    os.execve('/bin/sleep', ['sleep', '1000'], {})\n"
        "os.wait()\n"
        "while not os.path.exists('daemon') or not open('daemon').read(): time.sleep(0.01)\n"
    )
    (place.project / "leave.py").write_text(program, "utf-8")
    entry = "    detach: true\n" + LEAVES.format(daemon=f"{sys.executable} leave.py;")
    async with declared(place, entry) as jobs:
        job = await run(jobs)
        left = [*await pids_in(place.project / "pids"), *await pids_in(place.project / "daemon")]
        try:
            assert job["status"] == "completed"
            await client_of(place).sweep_orphans()
            assert [alive(pid) for pid in left] == [True, True]
            # The end is whole: another job runs, and the first can be looked at.
            assert (await jobs.run("echo next"))["status"] == "completed"
        finally:
            for pid in left:
                os.kill(pid, signal.SIGKILL)


async def test_without_detach_what_is_left_is_ended(place: Place) -> None:
    async with declared(place, LEAVES.format(daemon="")) as jobs:
        job = await run(jobs)
        left = await pids_in(place.project / "pids")

    assert job["status"] == "completed"
    assert [pid for pid in left if alive(pid)] == []


async def test_a_detached_job_that_is_stopped_leaves_nothing(place: Place) -> None:
    entry = "    detach: true\n    timeout: 300ms\n" + LEAVES.format(daemon="sleep 1000;")
    async with declared(place, entry) as jobs:
        job = await run(jobs)
        left = await pids_in(place.project / "pids")

    assert job["reason"] == "timeout"
    assert [pid for pid in left if alive(pid)] == []


# -- over stdio ------------------------------------------------------------------------------------


async def test_environment_and_directory_are_those_of_the_type(place: Place) -> None:
    (place.project / "ops").mkdir()
    declare(
        place,
        "    cwd: ops\n    env: {MODE: fast, DEPLOY_TOKEN: '0123456789'}\n    params: {who: {}}\n"
        "    shell: 'echo $MODE $who $DEPLOY_TOKEN $(basename \"$PWD\")'\n    expose: tool\n",
    )
    async with open_client(place, env={"who": "inherited", "MODE": "slow"}) as client:
        named = await client.call_tool("a", {"who": "me", "wait_seconds": 20})
        unnamed = await client.call_tool("a", {"wait_seconds": 20})

    texts = [r.structured_content["output"]["text"] for r in (named, unnamed)]
    # The value of a variable that looks secret is masked.
    assert texts == ["fast me [masked] ops\n", "fast [masked] ops\n"]
