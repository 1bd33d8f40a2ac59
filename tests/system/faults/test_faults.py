"""Clocks that jump, forks that fail, descriptors that run out, and a long queue."""

from __future__ import annotations

import errno
import resource
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio
import pytest

from mcp_jobs.domain.states import Status
from mcp_jobs.execution import job_directory
from mcp_jobs.service.assembly import LOCAL_OWNER
from mcp_jobs.service.requests import ListJobs
from tests.raw import RawServer
from tests.support import Place, until
from tests.system.fleet import accept, assert_refused_plainly, run_command
from tests.system.station import gate, launcher, pids_in, release, server, shell, station

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

HOUR_MS: Final = 3_600_000


# -- the wall clock jumps ------------------------------------------------------------------------


@dataclass
class JumpingClock:
    """The machine's clocks, of which the wall clock can be moved."""

    offset_ms: int = 0

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000 + self.offset_ms

    def monotonic_s(self) -> float:
        return time.monotonic()


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> JumpingClock:
    """The clock of every server that this process opens."""
    clock = JumpingClock()
    monkeypatch.setattr("mcp_jobs.service.assembly.SystemClock", lambda: clock)
    # Its length bounds how long a jump can delay a job.
    monkeypatch.setattr("mcp_jobs.engine.claiming._LONGEST_NAP_S", 0.2)
    return clock


async def test_a_job_that_waits_starts_though_the_clock_went_back(
    place: Place, clock: JumpingClock
) -> None:
    path = await gate(place)
    async with station(place, capacity=1) as jobs:
        first = await jobs.start("read x < gate")
        await jobs.reaches(first, "running")
        waiting = await jobs.start("echo it runs")
        clock.offset_ms -= HOUR_MS
        await release(path)
        ends = [await jobs.ended(first), await jobs.ended(waiting)]

    assert [job["status"] for job in ends] == ["completed", "completed"]
    assert ends[1]["output"]["text"] == "it runs\n"
    assert min(job["duration_seconds"] for job in ends) >= 0


async def test_a_job_that_is_to_be_retried_starts_though_the_clock_went_back(
    place: Place, clock: JumpingClock
) -> None:
    async with station(place, retry_base_seconds=100) as jobs:
        job_id = await jobs.start("echo >> runs; test $(wc -l < runs) -gt 1", max_retries=1)
        before = await jobs.reaches(job_id, "retrying")
        clock.offset_ms -= HOUR_MS
        job = await jobs.ended(job_id)

    assert before["attempt"] == 1
    assert (job["status"], job["attempt"]) == ("completed", 2)


async def test_a_delayed_job_is_not_started_early_by_a_clock_that_went_back(
    place: Place, clock: JumpingClock
) -> None:
    async with station(place) as jobs:
        delayed = await jobs.start("echo >> ran", delay_seconds=1000)
        clock.offset_ms -= HOUR_MS
        await jobs.core.store.reset_future_run_at(now_ms=clock.now_ms())
        await jobs.run("true")
        job = await jobs.check(delayed)
        await jobs.cancel(delayed)

    assert job["status"] == "pending"
    assert not (place.project / "ran").exists()


@pytest.mark.parametrize("hours", [-1, 1], ids=["back", "forward"])
async def test_a_jump_ends_neither_a_lease_nor_a_running_job(
    place: Place, clock: JumpingClock, hours: int
) -> None:
    path = await gate(place)
    async with station(place) as one, station(place) as two:
        job_id = await one.start(
            "echo $$ >> pids; read x < gate; exit 7", timeout_seconds=60, idle_timeout_seconds=60
        )
        await pids_in(place.project / "pids")
        before = await two.core.store.find(job_id)
        clock.offset_ms += hours * HOUR_MS
        async with anyio.create_task_group() as tasks:
            for jobs in (one, two) * 3:
                await jobs.core.recovery.adopt_orphans(tasks)
        after = await two.core.store.find(job_id)
        await release(path)
        job = await two.ended(job_id)

    assert before is not None
    assert (before.status, before) == ("running", after)
    assert (job["reason"], job["exit_code"], job["attempt"]) == ("exit_code", 7, 1)


