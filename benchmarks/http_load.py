"""Load the HTTP server with event streams and requests, and kill it in the middle.

Usage: `python -m benchmarks.http_load [--streams 500] [--rate 50] [--seconds 60] [--kill]`

Half of the streams follow all jobs, half one job after another. Each must see the end of every job
that it follows, across the kill: a client comes back with the id of the last event that it saw.
Requests are sent at their time whether or not earlier ones are answered, and their latency counts
from that time.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import httpx2

from benchmarks.place import Place, new_place
from mcp_jobs.interfaces.http.auth.tokens import TokenFile

_STARTS_EVERY = 10
"""One request in this many starts a job; the others look."""

_SERVING = re.compile(r"serving http://127\.0\.0\.1:(\d+) ")
_SETTLE_S = 60.0
_AT_ONCE = 200
_COME_BACK_S = 1.0
"""As the server asks for with `retry`."""


@dataclass
class Load:
    """What happened so far."""

    place: Place
    token: str
    port: int = 0
    started: list[str] = field(default_factory=list)
    followed: dict[int, str] = field(default_factory=dict)
    """Which job a stream of one job waits for; a stream without one takes the next."""
    seen: dict[int, set[str]] = field(default_factory=dict)
    """Ends that each stream of all jobs has seen."""
    ends_seen: int = 0
    reconnects: int = 0
    latencies_s: dict[str, list[float]] = field(default_factory=dict)
    failures: Counter[str] = field(default_factory=Counter)
    killed_at_s: float | None = None
    back_at_s: float | None = None
    done: bool = False
    ready: int = 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.http_load", description=__doc__)
    parser.add_argument("--streams", type=int, default=500)
    parser.add_argument("--rate", type=float, default=50.0)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--kill", action="store_true", help="kill -9 in the middle")
    arguments = parser.parse_args()
    with new_place() as place:
        (place.home).mkdir(exist_ok=True, mode=0o700)
        load = Load(place, TokenFile(place.home).load().default)
        return asyncio.run(_run(load, arguments))


async def _run(load: Load, arguments: argparse.Namespace) -> int:
    server = await _serve(load)
    streams = [
        asyncio.create_task(_follow_all(load, n) if n % 2 else _follow_each(load, n))
        for n in range(arguments.streams)
    ]
    try:
        while load.ready < arguments.streams // 2:  # noqa: ASYNC110 - many tasks count
            await asyncio.sleep(0.05)
        requests = asyncio.create_task(_ask(load, arguments.rate, arguments.seconds))
        if arguments.kill:
            await asyncio.sleep(arguments.seconds / 2)
            server.kill()
            server.wait()
            load.killed_at_s = time.monotonic()
            server = await _serve(load)
            load.back_at_s = time.monotonic()
        await requests
        missing = await _settled(load)
        lost = await _lost(load)
    finally:
        load.done = True
        for stream in streams:
            stream.cancel()
        await asyncio.gather(*streams, return_exceptions=True)
        server.terminate()
        server.wait()
    _report(load, arguments, missing, lost)
    return 1 if missing or lost else 0


async def _serve(load: Load) -> subprocess.Popen[bytes]:
    """Start the server and wait until it serves; again on the same port."""
    offset = load.place.log.stat().st_size if load.place.log.exists() else 0
    with load.place.log.open("ab") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "mcp_jobs", "serve", "--http", "--port", str(load.port)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd=load.place.project,
            env=load.place.environment(MCP_JOBS_REQUESTS_PER_SECOND="10000"),
        )
    while True:
        found = _SERVING.search(load.place.log.read_text("utf-8")[offset:])
        if found is not None:
            load.port = int(found.group(1))
            return server
        assert server.poll() is None, load.place.log.read_text("utf-8")
        await asyncio.sleep(0.02)


# -- streams -------------------------------------------------------------------------------------


async def _follow_all(load: Load, number: int) -> None:
    seen = load.seen[number] = set()
    last_id: str | None = None
    while not load.done:
        async for name, event_id, data in _events(load, "/events", last_id):
            last_id = event_id or last_id
            if name == "snapshot":
                load.ready += last_id is not None
            elif name == "job.ended":
                seen.add(data["job_id"])
                load.ends_seen += 1
        load.reconnects += 1
        await asyncio.sleep(_COME_BACK_S * random.uniform(0.5, 1.5))  # noqa: S311


async def _follow_each(load: Load, number: int) -> None:
    taken = 0
    while not load.done:
        if len(load.started) <= taken:
            await asyncio.sleep(0.05)
            continue
        # A job that is new when the stream looks for one, so that it is followed while it runs.
        taken = len(load.started)
        load.followed[number] = job_id = load.started[-1]
        last_id: str | None = None
        while number in load.followed and not load.done:
            path = f"/jobs/{job_id}/events"
            async for name, event_id, _ in _events(load, path, last_id):
                last_id = event_id or last_id
                if name == "job.ended":
                    load.ends_seen += 1
                    del load.followed[number]
            if number in load.followed:
                load.reconnects += 1
                await asyncio.sleep(_COME_BACK_S * random.uniform(0.5, 1.5))  # noqa: S311


async def _events(load: Load, path: str, last_id: str | None) -> Any:
    """Yield name, id and data of the events of one connection; plain sockets cost least."""
    head = (
        f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{load.port}\r\n"
        f"Authorization: Bearer {load.token}\r\n"
        + (f"Last-Event-ID: {last_id}\r\n" if last_id else "")
        + "\r\n"
    )
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", load.port, limit=1 << 22)
    except OSError:
        return
    try:
        writer.write(head.encode())
        name, event_id = "", ""
        while line := await reader.readline():
            if line.startswith(b"id: "):
                event_id = line[4:-1].decode()
            elif line.startswith(b"event: "):
                name = line[7:-1].decode()
            elif line.startswith(b"data: "):
                yield name, event_id, json.loads(line[6:]) if name == "job.ended" else {}
                name, event_id = "", ""
            elif line == b"0\r\n":
                return
    except OSError:
        return
    finally:
        writer.close()


# -- requests ------------------------------------------------------------------------------------


async def _ask(load: Load, rate: float, seconds: float) -> None:
    limits = httpx2.Limits(max_connections=_AT_ONCE)
    headers = {"authorization": f"Bearer {load.token}"}
    async with (
        httpx2.AsyncClient(headers=headers, limits=limits, timeout=30, trust_env=False) as client,
        asyncio.TaskGroup() as tasks,
    ):
        began_s = time.monotonic()
        for number in range(round(rate * seconds)):
            due_s = began_s + number / rate
            await asyncio.sleep(max(0.0, due_s - time.monotonic()))
            tasks.create_task(_request(load, client, number, due_s))


async def _request(load: Load, client: httpx2.AsyncClient, number: int, due_s: float) -> None:
    url = f"http://127.0.0.1:{load.port}"
    if number % _STARTS_EVERY == 0:
        await _start(load, client, url, number, due_s)
        return
    job_id = load.started[-1] if load.started else "none"
    path = ("/jobs", f"/jobs/{job_id}", f"/jobs/{job_id}/output", "/job-types")[number % 4]
    try:
        answer = await client.get(url + path)
    except httpx2.HTTPError as error:
        load.failures[type(error).__name__] += 1
        return
    if answer.status_code >= 500:
        load.failures[str(answer.status_code)] += 1
    load.latencies_s.setdefault("GET", []).append(time.monotonic() - due_s)


async def _start(
    load: Load, client: httpx2.AsyncClient, url: str, number: int, due_s: float
) -> None:
    """Start a job; after a lost answer again with the same key, as clients must."""
    body = {"params": {"command": "sleep 0.2"}, "idempotency_key": f"load-{number}"}
    while True:
        try:
            answer = await client.post(f"{url}/jobs", json=body)
        except httpx2.HTTPError as error:
            load.failures[type(error).__name__] += 1
            await asyncio.sleep(_COME_BACK_S)
            continue
        assert answer.status_code in (200, 201), answer.text
        load.started.append(answer.json()["job_id"])
        load.latencies_s.setdefault("POST", []).append(time.monotonic() - due_s)
        return


# -- the end -------------------------------------------------------------------------------------


async def _settled(load: Load) -> int:
    """Return how many ends were not seen by a stream that should have, after some patience."""
    deadline_s = time.monotonic() + _SETTLE_S
    while True:
        wanted = set(load.started)
        missing = sum(len(wanted - seen) for seen in load.seen.values()) + len(load.followed)
        if not missing or time.monotonic() > deadline_s:
            return missing
        await asyncio.sleep(0.2)


async def _lost(load: Load) -> int:
    """Return how many accepted jobs are not there, or have not ended well."""
    headers = {"authorization": f"Bearer {load.token}"}
    async with httpx2.AsyncClient(headers=headers, timeout=30, trust_env=False) as client:
        lost = 0
        for job_id in load.started:
            answer = await client.get(f"http://127.0.0.1:{load.port}/jobs/{job_id}")
            lost += answer.status_code != 200 or answer.json()["status"] != "completed"
        return lost


def _report(load: Load, arguments: argparse.Namespace, missing: int, lost: int) -> None:
    print(f"{arguments.streams} streams, {arguments.rate:g} requests/s, {arguments.seconds:g} s")
    for method, found in sorted(load.latencies_s.items()):
        found.sort()
        shown = ", ".join(
            f"p{share:g} {1000 * found[min(len(found) - 1, int(len(found) * share / 100))]:.0f} ms"
            for share in (50, 95, 99)
        )
        print(f"{method}: {len(found)} answered, {shown}, max {1000 * found[-1]:.0f} ms")
    print(f"failed requests: {dict(load.failures) or 'none'}")
    if load.killed_at_s is not None and load.back_at_s is not None:
        print(f"killed once; served again after {load.back_at_s - load.killed_at_s:.1f} s")
    print(f"jobs: {len(load.started)} accepted, {lost} lost")
    print(f"ends: {load.ends_seen} seen, {missing} missing; {load.reconnects} reconnects")
    behind = Counter(len(set(load.started) - seen) for seen in load.seen.values())
    if missing:
        print(f"streams by missing ends: {dict(behind)}; jobs followed: {len(load.followed)}")


if __name__ == "__main__":
    sys.exit(main())
