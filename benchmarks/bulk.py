"""A job that prints 200 MB: how fast, how much is kept, how fast its tail is read."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from benchmarks.figures import Figure, Options, p50, spread
from benchmarks.place import Place, new_place
from benchmarks.rpc import RawClient, open_server
from mcp_jobs.execution.spool_reader import SpoolFiles
from mcp_jobs.output import read_tail

_BYTES = 200_000_000
_LINE = "2026-01-01 12:00:00 INFO compiling unit number 12345 of the project, all is well"
_ROUNDS = 5
_CAP_MIB = 64
_TAILS = 50
_MIB = 1 << 20


def run(options: Options) -> Iterator[Figure]:
    size = _BYTES // (4 if options.quick else 1)
    command = f"yes '{_LINE}' | head -c {size}"
    with new_place() as place, open_server(place) as server:
        server.handshake()
        to_file: list[float] = []
        own: list[float] = []
        wall: list[float] = []
        job_id = ""
        for _ in range(2 if options.quick else _ROUNDS):
            to_file.append(_to_file(place, command))
            began_s = time.perf_counter()
            job = server.call("start_job", params={"command": command}, wait_seconds=50)
            wall.append(time.perf_counter() - began_s)
            own.append(_seconds(job))
            job_id = job["job_id"]
            if job["status"] != "completed" or job["output"]["bytes_total"] != size:
                raise AssertionError(job)
        yield from _rates(size, p50(to_file), p50(own), p50(wall))
        yield from _tails(server, place.output_of(job_id), job_id, options.count(_TAILS))
        yield Figure(
            name="disk used by its output",
            value=_disk_use(place.output_of(job_id)),
            unit="MiB",
            at_most=_CAP_MIB * (1 + 1 / 32),
            goal_for="value",
            notes=["the cap is 64 MiB, and one segment of 2 MiB that is being written"],
        )


def _rates(size: int, to_file_s: float, own_s: float, wall_s: float) -> Iterator[Figure]:
    floor = size / to_file_s / 1e6
    for name, seconds in (("finished_at - started_at", own_s), ("call to reply", wall_s)):
        yield Figure(
            name=f"{size // 1_000_000} MB of output, {name}",
            value=size / seconds / 1e6,
            unit="MB/s",
            floor=floor,
            at_least=0.5,
            notes=[f"{1000 * seconds:.0f} ms; straight to a file {1000 * to_file_s:.0f} ms"],
        )


def _tails(server: RawClient, output: Path, job_id: str, count: int) -> Iterator[Figure]:
    kinds: dict[str, Callable[[], object]] = {
        "check_job": lambda: server.call("check_job", job_id=job_id, tail_lines=40),
        "read_tail": lambda: read_tail(SpoolFiles(output), lines=40),
    }
    for name, read in kinds.items():
        found: list[float] = []
        for _ in range(count):
            began_s = time.perf_counter()
            read()
            found.append(1000 * (time.perf_counter() - began_s))
        yield Figure(
            name=f"its tail by {name}, p50",
            value=p50(found),
            unit="ms",
            at_most=10.0,
            goal_for="value",
            notes=[spread(found)],
        )


def _to_file(place: Place, command: str) -> float:
    path = place.project / "straight"
    began_s = time.perf_counter()
    with path.open("wb") as file:
        subprocess.run(
            ["/bin/sh", "-c", command], stdout=file, stdin=subprocess.DEVNULL, check=True
        )
    spent_s = time.perf_counter() - began_s
    path.unlink()
    return spent_s


def _seconds(job: dict[str, str]) -> float:
    began, ended = (datetime.fromisoformat(job[name]) for name in ("started_at", "finished_at"))
    return (ended - began).total_seconds()


def _disk_use(directory: Path) -> float:
    return sum(entry.stat().st_blocks * 512 for entry in os.scandir(directory)) / _MIB