# -- no new process ------------------------------------------------------------------------------

DOOMED_S: Final = 4242
"""The time limit of the jobs whose forks fail."""

_LAUNCH: Final = f"""
import errno, os, sys; sys.path.insert(0, sys.argv[1])
from mcp_jobs.execution.launcher import fork_server
fork, spawn, fork_runner = os.fork, os.posix_spawn, fork_server.Launcher._fork_runner
launcher, doomed, failures = None, False, 0
def fail():
    global failures
    if doomed and (os.getpid() == launcher) == {{in_launcher}} and failures < {{failures}}:
        failures += 1
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")
def failing_fork():
    fail()
    return fork()
def failing_spawn(*arguments, **options):
    fail()
    return spawn(*arguments, **options)
def note(self, client, request):
    global launcher, doomed
    launcher, doomed = os.getpid(), request["timeout_s"] == {DOOMED_S}
    fork_runner(self, client, request)
os.fork, os.posix_spawn, fork_server.Launcher._fork_runner = failing_fork, failing_spawn, note
fork_server.main(sys.argv[2], float(sys.argv[3]))
"""


def break_fork(monkeypatch: pytest.MonkeyPatch, *, in_launcher: bool, failures: int) -> None:
    code = _LAUNCH.format(in_launcher=in_launcher, failures=failures)
    monkeypatch.setattr("mcp_jobs.execution.launcher_client._LAUNCH", code)


async def test_a_job_starts_when_the_system_gives_processes_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    break_fork(monkeypatch, in_launcher=True, failures=2)
    async with station(place) as jobs:
        job = await jobs.run("echo >> runs", timeout_seconds=DOOMED_S)

    assert (job["status"], job["attempt"]) == ("completed", 1)
    assert (place.project / "runs").read_text() == "\n"


@pytest.mark.parametrize("in_launcher", [True, False], ids=["launcher", "runner"])
async def test_a_job_that_gets_no_process_fails_and_blocks_no_other(
    place: Place, monkeypatch: pytest.MonkeyPatch, in_launcher: bool
) -> None:
    break_fork(monkeypatch, in_launcher=in_launcher, failures=1000)
    monkeypatch.setattr("mcp_jobs.execution.local_executor._LAUNCH_PAUSES_S", (0.01,) * 4)
    async with station(place, capacity=1) as jobs:
        doomed = await jobs.start("echo >> ran", timeout_seconds=DOOMED_S)
        other = await jobs.run("echo other")
        job = await jobs.ended(doomed)

    assert (job["status"], job["reason"], job["exit_code"]) == ("failed", "spawn_error", None)
    assert "Resource temporarily unavailable" in job["error"]
    assert other["output"]["text"] == "other\n"
    assert not (place.project / "ran").exists()


async def test_a_server_that_gets_no_process_for_a_launcher_tries_again(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_process = anyio.run_process
    refused: list[object] = []

    async def failing(*arguments: object, **options: object) -> object:
        if len(refused) < 3:
            refused.append(arguments)
            raise BlockingIOError(11, "Resource temporarily unavailable")
        return await run_process(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("anyio.run_process", failing)
    async with station(place) as jobs:
        job = await jobs.run("echo it runs")

    assert len(refused) == 3
    assert (job["status"], job["output"]["text"]) == ("completed", "it runs\n")


# -- no descriptors ------------------------------------------------------------------------------


def limit_files(pid: int, soft: int) -> int:
    """Set how many descriptors a process may have from now on; returns the old number."""
    _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    return resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))[0]


@pytest.fixture
def raw(place: Place) -> Iterator[RawServer]:
    with RawServer(place) as started:
        yield started


needs_prlimit = pytest.mark.skipif(
    not hasattr(resource, "prlimit"), reason="this system cannot limit another process"
)


