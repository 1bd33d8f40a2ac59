"""SIGKILL at each step of a job's life: the job ends all the same, and its end says truly why.

Production code has no hooks. A script wraps the method in question and then runs `mcp-jobs
worker`; the launcher that it starts is wrapped in the same way, for steps of launcher and runner.
"""

from __future__ import annotations

import os
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest

from mcp_jobs.execution.host import prepare_home
from mcp_jobs.execution.incarnation import identify
from mcp_jobs.execution.launcher import layout, process_tree
from mcp_jobs.service.assembly import LOCAL_OWNER, Core, _assemble
from mcp_jobs.service.requests import StartJob
from tests import prepared
from tests.raw import RawServer
from tests.stores import open_store
from tests.support import Place, until, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp_jobs.domain.models import Job

ROOT = Path(__file__).resolve().parents[3]
BOUND_S = 20.0

_KILLER = """
import os, signal
def die(reached):
    if reached != {point!r}:
        return
    fd = os.open({marker!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(fd, b"x")
    if os.fstat(fd).st_size == {nth}:
        os.kill(os.getpid(), signal.SIGKILL)
    os.close(fd)
def around(owner, name):
    method = getattr(owner, name)
    def wrapped(*arguments, **more):
        die("before " + name)
        result = method(*arguments, **more)
        die("after " + name)
        return result
    setattr(owner, name, wrapped)
def around_async(owner, name, counts=lambda result: True):
    method = getattr(owner, name)
    async def wrapped(*arguments, **more):
        die("before " + name)
        result = await method(*arguments, **more)
        if counts(result):
            die("after " + name)
        return result
    setattr(owner, name, wrapped)
"""

_LAUNCHER = """
import sys; sys.path.insert(0, sys.argv[1])
from mcp_jobs.execution.launcher import exit_record, fork_server, runner
around(fork_server.Launcher, "_fork_runner")
around(runner.Runner, "run")
around(runner.Runner, "_start")
around(runner.Runner, "_write_identity")
around(runner, "spawn")
around(exit_record, "add_line")
around(exit_record, "write")
fork_server.warm_up = lambda directory: None
fork_server.main(sys.argv[2], float(sys.argv[3]))
"""

_WORKER = """
import sys; sys.path.insert(0, {root!r})
from mcp_jobs.execution import job_directory, launcher_client
from tests.stores import STORE_OF_A_HOME
launcher_client._LAUNCH = {launch!r}
around_async(STORE_OF_A_HOME, "claim", lambda job: job is not None)
around_async(STORE_OF_A_HOME, "settle")
around_async(launcher_client.LauncherClient, "run")
around_async(launcher_client.RunnerLink, "answer")
around(job_directory, "clean_after_end")
sys.argv = ["mcp-jobs", "worker"]
from mcp_jobs.__main__ import main
main()
"""

OF_THE_WORKER = (
    "before claim",
    "after claim",
    "before run",  # of LauncherClient: before the request
    "before answer",  # the launcher has the request
    "after run",  # the job runs
    "before settle",
    "after settle",
    "before clean_after_end",
)
OF_THE_LAUNCHER = ("before _fork_runner", "after _fork_runner")
BEFORE_THE_FIRST_INSTRUCTION = (
    "before _start",  # the runner holds its lock
    "before _write_identity",
    "after _write_identity",
    "before spawn",
)
WHILE_IT_RUNS = ("after spawn",)
AFTER_IT_RAN = ("before write", "before add_line")
AFTER_THE_RECORD = ("after add_line", "after write")


