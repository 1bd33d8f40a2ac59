"""What the server takes from the processor while nothing happens."""

from __future__ import annotations

from collections.abc import Iterator

from benchmarks.figures import Figure, Options
from benchmarks.place import new_place
from benchmarks.rpc import open_floor, open_server
from benchmarks.usage import cpu_percent

_SECONDS = 10
_SLEEPING = 20


def run(options: Options) -> Iterator[Figure]:
    seconds = options.count(_SECONDS)
    with new_place() as place:
        with open_floor(place) as client:
            client.handshake()
            floor = cpu_percent(client.pid, seconds / 2)
        with open_server(place, MCP_JOBS_CAPACITY=str(_SLEEPING)) as client:
            client.handshake()
            client.request("tools/list")
            cpu_percent(client.pid, 0.5)
            yield Figure(
                name=f"idle CPU over {seconds} s, no job",
                value=cpu_percent(client.pid, seconds),
                unit="%",
                at_most=1.0,
                goal_for="value",
                notes=[f"the bare SDK server: {floor:.2f} %"],
            )
            jobs = [{"params": {"command": "exec sleep 300"}}] * _SLEEPING
            started = client.call_all("start_job", jobs, in_flight=8)
            cpu_percent(client.pid, 1.0)
            yield Figure(
                name=f"idle CPU over {seconds} s, {_SLEEPING} sleeping jobs",
                value=cpu_percent(client.pid, seconds),
                unit="%",
                at_most=1.0,
                goal_for="value",
            )
            cancels = [{"job_id": job["job_id"], "grace_seconds": 1} for job in started]
            client.call_all("cancel_job", cancels, in_flight=8)
