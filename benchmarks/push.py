"""From the end of a job's process to the client that holds the news."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.figures import Figure, Options, p50, spread
from benchmarks.place import Place, new_place
from benchmarks.rpc import RawClient, open_server

_ROUNDS = 12
_JOB_S = 0.6
"""Long enough that the updates of its start are over."""

_BOUND_S = 10.0
_OTHER_GOAL_MS = 300.0


def run(options: Options) -> Iterator[Figure]:
    rounds = options.count(_ROUNDS)
    with new_place() as place, open_server(place) as runner, open_server(place) as other:
        for client in (runner, other):
            client.handshake()
        for name, watcher, goal_ms in (
            ("same server", runner, None),
            ("another server", other, _OTHER_GOAL_MS),
        ):
            pushed: list[float] = []
            for index in range(rounds):
                # Not in step with any timer of the server.
                time.sleep(0.037 * (index % 8))
                pushed.append(_pushed_ms(place, runner, watcher, index))
            yield Figure(
                name=f"end of job to pushed update, {name}, p50",
                value=p50(pushed),
                unit="ms",
                at_most=goal_ms,
                goal_for="value",
                notes=[spread(pushed)],
            )
            waited = [_waited_ms(place, runner, watcher, index) for index in range(rounds)]
            yield Figure(
                name=f"end of job to reply of a waiting check_job, {name}, p50",
                value=p50(waited),
                unit="ms",
                at_most=goal_ms,
                goal_for="value",
                notes=[spread(waited)],
            )


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
    command = f"sleep {_JOB_S}; exec date +%s%N > {stamp}"
    return dict(runner.call("start_job", params={"command": command}))


def _ended_ns(stamp: Path) -> int:
    return int(stamp.read_text("ascii").strip() or 0)


def _updates(watcher: RawClient, uri: str) -> Iterator[int]:
    for at_ns, message in watcher.pushed:
        if (
            message.get("method") == "notifications/resources/updated"
            and message["params"]["uri"] == uri
        ):
            yield at_ns
