"""Live events: nothing is missed, the end always comes, and a slow reader harms nobody."""

from __future__ import annotations

import json
import socket
import sqlite3
import threading
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
from websockets.sync.client import ClientConnection, connect

from tests.support import BOUND_S, until, wait_until
from tests.web import Json, Sent, ended, problem, serving, start, start_server, stream

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    from tests.support import Place
    from tests.web import WebServer


def until_end(sent: Iterator[Sent]) -> list[Sent]:
    """Read up to the end of a job."""
    seen: list[Sent] = []
    for event in sent:
        seen.append(event)
        if event.event == "job.ended":
            return seen
    raise AssertionError(f"the stream ended before the job: {seen}")


@pytest.fixture
def gate(place: Place) -> str:
    """A command that waits for the file `go` and then ends."""
    return f"while ! test -e {place.root}/go; do sleep 0.02; done; exit 3"


def let_go(place: Place) -> None:
    (place.root / "go").touch()


def test_a_stream_of_a_job_begins_with_a_snapshot_and_closes_after_the_end(
    place: Place, gate: str
) -> None:
    with serving(place) as server, server.client() as client:
        job = start(client, gate)
        with stream(client, f"/jobs/{job['job_id']}/events") as sent:
            first = next(sent)
            assert (first.event, first.data["job_id"]) == ("snapshot", job["job_id"])
            let_go(place)
            *_, last = until_end(sent)
            assert list(sent) == []
        assert (last.data["status"], last.data["job"]["exit_code"]) == ("failed", 3)


def test_the_stream_of_an_ended_job_tells_the_end(place: Place) -> None:
    with serving(place) as server, server.client() as client:
        job = start(client, "true", wait_seconds=30)
        with stream(client, f"/jobs/{job['job_id']}/stream") as sent:
            assert [event.event for event in sent] == ["snapshot", "job.ended"]


def test_a_client_that_lost_the_line_misses_no_state(place: Place, gate: str) -> None:
    with serving(place) as server, server.client() as client:
        job = start(client, gate, delay_seconds=0.2)
        with stream(client, f"/jobs/{job['job_id']}/events") as sent:
            first = next(sent)
        let_go(place)
        ended(client, job["job_id"])
        with stream(client, f"/jobs/{job['job_id']}/events", first.id) as sent:
            seen = until_end(sent)
        assert [event.data["status"] for event in seen] == ["running", "failed"]
        again = client.get(f"/jobs/{job['job_id']}/events", headers={"last-event-id": seen[-1].id})
        assert again.status_code == 204


def test_a_client_goes_on_where_it_was_after_a_kill_of_the_server(place: Place, gate: str) -> None:
    server = start_server(place)
    with server.client() as client:
        job = start(client, gate)
        with stream(client, "/events") as sent:
            first = next(sent)
            assert (first.event, len(first.data["jobs"])) == ("snapshot", 1)
            server.kill()
    let_go(place)
    with serving(place) as server, server.client() as client:
        with stream(client, "/events", first.id) as sent:
            *_, last = until_end(sent)
        assert (last.data["job_id"], last.data["status"]) == (job["job_id"], "failed")


def test_an_id_that_the_log_does_not_reach_is_told_and_a_snapshot_follows(place: Place) -> None:
    with serving(place) as server, server.client() as client:
        with stream(client, "/events") as sent:
            old = next(sent).id
        start(client, "true", wait_seconds=30)
        with closing(sqlite3.connect(place.home / "jobs.db")) as database, database:
            database.execute("DELETE FROM changes WHERE seq < (SELECT max(seq) FROM changes)")
        for last_id in (old, "nonsense", "00" * 16):
            with stream(client, "/events", last_id) as sent:
                told, snapshot = next(sent), next(sent)
            assert (told.event, snapshot.event) == ("reset", "snapshot")
            assert snapshot.data["counts"]["completed"] == 1


