"""300 `true` jobs from start to end, against what forks and calls alone would take."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator

from benchmarks.figures import Figure, Options, p50
from benchmarks.place import Place, new_place
from benchmarks.rpc import RawClient, open_floor, open_server
from mcp_jobs.execution.shells import Script, find_shells
from mcp_jobs.settings import Settings

_JOBS = 300
_IN_FLIGHT = 16
_ROUNDS = 2

FORKER = """
import os, select, signal, sys
read_fd, write_fd = os.pipe()
os.set_blocking(write_fd, False)
signal.signal(signal.SIGCHLD, lambda *_: None)
signal.set_wakeup_fd(write_fd)
while True:
    ready, _, _ = select.select([0, read_fd], [], [])
    if read_fd in ready:
        os.read(read_fd, 4096)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
    if 0 not in ready:
        continue
    wanted = os.read(0, 64)
    if not wanted:
        sys.exit()
    for _ in wanted:
        if os.fork() == 0:
            signal.set_wakeup_fd(-1)
            os.setsid()
            job = os.fork()
            if job == 0:
                os.execv(sys.argv[2], sys.argv[2:])
            os.waitpid(job, 0)
            os.write(1, b".")
            os._exit(0)
"""
"""What is left of launcher and runner when they write down, lock, limit and record nothing.

It runs the command in its arguments from the second on; the first tells whose it is."""


def run(options: Options) -> Iterator[Figure]:
    jobs = options.count(_JOBS)
    rates: dict[str, list[float]] = {"spawn": [], "composite": [], "jobs": [], "default": []}
    with new_place() as place:
        for _ in range(1 if options.quick else _ROUNDS):
            rates["spawn"].append(jobs / _spawn_loop(jobs))
            rates["composite"].append(jobs / _composite(place, jobs))
            rates["jobs"].append(jobs / _jobs(place, jobs, MCP_JOBS_CAPACITY=str(_IN_FLIGHT)))
            rates["default"].append(jobs / _jobs(place, jobs))
    spawn, composite = p50(rates["spawn"]), p50(rates["composite"])
    yield Figure(name="bare spawn loop (subprocess, one by one)", value=spawn, unit="/s")
    yield Figure(
        name=f"composite floor: {2 * jobs} no-op calls, {jobs} bare runners",
        value=composite,
        unit="/s",
        floor=spawn,
    )
    for kind, capacity in (("jobs", f"capacity {_IN_FLIGHT}"), ("default", "default capacity")):
        rate = p50(rates[kind])
        yield Figure(
            name=f"{jobs} `true` jobs, {_IN_FLIGHT} in flight, {capacity}",
            value=rate,
            unit="/s",
            floor=spawn,
            at_least=0.15,
            notes=[
                f"{rate / composite:.2f} of the composite floor",
                "rounds: " + ", ".join(f"{found:.0f}/s" for found in rates[kind]),
            ],
        )


def _spawn_loop(jobs: int) -> float:
    began_s = time.perf_counter()
    for _ in range(jobs):
        subprocess.run(["true"], check=True)
    return time.perf_counter() - began_s


def _composite(place: Place, jobs: int) -> float:
    """Time a no-op call, a bare runner and another no-op call for each job, some in flight."""
    with open_floor(place) as client, _forker(place) as forker:
        client.handshake()
        assert forker.stdin is not None
        assert forker.stdout is not None
        began_s = time.perf_counter()
        starts: set[int] = set()
        checks: set[int] = set()
        begun = done = running = 0
        while done < jobs:
            while begun < jobs and len(starts) + running + len(checks) < _IN_FLIGHT:
                starts.add(client.send_call("noop"))
                begun += 1
            if starts or checks:
                request_id, _ = client.wait_any(starts | checks)
                if request_id in starts:
                    starts.discard(request_id)
                    forker.stdin.write(b".")
                    running += 1
                else:
                    checks.discard(request_id)
                    done += 1
            if running and not (starts or checks):
                ended = len(forker.stdout.read(64) or b"")
                running -= ended
                checks |= {client.send_call("noop") for _ in range(ended)}
        return time.perf_counter() - began_s


def _forker(place: Place) -> subprocess.Popen[bytes]:
    # By the shell of the jobs: a bash takes twice as long to start as most others.
    argv = find_shells(Settings(home=place.home)).argv(Script(text="true"))
    return subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", FORKER, str(place.root), *argv],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
    )


def _jobs(place: Place, jobs: int, **env: str) -> float:
    """Time `jobs` jobs: each start is followed by a check that waits for the end."""
    with open_server(place, **env) as client:
        client.handshake()
        # The launcher and the code paths are there before the clock runs.
        client.call("start_job", params={"command": "true"}, wait_seconds=20)
        began_s = time.perf_counter()
        _run_jobs(client, jobs)
        return time.perf_counter() - began_s


def _run_jobs(client: RawClient, jobs: int) -> None:
    starts: set[int] = set()
    checks: set[int] = set()
    begun = done = 0
    while done < jobs:
        while begun < jobs and len(starts) + len(checks) < _IN_FLIGHT:
            starts.add(client.send_call("start_job", params={"command": "true"}))
            begun += 1
        pending = starts | checks
        request_id, result = client.wait_any(pending)
        job = result["structuredContent"]
        if request_id in starts:
            starts.discard(request_id)
            checks.add(client.send_call("check_job", job_id=job["job_id"], wait_seconds=50))
            continue
        checks.discard(request_id)
        if job["status"] != "completed":
            raise AssertionError(job)
        done += 1
