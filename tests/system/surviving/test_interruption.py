"""A job whose runner is lost ends honestly, with nothing left of it and no stranger touched."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from mcp_jobs.execution.launcher import layout
from mcp_jobs.execution.launcher.identity import boot_id, pid_namespace, start_time
from tests.support import Place, alive, python, until
from tests.system.station import (
    all_gone,
    gate,
    identity_of,
    leave_nobody,
    pids_in,
    release,
    server,
    shell,
    station,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

INTERRUPTED = ("failed", "interrupted")

# -- the runner is killed ------------------------------------------------------------------------

_TREE = """
import os, signal, sys
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(2):
    if os.fork() == 0:
        os.setsid()
    open("pids", "a").write(f"{os.getpid()}\\n")
print("started", flush=True)
while True: signal.pause()
"""

_CLEARED = """
import os, signal
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.closerange(0, 100)
        open("pids", "a").write(f"{os.getpid()}\\n")
        os.execve("/bin/sleep", ["sleep", "1000"], {})
    os._exit(0)
os.wait()
open("pids", "a").write(f"{os.getpid()}\\n")
while True: signal.pause()
"""


async def test_nothing_is_left_of_a_job_whose_runner_was_killed(place: Place) -> None:
    (place.project / "tree.py").write_text(_TREE)
    async with station(place) as jobs:
        job_id = await jobs.start(python("exec(open('tree.py').read())"))
        pids = await pids_in(place.project / "pids", 6)
        identity = await identity_of(jobs.directory(job_id))
        os.kill(identity["pid"], signal.SIGKILL)
        job = await jobs.ended(job_id)

        assert [pid for pid in pids if alive(pid)] == []
    assert (job["status"], job["reason"], job["exit_code"]) == (*INTERRUPTED, None)
    assert "started\n" in job["output"]["text"]
    assert job["error"]


async def test_a_daemon_without_environment_is_gone_too_while_a_keeper_lives(place: Place) -> None:
    (place.project / "tree.py").write_text(_CLEARED)
    async with station(place) as jobs:
        job_id = await jobs.start(python("exec(open('tree.py').read())"))
        pids = await pids_in(place.project / "pids", 2)
        identity = await identity_of(jobs.directory(job_id))
        os.kill(identity["pid"], signal.SIGKILL)
        job = await jobs.ended(job_id)
        left = [pid for pid in pids if alive(pid)]
        for pid in left:
            os.kill(pid, signal.SIGKILL)

    assert (job["status"], job["reason"]) == INTERRUPTED
    assert left == []


async def test_a_runner_killed_while_nobody_was_there_is_an_interruption(place: Place) -> None:
    (place.project / "tree.py").write_text(_TREE)
    with server(place, shell(place, python("exec(open('tree.py').read())"))) as dead:
        pids = await pids_in(place.project / "pids", 6)
        leave_nobody(place, dead)
    identity = await identity_of(place.home / "jobs" / dead.job_ids[0])
    os.kill(identity["pid"], signal.SIGKILL)
    await all_gone([identity["pid"]])
    async with station(place) as jobs:
        job = await jobs.ended(dead.job_ids[0])

        assert [pid for pid in pids if alive(pid)] == []
    assert (job["status"], job["reason"]) == INTERRUPTED


async def test_interrupted_is_never_seen_while_a_process_of_the_job_lives(place: Place) -> None:
    (place.project / "tree.py").write_text(_TREE)
    async with station(place) as jobs:
        job_id = await jobs.start(python("exec(open('tree.py').read())"))
        pids = await pids_in(place.project / "pids", 6)
        identity = await identity_of(jobs.directory(job_id))
        os.kill(identity["pid"], signal.SIGKILL)
        seen: list[tuple[str, list[int]]] = []
        with anyio.fail_after(20):
            while not seen or seen[-1][0] == "running":
                # The status first: what it says must hold from then on.
                status = (await jobs.check(job_id))["status"]
                seen.append((status, [pid for pid in pids if alive(pid)]))

    assert seen[-1] == ("failed", [])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
async def test_an_interrupted_job_runs_again_if_it_was_asked_to(
    place: Place, number: signal.Signals
) -> None:
    command = "echo $$ >> pids; test $(wc -l < pids) -gt 1 || sleep 1000; echo done"
    async with station(place) as jobs:
        job_id = await jobs.start(command, retry_on_interrupt=True)
        first = await pids_in(place.project / "pids")
        os.kill((await identity_of(jobs.directory(job_id)))["pid"], number)
        job = await jobs.ended(job_id)

        assert not alive(first[0])
    assert (job["status"], job["attempt"], job["output"]["text"]) == ("completed", 2, "done\n")
    assert [attempt["reason"] for attempt in job["attempts"]] == ["interrupted", None]


async def test_an_interrupted_job_is_not_run_again_unasked(place: Place) -> None:
    async with station(place) as jobs:
        job_id = await jobs.start("echo $$ >> pids; sleep 1000", max_retries=3)
        await pids_in(place.project / "pids")
        os.kill((await identity_of(jobs.directory(job_id)))["pid"], signal.SIGKILL)
        job = await jobs.ended(job_id)

    assert (job["status"], job["reason"], job["attempt"]) == (*INTERRUPTED, 1)


async def test_a_cancel_that_met_a_killed_runner_is_cancelled_with_nothing_left_that_can_be_found(
    place: Place,
) -> None:
    (place.project / "tree.py").write_text(_TREE)
    async with station(place) as jobs:
        job_id = await jobs.start(python("exec(open('tree.py').read())"))
        pids = await pids_in(place.project / "pids", 6)
        runner = (await identity_of(jobs.directory(job_id)))["pid"]
        os.kill(runner, signal.SIGSTOP)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(jobs.cancel, job_id)
            await until((jobs.directory(job_id) / "stop").is_symlink)
            os.kill(runner, signal.SIGKILL)
        job = await jobs.ended(job_id)

        assert [pid for pid in pids if alive(pid)] == []
    assert (job["status"], job["reason"]) == ("cancelled", "cancelled_by_user")
    # One that had cleared its environment would not have been.
    assert "what could be found of its processes is gone" in job["next_step"]


# -- strangers -----------------------------------------------------------------------------------


@contextmanager
def _stranger() -> Iterator[subprocess.Popen[bytes]]:
    """A process that belongs to no job."""
    with subprocess.Popen(["/bin/sleep", "1000"], start_new_session=True, env={}) as process:
        try:
            yield process
        finally:
            process.kill()


def _forge(directory: Path, **changes: Any) -> None:
    identity = layout.read_identity(str(directory))
    assert identity is not None
    (directory / "alive").write_text(json.dumps({**identity, **changes}) + "\n")


async def _orphaned(place: Place, command: str) -> tuple[str, dict[str, Any]]:
    """Leave a running job without server, launcher and runner."""
    with server(place, shell(place, command)) as dead:
        await pids_in(place.project / "pids")
        leave_nobody(place, dead)
    identity = await identity_of(place.home / "jobs" / dead.job_ids[0])
    os.kill(identity["pid"], signal.SIGKILL)
    await all_gone([identity["pid"]])
    return dead.job_ids[0], identity


async def test_a_stranger_with_a_reused_pid_is_never_signalled(place: Place) -> None:
    job_id, identity = await _orphaned(place, "echo $$ > pids; sleep 1000")
    with _stranger() as stranger:
        _forge(place.home / "jobs" / job_id, pid=stranger.pid, job_pid=stranger.pid)
        async with station(place) as jobs:
            job = await jobs.ended(job_id)
        assert stranger.poll() is None
        assert not alive(identity["job_pid"])

    assert (job["status"], job["reason"]) == INTERRUPTED


async def test_a_cancel_never_signals_a_stranger_with_a_reused_pid(place: Place) -> None:
    job_id, identity = await _orphaned(place, "echo $$ > pids; sleep 1000")
    with _stranger() as stranger:
        _forge(place.home / "jobs" / job_id, pid=stranger.pid, job_pid=stranger.pid)
        async with station(place) as jobs:
            job = await jobs.cancel(job_id, grace_seconds=0)
        assert stranger.poll() is None
        assert not alive(identity["job_pid"])

    assert (job["status"], job["reason"]) in [("cancelled", "cancelled_by_user"), INTERRUPTED]


@pytest.mark.parametrize("name", ["boot_id", "pid_namespace"])
async def test_after_a_reboot_the_job_is_interrupted_and_no_stranger_signalled(
    place: Place, name: str
) -> None:
    job_id, _ = await _orphaned(place, "echo $$ > pids; exec sleep 1000")
    with _stranger() as stranger:
        _forge(
            place.home / "jobs" / job_id,
            pid=stranger.pid,
            job_pid=stranger.pid,
            job_start_time=start_time(stranger.pid),
            **{name: "another"},
        )
        async with station(place) as jobs:
            job = await jobs.ended(job_id)
        assert stranger.poll() is None

    assert (job["status"], job["reason"]) == INTERRUPTED


async def test_a_runner_writes_down_who_it_is(place: Place) -> None:
    async with station(place) as jobs:
        path = await gate(place)
        job_id = await jobs.start("read x < gate")
        identity = await identity_of(jobs.directory(job_id))
        times = [start_time(identity[name]) for name in ("pid", "job_pid")]
        await release(path)
        await jobs.ended(job_id)

    assert [identity["start_time"], identity["job_start_time"]] == times
    assert None not in times
    assert (identity["boot_id"], identity["pid_namespace"]) == (boot_id(), pid_namespace())
