"""A hostile client gains nothing and harms nobody."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from tests.support import BOUND_S, dispose, make_place, wait_until
from tests.web import problem, serving, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Place
    from tests.web import WebServer

# The limits of mcp_jobs.interfaces.http on slow requests, as far as these tests wait for them.
HEAD_S = 10.0


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    """One server that takes it all."""
    place = make_place()
    try:
        with serving(place) as running:
            yield running
    finally:
        left = dispose(place)
    assert not left


def head(server: WebServer, line: str, *more: str) -> bytes:
    lines = (
        line,
        f"Host: 127.0.0.1:{server.port}",
        f"Authorization: Bearer {server.token}",
        *more,
    )
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def exchange(server: WebServer, request: bytes) -> bytes:
    """Send bytes and return everything that comes until the server closes."""
    with server.connect() as line:
        line.sendall(request)
        with line.makefile("rb") as answers:
            return answers.read()


def assert_serves(server: WebServer) -> None:
    """Hold that the server works, and has logged no fault."""
    with server.client() as client:
        assert start(client, "echo x", wait_seconds=30)["output"]["text"] == "x\n"
    assert "Traceback" not in server.text


@pytest.mark.parametrize(
    "path",
    [
        "/jobs/../../etc/passwd",
        "/jobs/..%2f..%2fetc%2fpasswd/output/raw",
        "/jobs/%2e%2e/output/raw",
        "/jobs/..%2f..%2f..%2fjobs.db/output/raw",
        "/jobs/%00/output/raw",
        "/jobs/" + "a" * 5000,
        "/jobs/%ff%fe/events",
        "//jobs",
        "/jobs/ä",
    ],
)
def test_a_path_leads_to_no_file(server: WebServer, path: str) -> None:
    answer = exchange(server, head(server, f"GET {path} HTTP/1.1", "Connection: close"))
    assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 404")
    assert b"root:" not in answer
    assert b"SQLite" not in answer
    assert_serves(server)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /jobs HTTP/1.1\r\n\r\n",
        b"GET /jobs HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"POST /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: -1\r\n\r\n",
        b"POST /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1\r\n"
        b"Content-Length: 2\r\n\r\nxy",
        b"POST /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"GET /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nX: " + b"a" * 100_000 + b"\r\n\r\n",
        b"GET /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\n" + b"X: y\r\n" * 20_000 + b"\r\n",
    ],
)
def test_a_malformed_or_huge_head_is_refused(server: WebServer, request_bytes: bytes) -> None:
    with server.connect() as line:
        try:
            line.sendall(request_bytes)
            line.shutdown(socket.SHUT_WR)
            answer = line.recv(1 << 16)
        except (ConnectionResetError, BrokenPipeError):
            answer = b""
    assert answer == b"" or answer.startswith(b"HTTP/1.1 4")
    assert_serves(server)


def test_a_body_that_says_or_proves_to_be_too_large_is_refused(place: Place) -> None:
    with serving(place, MCP_JOBS_MAX_BODY_BYTES="2048") as server:
        kind = "Content-Type: application/json"
        said = exchange(
            server, head(server, "POST /jobs HTTP/1.1", kind, "Content-Length: 999999999999")
        )
        assert said.startswith(b"HTTP/1.1 413")
        chunks = b"800\r\n" + b"a" * 2048 + b"\r\n" + b"800\r\n" + b"a" * 2048 + b"\r\n"
        proved = exchange(
            server, head(server, "POST /jobs HTTP/1.1", kind, "Transfer-Encoding: chunked") + chunks
        )
        assert proved.startswith(b"HTTP/1.1 413")
        with server.client() as client:
            problem(client.post("/mcp", content=b"a" * 4096), 413, "too_large")
        assert_serves(server)


def test_connections_that_say_nothing_or_little_are_cut(place: Place) -> None:
    """Half-open and dripping connections, among them one that had a good request before."""
    with serving(place) as server, ExitStack() as stack:
        silent = stack.enter_context(server.connect())
        dripping = stack.enter_context(server.connect())
        later = stack.enter_context(server.connect())
        later.sendall(head(server, "GET /jobs HTTP/1.1"))
        assert later.recv(1 << 16).startswith(b"HTTP/1.1 200")
        later.sendall(b"GET /jobs HTTP/1.1\r\nX-Slow: ")
        began = time.monotonic()
        dripping.sendall(b"GET /jobs HTTP/1.1\r\n")
        open_lines = {silent, dripping, later}
        while open_lines:
            assert time.monotonic() - began < HEAD_S + BOUND_S
            assert_serves(server)
            for line in list(open_lines):
                line.settimeout(0.05)
                try:
                    if line is dripping:
                        line.sendall(b"X: y\r\n")
                    if line.recv(1 << 16) == b"":
                        open_lines.remove(line)
                except TimeoutError:
                    continue
                except OSError:
                    open_lines.remove(line)


_LESS = """
from mcp_jobs.interfaces.http.auth import guards
from mcp_jobs.interfaces.http.live import websocket
guards._BODY_S, websocket.SUBSCRIPTIONS = 2.0, 5
from mcp_jobs.__main__ import main
main()
"""
"""A server with less patience and room, which tests need not wait for."""


def test_a_slow_body_is_given_up(place: Place) -> None:
    with serving(place, code=_LESS) as server, server.connect() as line:
        kind = "Content-Type: application/json"
        line.sendall(head(server, "POST /jobs HTTP/1.1", kind, "Content-Length: 1000"))
        line.sendall(b"{")
        line.settimeout(60)
        with line.makefile("rb") as answers:
            assert answers.read().startswith(b"HTTP/1.1 408")
        assert_serves(server)


def test_connections_beyond_the_limit_are_refused_and_room_is_made_again(place: Place) -> None:
    with serving(place, MCP_JOBS_MAX_CONNECTIONS="5") as server:
        with ExitStack() as stack:
            for _ in range(5):
                stack.enter_context(server.connect())
            with server.connect() as one_more:
                assert one_more.recv(1 << 16).startswith(b"HTTP/1.1 503")

        def has_room() -> bool:
            with server.client() as client:
                return client.get("/healthz").status_code == 200

        wait_until(has_room)


def test_a_client_that_leaves_in_the_middle_harms_nobody(place: Place) -> None:
    with serving(place) as server:
        for path in ("/events", "/jobs", "/openapi.json"):
            with server.connect() as line:
                line.sendall(head(server, f"GET {path} HTTP/1.1"))
        with server.connect() as line:
            line.sendall(head(server, "POST /jobs HTTP/1.1", "Content-Length: 100") + b"{")
        assert_serves(server)


def test_pipelined_requests_are_each_checked(place: Place) -> None:
    good = "GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    bad = "GET /jobs HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    with serving(place) as server:
        answers = exchange(server, (good + bad).encode())
        assert answers.count(b"HTTP/1.1 200") == 1
        assert answers.count(b"HTTP/1.1 401") == 1


# -- WebSocket -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "headers", "status"),
    [
        ("/ws", {}, 401),
        ("/ws", {"Authorization": "Bearer wrong"}, 401),
        ("/ws", {"Authorization": "Bearer {token}", "Origin": "https://evil.example"}, 403),
        ("/jobs", {"Authorization": "Bearer {token}"}, 403),
    ],
)
def test_a_websocket_that_may_not_come_in_is_refused(
    server: WebServer, path: str, headers: dict[str, str], status: int
) -> None:
    given = {name: text.format(token=server.token) for name, text in headers.items()}
    with pytest.raises(InvalidStatus) as caught:
        connect(f"ws://127.0.0.1:{server.port}{path}", additional_headers=given, proxy=None)
    assert caught.value.response.status_code == status


@pytest.mark.parametrize("text", ["x" * 100_000, b"\xff\xfe", "[" * 10_000, '{"type": 1}'])
def test_a_senseless_websocket_message_harms_nobody(server: WebServer, text: str | bytes) -> None:
    bearer = {"Authorization": f"Bearer {server.token}"}
    address = f"ws://127.0.0.1:{server.port}/ws"
    with connect(address, additional_headers=bearer, proxy=None) as line:
        line.send(text)
        try:
            assert json.loads(line.recv(timeout=BOUND_S))["type"] == "error"
        except ConnectionClosed:
            assert len(text) > 10_000
    assert_serves(server)


def test_a_websocket_has_a_bounded_number_of_subscriptions(place: Place) -> None:
    with serving(place, code=_LESS) as server, server.client() as client:
        bearer = {"Authorization": f"Bearer {server.token}"}
        jobs = [start(client, "true", delay_seconds=3600)["job_id"] for _ in range(6)]
        address = f"ws://127.0.0.1:{server.port}/ws"
        with connect(address, additional_headers=bearer, proxy=None) as line:
            for job_id in jobs:
                line.send(json.dumps({"type": "subscribe", "job_id": job_id}))
            heard = json.loads(line.recv(timeout=BOUND_S))
            while heard["type"] != "error":
                heard = json.loads(line.recv(timeout=BOUND_S))
            assert (heard["job_id"], "5 subscriptions" in heard["detail"]) == (jobs[-1], True)
        for job_id in jobs:
            client.post(f"/jobs/{job_id}/cancel")
