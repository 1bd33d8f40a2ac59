"""One owner who takes all he can get leaves the others their share."""

from __future__ import annotations

import socket
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.interfaces.http import sessions
from mcp_jobs.interfaces.http.auth.tokens import NamedToken, TokenFile
from mcp_jobs.service.shares import WAITING_CALLS
from tests.mcp_http import TASKS, RawHttp
from tests.support import BOUND_S, wait_until
from tests.web import named_token, problem, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Place
    from tests.web import WebServer

JOBS = """\
jobs:
  wait: {description: Wait., command: [sleep, '600']}
  hello: {description: Say hello., command: [echo, hello]}
  slow: {description: Print what is slow to search., command: [python3, -c, "print('a' * 60000)"]}
"""
SLOW = "(a|aa)%2B$b"


@contextmanager
def serving_declared(place: Place, **environment: str) -> Iterator[WebServer]:
    (place.root / "declared.yaml").write_text(JOBS)
    declared = ("--only-declared", "--config", str(place.root / "declared.yaml"))
    with serving(place, *declared, **environment) as server:
        yield server


def ask(stack: ExitStack, server: WebServer, token: str, target: str) -> socket.socket:
    """Send a request and leave its answer unread."""
    line = stack.enter_context(server.connect())
    head = f"GET {target} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {token}\r\n\r\n"
    line.sendall(head.encode())
    return line


def test_a_token_cannot_have_the_owner_local(place: Place) -> None:
    file = TokenFile(place.home)
    for name, owner in (("local", None), ("ann", "local")):
        with pytest.raises(InvalidInputError, match="'local'"):
            file.add(name, owner=owner, scopes=["read"])
    assert file.load().named == ()


def test_a_token_of_the_owner_local_from_before_is_not_valid(place: Place) -> None:
    file = TokenFile(place.home)
    token = file.add("ann", owner="ann", scopes=["read"])
    file.path.write_text(file.path.read_text().replace('"owner": "ann"', '"owner": "local"'))
    (kept,) = file.load().named
    assert isinstance(kept, NamedToken)
    with serving(place) as server, server.client(token) as client:
        problem(client.get("/jobs"), 401, "unauthorized")


def test_an_owner_with_all_his_connections_and_streams_leaves_the_others_theirs(
    place: Place,
) -> None:
    hers, his = named_token(place, "ann"), named_token(place, "bob")
    with serving_declared(place, MCP_JOBS_MAX_CONNECTIONS="16") as server, ExitStack() as stack:
        for _ in range(4):
            line = ask(stack, server, hers, "/events")
            assert line.recv(100).startswith(b"HTTP/1.1 200")
        for target in ("/events", "/jobs"):
            refused = ask(stack, server, hers, target)
            told = b"".join(iter(lambda line=refused: line.recv(1 << 16), b""))  # type: ignore[misc]
            assert told.startswith(b"HTTP/1.1 429")
            assert b"too_many_open" in told
        with server.client(his) as bob:
            assert bob.get("/jobs").status_code == 200


def test_a_single_owner_has_all_connections(place: Place) -> None:
    with serving(place, MCP_JOBS_MAX_CONNECTIONS="8") as server, ExitStack() as stack:
        for _ in range(7):
            line = ask(stack, server, server.token, "/events")
            assert line.recv(100).startswith(b"HTTP/1.1 200")


def test_slow_searches_of_one_owner_delay_no_read_of_another(place: Place) -> None:
    hers, his = named_token(place, "ann"), named_token(place, "bob")
    with (
        serving_declared(place, MCP_JOBS_REQUESTS_PER_SECOND="1000") as server,
        server.client(hers) as ann,
        server.client(his) as bob,
        ExitStack() as stack,
    ):
        slow = ann.post("/jobs", json={"type": "slow", "wait_seconds": 30}).json()["job_id"]
        own = bob.post("/jobs", json={"type": "hello", "wait_seconds": 30}).json()["job_id"]
        target = f"/jobs/{slow}/output?grep={SLOW}"
        searches = [ask(stack, server, hers, target) for _ in range(60)]
        # 40 threads serve all reads: with as many searches in them this would wait for one.
        for _ in range(5):
            read = bob.get(f"/jobs/{own}/output", params={"after": 0})
            assert read.json()["text"] == "hello\n"
        still = [line for line in searches if not answered(line)]
        assert len(still) > 40, "the searches were over before the reads"


