"""A full or read-only home: nothing is lost, and every refusal says what to do."""

from __future__ import annotations

import os
import sqlite3
import subprocess
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import anyio.to_thread
import pytest

from mcp_jobs.execution.launcher import exit_record
from tests.raw import RawServer
from tests.support import Place, wait_until
from tests.system.fleet import accept, assert_refused_plainly, run_command
from tests.system.station import leave_nobody, pids_in, release, server, shell, station

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SIZE: Final = 4 << 20
_BALLAST_BYTES: Final = 1 << 20
PRINTED: Final = 20_000_000


def _mount(*arguments: str) -> str | None:
    """Mount something; returns what the system says against it."""
    try:
        done = subprocess.run(["mount", *arguments], capture_output=True, text=True, check=False)
    except OSError as error:
        return str(error)
    return done.stderr or "refused" if done.returncode else None


@pytest.fixture
def mounts(place: Place) -> Iterator[ExitStack]:
    """Unmounts everything at the end, when nobody is there any more."""
    with ExitStack() as stack:
        yield stack
        wait_until(lambda: not place.processes(), bound_s=10, strict=False)


def _mounted(mounts: ExitStack, path: Path, *arguments: str) -> None:
    problem = _mount(*arguments, str(path))
    if problem is not None:
        pytest.skip(f"this test needs a file system of its own, and may not mount one: {problem}")
    mounts.callback(subprocess.run, ["umount", "--lazy", str(path)], check=True)


@pytest.fixture
def small_home(place: Place, mounts: ExitStack) -> Path:
    """A home on a disk of 4 MiB, of which a file that may go takes 1 MiB."""
    _mounted(mounts, place.home, "-t", "tmpfs", "-o", f"size={_SIZE},mode=0700", "none")
    ballast = place.home / "ballast"
    ballast.write_bytes(b"\0" * _BALLAST_BYTES)
    return ballast


def free_bytes(place: Place) -> int:
    found = os.statvfs(place.home)
    return found.f_bavail * found.f_frsize


def fill(place: Place) -> Path:
    """Take all the space that is left."""
    path = place.home / "filling"
    with path.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"\0" * 4096)
        except OSError:
            return path


def integrity(place: Place) -> str:
    with sqlite3.connect(place.home / "jobs.db") as connection:
        (row,) = connection.execute("PRAGMA integrity_check")
    connection.close()
    return str(row[0])


def _gate(place: Place) -> Path:
    path = place.project / "gate"
    os.mkfifo(path)
    return path


async def test_a_job_that_fills_the_disk_ends_truly_and_the_server_goes_on(
    place: Place, small_home: Path
) -> None:
    path = _gate(place)
    with RawServer(place) as raw:
        command = f"yes | head -c {PRINTED}; read x < gate; exit 7"
        asked = raw.call("start_job", {"params": {"command": command}})
        job_id = asked["structuredContent"]["job_id"]
        wait_until(lambda: free_bytes(place) == 0)
        running = raw.call("check_job", {"job_id": job_id})["structuredContent"]
        listed = raw.call("list_jobs", {})["structuredContent"]
        refusal = raw.refusal("start_job", {"params": {"command": "touch ran"}})
        await release(path)
        # The end may be stored only when there is space, but it is written down before.
        directory = place.home / "jobs" / job_id
        wait_until(
            lambda: exit_record.read(str(directory), 1) or not (directory / "alive").exists()
        )
        written = exit_record.read(str(directory), 1)
        small_home.unlink()
        check = {"job_id": job_id, "wait_seconds": 20}
        job = raw.call("check_job", check)["structuredContent"]
        again = {"params": {"command": "echo again"}, "wait_seconds": 20}
        after = raw.call("start_job", again)["structuredContent"]
        raw.assert_alive()

    assert (running["status"], listed["counts"]["running"]) == ("running", 1)
    assert "y\ny\n" in running["output"]["text"]
    assert "No space left on device" in refusal
    assert written is None or (written["exit_code"], written["output_error"]) == (7, "ENOSPC")
    assert (job["status"], job["reason"], job["exit_code"]) == ("failed", "exit_code", 7)
    assert "ENOSPC" in job["error"]
    assert (after["status"], after["output"]["text"]) == ("completed", "again\n")
    assert not (place.project / "ran").exists()
    assert integrity(place) == "ok"


