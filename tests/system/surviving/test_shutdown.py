"""However a host ends the server, it leaves with code 0 and its jobs go on."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Any

import pytest

from tests.gates import gate, open_gate_now
from tests.raw import RawServer
from tests.support import wait_until

if TYPE_CHECKING:
    from tests.support import Place

ERAS = [pytest.param(False, id="handshake"), pytest.param(True, id="2026-07-28")]
ENDS = ["stdin", "SIGINT", "SIGTERM"]


def end(server: RawServer, how: str) -> int:
    """End a server as hosts do; returns its exit code. stdin stays open for the signals."""
    if how == "stdin":
        server.close_stdin()
    else:
        server.signal(signal.Signals[how])
    return server.wait()


def running(server: RawServer, command: str) -> dict[str, Any]:
    """Start a job and wait until its program runs; `running` is stored a little earlier."""
    arguments = {"params": {"command": f"echo before; {command}"}}
    job = server.call("start_job", arguments)["structuredContent"]
    wait_until(lambda: shown(server, job)["output"]["text"])
    return dict(job)


def shown(server: RawServer, job: dict[str, Any], **more: Any) -> dict[str, Any]:
    result = server.call("check_job", {"job_id": job["job_id"], **more})
    return dict(result["structuredContent"])


@pytest.mark.parametrize("modern", ERAS)
@pytest.mark.parametrize("how", ENDS)
def test_the_server_ends_well_and_its_job_goes_on(place: Place, modern: bool, how: str) -> None:
    path = gate(place, "gate")
    with RawServer(place, modern=modern) as server:
        job = running(server, "read x < gate; echo after")
        assert end(server, how) == 0
        assert "Traceback" not in server.stderr
    open_gate_now(path)

    with RawServer(place, modern=modern) as server:
        done = shown(server, job, wait_seconds=20)
    assert (done["status"], done["exit_code"], done["attempt"]) == ("completed", 0, 1)
    assert done["output"]["text"] == "before\nafter\n"
    assert done["job_id"] == job["job_id"]


@pytest.mark.parametrize("how", ["stdin", "SIGTERM"])
def test_a_job_that_ends_while_no_server_runs_is_reported_as_it_ended(
    place: Place, how: str
) -> None:
    path = gate(place, "gate")
    with RawServer(place) as server:
        job = running(server, "read x < gate; echo done > finished; exit 3")
        assert end(server, how) == 0
    open_gate_now(path)
    wait_until((place.project / "finished").exists)

    with RawServer(place) as server:
        done = shown(server, job, wait_seconds=20)
    assert (done["status"], done["reason"], done["exit_code"]) == ("failed", "exit_code", 3)


@pytest.mark.parametrize("how", ENDS)
def test_a_server_that_did_nothing_yet_ends_well(place: Place, how: str) -> None:
    with RawServer(place) as server:
        server.assert_alive()
        assert end(server, how) == 0
        assert server.stderr == ""


@pytest.mark.parametrize("how", ["stdin", "SIGINT"])
def test_a_call_that_waits_does_not_hold_the_server_up(place: Place, how: str) -> None:
    path = gate(place, "gate")
    with RawServer(place) as server:
        job = running(server, "read x < gate")
        arguments = {"job_id": job["job_id"], "wait_seconds": 50}
        server.send("tools/call", {"name": "check_job", "arguments": arguments})
        # A later request is answered, so the waiting one is under way.
        server.assert_alive()
        assert end(server, how) == 0
    open_gate_now(path)
    with RawServer(place) as server:
        assert shown(server, job, wait_seconds=20)["status"] == "completed"


def test_both_signals_and_the_end_of_stdin_together_end_the_server_well(place: Place) -> None:
    with RawServer(place) as server:
        server.assert_alive()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGINT):
            server.signal(number)
        server.close_stdin()
        assert server.wait() == 0


def test_a_stray_print_does_not_reach_the_protocol(place: Place) -> None:
    code = """
import os, sys, threading
from mcp_jobs.service.job_service import JobService

original = JobService.list

async def list_and_print(self, *arguments, **options):
    print("stray print")
    sys.stdout.flush()
    os.write(1, b"stray write\\n")
    os.system("echo stray child")
    return await original(self, *arguments, **options)

JobService.list = list_and_print
sys.argv = ["mcp-jobs"]
from mcp_jobs.__main__ import main
main()
"""
    with RawServer(place, code=code) as server:
        # `RawServer` takes every line that is not JSON-RPC for a failure.
        for _ in range(3):
            server.assert_alive()
        assert server.notifications == []
        assert server.stderr.count("stray write\n") == 3
        assert server.stderr.count("stray child\n") == 3


@pytest.mark.parametrize("how", ["stdin", "SIGINT", "SIGTERM", "SIGKILL"])
def test_whatever_was_answered_in_a_crowd_of_calls_is_kept(place: Place, how: str) -> None:
    def start(server: RawServer, number: int) -> int:
        arguments = {"params": {"command": f"echo {number}"}, "idempotency_key": str(number)}
        return server.send("tools/call", {"name": "start_job", "arguments": arguments})

    with RawServer(place) as server:
        requests = [start(server, number) for number in range(50)]
        answers = [server.answer(request) for request in requests[:1]]
        assert end(server, how) == (-signal.SIGKILL if how == "SIGKILL" else 0)
        answers += server.rest()
    accepted = [a["result"]["structuredContent"] for a in answers if "result" in a]
    assert accepted
    refused = [a["error"]["message"] for a in answers if "error" in a]
    assert [text for text in refused if "Traceback" in text] == []

    with RawServer(place) as server:
        known = server.call("list_jobs", {"limit": 100})["structuredContent"]["jobs"]
        ids = [job["job_id"] for job in known]
        assert [job["job_id"] for job in accepted if job["job_id"] not in ids] == []
        # Asked again, all fifty are there once, and each ran once.
        again = [server.answer(start(server, number)) for number in range(50)]
        wanted = [a["result"]["structuredContent"]["job_id"] for a in again]
        assert len(set(wanted)) == 50
        assert set(ids) <= set(wanted)
        for number, job_id in enumerate(wanted):
            done = shown(server, {"job_id": job_id}, wait_seconds=20)
            assert (done["status"], done["attempt"]) == ("completed", 1)
            assert done["output"]["text"] == f"{number}\n"