def answered(line: socket.socket) -> bool:
    line.setblocking(False)
    try:
        return bool(line.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False
    finally:
        line.settimeout(BOUND_S)


def test_calls_that_wait_are_bounded_and_others_still_answered(place: Place) -> None:
    hers, his = named_token(place, "ann"), named_token(place, "bob")
    with (
        serving_declared(place, MCP_JOBS_REQUESTS_PER_SECOND="1000") as server,
        server.client(hers) as ann,
        server.client(his) as bob,
        ExitStack() as stack,
    ):
        job_id = ann.post("/jobs", json={"type": "wait"}).json()["job_id"]
        own = bob.post("/jobs", json={"type": "hello"}).json()["job_id"]
        for _ in range(WAITING_CALLS):
            ask(stack, server, hers, f"/jobs/{job_id}?wait_seconds=50")
        waiting = {"wait_seconds": 0.01}
        wait_until(lambda: ann.get(f"/jobs/{job_id}", params=waiting).status_code == 429)
        told = problem(ann.get(f"/jobs/{job_id}", params=waiting), 429, "too_many_open")
        assert "calls that wait" in told["detail"]
        refused = ann.post("/jobs", json={"type": "hello", "wait_seconds": 1})
        problem(refused, 429, "too_many_open")
        assert len(ann.get("/jobs").json()["jobs"]) == 1
        assert bob.get(f"/jobs/{own}", params={"wait_seconds": 20}).status_code == 200
        cancelled = ann.post(f"/jobs/{job_id}/cancel", json={"grace_seconds": 0}).json()
        assert cancelled["cancel_requested"] or cancelled["status"] == "cancelled"


_FEW_SESSIONS = """
from mcp_jobs.interfaces.http import sessions
sessions.MOST_SESSIONS = 3
from mcp_jobs.__main__ import main
main()
"""


def test_one_more_session_ends_the_one_that_was_not_used_for_longest(place: Place) -> None:
    named_token(place, "bob")
    assert sessions.MOST_SESSIONS > 3
    with serving(place, "--only-declared", code=_FEW_SESSIONS) as server, server.client() as client:
        lines = [RawHttp(client, "2025-11-25", TASKS) for _ in range(4)]
        for line in lines[:3]:
            line.open()
        assert "result" in lines[0].request("ping", {})
        lines[3].open()
        alive = [line.post(line.message("ping", {})).status_code for line in lines]
    assert alive == [200, 404, 200, 200]


def test_a_slot_goes_to_the_owner_who_has_none(place: Place) -> None:
    hers, his = named_token(place, "ann"), named_token(place, "bob")
    with (
        serving_declared(place, MCP_JOBS_CAPACITY="1") as server,
        server.client(hers) as ann,
        server.client(his) as bob,
    ):
        first = ann.post("/jobs", json={"type": "wait"}).json()["job_id"]
        queued = [ann.post("/jobs", json={"type": "wait"}).json()["job_id"] for _ in range(3)]
        own = bob.post("/jobs", json={"type": "hello"}).json()["job_id"]
        ann.post(f"/jobs/{first}/cancel", json={"grace_seconds": 0})
        done = bob.get(f"/jobs/{own}", params={"wait_seconds": 20}).json()
        assert done["status"] == "completed"
        for job_id in reversed(queued):
            ann.post(f"/jobs/{job_id}/cancel", json={"grace_seconds": 0})