def test_a_reader_that_does_not_read_is_dropped_and_harms_nobody(place: Place) -> None:
    with serving(place) as server, server.client() as client, idle_reader(server, "events") as lazy:
        job_id = start(client, "sleep 600")["job_id"]

        def change_and_cancel() -> None:
            write_changes(place, job_id, 6000)
            with server.client() as other:
                other.post(f"/jobs/{job_id}/cancel", json={"grace_seconds": 0})

        with stream(client, "/events") as sent:
            first = next(sent)
        work = threading.Thread(target=change_and_cancel)
        work.start()
        assert end_after(client, first.id).data["status"] == "cancelled"
        work.join(BOUND_S)
        wait_until(lambda: dropped(server) >= 1)
        text = lazy.makefile("rb").read()
        assert b"event: dropped\ndata: " in text
        assert b"You read too slowly" in text


def end_after(client: httpx2.Client, last_id: str) -> Sent:
    """Read on from an event to the end of a job, and come back as often as one is dropped."""
    while True:
        with stream(client, "/events", last_id) as sent:
            for event in sent:
                last_id = event.id or last_id
                if event.event == "job.ended":
                    return event


def test_a_websocket_that_does_not_read_is_closed_with_the_reason(place: Place) -> None:
    with serving(place) as server, server.client() as client, idle_reader(server, "ws") as lazy:
        job_id = start(client, "sleep 600")["job_id"]
        write_changes(place, job_id, 6000)
        wait_until(lambda: dropped(server) == 1)
        assert b"You read too slowly" in lazy.makefile("rb").read()
        client.post(f"/jobs/{job_id}/cancel", json={"grace_seconds": 0})
        assert ended(client, job_id)["status"] == "cancelled"


