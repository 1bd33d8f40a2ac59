"""A thousand jobs at once: what each holds, what they cost, whether the tools still answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from benchmarks.figures import Figure, Options, p50, spread
from benchmarks.place import Place, new_place
from benchmarks.rpc import RawClient, open_server
from benchmarks.usage import cpu_percent, cpu_s, memory

_JOBS = 1000
_CPU_S = 5
_CALLS = 60
_PAUSE_S = 0.02
_IN_FLIGHT = 16
_START_BOUND_S = 60


def run(options: Options) -> Iterator[Figure]:
    count = options.count(_JOBS)
    with new_place() as place, open_server(place, MCP_JOBS_CAPACITY=str(count)) as client:
        client.handshake()
        client.call("start_job", params={"command": "true"}, wait_seconds=20)
        alone = memory(client.pid)
        began_s = time.perf_counter()
        jobs = [{"params": {"command": "exec sleep 600"}}] * count
        started = client.call_all("start_job", jobs, in_flight=_IN_FLIGHT)
        _wait_running(place, client, count)
        spent_s = time.perf_counter() - began_s
        yield Figure(name=f"{count} jobs from start to running", value=count / spent_s, unit="/s")
        yield from _memory(place, count)
        now = memory(client.pid)
        yield Figure(
            name=f"server with {count} running jobs, pss",
            value=now.pss,
            unit="MiB",
            floor=alone.pss,
            notes=["the floor is the same server before them"],
        )
        seconds = options.count(_CPU_S)
        launcher, _ = place.launcher_and_runners()
        launcher_s = cpu_s(launcher)
        yield Figure(
            name=f"server CPU over {seconds} s, {count} running jobs",
            value=cpu_percent(client.pid, seconds),
            unit="%",
            notes=[f"launcher: {100 * (cpu_s(launcher) - launcher_s) / seconds:.2f} %"],
        )
        yield from _answers(client, started[count // 2]["job_id"], count, options.count(_CALLS))
        yield from _cancel(client, [job["job_id"] for job in started])


def _wait_running(place: Place, client: RawClient, count: int) -> None:
    """Wait for the runners too: a claimed job is called running a little earlier."""
    deadline_s = time.monotonic() + _START_BOUND_S
    while True:
        running = client.call("list_jobs", limit=1)["counts"]["running"]
        runners = len(place.launcher_and_runners()[1])
        if running == runners == count:
            return
        if time.monotonic() > deadline_s:
            raise AssertionError(f"{running} jobs and {runners} runners of {count}")
        time.sleep(0.05)


def _memory(place: Place, count: int) -> Iterator[Figure]:
    _, runners = place.launcher_and_runners()
    held = [memory(pid) for pid in runners]
    yield Figure(
        name="private memory of a runner, p50",
        value=p50([one.private for one in held]),
        unit="MiB",
        at_most=10.0,
        goal_for="value",
        notes=[spread([one.private for one in held], "MiB")],
    )
    yield Figure(
        name=f"pss of all {count} runners / {count}",
        value=sum(one.pss for one in held) / count,
        unit="MiB",
    )


def _answers(client: RawClient, job_id: str, count: int, calls: int) -> Iterator[Figure]:
    kinds: dict[str, Callable[[], object]] = {
        "check_job": lambda: client.call("check_job", job_id=job_id),
        "list_jobs": lambda: client.call("list_jobs"),
        "start_job": lambda: client.call("start_job", params={"command": "true"}),
    }
    for name, call in kinds.items():
        found: list[float] = []
        for _ in range(calls):
            time.sleep(_PAUSE_S)
            began_s = time.perf_counter()
            call()
            found.append(1000 * (time.perf_counter() - began_s))
        yield Figure(
            name=f"{name}, slowest, {count} running jobs",
            value=max(found),
            unit="ms",
            at_most=50.0,
            goal_for="value",
            notes=[f"p50 {p50(found):.2f} ms; {spread(found)}"],
        )


def _cancel(client: RawClient, job_ids: list[str]) -> Iterator[Figure]:
    began_s = time.perf_counter()
    cancels = [{"job_id": job_id, "grace_seconds": 2} for job_id in job_ids]
    ended = client.call_all("cancel_job", cancels, in_flight=_IN_FLIGHT)
    spent_s = time.perf_counter() - began_s
    gone = sum(job["status"] == "cancelled" for job in ended)
    yield Figure(
        name=f"cancels to verified gone, {_IN_FLIGHT} in flight",
        value=len(job_ids) / spent_s,
        unit="/s",
        notes=[f"{gone} of {len(job_ids)} were gone at the reply"],
    )
