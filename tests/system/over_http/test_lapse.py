"""What a token has opened ends with the token, within seconds."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from mcp_jobs.interfaces.http.auth.tokens import TokenFile
from tests.mcp_http import TASKS, RawHttp
from tests.support import MODERN, wait_until
from tests.system.over_http.test_oidc import AUDIENCE, issuing
from tests.web import events, named_token, problem, serving

if TYPE_CHECKING:
    from tests.support import Place
    from tests.web import WebServer

JOBS = "jobs: {wait: {description: Wait., command: [sleep, '600']}}\n"
SOON_S = 10.0
"""Sooner than the first heartbeat of any stream."""


@contextmanager
def serving_declared(place: Place, *flags: str, code: str | None = None) -> Iterator[WebServer]:
    (place.root / "declared.yaml").write_text(JOBS)
    declared = ("--only-declared", "--config", str(place.root / "declared.yaml"))
    with serving(place, *declared, *flags, code=code) as server:
        yield server


@contextmanager
def impatient(server: WebServer, token: str) -> Iterator[httpx2.Client]:
    with server.client(token) as client:
        client.timeout = SOON_S
        yield client


@contextmanager
def waiting_job(client: httpx2.Client) -> Iterator[str]:
    job_id = client.post("/jobs", json={"type": "wait"}).json()["job_id"]
    yield str(job_id)


def open_socket(server: WebServer, token: str) -> ClientConnection:
    bearer = {"authorization": f"Bearer {token}"}
    return connect(f"ws://127.0.0.1:{server.port}/ws", additional_headers=bearer)


def read_on(answer: Iterator[object]) -> None:
    """Read a stream until it ends; one that is cut in the middle has ended too."""
    try:
        for _ in answer:
            pass
    except httpx2.RemoteProtocolError:
        pass


def remove(place: Place) -> None:
    TokenFile(place.home).remove("ann")


def cancel_all(place: Place, server: WebServer, name: str = "again") -> None:
    """End what the removed token has left running, as its owner."""
    token = TokenFile(place.home).add(name, owner="ann", scopes=["read", "cancel"])
    with server.client(token) as client:
        for job in client.get("/jobs").json()["jobs"]:
            client.post(f"/jobs/{job['job_id']}/cancel", json={"grace_seconds": 0})


def test_events_end_with_their_token_and_say_why(place: Place) -> None:
    token = named_token(place, "ann")
    with (
        serving_declared(place) as server,
        impatient(server, token) as client,
        client.stream("GET", "/events") as answer,
    ):
        sent = events(answer.iter_lines())
        assert next(sent).event == "snapshot"
        remove(place)
        (last,) = list(sent)
    assert last.event == "dropped"
    assert "not valid any more" in last.data["reason"]


def test_a_call_that_waits_is_refused_when_its_token_is_removed(place: Place) -> None:
    token = named_token(place, "ann")
    with serving_declared(place) as server:
        with impatient(server, token) as client, waiting_job(client) as job_id:
            address = f"/jobs/{job_id}?wait_seconds=50"
            with server.connect() as line:
                head = f"GET {address} HTTP/1.1\r\nhost: localhost\r\n"
                line.sendall(f"{head}authorization: Bearer {token}\r\n\r\n".encode())
                line.settimeout(SOON_S)
                # It waits already when a later request is answered.
                assert client.get(f"/jobs/{job_id}").status_code == 200
                remove(place)
                assert line.recv(1 << 16).startswith(b"HTTP/1.1 401")
        cancel_all(place, server)


def test_a_websocket_closes_with_its_token_whether_it_listens_or_not(place: Place) -> None:
    token = named_token(place, "ann")
    with (
        serving_declared(place) as server,
        open_socket(server, token) as silent,
        open_socket(server, token) as listening,
    ):
        listening.send('{"type": "subscribe"}')
        assert "subscribed" in str(listening.recv(SOON_S))
        assert "snapshot" in str(listening.recv(SOON_S))
        remove(place)
        for line in (silent, listening):
            with pytest.raises(ConnectionClosed, match="1008"):
                line.recv(SOON_S)


def test_a_command_over_an_open_websocket_finds_the_token_gone_at_once(place: Place) -> None:
    token = named_token(place, "ann")
    with serving_declared(place) as server, open_socket(server, token) as line:
        line.send('{"type": "subscribe"}')
        assert "subscribed" in str(line.recv(SOON_S))
        assert "snapshot" in str(line.recv(SOON_S))
        remove(place)
        line.send('{"type": "unsubscribe"}')
        with pytest.raises(ConnectionClosed, match="1008"):
            line.recv(SOON_S)


def test_a_subscription_of_mcp_ends_with_its_token(place: Place) -> None:
    token = named_token(place, "ann")
    wanted = {"notifications": {"resourcesListChanged": True}}
    with serving_declared(place) as server, impatient(server, token) as client:
        line = RawHttp(client, MODERN, TASKS)
        with line.streaming("subscriptions/listen", wanted) as messages:
            assert "acknowledged" in next(messages)["method"]
            remove(place)
            read_on(messages)


def test_a_session_of_mcp_ends_with_its_token_and_so_do_the_calls_in_it(place: Place) -> None:
    token = named_token(place, "ann")
    with serving_declared(place) as server:
        with impatient(server, token) as client:
            line = RawHttp(client, "2025-11-25", TASKS)
            line.open()
            call = {"name": "start_job", "arguments": {"type": "wait"}, "task": {}}
            task_id = line.request("tools/call", call)["result"]["task"]["taskId"]
            with (
                line.listening() as stream,
                line.streaming("tasks/result", {"taskId": task_id}) as messages,
            ):
                assert stream.status_code == 200
                remove(place)
                read_on(messages)
                read_on(stream.iter_bytes())
        cancel_all(place, server)


ONE_WAITS = """
from mcp_jobs.service import shares
shares.WAITING_CALLS = 1
from mcp_jobs.__main__ import main
main()
"""


def test_nothing_of_a_session_goes_on_in_the_server_after_its_end(place: Place) -> None:
    token = named_token(place, "ann")
    with serving_declared(place, code=ONE_WAITS) as server:
        with impatient(server, token) as client:
            line = RawHttp(client, "2025-11-25", TASKS)
            line.open()
            call = {"name": "start_job", "arguments": {"type": "wait"}, "task": {}}
            task_id = line.request("tools/call", call)["result"]["task"]["taskId"]
            waiting = {"wait_seconds": 0.01}
            with line.streaming("tasks/result", {"taskId": task_id}) as messages:
                address = f"/jobs/{task_id}"
                wait_until(lambda: client.get(address, params=waiting).status_code == 429)
                again = TokenFile(place.home).add("again", owner="ann", scopes=["read"])
                remove(place)
                read_on(messages)
        with impatient(server, again) as client:
            # The only call that may wait is over.
            wait_until(lambda: client.get(address, params=waiting).status_code == 200)
        cancel_all(place, server, "more")


def test_what_was_opened_with_a_token_of_an_issuer_ends_when_it_expires(place: Place) -> None:
    with issuing() as issuer:
        flags = ("--oidc-issuer", issuer.url, "--oidc-audience", AUDIENCE)
        with serving_declared(place, *flags) as server:
            token = issuer.token(exp=int(time.time()) + 4)
            with impatient(server, token) as client:
                line = RawHttp(client, "2025-11-25", TASKS)
                line.open()
                with (
                    line.listening() as stream,
                    client.stream("GET", "/events") as answer,
                ):
                    told = [event.event for event in events(answer.iter_lines())]
                    read_on(stream.iter_bytes())
            assert told == ["snapshot", "dropped"]


def test_a_session_goes_on_with_a_renewed_token(place: Place) -> None:
    with issuing() as issuer:
        flags = ("--oidc-issuer", issuer.url, "--oidc-audience", AUDIENCE)
        with (
            serving_declared(place, *flags) as server,
            impatient(server, issuer.token(exp=int(time.time()) + 3)) as before,
            impatient(server, issuer.token()) as after,
        ):
            line = RawHttp(before, "2025-11-25", TASKS)
            line.open()
            renewed = RawHttp(after, "2025-11-25", TASKS)
            renewed.session = line.session
            assert "result" in renewed.request("ping", {})
            with before.stream("GET", "/events") as answer:
                # Ends when the first token has expired.
                read_on(answer.iter_bytes())
            assert "result" in renewed.request("ping", {})


def test_a_token_whose_scopes_have_changed_is_another_one(place: Place) -> None:
    token = named_token(place, "ann")
    with serving_declared(place) as server, impatient(server, token) as client:
        with client.stream("GET", "/events") as answer:
            sent = events(answer.iter_lines())
            assert next(sent).event == "snapshot"
            path = place.home / "tokens.json"
            path.write_text(path.read_text().replace('"read",', ""))
            assert [event.event for event in sent] == ["dropped"]
        problem(client.get("/jobs"), 403, "forbidden")