async def test_an_end_on_a_full_disk_is_written_down_in_the_reserved_space(
    place: Place, small_home: Path
) -> None:
    path = _gate(place)
    command = "echo one; echo $$ > pids; read x < gate; echo two; exit 7"
    with server(place, shell(place, command)) as dead:
        (job_id,) = dead.job_ids
        await pids_in(place.project / "pids")
        fill(place)
        # Nobody is there to settle it, so that what the runner writes can be seen.
        leave_nobody(place, dead)
    await release(path)
    directory = str(place.home / "jobs" / job_id)
    wait_until(lambda: exit_record.read(directory, 1))
    written = exit_record.read(directory, 1)
    left = free_bytes(place)
    (place.home / "filling").unlink()
    async with station(place) as jobs:
        job = await jobs.ended(job_id)

    assert written is not None
    assert (written["exit_code"], left) == (7, 0)
    assert (job["status"], job["reason"], job["exit_code"]) == ("failed", "exit_code", 7)
    assert integrity(place) == "ok"


async def test_a_start_that_the_disk_refuses_leaves_nothing_behind(
    place: Place, small_home: Path
) -> None:
    async with station(place) as jobs:
        await jobs.run("true")
        before = sorted((place.home / "jobs").iterdir())
        fill(place)
        with pytest.raises(OSError, match="No space left"):
            await jobs.start("true")
        after = sorted((place.home / "jobs").iterdir())

    assert after == before


async def test_jobs_that_were_accepted_run_when_there_is_space_again(
    place: Place, small_home: Path
) -> None:
    ids = await accept(place, shell(place, "echo >> ran"), shell(place, "echo >> ran; exit 7"))
    filling = fill(place)
    refused = run_command(place, "worker", "--drain")
    filling.unlink()
    done = run_command(place, "worker", "--drain")
    async with station(place) as jobs:
        ends = [await jobs.check(job_id) for job_id in ids]

    assert_refused_plainly(refused, str(place.home / "jobs.db"), "free disk space")
    assert done.returncode == 0
    assert [job["exit_code"] for job in ends] == [0, 7]
    assert (place.project / "ran").read_text() == "\n\n"


@pytest.mark.parametrize("command", [("start", "--", "true"), ("start", "--wait", "--", "true")])
async def test_a_command_on_a_full_disk_says_so_in_one_sentence(
    place: Place, small_home: Path, command: tuple[str, ...]
) -> None:
    # As long as a server has the store open, it can be read on a full disk too.
    async with station(place):
        fill(place)
        done = await anyio.to_thread.run_sync(run_command, place, *command)

    assert_refused_plainly(done, "No space left on device", "free disk space")


# -- read-only, or no directory at all -----------------------------------------------------------


@pytest.mark.parametrize("used", [False, True], ids=["new", "used"])
@pytest.mark.parametrize("command", [(), ("worker",)], ids=["server", "worker"])
async def test_a_read_only_home_is_refused_in_one_sentence(
    place: Place, mounts: ExitStack, used: bool, command: tuple[str, ...]
) -> None:
    if used:
        await accept(place, shell(place, "true"))
    _mounted(mounts, place.home, "--bind", str(place.home))
    problem = _mount("-o", "remount,bind,ro", str(place.home))
    if problem is not None:
        pytest.skip(f"this system does not make a mount read-only: {problem}")

    assert_refused_plainly(run_command(place, *command), str(place.home), "Read-only file system")


@pytest.mark.parametrize("command", [(), ("worker",)], ids=["server", "worker"])
@pytest.mark.parametrize("name", ["home", "home/jobs", "home/owners"])
def test_a_file_where_a_directory_belongs_is_refused_and_kept(
    place: Place, name: str, command: tuple[str, ...]
) -> None:
    path = place.root / name
    if path.is_dir():
        path.rmdir()
    path.write_text("mine")

    assert_refused_plainly(run_command(place, *command), str(place.home), "MCP_JOBS_HOME")
    assert path.read_text() == "mine"


def test_a_directory_in_place_of_the_database_is_refused_and_kept(place: Place) -> None:
    (place.home / "jobs.db").mkdir()

    assert_refused_plainly(run_command(place, "worker"), str(place.home / "jobs.db"))
    assert (place.home / "jobs.db").is_dir()
