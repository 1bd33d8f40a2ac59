"""What must end ends within a bound, also where something sleeps in the kernel or is stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import anyio
import pytest

from mcp_jobs.domain.errors import LauncherError
from mcp_jobs.execution import job_directory
from mcp_jobs.execution.launcher import layout
from tests.support import Place, alive, python, until
from tests.system.attempts import client_of, make_job, request_for, run_attempt
from tests.system.station import identity_of, launcher, pids_in, station

CANCELLED = ("cancelled", "cancelled_by_user")

# posix_spawn(3) is a vfork: the parent sleeps, and no signal but SIGKILL wakes it, until its child
# executes a program; the child opens a FIFO first, which nobody ever writes to.
ASLEEP = python(
    "import os\n"
    'os.mkfifo("never")\n'
    'open("pids", "w").write(f"{os.getpid()}\\n")\n'
    'print("x" * 100_000, flush=True)\n'
    'opened = [(os.POSIX_SPAWN_OPEN, 0, "never", os.O_RDONLY, 0)]\n'
    'os.posix_spawn("/bin/true", ["true"], {}, file_actions=opened)\n'
)


def state_of(pid: int) -> str:
    """Return the letter that ps(1) shows for a process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return "X"
    return stat.rpartition(b")")[2].split()[0].decode()


async def _asleep(place: Place) -> int:
    (pid,) = await pids_in(place.project / "pids")
    await until(lambda: state_of(pid) == "D")
    return pid


# -- asleep in the kernel ------------------------------------------------------------------------


async def test_a_process_that_sleeps_in_the_kernel_is_cancelled(place: Place) -> None:
    async with station(place) as jobs:
        job_id = await jobs.start(ASLEEP)
        pid = await _asleep(place)
        await jobs.cancel(job_id, grace_seconds=0.2)
        job = await jobs.ended(job_id)

    assert (job["status"], job["reason"]) == CANCELLED
    assert job["output"]["bytes_total"] == 100_001
    assert not alive(pid)


async def test_a_process_that_sleeps_in_the_kernel_ends_at_its_time_limit(place: Place) -> None:
    async with station(place) as jobs:
        job_id = await jobs.start(ASLEEP, timeout_seconds=1)
        await _asleep(place)
        job = await jobs.ended(job_id)

    assert (job["status"], job["reason"]) == ("failed", "timeout")


# -- a runner that is stopped --------------------------------------------------------------------


async def _stopped_runner(directory: Path) -> int:
    pid = int((await identity_of(directory))["pid"])
    os.kill(pid, signal.SIGSTOP)
    await until(lambda: state_of(pid) == "T")
    return pid


async def test_a_cancel_wakes_a_runner_that_is_stopped(place: Place) -> None:
    async with station(place) as jobs:
        job_id = await jobs.start("exec sleep 1000")
        await _stopped_runner(jobs.directory(job_id))
        await jobs.cancel(job_id)
        job = await jobs.ended(job_id)

    assert (job["status"], job["reason"]) == CANCELLED


async def test_a_runner_that_is_stopped_after_the_order_goes_on(place: Place) -> None:
    async with station(place) as jobs:
        job_id = await jobs.start("trap '' TERM; echo $$ > pids; while :; do sleep 1000; done")
        await pids_in(place.project / "pids")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(jobs.cancel, job_id, 1)
            await until((jobs.directory(job_id) / "stop").is_symlink)
            await _stopped_runner(jobs.directory(job_id))
        job = await jobs.ended(job_id)

    assert (job["status"], job["reason"]) == CANCELLED


async def test_the_time_limit_holds_though_the_runner_is_stopped(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_jobs.engine.supervision._OVERDUE_S", 0.5)
    async with station(place) as jobs:
        job_id = await jobs.start("exec sleep 1000", timeout_seconds=1)
        await _stopped_runner(jobs.directory(job_id))
        job = await jobs.ended(job_id)

    assert (job["status"], job["reason"]) == ("failed", "timeout")


# -- a launcher that is stopped ------------------------------------------------------------------


async def _stopped_launcher(place: Place) -> int:
    pid = launcher(place)
    os.kill(pid, signal.SIGSTOP)
    await until(lambda: state_of(pid) == "T")
    return pid


async def test_a_launcher_that_is_stopped_is_woken_for_a_job(place: Place) -> None:
    async with station(place) as jobs:
        await jobs.run("true")
        before = await _stopped_launcher(place)
        job = await jobs.run("echo fine")
        after = launcher(place)

    assert (job["status"], job["output"]["text"]) == ("completed", "fine\n")
    assert after == before


async def test_a_launcher_that_is_stopped_holds_up_no_sweep(place: Place) -> None:
    async with station(place) as jobs:
        job_id = await jobs.start("exec sleep 1000")
        runner = int((await identity_of(jobs.directory(job_id)))["pid"])
        await _stopped_launcher(place)
        os.kill(runner, signal.SIGKILL)
        job = await jobs.ended(job_id)

    assert (job["status"], job["reason"]) == ("failed", "interrupted")


async def test_a_launcher_that_never_answers_is_an_error(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_jobs.execution.launcher_client._ANSWER_WAITS_S", (0.05, 0.05))
    monkeypatch.setattr("mcp_jobs.execution.launcher.process_tree.resume", lambda *_: False)
    async with station(place) as jobs:
        await jobs.run("true")
        pid = await _stopped_launcher(place)
        with pytest.raises(LauncherError, match="does not answer"):
            await client_of(place).run(request_for(make_job(place, "true"), 1))
        os.kill(pid, signal.SIGCONT)
        await until(lambda: layout.read_identity(str(place.home / "one")))


# -- what was given up ---------------------------------------------------------------------------


async def test_a_launch_that_was_given_up_does_not_happen_later(place: Place) -> None:
    job_dir = make_job(place, "echo >> ran")
    given_up = job_directory.forbid(job_dir, 1, ())
    late = await run_attempt(client_of(place), request_for(job_dir, 1))
    again = await run_attempt(client_of(place), request_for(job_dir, 2))

    assert (given_up, late, again) == (True, False, True)
    assert (place.project / "ran").read_text() == "\n"


async def test_a_launch_that_has_happened_is_not_given_up(place: Place) -> None:
    job_dir = make_job(place, "true")
    assert await run_attempt(client_of(place), request_for(job_dir, 1))

    assert job_directory.forbid(job_dir, 1, ()) is False


def test_a_lock_that_another_keeps_is_not_waited_for_without_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(layout, "FENCE_WAIT_S", 0.05)
    with layout.fence_lock(str(tmp_path)), pytest.raises(TimeoutError, match="Another process"):
        layout.raise_fence(str(tmp_path), 1)
