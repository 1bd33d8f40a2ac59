"""From the start of the process to `tools/list`, with 200 declared job types and with none."""

from __future__ import annotations

import time
from collections.abc import Iterator

from benchmarks.figures import Figure, Options, p50, spread
from benchmarks.place import Place, new_place
from benchmarks.rpc import open_server

_TYPES = 200
_ROUNDS = 15

_ENTRY = """\
  type_{number:03}:
    description: Does the thing number {number} for an environment, and says how far it is.
    params:
      environment: {{enum: [staging, production], required: true}}
      version: {{pattern: '^v[0-9]+([.][0-9]+){{0,2}}$', required: true, description: The version.}}
      count: {{type: integer, minimum: 1, maximum: {number}0, default: 1}}
    {runs}
    cwd: ops
    env: {{MODE: fast}}
    timeout: 10m
    retries: {{count: 2, backoff: linear, on: {{exit_codes: [75], output: 'try again'}}}}
    progress: '(?P<current>[0-9]+) of (?P<total>[0-9]+)'
"""
_RUNS = (
    "command: [./do, '--to={environment}', '{version}', '{count}']",
    'shell: ./do "$environment" "$version" "$count"',
)
_CASES = {"none": 0, "listed": 0, "tools": _TYPES}
"""How many of the types are tools of their own."""


def run(options: Options) -> Iterator[Figure]:
    found: dict[str, list[float]] = {case: [] for case in _CASES}
    with new_place() as place:
        for number in range(options.count(_ROUNDS) + 1):
            for case, exposed in _CASES.items():
                path = place.project / "jobs.yaml"
                path.unlink(missing_ok=True)
                if case != "none":
                    path.write_text(declarations(exposed), "utf-8")
                    place.trust(path)
                spent_ms = _once(place)
                # The first round is for byte code, page cache and the database file.
                if number:
                    found[case].append(spent_ms)
    for case, name in (
        ("listed", f"spawn to tools/list, {_TYPES} declared types"),
        ("tools", "the same, each a tool of its own"),
    ):
        yield Figure(
            name=name,
            value=p50(found[case]),
            unit="ms",
            floor=p50(found["none"]),
            at_most=1.2,
            notes=[spread(found[case])],
        )


def declarations(exposed: int) -> str:
    """Return a file of job types, of which some are tools of their own."""
    entries = []
    for number in range(1, _TYPES + 1):
        entry = _ENTRY.format(number=number, runs=_RUNS[number % 2])
        entries.append(entry + ("    expose: tool\n" if number <= exposed else ""))
    return "jobs:\n" + "".join(entries)


def _once(place: Place) -> float:
    began_s = time.perf_counter()
    with open_server(place) as client:
        client.handshake()
        client.request("tools/list")
        return 1000 * (time.perf_counter() - began_s)
