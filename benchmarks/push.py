"""From the end of a job's process to the client that holds the news."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.figures import Figure, Options, p50, spread
from benchmarks.place import Place, new_place
from benchmarks.rpc import RawClient, open_server

_ROUNDS = 12
_JOB_S = 0.6
"""Long enough that the updates of its start are over."""

_BOUND_S = 10.0
_SAME_GOAL_MS = 20.0
_OTHER_GOAL_MS = 300.0


def run(options: Options) -> Iterator[Figure]:
    rounds = options.count(_ROUNDS)
    with new_place() as place, _clients(place) as (runner, other, tasks, other_tasks):
        for name, watcher, tasks_watcher, goal_ms in (
            ("same server", runner, tasks, _SAME_GOAL_MS),
            ("another server", other, other_tasks, _OTHER_GOAL_MS),
        ):
            pushed: list[float] = []
            for index in range(rounds):
                # Not in step with any timer of the server.
                time.sleep(0.037 * (index % 8))
                pushed.append(_pushed_ms(place, runner, watcher, index))
            yield _figure(f"end of job to pushed update, {name}, p50", pushed, goal_ms)
            waited = [_waited_ms(place, runner, watcher, index) for index in range(rounds)]
            what = "end of job to reply of a waiting check_job"
            yield _figure(f"{what}, {name}, p50", waited, goal_ms)
            told: list[float] = []
            for index in range(rounds):
                time.sleep(0.037 * (index % 8))
                starter = tasks_watcher if watcher is runner else runner
                told.append(_told_ms(place, starter, tasks_watcher, index))
            yield _figure(f"end of job to notifications/tasks, {name}, p50", told, goal_ms)


@contextmanager
def _clients(place: Place) -> Iterator[tuple[RawClient, RawClient, RawClient, RawClient]]:
    """Open two servers of the handshake era and two of 2026-07-28 on one home."""
    with (
        open_server(place) as runner,
        open_server(place) as other,
        open_server(place) as tasks,
        open_server(place) as other_tasks,
    ):
        for client in (runner, other):
            client.handshake()
        for client in (tasks, other_tasks):
            client.declare_tasks()
            client.request("server/discover")
        yield runner, other, tasks, other_tasks


def _figure(name: str, values: list[float], goal_ms: float) -> Figure:
    return Figure(
        name=name,
        value=p50(values),
        unit="ms",
        at_most=goal_ms,
        goal_for="value",
        notes=[spread(values)],
    )


def _told_ms(place: Place, starter: RawClient, watcher: RawClient, index: int) -> float:
    stamp = place.project / f"told-{index}"
    task_id = _start_task(starter, stamp)
    listening = watcher.send("subscriptions/listen", {"notifications": {"taskIds": [task_id]}})
    found: list[int] = []

    def arrived() -> bool:
        found.extend(
            at_ns
            for at_ns, message in watcher.pushed
            if message.get("method") == "notifications/tasks"
            and message["params"]["taskId"] == task_id
            and message["params"]["status"] == "completed"
        )
        return bool(found)

    watcher.read_for(_BOUND_S, arrived)
    latency_ms = (found[0] - _ended_ns(stamp)) / 1e6
    watcher.notify("notifications/cancelled", {"requestId": listening})
    watcher.pushed.clear()
    stamp.unlink()
    return latency_ms


def _start_task(starter: RawClient, stamp: Path) -> str:
    """Start a job like `_start`; the reply is a task where tasks are declared."""
    arguments = {"params": {"command": _command(stamp)}}
    result = starter.request("tools/call", {"name": "start_job", "arguments": arguments})
    return str(result.get("taskId") or result["structuredContent"]["job_id"])


def _pushed_ms(place: Place, runner: RawClient, watcher: RawClient, index: int) -> float:
    stamp = place.project / f"pushed-{index}"
    uri = _start(runner, stamp)["uri"]
    watcher.request("resources/subscribe", {"uri": uri})
    found: list[int] = []

    def arrived() -> bool:
        if stamp.exists() and (ended_ns := _ended_ns(stamp)):
            found.extend(at for at in _updates(watcher, uri) if at > ended_ns)
        return bool(found)

    watcher.read_for(_BOUND_S, arrived)
    latency_ms = (found[0] - _ended_ns(stamp)) / 1e6
    watcher.request("resources/unsubscribe", {"uri": uri})
    watcher.pushed.clear()
    stamp.unlink()
    return latency_ms


def _waited_ms(place: Place, runner: RawClient, watcher: RawClient, index: int) -> float:
    stamp = place.project / f"waited-{index}"
    job = _start(runner, stamp)
    ended = watcher.call("check_job", job_id=job["job_id"], wait_seconds=20)
    now_ns = time.time_ns()
    if ended["status"] != "completed":
        raise AssertionError(ended)
    latency_ms = (now_ns - _ended_ns(stamp)) / 1e6
    stamp.unlink()
    return latency_ms


def _start(runner: RawClient, stamp: Path) -> dict[str, str]:
    """Start a job whose last act is to write down the time (and which prints nothing)."""
    return dict(runner.call("start_job", params={"command": _command(stamp)}))


def _command(stamp: Path) -> str:
    return f"sleep {_JOB_S}; exec date +%s%N > {stamp}"


def _ended_ns(stamp: Path) -> int:
    return int(stamp.read_text("ascii").strip() or 0)


def _updates(watcher: RawClient, uri: str) -> Iterator[int]:
    for at_ns, message in watcher.pushed:
        if (
            message.get("method") == "notifications/resources/updated"
            and message["params"]["uri"] == uri
        ):
            yield at_ns
