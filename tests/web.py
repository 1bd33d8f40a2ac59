"""A server over HTTP for tests, and clients that speak to it."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx2

from mcp_jobs.interfaces.http.auth.tokens import SCOPES, TokenFile
from tests import prepared
from tests.support import BOUND_S, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from tests.support import Place

Json = dict[str, Any]
_SERVING = re.compile(r"serving http://([^ ]+):(\d+) ")


@dataclass
class WebServer:
    """`mcp-jobs serve --http` as a child process."""

    place: Place
    process: prepared.Process | subprocess.Popen[bytes]
    log: Path
    token: str = field(repr=False)

    @property
    def text(self) -> str:
        """What it logged so far."""
        return self.log.read_text("utf-8", "replace")

    @property
    def port(self) -> int:
        """Where it listens."""
        found = _SERVING.search(self.text)
        assert found is not None, self.text
        return int(found.group(2))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def client(self, token: str | None = None, **headers: str) -> httpx2.Client:
        """Return a client that bears a token, by default that of the home."""
        bearer = {"authorization": f"Bearer {self.token if token is None else token}"}
        return httpx2.Client(
            base_url=self.url, headers={**bearer, **headers}, timeout=60, trust_env=False
        )

    def async_client(self, token: str | None = None) -> httpx2.AsyncClient:
        """The same, for async tests."""
        bearer = {"authorization": f"Bearer {self.token if token is None else token}"}
        return httpx2.AsyncClient(base_url=self.url, headers=bearer, timeout=60, trust_env=False)

    def connect(self) -> socket.socket:
        """Open a connection to speak HTTP byte by byte."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=BOUND_S)

    def kill(self) -> None:
        """End it as hosts do when they lose patience."""
        self.process.kill()
        self.process.wait(BOUND_S)

    def end(self) -> int:
        """Ask it to end; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(BOUND_S)


@contextmanager
def serving(
    place: Place, *arguments: str, code: str | None = None, **environment: str
) -> Iterator[WebServer]:
    """Run a server on a free port until the context ends."""
    server = start_server(place, *arguments, code=code, **environment)
    try:
        yield server
        assert "Traceback" not in server.text
    finally:
        if server.process.poll() is None:
            server.end()


def start_server(
    place: Place, *arguments: str, code: str | None = None, **environment: str
) -> WebServer:
    """Start a server on a free port and wait until it serves. `code` replaces the module."""
    return _start(place, arguments, code, prepared.start, environment)


def start_forked(place: Place, code: str, **environment: str) -> WebServer:
    """The same with code that a `prepared.Process` may run."""
    return _start(place, (), code, prepared.Process, environment)


def _start(
    place: Place,
    arguments: Sequence[str],
    code: str | None,
    how: Callable[..., prepared.Process | subprocess.Popen[bytes]],
    environment: Mapping[str, str],
) -> WebServer:
    log = place.root / f"web-{os.urandom(4).hex()}.log"
    command = ["serve", "--http", "--port", "0", *arguments]
    with log.open("wb") as stderr, Path(os.devnull).open("rb") as nothing:
        process = how(
            command,
            code=code,
            cwd=place.project,
            env=environment_for(place, **environment),
            streams=(nothing, stderr, stderr),
        )
    server = WebServer(place, process, log, TokenFile(place.home).load().default)
    wait_until(lambda: _SERVING.search(server.text) or process.poll() is not None)
    assert process.poll() is None, server.text
    return server


def python_for(code: str | None) -> list[str]:
    return [sys.executable, *(["-m", "mcp_jobs"] if code is None else ["-c", code])]


def environment_for(place: Place, **more: str) -> dict[str, str]:
    return {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(Path(__file__).parent.parent),
        **place.environment(**more),
    }


def named_token(place: Place, name: str, scopes: Sequence[str] = SCOPES[:3]) -> str:
    """Give somebody a token; he is the owner of what he starts."""
    return TokenFile(place.home).add(name, owner=None, scopes=scopes)


def start(client: httpx2.Client, command: str, **fields: Any) -> Json:
    """Start a shell job."""
    answer = client.post("/jobs", json={"params": {"command": command}, **fields})
    assert answer.status_code in (200, 201), answer.text
    job: Json = answer.json()
    return job


def ended(client: httpx2.Client, job_id: str) -> Json:
    """Wait for the end of a job."""
    while True:
        job: Json = client.get(f"/jobs/{job_id}", params={"wait_seconds": 20}).json()
        if job["finished_at"]:
            return job


@dataclass(frozen=True)
class Sent:
    """One server-sent event."""

    event: str
    id: str
    data: Json


def events(lines: Iterator[str]) -> Iterator[Sent]:
    """Read a stream of server-sent events."""
    fields: dict[str, str] = {}
    for line in lines:
        if line and not line.startswith(":"):
            name, _, value = line.partition(": ")
            fields[name] = value
        elif not line and "event" in fields:
            yield Sent(fields["event"], fields.get("id", ""), json.loads(fields["data"]))
            fields = {}


@contextmanager
def stream(
    client: httpx2.Client, path: str, last_id: str | None = None
) -> Iterator[Iterator[Sent]]:
    """Open a stream of events."""
    headers = {} if last_id is None else {"last-event-id": last_id}
    with client.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        yield events(answer.iter_lines())


def problem(answer: httpx2.Response, status: int, code: str) -> Json:
    """Return the problem details that an answer must hold."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    body: Json = answer.json()
    assert (body["status"], body["code"]) == (status, code)
    assert body["type"] == f"urn:mcp-jobs:problem:{code}"
    assert body["title"]
    assert body["detail"]
    return body