@needs_prlimit
async def test_a_server_without_descriptors_says_so_and_recovers(
    place: Place, raw: RawServer
) -> None:
    path = await gate(place)
    asked = raw.call("start_job", {"params": {"command": "echo $$ > pids; read x < gate; exit 7"}})
    job_id = asked["structuredContent"]["job_id"]
    await pids_in(place.project / "pids")
    before = limit_files(raw.process.pid, 0)
    refusal = raw.refusal("start_job", {"params": {"command": "true"}})
    read = raw.request("resources/read", {"uri": f"jobs://job/{job_id}/output"})
    # Long enough for every periodic task to meet the limit.
    waiting = {"job_ids": [job_id], "wait_for": "any", "wait_seconds": 2}
    listed = raw.call("list_jobs", waiting)["structuredContent"]
    limit_files(raw.process.pid, before)
    await release(path)
    check = {"job_id": job_id, "wait_seconds": 20}
    job = raw.call("check_job", check)["structuredContent"]
    again = {"params": {"command": "echo again"}, "wait_seconds": 20}
    after = raw.call("start_job", again)["structuredContent"]

    for text in (refusal, read["error"]["message"]):
        assert "Too many open files in this process, which may have 0 at once: wait" in text
        assert "ulimit -n" in text
        assert "Errno" not in text
    assert "Traceback" not in raw.stderr
    assert listed["counts"]["running"] == 1
    assert (job["reason"], job["exit_code"]) == ("exit_code", 7)
    assert after["output"]["text"] == "again\n"


@needs_prlimit
async def test_a_server_without_descriptors_does_not_end_over_the_job_of_another(
    place: Place,
) -> None:
    path = await gate(place)
    owners = place.home / "owners"
    with server(place, shell(place, "echo $$ > pids; read x < gate")) as other:
        await pids_in(place.project / "pids")
        known = _visible(owners)
        with server(place) as poor:
            await until(lambda: _visible(owners) - known)
            (own,) = _visible(owners) - known
            before = limit_files(poor.process.pid, 0)
            seen = {own.stat().st_mtime_ns}

            def rounds() -> int:
                seen.add(own.stat().st_mtime_ns)
                return len(seen)

            # Three beats, so that one whole round was made without descriptors.
            await until(lambda: poor.process.poll() is not None or rounds() > 3, bound_s=10)
            ended_with = poor.process.poll()
            if ended_with is None:
                limit_files(poor.process.pid, before)
        await release(path)
        async with station(place) as jobs:
            job = await jobs.ended(other.job_ids[0])

    assert ended_with is None
    assert job["status"] == "completed"


@needs_prlimit
async def test_a_launcher_without_descriptors_holds_up_starts_only_until_it_has_some(
    place: Place, raw: RawServer
) -> None:
    first = {"params": {"command": "echo $$ > pids; sleep 1000"}}
    sleeper = raw.call("start_job", first)["structuredContent"]["job_id"]
    await pids_in(place.project / "pids")
    pid = launcher(place)
    before = limit_files(pid, 0)
    started = raw.call("start_job", {"params": {"command": "echo it runs"}})["structuredContent"]
    job_id = started["job_id"]
    waiting = {"job_ids": [job_id], "wait_for": "any", "wait_seconds": 1}
    meanwhile = raw.call("list_jobs", waiting)["structuredContent"]
    cancelled = raw.call("cancel_job", {"job_id": sleeper})["structuredContent"]
    limit_files(pid, before)
    job = raw.call("check_job", {"job_id": job_id, "wait_seconds": 20})["structuredContent"]

    assert {found["status"] for found in meanwhile["jobs"]} <= {"pending", "running"}
    assert cancelled["status"] == "cancelled"
    assert (job["status"], job["output"]["text"]) == ("completed", "it runs\n")


_POOR_RUNNERS: Final = f"""
import resource, sys; sys.path.insert(0, sys.argv[1])
from mcp_jobs.execution.launcher import fork_server, runner
run = runner.Runner.run
def poor(self):
    if self._request["timeout_s"] == {DOOMED_S}:
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    run(self)
runner.Runner.run = poor
fork_server.main(sys.argv[2], float(sys.argv[3]))
"""


