"""What `start_job` and `check_job` cost over a tool that does nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from benchmarks.figures import Figure, Options, p50, spread
from benchmarks.place import new_place
from benchmarks.rpc import RawClient, open_floor, open_server

_BLOCKS = 5
_CALLS = 40
_PAUSE_S = 0.01
_WARM_UP = 20


def run(options: Options) -> Iterator[Figure]:
    """Blocks of each kind take turns, so that a slow moment of the machine hits all of them."""
    calls = options.count(_CALLS)
    with new_place() as place, open_floor(place) as floor, open_server(place) as server:
        for client in (floor, server):
            client.handshake()
        job_id = _one_job(server)
        kinds: dict[str, Callable[[], object]] = {
            "noop": lambda: floor.call("noop"),
            "start": lambda: server.call("start_job", params={"command": "true"}),
            "check": lambda: server.call("check_job", job_id=job_id),
            "list": lambda: server.call("list_jobs"),
        }
        samples: dict[str, list[float]] = {name: [] for name in kinds}
        for name, call in kinds.items():
            _timed(call, _WARM_UP)
            samples[name] = []
        for _ in range(_BLOCKS):
            for name, call in kinds.items():
                samples[name] += _timed(call, calls)
                _settle(server)
    noop = p50(samples["noop"])
    notes = {name: [f"p50 of {calls * _BLOCKS}", spread(found)] for name, found in samples.items()}
    yield Figure(name="no-op tool, p50", value=noop, unit="ms", notes=notes["noop"][1:])
    # Issue "The core" wants 3 times, issue "Jobs outlive the server" 2 times.
    for name, at_most in (("start", 2.0), ("check", 2.0), ("list", None)):
        yield Figure(
            name=f"{name}_job{'s' * (name == 'list')}, p50",
            value=p50(samples[name]),
            unit="ms",
            floor=noop,
            at_most=at_most,
            notes=notes[name][1:],
        )


def _timed(call: Callable[[], object], count: int) -> list[float]:
    found: list[float] = []
    for _ in range(count):
        time.sleep(_PAUSE_S)
        began_s = time.perf_counter()
        call()
        found.append(1000 * (time.perf_counter() - began_s))
    return found


def _one_job(server: RawClient) -> str:
    """Run a job that prints what a small test suite does; returns its id."""
    command = "for i in 1 2 3 4 5 6 7 8 9 10; do echo line $i of the output; done"
    job = server.call("start_job", params={"command": command}, wait_seconds=20)
    return str(job["job_id"])


def _settle(server: RawClient) -> None:
    """Wait until no job runs, so that one kind of call does not slow down the next."""
    while any(
        server.call("list_jobs", limit=1)["counts"].get(status) for status in ("pending", "running")
    ):
        time.sleep(0.05)
