"""A call that waits tells how the job goes, ends with the job, and is not what keeps it alive."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from tests.contract import call, check_job_object, ended, start
from tests.gates import gate, open_gate, open_gate_now
from tests.raw import RawServer
from tests.support import BOUND_S, ERAS, open_client, until

if TYPE_CHECKING:
    from mcp import Client

    from tests.support import Place

SAMPLE = Path(__file__).parents[2] / "samples" / "pytest.txt"

Report = tuple[float, float | None, str | None]


class Told:
    """A progress callback that keeps what it was told."""

    def __init__(self) -> None:
        self.reports: list[Report] = []

    async def __call__(self, progress: float, total: float | None, message: str | None) -> None:
        self.reports.append((progress, total, message))

    async def until_said(self, text: str) -> None:
        await until(lambda: any(text in (message or "") for _, _, message in self.reports))

    def assert_rising(self) -> None:
        assert [(a, b) for (a, _, _), (b, _, _) in pairwise(self.reports) if b <= a] == []
        assert all(total in (None, 100) for _, total, _ in self.reports)
        assert all(total is None or value <= total for value, total, _ in self.reports)


class Waiting:
    """A tool call in a task of its own, so that the test can act while it waits."""

    def __init__(self, client: Client, tool: str, arguments: dict[str, Any]) -> None:
        self._call = (client, tool, arguments)
        self.told = Told()
        self.scope = anyio.CancelScope()
        self.result: dict[str, Any] | None = None

    async def run(self) -> None:
        client, tool, arguments = self._call
        with anyio.fail_after(BOUND_S), self.scope:
            self.result = await call(client, tool, arguments, progress_callback=self.told)


def report(line: str) -> str:
    return f"echo '{line}' >> $MCP_JOBS_PROGRESS; "


STEPS = (
    report('{"message": "warming up"}')
    + "read x < a; "
    + report('{"current": 1, "total": 4, "message": "first"}')
    + "read x < b; "
    + report('{"percent": 25, "message": "the same again"}')
    + "read x < c; "
    + report('{"percent": 10, "message": "behind"}')
    + "read x < d; "
    + report('{"current": 4, "total": 4, "message": "all"}')
    + "read x < e"
)
SAID = ("warming up", "first", "the same again", "behind", "all")


TOOLS = ("start_job", "check_job", "list_jobs")


async def waiting_call(client: Client, tool: str, command: str) -> Waiting:
    """Make the call of `tool` that waits for the end of a new job."""
    # Until a job reports, its title is what is told; it must not be mistaken for a report.
    params = {"params": {"command": command}, "title": "job"}
    if tool == "start_job":
        return Waiting(client, tool, {**params, "wait_seconds": 50})
    job_id = (await call(client, "start_job", params))["job_id"]
    which: dict[str, Any] = {"job_id": job_id}
    if tool == "list_jobs":
        which = {"job_ids": [job_id], "wait_for": "all"}
    return Waiting(client, tool, {**which, "wait_seconds": 50})


@pytest.mark.parametrize("mode", ERAS)
async def test_a_waiting_call_tells_rising_progress_and_ends_with_the_job(
    place: Place, mode: str
) -> None:
    gates = [gate(place, name) for name in "abcde"]
    async with open_client(place, mode) as client:
        for tool in TOOLS:
            waiting = await waiting_call(client, tool, STEPS)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(waiting.run)
                for path, said in zip(gates, SAID, strict=True):
                    await waiting.told.until_said(said)
                    await open_gate(path)

            waiting.told.assert_rising()
            heard = waiting.told.reports
            # A slow machine may add how much time is left.
            told = {(text or "").partition(", about")[0]: (at, of) for at, of, text in heard}
            assert told["warming up"][1] is None
            assert told["first"] == (25, 100)
            assert told["behind"][0] > told["the same again"][0] > 25
            assert told["all"] == (100, 100)
            # The wait was for up to 50 s, and `Waiting` bounds it to less.
            assert waiting.result is not None
            job = waiting.result["jobs"][0] if tool == "list_jobs" else waiting.result
            assert (job["status"], job["progress"]["percent"]) == ("completed", 100)
            assert (job["progress"]["current"], job["progress"]["total"]) == (4, 4)


@pytest.mark.parametrize("wait_for", ["any", "all"])
async def test_waiting_for_several_jobs_ends_with_any_or_all_of_them(
    place: Place, wait_for: str
) -> None:
    one, two = gate(place, "one"), gate(place, "two")
    async with open_client(place) as client:
        jobs = [await start(client, f"read x < {name}") for name in ("one", "two")]
        ids = [job["job_id"] for job in jobs]
        arguments = {"job_ids": ids, "wait_for": wait_for, "wait_seconds": 50}
        waiting = Waiting(client, "list_jobs", arguments)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waiting.run)
            await waiting.told.until_said("0 of 2 jobs have ended")
            await open_gate(one)
            if wait_for == "all":
                await waiting.told.until_said("1 of 2 jobs have ended")
                assert waiting.result is None
                await open_gate(two)
        assert waiting.result is not None
        states = {job["job_id"]: job["status"] for job in waiting.result["jobs"]}
        assert states[ids[0]] == "completed"
        assert (states[ids[1]] == "completed") == (wait_for == "all")
        waiting.told.assert_rising()
        if wait_for == "any":
            await open_gate(two)
            await ended(client, ids[1])


@pytest.mark.parametrize("mode", ERAS)
async def test_cancelling_a_waiting_call_leaves_the_job_running(place: Place, mode: str) -> None:
    path = gate(place, "gate")
    async with open_client(place, mode) as client:
        for tool in TOOLS:
            waiting = await waiting_call(client, tool, "read x < gate; echo went on")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(waiting.run)
                await waiting.told.until_said("job: running")
                waiting.scope.cancel()
            assert waiting.result is None

            # What is answered later was asked later: the server has seen the cancellation.
            (job,) = (await call(client, "list_jobs", {"limit": 1}))["jobs"]
            assert not job["finished_at"]
            assert not job["cancel_requested"]
            await open_gate(path)
            done = await ended(client, job["job_id"])
            assert (done["status"], done["output"]["text"]) == ("completed", "went on\n")


@pytest.mark.parametrize("modern", [False, True])
def test_without_a_token_nothing_is_told(place: Place, modern: bool) -> None:
    def told(server: RawServer) -> list[str]:
        own = [m["params"] for m in server.notifications if m["method"].endswith("/progress")]
        server.notifications.clear()
        return [str(params["progressToken"]) for params in own]

    command = report('{"percent": 50}') + "read x < gate"
    path = gate(place, "gate")
    with RawServer(place, modern=modern) as server:
        for meta, tokens in (({}, set()), ({"progressToken": "t"}, {"t"})):
            job = server.call("start_job", {"params": {"command": command}})["structuredContent"]
            arguments = {"job_id": job["job_id"], "wait_seconds": 50}
            call = {"name": "check_job", "arguments": arguments, "_meta": meta}
            waits = server.send("tools/call", call)
            # The server has seen the call that waits before it answers the next one.
            server.assert_alive()
            open_gate_now(path)
            done = server.answer(waits)["result"]["structuredContent"]
            assert done["status"] == "completed"
            assert set(told(server)) == tokens


async def test_a_job_s_own_reports_are_shown_with_the_time_left(place: Place) -> None:
    path = gate(place, "gate")
    # The job, not the test, takes the three seconds that an estimate needs.
    steps = [report(f'{{"current": {n}, "total": 20}}') for n in (1, 6)]
    async with open_client(place) as client:
        job = await start(client, "sleep 3.5; ".join(steps) + "read x < gate")
        waiting = Waiting(client, "check_job", {"job_id": job["job_id"], "wait_seconds": 50})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waiting.run)
            await waiting.told.until_said(" left")
            shown = await call(client, "check_job", {"job_id": job["job_id"]})
            (listed,) = (await call(client, "list_jobs"))["jobs"]
            await open_gate(path)

    assert shown["status"] == listed["status"] == "running"
    assert shown["progress"]["total"] == listed["progress"]["total"] == 20
    assert (shown["progress"]["current"], shown["progress"]["percent"]) == (6, 30)
    assert shown["progress"]["message"].startswith("about ")
    assert shown["progress"]["message"].endswith(" left")


@pytest.mark.parametrize("mode", ERAS)
async def test_pytest_s_output_becomes_progress_and_a_summary(place: Place, mode: str) -> None:
    path = gate(place, "gate")
    text = SAMPLE.read_text()
    seen, mark, rest = text.partition("[ 40%]\n")
    (place.project / "seen").write_text(seen + mark)
    (place.project / "rest").write_text(rest)
    async with open_client(place, mode) as client:
        job = await start(client, "cat seen; read x < gate; cat rest; exit 1")
        waiting = Waiting(client, "check_job", {"job_id": job["job_id"], "wait_seconds": 50})
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(waiting.run)
            await until(lambda: any(value >= 40 for value, _, _ in waiting.told.reports))
            shown = await call(client, "check_job", {"job_id": job["job_id"]})
            await open_gate(path)

    assert 40 <= shown["progress"]["percent"] < 50
    done = waiting.result
    assert done is not None
    check_job_object(done)
    assert (done["status"], done["reason"], done["exit_code"]) == ("failed", "exit_code", 1)
    tests = done["result"]["tests"]
    assert (tests["passed"], tests["failed"]) == (130, 4)
    assert "tests/test_a.py::test_bad" in tests["failed_names"]
    assert "tests/test_a.py::TestC::test_in_class" in tests["failed_names"]
    waiting.told.assert_rising()