async def test_a_runner_without_descriptors_is_a_spawn_error_that_says_so(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_jobs.execution.launcher_client._LAUNCH", _POOR_RUNNERS)
    monkeypatch.setattr("mcp_jobs.execution.local_executor._LAUNCH_PAUSES_S", (0.01,) * 4)
    async with station(place) as jobs:
        job = await jobs.run("echo >> ran", timeout_seconds=DOOMED_S)
        after = await jobs.run("echo after")

    assert (job["status"], job["reason"]) == ("failed", "spawn_error")
    assert "Too many open files" in job["error"]
    assert after["status"] == "completed"
    assert not (place.project / "ran").exists()


_BEFORE_THE_LIMIT: Final = """
import resource
import anyio._backends._asyncio
import mcp_jobs.interfaces.cli.commands, mcp_jobs.interfaces.cli.session
import mcp_jobs.service.assembly, mcp_jobs.interfaces.worker
"""


@pytest.mark.parametrize("files", range(6, 13))
@pytest.mark.parametrize("command", [("list",), ("start", "--", "true"), ("worker", "--drain")])
def test_a_command_without_descriptors_says_so_in_one_sentence(
    place: Place, command: tuple[str, ...], files: int
) -> None:
    limit = f"resource.setrlimit(resource.RLIMIT_NOFILE, ({files}, {files}))"
    done = run_command(place, *command, change=_BEFORE_THE_LIMIT + limit)

    assert_refused_plainly(done, "Too many open files", f"may have {files} at once", "ulimit -n")


# -- a flood of output ---------------------------------------------------------------------------


async def test_output_that_is_dropped_while_it_is_looked_at_harms_no_server(place: Place) -> None:
    async with station(place, output_cap_bytes=1 << 16) as jobs:
        job = await jobs.run("yes | head -c 4000000000", timeout_seconds=3)

    assert job["output"]["dropped_bytes"] > 0


# -- a long queue --------------------------------------------------------------------------------


async def test_a_thousand_jobs_wait_in_order_and_hold_nobody_up(place: Place) -> None:
    paths = [await gate(place, f"gate{n}") for n in range(2)]
    commands = ["true"] * 6 + [f"echo $$ >> pids; read x < gate{n}" for n in range(2)]
    commands += ["true"] * (1000 - len(commands))
    ids = await accept(place, *(shell(place, command) for command in commands))
    async with station(place, capacity=2) as jobs:
        await pids_in(place.project / "pids", 2)
        listed = await jobs.core.service.list(LOCAL_OWNER, ListJobs(limit=100))
        last = await jobs.check(ids[-1])
        extra = await jobs.start("echo >> ran")
        for job_id in [*ids[8:], extra]:
            await jobs.core.store.request_cancel(LOCAL_OWNER, job_id, now_ms=1)
        for path in paths:
            await release(path)
        for job_id in ids[6:8]:
            await jobs.ended(job_id)
        counts = await jobs.core.store.counts(LOCAL_OWNER)
        order = [
            change.job_id
            for change in await jobs.core.store.changes_after(0, limit=10_000)
            if change.status is Status.RUNNING
        ]

    assert (listed["counts"]["running"], listed["counts"]["pending"]) == (2, 992)
    assert len(listed["jobs"]) == 100
    assert last["queue_position"] == 992
    assert counts == {Status.COMPLETED: 8, Status.CANCELLED: 993}
    assert list(dict.fromkeys(order)) == ids[:8]


def _visible(owners: Path) -> set[Path]:
    return {path for path in owners.iterdir() if not path.name.startswith(".")}


# -- files that cannot be removed ----------------------------------------------------------------


@pytest.mark.parametrize("step", ["forget_secrets", "clean_after_end"])
async def test_what_cannot_be_removed_keeps_no_job_from_its_end(
    place: Place, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def refused(job_dir: Path, **_: bool) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted", str(job_dir))

    monkeypatch.setattr(job_directory, step, refused)
    async with station(place) as jobs:
        ends = [await jobs.run(command) for command in ("true", "exit 7")]
        unsettled = await jobs.core.store.running()

    assert [(job["status"], job["exit_code"]) for job in ends] == [("completed", 0), ("failed", 7)]
    assert unsettled == []
