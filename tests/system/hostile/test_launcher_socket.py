"""The launcher's socket is private, and nothing that comes over it hurts the launcher."""

from __future__ import annotations

import json
import os
import socket
import stat
from contextlib import closing

import anyio.to_thread
import pytest

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.execution.host import runtime_directory
from mcp_jobs.execution.launcher import exit_record
from tests.support import Place, until
from tests.system.attempts import fields, make_job, request_for
from tests.system.station import gate, identity_of, launcher, release, socket_path, station

NOBODY = 65534


# -- private -------------------------------------------------------------------------------------


async def test_its_socket_and_directory_are_private(place: Place) -> None:
    before = os.umask(0)
    try:
        async with station(place) as jobs:
            await jobs.run("true")
            path = socket_path(place)
            modes = [stat.S_IMODE(p.stat().st_mode) for p in (path, path.parent)]
    finally:
        os.umask(before)

    assert modes == [0o600, 0o700]
    assert len(os.fsencode(path)) < 104


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o701])
def test_a_directory_that_others_may_enter_is_refused(place: Place, mode: int) -> None:
    directory = place.root / "run" / "mcp-jobs"
    directory.mkdir()
    directory.chmod(mode)

    with pytest.raises(InvalidInputError, match=f"{directory}.*0700"):
        runtime_directory()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a directory away")
def test_a_directory_of_somebody_else_is_refused(place: Place) -> None:
    directory = place.root / "run" / "mcp-jobs"
    directory.mkdir(mode=0o700)
    os.chown(directory, NOBODY, NOBODY)

    with pytest.raises(InvalidInputError, match=f"{directory}"):
        runtime_directory()


def test_a_link_in_place_of_the_directory_is_refused(place: Place) -> None:
    (place.root / "elsewhere").mkdir(mode=0o700)
    (place.root / "run" / "mcp-jobs").symlink_to(place.root / "elsewhere")

    with pytest.raises(InvalidInputError):
        runtime_directory()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become somebody else")
async def test_a_connection_of_another_user_is_refused(place: Place) -> None:
    async with station(place) as jobs:
        path = await gate(place)
        first = await jobs.start("read x < gate")
        await identity_of(jobs.directory(first))
        job_dir = make_job(place, "touch ran")
        # Even where the directories let everybody in.
        for directory in (place.root, place.root / "run", socket_path(place).parent):
            directory.chmod(0o755)
        socket_path(place).chmod(0o666)
        request = json.dumps({"op": "run", **fields(request_for(job_dir, 1))}).encode() + b"\n"
        answers = [await anyio.to_thread.run_sync(_as, u, place, request) for u in (NOBODY, 0)]
        await release(path)
        await jobs.ended(first)

    assert answers[0] == b""
    assert json.loads(answers[1])["event"] == "started"


def _as(uid: int, place: Place, request: bytes) -> bytes:
    """Connect as another user and return the first line of the answer."""
    read_fd, write_fd = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.setgid(uid)
            os.setuid(uid)
            with closing(socket.socket(socket.AF_UNIX)) as client:
                client.connect(str(socket_path(place)))
                try:
                    client.sendall(request)
                    os.write(write_fd, client.makefile("rb").readline())
                except (BrokenPipeError, ConnectionResetError):
                    pass
        finally:
            os._exit(0)
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as answer:
        text = answer.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    return text


# -- garbage -------------------------------------------------------------------------------------

_GARBAGE = {
    "nothing": b"\n",
    "no JSON": b"hello\n",
    "no UTF-8": b"\xff\xfe\n",
    "NULs": bytes(1000) + b"\n",
    "a list": b"[1]\n",
    "a string": b'"op"\n',
    "a number too long": b"9" * 10_000 + b"\n",
    "no operation": b"{}\n",
    "an unknown operation": b'{"op": "dance"}\n',
    "an operation that is a list": b'{"op": ["run"]}\n',
    "a run without anything": b'{"op": "run"}\n',
    "a run of nowhere": b'{"op": "run", "job_dir": "/no/where", "token": 1}\n',
    "a run of wrong types": b'{"op": "run", "job_dir": 7, "token": "x"}\n',
    "an attach with a wrong drain": b'{"op": "attach", "drain": 5}\n',
    "nested too deeply": b"[" * 100_000 + b"\n",
    "too much": b"x" * (5 << 20) + b"\n",
}


@pytest.mark.parametrize("request_text", _GARBAGE.values(), ids=_GARBAGE)
async def test_garbage_does_not_hurt_it(place: Place, request_text: bytes) -> None:
    async with station(place) as jobs:
        path = await gate(place)
        first = await jobs.start("read x < gate")
        await identity_of(jobs.directory(first))
        pid = launcher(place)
        await anyio.to_thread.run_sync(_send, place, request_text)
        other = await jobs.run("echo fine")
        after = launcher(place)
        await release(path)
        job = await jobs.ended(first)

    assert after == pid
    assert (other["status"], job["status"]) == ("completed", "completed")


async def test_half_requests_hold_up_nobody(place: Place) -> None:
    async with station(place) as jobs:
        path = await gate(place)
        first = await jobs.start("read x < gate")
        await identity_of(jobs.directory(first))
        clients = [_connect(place) for _ in range(20)]
        for client in clients:
            client.sendall(b'{"op": "run", ')
        other = await jobs.run("echo fine")
        for client in clients:
            client.close()
        await release(path)
        await jobs.ended(first)

    assert other["status"] == "completed"


async def test_a_request_in_pieces_is_understood(place: Place) -> None:
    async with station(place) as jobs:
        path = await gate(place)
        first = await jobs.start("read x < gate")
        await identity_of(jobs.directory(first))
        request = json.dumps({"op": "run", **fields(request_for(make_job(place, "true"), 1))})
        with closing(_connect(place)) as client:
            for character in request:
                client.sendall(character.encode())
            client.sendall(b"\n")
            answer = await anyio.to_thread.run_sync(client.makefile("rb").readline)
        await release(path)
        await jobs.ended(first)
        await until(lambda: exit_record.read(str(place.home / "one"), 1))

    assert json.loads(answer)["event"] == "started"


def _connect(place: Place) -> socket.socket:
    client = socket.socket(socket.AF_UNIX)
    client.connect(str(socket_path(place)))
    return client


def _send(place: Place, text: bytes) -> None:
    """Send `text` and return when it was refused, or taken."""
    with closing(_connect(place)) as client:
        try:
            client.sendall(text)
            client.shutdown(socket.SHUT_WR)
            while client.recv(4096):
                pass
        except (BrokenPipeError, ConnectionResetError):
            pass