@dataclass
class Yard:
    """A home with one accepted job, and nobody who works."""

    place: Place
    core: Core

    @property
    def ledger(self) -> Path:
        return self.place.root / "ledger"

    @property
    def marker(self) -> Path:
        return self.place.root / "reached"

    async def accept(self, script: str = "exit 0", **arguments: Any) -> str:
        """Accept a job that writes down its start and its end, as no pool is running here."""
        note = f'note() {{ echo "$1" >> {self.ledger}; }}'
        command = f"{note}; note start; echo hello; sleep 0.1; note end; {script}"
        request = StartJob(params={"command": command}, cwd=str(self.place.project), **arguments)
        return str((await self.core.service.start(LOCAL_OWNER, request))["job_id"])

    def worker(self, code: str | None = None) -> prepared.Process:
        """Start `mcp-jobs worker --drain`, or a script that becomes a worker."""
        with Path(os.devnull).open("r+b") as nothing, Path("/dev/stderr").open("ab") as stderr:
            return prepared.Process(
                ["worker", "--drain"] if code is None else [],
                code=code,
                cwd=self.place.project,
                env=self.place.environment(PYTHONPATH=str(ROOT), PATH=os.environ["PATH"]),
                streams=(nothing, nothing, stderr),
            )

    def doomed_worker(self, point: str, nth: int = 1) -> prepared.Process:
        """Start a worker that dies at `point`, or whose launcher or runner does, the nth time."""
        deadly = _KILLER.format(point=point, marker=str(self.marker), nth=nth)
        harmless = _KILLER.format(point="", marker="", nth=0)
        # Both sides have methods of the same name, and a point belongs to one of them.
        own, other = (deadly, harmless) if point in OF_THE_WORKER else (harmless, deadly)
        launch = other + _LAUNCHER
        return self.worker(own + _WORKER.format(root=str(ROOT), launch=launch))

    async def after_a_clean_worker(self, job_id: str) -> Job:
        """Let a worker that nobody kills finish everything, and return the job."""
        process = self.worker()
        try:
            with anyio.fail_after(BOUND_S):
                await anyio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
        except TimeoutError:
            raise AssertionError(f"not drained: {await self.core.store.find(job_id)}") from None
        finally:
            process.kill()
            process.wait()
        assert process.returncode == 0
        return await self.ended(job_id)

    async def ended(self, job_id: str) -> Job:
        """Return the job once it has ended, whoever settles it."""
        with anyio.move_on_after(BOUND_S):
            while True:
                job = await self.core.store.find(job_id)
                if job is not None and job.ended:
                    return job
                await anyio.sleep(0.05)
        raise AssertionError(f"not ended: {await self.core.store.find(job_id)}")

    async def dies(self, process: prepared.Process) -> None:
        """Hold that a worker was killed at its point."""
        with anyio.fail_after(BOUND_S):
            await anyio.to_thread.run_sync(process.wait, abandon_on_cancel=True)
        assert process.returncode == -signal.SIGKILL, "the point was never reached"

    def starts(self) -> int:
        return self.lines().count("start")

    def lines(self) -> list[str]:
        return self.ledger.read_text().split() if self.ledger.exists() else []

    def assert_clean(self, job_id: str) -> None:
        """Hold that nothing of an ended job runs, and that its secrets are gone."""
        assert process_tree.marked(job_id, (identify(self.place.home).home_id,)) == []
        # Its owner, or the next one, removes them just after the end is stored.
        secrets = self.place.home / "jobs" / job_id / "env"
        wait_until(lambda: not secrets.exists(), bound_s=3.0)


@asynccontextmanager
async def yard(place: Place) -> AsyncIterator[Yard]:
    settings = place.settings()
    prepare_home(settings)
    store = await open_store(settings.database)
    try:
        core = await _assemble(settings, store, (1024, 1024))
        # It accepts, and is no owner: nobody works off what it leaves.
        core.service._care = anyio.lowlevel.checkpoint
        yield Yard(place, core)
    finally:
        await store.close()


@pytest.mark.parametrize("point", OF_THE_WORKER)
async def test_a_job_whose_owner_dies_runs_exactly_once(place: Place, point: str) -> None:
    async with yard(place) as here:
        job_id = await here.accept()
        await here.dies(here.doomed_worker(point))
        job = await here.after_a_clean_worker(job_id)

        assert (job.status, job.reason, job.exit_code, job.attempt) == ("completed", None, 0, 1)
        assert here.lines() == ["start", "end"]
        here.assert_clean(job_id)


@pytest.mark.parametrize("point", OF_THE_LAUNCHER)
@pytest.mark.parametrize("attempt", [1, 2])
@pytest.mark.parametrize("owner", ["lives", "dies"])
async def test_a_job_whose_launcher_dies_runs_exactly_once(
    place: Place, point: str, attempt: int, owner: str
) -> None:
    async with yard(place) as here:
        # Its first attempt fails where the second is the one that meets the dead launcher.
        failures = attempt - 1
        script = f"test $(grep -c start {here.ledger}) -gt {failures}"
        job_id = await here.accept(script, max_retries=failures)
        job = await _end(here, job_id, point, owner, nth=attempt)

        assert (job.status, job.reason, job.exit_code) == ("completed", None, 0), job
        assert job.attempt == attempt
        assert here.lines() == ["start", "end"] * attempt
        here.assert_clean(job_id)


