"""A database that is locked or damaged is refused clearly, and never changed or deleted."""

from __future__ import annotations

import os
import random
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from mcp_jobs.domain.errors import StoreBusyError
from mcp_jobs.execution.launcher import exit_record
from tests.raw import RawServer
from tests.support import Place, until
from tests.system.fleet import accept, assert_refused_plainly, run_command
from tests.system.station import gate, pids_in, release, shell, station

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

SHORT_WAIT: Final = """
from mcp_jobs.store.sqlite import connection
connection._BUSY_TIMEOUT_MS = 500
"""
"""A change under which a lock is not waited for: ten seconds are too long for a test."""

_PAGE: Final = 4096


@contextmanager
def locked(place: Place, mode: str) -> Iterator[None]:
    """Hold the database's lock as another program does."""
    connection = sqlite3.connect(place.home / "jobs.db", isolation_level=None)
    try:
        connection.execute(f"PRAGMA locking_mode = {mode}")
        connection.execute("BEGIN EXCLUSIVE")
        connection.execute("UPDATE job_counts SET total = total")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


# -- locked --------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [(), ("worker",)], ids=["server", "worker"])
async def test_a_database_that_another_holds_is_refused_and_kept(
    place: Place, command: tuple[str, ...]
) -> None:
    (job_id,) = await accept(place, shell(place, "exit 7"))
    with locked(place, "EXCLUSIVE"):
        done = run_command(place, *command, change=SHORT_WAIT)

    assert_refused_plainly(done, str(place.home / "jobs.db"), "locked", "try again")
    async with station(place) as jobs:
        assert (await jobs.ended(job_id))["exit_code"] == 7


async def test_a_lock_under_a_server_stops_no_reading_and_loses_no_end(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_jobs.store.sqlite.connection._BUSY_TIMEOUT_MS", 500)
    path = await gate(place)
    async with station(place) as jobs:
        job_id = await jobs.start("echo $$ > pids; read x < gate; exit 7")
        await pids_in(place.project / "pids")
        with locked(place, "NORMAL"):
            with pytest.raises(StoreBusyError, match=r"locked.*Nothing was changed; try again"):
                await jobs.start("echo >> ran")
            await release(path)
            await until(lambda: exit_record.read(str(jobs.directory(job_id)), 1))
            during = await jobs.check(job_id)
        job = await jobs.ended(job_id)
        after = await jobs.run("echo after")
        left = sorted(entry.name for entry in (place.home / "jobs").iterdir())

    assert during["status"] == "running"
    assert (job["reason"], job["exit_code"]) == ("exit_code", 7)
    assert after["status"] == "completed"
    assert left == sorted([job_id, after["job_id"]])
    assert not (place.project / "ran").exists()


def test_a_lock_is_a_tool_error_that_says_what_to_do(place: Place) -> None:
    code = f"{SHORT_WAIT}\nfrom mcp_jobs.__main__ import main\nmain()"
    with RawServer(place, code=code) as server:
        server.assert_alive()
        with locked(place, "NORMAL"):
            refusal = server.refusal("start_job", {"params": {"command": "true"}})
            server.assert_alive()
        again = {"params": {"command": "true"}, "wait_seconds": 20}
        job = server.call("start_job", again)["structuredContent"]

    assert "locked" in refusal
    assert "try again" in refusal
    assert job["status"] == "completed"


# -- damaged -------------------------------------------------------------------------------------


def _random_header(whole: bytes) -> bytes:
    return random.Random(1).randbytes(100) + whole[100:]


def _random_pages(whole: bytes) -> bytes:
    return whole[:_PAGE] + random.Random(2).randbytes(len(whole) - _PAGE)


def _half(whole: bytes) -> bytes:
    return whole[: len(whole) // _PAGE // 2 * _PAGE]


def _less_than_a_page(whole: bytes) -> bytes:
    return whole[:1000]


def _text(whole: bytes) -> bytes:
    del whole
    return b"Dear diary,\n" * 500


def _other_program(whole: bytes) -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE changes (something TEXT)")
    connection.execute("PRAGMA user_version = 1")
    data = connection.serialize()
    connection.close()
    return data


DAMAGES: Final = (
    _random_header,
    _random_pages,
    _half,
    _less_than_a_page,
    _text,
)


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda damage: damage.__name__.strip("_"))
async def test_a_damaged_database_is_refused_with_its_path_and_left_as_it_is(
    place: Place, damage: Callable[[bytes], bytes]
) -> None:
    path = place.home / "jobs.db"
    await accept(place, *(shell(place, "true") for _ in range(20)))
    damaged = damage(path.read_bytes())
    path.write_bytes(damaged)
    done = run_command(place, "worker", "--drain")

    assert_refused_plainly(done, str(path), "It was left as it is", "restore the file")
    assert path.read_bytes() == damaged
    assert len(list((place.home / "jobs").iterdir())) == 20


def test_a_server_refuses_a_damaged_database_too(place: Place) -> None:
    path = place.home / "jobs.db"
    path.write_bytes(_text(b""))

    assert_refused_plainly(run_command(place), str(path), "not a database")
    assert path.read_bytes() == _text(b"")


def test_the_database_of_another_program_is_refused_and_kept(place: Place) -> None:
    path = place.home / "jobs.db"
    path.write_bytes(_other_program(b""))
    done = run_command(place, "worker", "--drain")
    connection = sqlite3.connect(path)
    tables = connection.execute("SELECT sql FROM sqlite_schema").fetchall()
    connection.close()

    assert_refused_plainly(done, str(path))
    assert tables == [("CREATE TABLE changes (something TEXT)",)]


async def test_an_empty_file_is_a_new_database(place: Place) -> None:
    # What a process leaves that was killed between making the file and its first transaction.
    os.close(os.open(place.home / "jobs.db", os.O_CREAT | os.O_WRONLY, 0o600))
    async with station(place) as jobs:
        job = await jobs.run("echo works")

    assert (job["status"], job["output"]["text"]) == ("completed", "works\n")