_UPGRADE = (
    "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
_SUBSCRIBE = b'{"type": "subscribe"}'


@contextmanager
def idle_reader(server: WebServer, way: str) -> Iterator[socket.socket]:
    """Ask for all events and then read nothing, with little room on the way."""
    with socket.socket() as lazy:
        lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        lazy.settimeout(BOUND_S)
        lazy.connect(("127.0.0.1", server.port))
        lazy.sendall(
            f"GET /{way} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
            f"Authorization: Bearer {server.token}\r\n"
            f"{_UPGRADE if way == 'ws' else ''}\r\n".encode()
        )
        if way == "ws":
            assert lazy.recv(4096).startswith(b"HTTP/1.1 101 ")
            # A text frame under a mask of zeros (RFC 6455, 5.2).
            lazy.sendall(bytes((0x81, 0x80 | len(_SUBSCRIBE), 0, 0, 0, 0)) + _SUBSCRIBE)
        yield lazy


def dropped(server: WebServer) -> float:
    with server.client() as client:
        lines = client.get("/metrics").text.splitlines()
    (line,) = [line for line in lines if line.startswith("mcp_jobs_streams_dropped ")]
    return float(line.split()[1])


def write_changes(place: Place, job_id: str, count: int) -> None:
    """Make a job change often, in steps that no reader takes for one."""
    with closing(sqlite3.connect(place.home / "jobs.db", timeout=30)) as database:
        owner = database.execute("SELECT owner FROM jobs WHERE id = ?", (job_id,)).fetchone()[0]
        for first in range(0, count, 500):
            with database:
                database.executemany(
                    "INSERT INTO changes (job_id, owner, status, created, at_ms) "
                    "VALUES (?, ?, ?, 0, 0)",
                    [
                        (job_id, owner, "running" if n % 2 else "pending")
                        for n in range(first, first + 500)
                    ],
                )


# -- WebSocket -----------------------------------------------------------------------------------


def open_socket(server: WebServer, token: str | None = None) -> ClientConnection:
    bearer = {"Authorization": f"Bearer {server.token if token is None else token}"}
    return connect(f"ws://127.0.0.1:{server.port}/ws", additional_headers=bearer, proxy=None)


def tell(line: ClientConnection, **message: object) -> None:
    line.send(json.dumps(message))


def hear(line: ClientConnection) -> Json:
    message: Json = json.loads(line.recv(timeout=BOUND_S))
    return message


def test_a_websocket_follows_what_it_subscribed_to_until_it_unsubscribes(
    place: Place, gate: str
) -> None:
    with serving(place) as server, server.client() as client, open_socket(server) as line:
        job_id = start(client, gate)["job_id"]
        tell(line, type="subscribe", job_id=job_id)
        assert hear(line) == {"type": "subscribed", "job_id": job_id}
        first = hear(line)
        assert (first["event"], first["data"]["job_id"]) == ("snapshot", job_id)
        tell(line, type="unsubscribe", job_id=job_id)
        while hear(line) != {"type": "unsubscribed", "job_id": job_id}:
            pass
        let_go(place)
        ended(client, job_id)
        tell(line, type="subscribe", job_id=job_id, last_event_id=first["id"])
        heard = [hear(line)]
        while heard[-1]["type"] != "unsubscribed":
            heard.append(hear(line))
        assert (heard[-2]["event"], heard[-2]["data"]["status"]) == ("job.ended", "failed")


def test_a_websocket_may_follow_everything(place: Place) -> None:
    with serving(place) as server, server.client() as client, open_socket(server) as line:
        tell(line, type="subscribe")
        assert hear(line)["type"] == "subscribed"
        assert hear(line)["event"] == "snapshot"
        job_id = start(client, "true")["job_id"]
        heard = [hear(line)]
        while heard[-1]["event"] != "job.ended":
            heard.append(hear(line))
        assert {message["data"]["job_id"] for message in heard} == {job_id}
        assert heard[0]["event"] == "job.created"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "Send JSON"),
        ('{"type": "nothing"}', "Send JSON"),
        ('{"type": "unsubscribe"}', "not subscribed"),
        ('{"type": "subscribe", "job_id": "none"}', "There is no job 'none'"),
    ],
)
def test_a_wrong_message_is_answered_and_the_line_stays_open(
    place: Place, text: str, told: str
) -> None:
    with serving(place) as server, open_socket(server) as line:
        line.send(text)
        heard = hear(line)
        if heard["type"] == "subscribed":
            heard = hear(line)
        assert heard["type"] == "error"
        assert told in heard["detail"]
        tell(line, type="subscribe")
        while hear(line).get("event") != "snapshot":
            pass


def test_a_stream_ends_with_a_reason_when_the_server_does(place: Place) -> None:
    server = start_server(place)
    with server.client() as client, stream(client, "/events") as sent, open_socket(server) as line:
        next(sent)
        tell(line, type="subscribe")
        assert hear(line)["type"] == "subscribed"
        assert hear(line)["event"] == "snapshot"
        assert server.end() == 0
        assert [event.event for event in sent] == ["dropped"]
        with pytest.raises(Exception, match="The server is shutting down"):
            hear(line)


def test_a_stream_needs_a_known_job(place: Place) -> None:
    with serving(place) as server, server.client() as client:
        problem(client.get(f"/jobs/{'0' * 25}/events"), 404, "unknown_job")


async def test_many_streams_hear_of_the_same_end(place: Place, gate: str) -> None:
    with serving(place) as server, server.client() as client:
        job_id = start(client, gate)["job_id"]
        counts = {"event: snapshot": 0, "event: job.ended": 0}

        async def follow() -> None:
            async with (
                server.async_client() as own,
                own.stream("GET", f"/jobs/{job_id}/events") as answer,
            ):
                async for text in answer.aiter_lines():
                    counts[text] = counts.get(text, 0) + 1

        with anyio.fail_after(60):
            async with anyio.create_task_group() as tasks:
                for _ in range(50):
                    tasks.start_soon(follow)
                await until(lambda: counts["event: snapshot"] == 50)
                let_go(place)
        assert counts["event: job.ended"] == 50
