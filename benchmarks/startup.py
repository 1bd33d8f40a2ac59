"""From the start of the process to `tools/list`, and what it then holds in memory."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from benchmarks.figures import Figure, Options, p50, spread
from benchmarks.place import Place, new_place
from benchmarks.rpc import RawClient, open_floor, open_server
from benchmarks.usage import Memory, memory

_ROUNDS = 11
_SETTLE_S = 0.2


def run(options: Options) -> Iterator[Figure]:
    found: dict[str, list[tuple[float, Memory]]] = {"floor": [], "server": []}
    with new_place() as place:
        # Once each for nothing: byte code, page cache and the database file.
        for opener in (open_floor, open_server):
            _once(place, opener)
        for _ in range(options.count(_ROUNDS)):
            found["floor"].append(_once(place, open_floor))
            found["server"].append(_once(place, open_server))
    floor, server = found["floor"], found["server"]
    yield Figure(
        name="spawn to tools/list",
        value=p50([ms for ms, _ in server]),
        unit="ms",
        floor=p50([ms for ms, _ in floor]),
        at_most=1.15,
        notes=[spread([ms for ms, _ in server])],
    )
    for kind in ("pss", "rss", "private"):
        yield Figure(
            name=f"idle memory, {kind}",
            value=p50([getattr(held, kind) for _, held in server]),
            unit="MiB",
            floor=p50([getattr(held, kind) for _, held in floor]),
            at_most=1.15 if kind == "pss" else None,
        )


def _once(place: Place, opener: Callable[[Place], RawClient]) -> tuple[float, Memory]:
    began_s = time.perf_counter()
    with opener(place) as client:
        client.handshake()
        client.request("tools/list")
        spent_ms = 1000 * (time.perf_counter() - began_s)
        time.sleep(_SETTLE_S)
        return spent_ms, memory(client.pid)