@pytest.mark.parametrize(
    "point", [*BEFORE_THE_FIRST_INSTRUCTION, *WHILE_IT_RUNS, *AFTER_IT_RAN, *AFTER_THE_RECORD]
)
@pytest.mark.parametrize("owner", ["lives", "dies"])
async def test_a_job_whose_runner_dies_is_interrupted_unless_its_end_is_recorded(
    place: Place, point: str, owner: str
) -> None:
    async with yard(place) as here:
        job_id = await here.accept()
        job = await _end(here, job_id, point, owner)

        if point in AFTER_THE_RECORD:
            assert (job.status, job.reason, job.exit_code) == ("completed", None, 0)
        elif job.status != "completed" or point not in BEFORE_THE_FIRST_INSTRUCTION:
            assert (job.status, job.reason, job.exit_code) == ("failed", "interrupted", None)
        allowed = {1}
        if point in BEFORE_THE_FIRST_INSTRUCTION:
            allowed = {1 if job.status == "completed" else 0}
        elif point in WHILE_IT_RUNS:
            allowed = {0, 1}
        assert here.starts() in allowed
        here.assert_clean(job_id)


@pytest.mark.parametrize("point", ["before _start", "before _write_identity", "after spawn"])
@pytest.mark.parametrize("owner", ["lives", "dies"])
async def test_a_second_attempt_whose_runner_dies_at_its_start_ends_too(
    place: Place, point: str, owner: str
) -> None:
    async with yard(place) as here:
        job_id = await here.accept(f"test $(grep -c start {here.ledger}) -gt 1", max_retries=1)
        job = await _end(here, job_id, point, owner, nth=2)

        if job.status != "completed":
            assert (job.status, job.reason, job.exit_code) == ("failed", "interrupted", None)
        assert here.starts() in (1, 2)
        assert job.attempt == 2
        here.assert_clean(job_id)


@pytest.mark.parametrize(
    "point", [*BEFORE_THE_FIRST_INSTRUCTION, *WHILE_IT_RUNS, *AFTER_IT_RAN, *AFTER_THE_RECORD]
)
@pytest.mark.parametrize("owner", ["lives", "dies"])
async def test_a_job_that_may_be_repeated_completes_though_its_runner_dies(
    place: Place, point: str, owner: str
) -> None:
    async with yard(place) as here:
        job_id = await here.accept(retry_on_interrupt=True)
        job = await _end(here, job_id, point, owner)

        assert (job.status, job.reason, job.exit_code) == ("completed", None, 0)
        allowed = {2}
        if point in (*BEFORE_THE_FIRST_INSTRUCTION, *AFTER_THE_RECORD):
            allowed = {1}
        elif point in WHILE_IT_RUNS:
            allowed = {1, 2}
        assert here.starts() in allowed
        here.assert_clean(job_id)


async def test_a_job_that_may_be_repeated_completes_though_its_runner_was_shut_down(
    place: Place,
) -> None:
    async with yard(place) as here:
        once = f"test $(grep -c start {here.ledger}) -gt 1 || sleep 60"
        job_id = await here.accept(once, retry_on_interrupt=True)
        worker = here.worker()
        try:
            await until(lambda: "end" in here.lines())
            identity = layout.read_identity(str(place.home / "jobs" / job_id))
            assert identity is not None
            # As a machine does that goes down in an orderly way.
            os.kill(identity["pid"], signal.SIGTERM)
            job = await here.ended(job_id)
        finally:
            worker.kill()
            worker.wait()

        assert (job.status, job.reason, job.interrupts) == ("completed", None, 1), job
        assert here.starts() == 2


async def test_a_job_ends_though_its_server_is_killed_as_soon_as_it_has_answered(
    place: Place,
) -> None:
    async with yard(place) as here:
        with RawServer(place) as server:
            command = f"echo start >> {here.ledger}"
            result = server.call("start_job", {"params": {"command": command}})
            server.signal(signal.SIGKILL)
        job = await here.ended(result["structuredContent"]["job_id"])

        assert job.status == "completed"
        assert here.starts() == 1


async def _end(here: Yard, job_id: str, point: str, owner: str, nth: int = 1) -> Job:
    """Let launcher or runner die at `point`; return the job, which its owner or a next one ends."""
    worker = here.doomed_worker(point, nth)
    try:
        await anyio.to_thread.run_sync(
            lambda: wait_until(lambda: here.marker.exists() and here.marker.stat().st_size >= nth)
        )
        if owner == "lives":
            return await here.ended(job_id)
    finally:
        worker.kill()
        worker.wait()
    return await here.after_a_clean_worker(job_id)
