"""Whoever works in a home that is removed or replaced says so and leaves; what may be mended is."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from mcp_jobs.domain.errors import HomeGoneError
from mcp_jobs.execution.home_watch import HomeWatch
from mcp_jobs.execution.incarnation import identify
from mcp_jobs.execution.launcher import layout
from mcp_jobs.execution.launcher_client import LauncherClient
from mcp_jobs.execution.owner_locks import Owners
from tests.raw import RawServer
from tests.stores import created, open_store
from tests.support import BOUND_S, Place, alive, until
from tests.system.attempts import make_job, request_for, run_attempt
from tests.system.fleet import accept, assert_refused_plainly, run_command
from tests.system.station import (
    ROOT,
    all_gone,
    gate,
    identity_of,
    launcher,
    launchers,
    pids_in,
    release,
    server,
    shell,
    socket_path,
    station,
)

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

COMMANDS = {
    "stdio": (),
    "worker": ("worker",),
    "drain": ("worker", "--drain"),
    "http": ("serve", "--http", "--port", "0"),
    "list": ("list", "--watch"),
}
WAITS = "echo $$ > pids; read x < gate; echo >> ended"


@contextmanager
def _command(place: Place, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """Run `mcp-jobs` with a client that says nothing; it is killed at the end."""
    path = os.environ.get("PATH", os.defpath)
    process = subprocess.Popen(
        [sys.executable, "-m", "mcp_jobs", *arguments],
        env=place.environment(PYTHONPATH=str(ROOT), PATH=path),
        cwd=place.project,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            yield process
        finally:
            process.kill()


async def _end_of(process: subprocess.Popen[str]) -> tuple[int, str]:
    await until(lambda: process.poll() is not None)
    assert process.stderr is not None
    return process.returncode, process.stderr.read()


# -- the home ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", COMMANDS)
async def test_a_removed_home_is_left_with_one_sentence(place: Place, name: str) -> None:
    # Something to wait for, so that a draining worker does not leave of itself.
    await accept(place, shell(place, "true", delay_seconds=3600))
    with _command(place, *COMMANDS[name]) as process:
        await _at_work(place, name)
        shutil.rmtree(place.home)
        code, said = await _end_of(process)
    await until(lambda: not place.processes())

    told = [line for line in said.splitlines() if "was removed" in line]
    assert code == 1
    assert len(told) == 1, said
    assert str(place.home) in told[0]
    assert "Traceback" not in said
    assert not place.home.exists()


async def _at_work(place: Place, name: str) -> None:
    """Return when a command works in the home."""
    if name == "list":
        # It holds the home open from when it watches it.
        await until(lambda: str(place.home) in _opened(place))
    else:
        await until(lambda: [p for p in (place.home / "owners").iterdir() if p.name[0] != "."])
        await until(lambda: launchers(place))


def _opened(place: Place) -> list[str]:
    found = []
    for pid in place.processes():
        try:
            found += [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]
        except OSError:
            continue
    return found


async def test_a_home_that_is_removed_before_it_is_watched_is_missed_all_the_same(
    place: Place,
) -> None:
    store = await open_store(place.settings().database)
    watch = HomeWatch(place.settings(), store, lambda: None)
    shutil.rmtree(place.home)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(watch.run)
        with anyio.fail_after(BOUND_S):
            why = await watch.gone()
        tasks.cancel_scope.cancel()
    await store.close()

    assert "was removed" in why


async def test_a_job_of_a_removed_home_is_ended_with_all_that_kept_it(place: Place) -> None:
    await gate(place)
    await accept(place, shell(place, WAITS))
    with _command(place, "worker"):
        (pid,) = await pids_in(place.project / "pids")
        shutil.rmtree(place.home)
        await until(lambda: not place.processes())

    assert not alive(pid)
    assert not (place.project / "ended").exists()
    assert not place.home.exists()


async def test_a_job_of_a_home_that_was_moved_goes_on(place: Place) -> None:
    path = await gate(place)
    await accept(place, shell(place, WAITS))
    with _command(place, "worker") as left:
        (pid,) = await pids_in(place.project / "pids")
        place.home.rename(place.root / "moved")
        place.home.mkdir(mode=0o700)
        _, said = await _end_of(left)
        lives = alive(pid)
        await release(path)
    await until(lambda: not place.processes())

    assert "was replaced by another directory" in said
    assert lives
    assert (place.project / "ended").exists()
    assert list(place.home.iterdir()) == []


# -- the database --------------------------------------------------------------------------------


@pytest.mark.parametrize("replaced", [False, True], ids=["removed", "replaced"])
async def test_a_database_that_is_gone_is_written_no_more(place: Place, replaced: bool) -> None:
    with RawServer(place) as raw:
        raw.assert_alive()
        (place.home / "jobs.db").rename(place.root / "taken")
        if replaced:
            (place.home / "jobs.db").touch()
        refusal = raw.refusal("start_job", {"params": {"command": "touch ran"}})
        await until(lambda: raw.process.poll() is not None)
    await until(lambda: not place.processes())

    assert ("replaced" if replaced else "was removed") in refusal
    assert "not known" not in refusal
    assert str(place.home / "jobs.db") in refusal
    assert (place.home / "jobs.db").exists() == replaced
    assert not (place.project / "ran").exists()


@pytest.mark.parametrize("name", ["jobs.db", "jobs.db-wal"])
async def test_a_store_notices_before_each_write(tmp_path: Path, name: str) -> None:
    store = await open_store(tmp_path / "jobs.db")
    try:
        await created(store)
        await created(store)
        (tmp_path / name).unlink()
        with pytest.raises(HomeGoneError, match="was removed"):
            await created(store)
    finally:
        await store.close()


def test_no_second_database_is_made_beside_one_that_others_work_with(place: Place) -> None:
    owners = place.home / "owners"
    owners.mkdir(mode=0o700)
    fd = layout.lock_file(str(owners / "somebody"), wait=False)
    assert fd is not None
    try:
        for arguments in ((), ("worker",), ("list",)):
            assert_refused_plainly(run_command(place, *arguments), "was removed", "put the file")
    finally:
        os.close(fd)
    database = place.home / "jobs.db"
    refused = not database.exists()
    later = run_command(place, "list")

    assert refused
    assert later.returncode == 0


# -- what is made anew ---------------------------------------------------------------------------


async def test_directories_of_the_home_are_made_anew(place: Place) -> None:
    async with station(place) as jobs:
        await jobs.run("true")
        shutil.rmtree(place.home / "owners")
        shutil.rmtree(place.home / "jobs")
        own = place.home / "owners" / jobs.core.membership.members.own_id
        await until(lambda: layout.is_locked(str(own)) and (place.home / "jobs").exists())
        job = await jobs.run("echo fine")

    assert (job["status"], job["output"]["text"]) == ("completed", "fine\n")


async def test_an_owner_whose_file_is_gone_is_known_again(place: Place) -> None:
    async with station(place) as jobs:
        await jobs.run("true")
        own = place.home / "owners" / jobs.core.membership.members.own_id
        own.unlink()
        await until(lambda: layout.is_locked(str(own)))
        other = Owners(place.home / "owners", "other", jobs.core.service._clock)

        assert not other.is_gone(jobs.core.membership.members.own_id)


async def test_a_launcher_whose_socket_is_gone_is_replaced_and_leaves(place: Place) -> None:
    async with station(place) as jobs:
        path = await gate(place)
        job_id = await jobs.start("read x < gate; echo fine")
        await identity_of(jobs.directory(job_id))
        first = launcher(place)
        # As a logout does, in one step.
        socket_path(place).parent.rename(place.root / "gone")
        other = await jobs.run("echo other")
        await until(lambda: jobs.core.membership._link is not None and socket_path(place).exists())
        await release(path)
        job = await jobs.ended(job_id)
        await all_gone([first])

    assert (other["status"], job["status"]) == ("completed", "completed")
    assert job["output"]["text"] == "fine\n"


async def test_a_launcher_is_started_where_the_runtime_directory_is_now(place: Place) -> None:
    chosen = [place.root / "run" / "one"]
    chosen[0].mkdir(mode=0o700)
    client = LauncherClient(
        home=place.home,
        home_id=identify(place.home).home_id,
        runtime_dir=lambda: chosen[0],
        idle_s=0.2,
    )
    first = await run_attempt(client, request_for(make_job(place, "true"), 1))
    chosen[0].rename(place.root / "gone")
    chosen[0] = place.root / "run" / "two"
    chosen[0].mkdir(mode=0o700)
    second = await run_attempt(client, request_for(make_job(place, "true"), 2))
    await until(lambda: not place.processes())

    assert (first, second) == (True, True)


async def test_a_call_that_waits_is_answered_before_the_server_leaves(place: Place) -> None:
    with RawServer(place) as raw:
        asked = raw.call("start_job", {"params": {"command": "exec sleep 1000"}})
        job_id = asked["structuredContent"]["job_id"]
        (place.home / "jobs.db").rename(place.root / "taken")
        waits = {"job_id": job_id, "wait_seconds": 50}
        answer = raw.request("tools/call", {"name": "check_job", "arguments": waits})
        await until(lambda: raw.process.poll() is not None)
    # Only the database is gone: the job goes on, and may be found again when it is put back.
    for pid in place.processes():
        os.kill(pid, signal.SIGTERM)

    assert {"result", "error"} & answer.keys()


async def test_a_server_is_known_to_the_launcher_that_follows_a_lost_socket(place: Place) -> None:
    with server(place, shell(place, "true", delay_seconds=2)) as dead:
        first = launcher(place)
        socket_path(place).parent.rename(place.root / "gone")
        await all_gone([first])
        await until(socket_path(place).exists)
        dead.kill()
    with anyio.fail_after(BOUND_S):
        await until(lambda: not place.processes())
    async with station(place) as jobs:
        job = await jobs.check(dead.job_ids[0])

    assert job["status"] == "completed"


async def test_a_home_that_a_link_leads_to_is_one_until_the_link_leads_elsewhere(
    place: Place,
) -> None:
    link, other = place.root / "link", place.root / "other"
    link.symlink_to(place.home)
    other.mkdir(mode=0o700)
    async with station(place, home=link) as jobs:
        await jobs.run("true")
        faults = jobs.core.upkeep.faults()
        link.unlink()
        link.symlink_to(other)
        with anyio.fail_after(BOUND_S):
            why = await jobs.core.home.gone()

    assert faults == ()
    assert "was replaced by another directory" in why
