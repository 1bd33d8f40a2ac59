"""A job whose directory or files are gone is not started twice, nor called ended while it lives."""

from __future__ import annotations

import os
import shutil
import signal
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from mcp_jobs.execution.incarnation import identify
from mcp_jobs.execution.job_directory import read_traces
from tests.support import BOUND_S, Place, alive
from tests.system.fleet import accept, idle_core
from tests.system.station import (
    Server,
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
    from collections.abc import Callable
    from pathlib import Path

    from tests.system.station import Shown, Station

NOTE = "echo run >> runs"


def _put(name: str, text: bytes) -> Callable[[Path], None]:
    def put(directory: Path) -> None:
        (directory / name).write_bytes(text)

    return put


def _put_directory(name: str) -> Callable[[Path], None]:
    def put(directory: Path) -> None:
        (directory / name).unlink(missing_ok=True)
        (directory / name).mkdir()

    return put


def _file_instead(directory: Path) -> None:
    shutil.rmtree(directory)
    directory.write_text("a file")


def _link_instead(directory: Path) -> None:
    directory.rename(directory.with_name("moved"))
    directory.symlink_to("moved")


SPOILS: dict[str, Callable[[Path], Any]] = {
    "no directory": shutil.rmtree,
    "a moved directory": lambda directory: directory.rename(directory.with_name("moved")),
    "a file for a directory": _file_instead,
    "a link for a directory": _link_instead,
    "no alive": lambda directory: (directory / "alive").unlink(missing_ok=True),
    "an empty alive": _put("alive", b""),
    "garbage in alive": _put("alive", b"\0\xff garbage"),
    "another alive": _put("alive", b'{"pid": 1}\n[]\n5\n'),
    "a directory for alive": _put_directory("alive"),
    "garbage in fence": _put("fence", b"garbage"),
    "a directory for fence": _put_directory("fence"),
    "a directory for stop": _put_directory("stop"),
    "a directory for env": _put_directory("env"),
}


def _runs(place: Place) -> int:
    path = place.project / "runs"
    return path.read_text().count("run") if path.exists() else 0


async def _claimed_by_the_dead(place: Place) -> None:
    async with idle_core(place) as core:
        claimed = await core.store.claim(
            claimer="dead",
            locality=core.executor.locality,
            incarnation=str(identify(place.home)),
            capacity=9,
            now_ms=int(time.time() * 1000),
        )
    assert claimed is not None


def _assert_one_end(job: Shown, runs: int) -> None:
    """Hold that a job either ran once or says why it did not, and that nobody must guess."""
    if job["status"] == "completed":
        assert runs == 1
    else:
        assert (job["status"], job["reason"]) == ("failed", "interrupted"), job
        assert runs == 0
        assert job["error"].startswith("Interrupted: "), job


# -- before it began -----------------------------------------------------------------------------


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
async def test_a_waiting_job_runs_once_or_says_why_not(
    place: Place, spoil: Callable[[Path], Any], caplog: pytest.LogCaptureFixture
) -> None:
    (job_id,) = await accept(place, shell(place, NOTE))
    spoil(place.home / "jobs" / job_id)
    async with station(place, capacity=1) as jobs:
        job = await jobs.ended(job_id)
        # Its slot is free again.
        behind = await jobs.run("echo fine")

    _assert_one_end(job, _runs(place))
    assert behind["output"]["text"] == "fine\n"
    assert caplog.text.count(f"job {job_id}: Interrupted") <= 1
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
async def test_a_job_whose_owner_died_before_the_launch_runs_once_or_says_why_not(
    place: Place, spoil: Callable[[Path], Any], caplog: pytest.LogCaptureFixture
) -> None:
    (job_id,) = await accept(place, shell(place, NOTE))
    await _claimed_by_the_dead(place)
    spoil(place.home / "jobs" / job_id)
    async with station(place, capacity=1) as jobs:
        job = await jobs.ended(job_id)
        behind = await jobs.run("echo fine")

    _assert_one_end(job, _runs(place))
    assert behind["output"]["text"] == "fine\n"
    assert "Traceback" not in caplog.text


# -- while it runs -------------------------------------------------------------------------------


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
async def test_the_end_of_a_job_is_told_by_its_runner_whatever_became_of_its_files(
    place: Place, spoil: Callable[[Path], Any], caplog: pytest.LogCaptureFixture
) -> None:
    path = await gate(place)
    async with station(place) as jobs:
        job_id = await jobs.start(f"{NOTE}; echo $$ > pids; read x < gate; exit 4")
        await pids_in(place.project / "pids")
        spoil(jobs.directory(job_id))
        assert (await jobs.check(job_id))["status"] == "running"
        await release(path)
        job = await jobs.ended(job_id)

    assert (job["status"], job["reason"], job["exit_code"]) == ("failed", "exit_code", 4)
    assert "exit code 4" in job["error"]
    if not (place.home / "jobs" / job_id).exists():
        assert "directory was removed" in job["error"]
    assert _runs(place) == 1
    assert "Traceback" not in caplog.text


def _orphaned(place: Place, dead: Server, spoil: Callable[[Path], Any]) -> str:
    """Leave a running job without server and launcher; its runner lives."""
    leave_nobody(place, dead)
    (job_id,) = dead.job_ids
    spoil(place.home / "jobs" / job_id)
    return job_id


HIDDEN = {name: spoil for name, spoil in SPOILS.items() if "alive" in name or "directory" in name}
"""What hides the runner from whoever comes later."""


@pytest.mark.parametrize("spoil", HIDDEN.values(), ids=HIDDEN)
async def test_a_job_whose_runner_is_hidden_runs_until_its_processes_are_gone(
    place: Place, spoil: Callable[[Path], Any], caplog: pytest.LogCaptureFixture
) -> None:
    path = await gate(place)
    command = f"{NOTE}; echo $$ > pids; read x < gate"
    with server(place, shell(place, command)) as dead:
        (pid,) = await pids_in(place.project / "pids")
        await identity_of(place.home / "jobs" / dead.job_ids[0])
        job_id = _orphaned(place, dead, spoil)
    async with station(place) as jobs:
        job = await _looked_at(jobs, job_id)
        assert (job["status"], alive(pid)) == ("running", True)
        await release(path)
        job = await jobs.ended(job_id)
        await all_gone([pid])

    assert (job["status"], _runs(place)) in (("failed", 1), ("completed", 1))
    if job["status"] == "failed":
        assert job["reason"] == "interrupted"
        assert job["error"].startswith("Interrupted: ")
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("spoil", HIDDEN.values(), ids=HIDDEN)
@pytest.mark.parametrize("by", ["cancel", "time limit"])
async def test_a_job_whose_runner_is_hidden_can_be_ended(
    place: Place, spoil: Callable[[Path], Any], by: str
) -> None:
    limit = {"timeout_seconds": 1000} if by == "cancel" else {"timeout_seconds": 4}
    with server(place, shell(place, f"{NOTE}; echo $$ > pids; exec sleep 1000", **limit)) as dead:
        (pid,) = await pids_in(place.project / "pids")
        runner = (await identity_of(place.home / "jobs" / dead.job_ids[0]))["pid"]
        job_id = _orphaned(place, dead, spoil)
    if by == "time limit" and not read_traces(place.home / "jobs" / job_id).locked:
        # Nor does it keep the limit by itself, as one does whose lock is still seen.
        os.kill(runner, signal.SIGSTOP)
    try:
        async with station(place) as jobs:
            if by == "cancel":
                await _looked_at(jobs, job_id)
                await jobs.cancel(job_id, 1)
            job = await jobs.ended(job_id)
            assert not alive(pid)
    finally:
        if alive(runner):
            os.kill(runner, signal.SIGKILL)

    wanted = ("cancelled", "cancelled_by_user") if by == "cancel" else ("failed", "timeout")
    assert (job["status"], job["reason"]) == wanted


async def _looked_at(jobs: Station, job_id: str) -> Shown:
    """Return a job once this process has taken it over."""
    with anyio.fail_after(BOUND_S):
        while True:
            found = await jobs.core.store.find(job_id)
            assert found is not None
            if found.claimed_by in (jobs.core.membership.members.own_id, None):
                return await jobs.check(job_id)
            await anyio.sleep(0.02)
