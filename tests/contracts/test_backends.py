"""What every `Backend` promises; another one joins by a line in `BACKENDS`."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import anyio
import pytest

from mcp_jobs.domain.clock import SystemClock
from mcp_jobs.domain.errors import StoreError
from mcp_jobs.engine import claiming, recovery
from mcp_jobs.engine.claiming import ClaimLoop
from mcp_jobs.engine.supervisor import Supervisor
from tests.contracts.memory_backend import MemoryBackend
from tests.contracts.serving import Server, World, serving, work_type
from tests.stores import OWNER, sqlite_store
from tests.support import BOUND_S, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from contextlib import AbstractAsyncContextManager
    from pathlib import Path

    from mcp_jobs.domain.models import Job
    from tests.contracts.serving import BackendOf

    Serve = Callable[..., AbstractAsyncContextManager[Server]]

BACKENDS: Final[dict[str, BackendOf]] = {"memory": MemoryBackend, "claims": ClaimLoop}
MANY: Final = 12
HOUR_MS: Final = 3_600_000


@dataclass
class MovedClock:
    """The machine's clocks, of which the wall clock can be moved."""

    clock: SystemClock = field(default_factory=SystemClock)
    offset_ms: int = 0

    def now_ms(self) -> int:
        return self.clock.now_ms() + self.offset_ms

    def monotonic_s(self) -> float:
        return self.clock.monotonic_s()


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock()


@pytest.fixture
async def world(tmp_path: Path, clock: MovedClock) -> AsyncIterator[World]:
    async with sqlite_store(tmp_path / "jobs.db") as store, anyio.create_task_group() as tasks:
        yield World(store, tasks, clock)
        tasks.cancel_scope.cancel()


@pytest.fixture(params=BACKENDS)
def serve(
    request: pytest.FixtureRequest,
    world: World,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Serve:
    """Opens servers of the world with the backend under test."""
    # What is not heard of would be found in a quarter of an hour.
    monkeypatch.setattr(claiming, "_LONGEST_NAP_S", 1000.0)
    monkeypatch.setattr(recovery, "_ADOPT_EVERY_S", 0.05)
    return lambda own_id="one", **given: serving(
        world, tmp_path, own_id=own_id, backend_of=BACKENDS[request.param], **given
    )


async def outputs(server: Server, job_ids: list[str]) -> list[str]:
    """Return what each job has printed by its end."""
    return [(await server.ended(job_id))["output"]["text"] for job_id in job_ids]


async def test_a_due_job_is_run(serve: Serve) -> None:
    async with serve() as server:
        job = await server.start(prints="done\n", call={"wait_seconds": 20})
    assert (job["status"], job["output"]["text"]) == ("completed", "done\n")


async def test_jobs_that_were_due_before_anybody_worked_are_run(
    serve: Serve, clock: MovedClock
) -> None:
    async with serve() as server:
        work: Any = {"prints": "late\n", "call": {"delay_seconds": 1000}}
        late = [(await server.start(**work))["job_id"] for _ in range(3)]
    clock.offset_ms += HOUR_MS
    async with serve("two") as server:
        assert await outputs(server, late) == ["late\n"] * 3


async def test_of_two_that_work_on_one_store_only_one_runs_a_job(serve: Serve) -> None:
    async with serve("one") as one, serve("two") as two:
        ids = [(await server.start(prints="once\n"))["job_id"] for server in (one, two) * MANY]
        assert await outputs(two, ids) == ["once\n"] * len(ids)
        attempts = [(await one.check(job_id))["attempt"] for job_id in ids]
    assert attempts == [1] * len(ids)


async def test_never_more_than_the_capacity_run_and_a_slot_that_is_free_is_used(
    serve: Serve, world: World
) -> None:
    async with serve("one", capacity=2) as one, serve("two", capacity=2) as two:
        ids = [(await server.start(waits=True))["job_id"] for server in (one, two, one, two)]
        running = []
        for job_id in ids:
            await one.reaches(job_id, "running")
            states = await world.store.states_of(ids)
            running.append(sum(state == "running" for state in states.values()))
            await world.release(job_id)
        for job_id in ids:
            await one.ended(job_id)
    assert max(running) <= 2


async def test_a_job_that_waits_holds_up_none_behind_it(serve: Serve) -> None:
    async with serve() as server:
        first = await server.start(call={"delay_seconds": 1000})
        behind = await server.start(call={"wait_seconds": 20})
        assert behind["status"] == "completed"
        assert (await server.check(first["job_id"]))["status"] == "pending"


async def test_a_job_that_has_become_due_is_run_at_the_latest_when_it_is_woken(
    serve: Serve, clock: MovedClock
) -> None:
    async with serve() as server:
        job = await server.start(call={"delay_seconds": 1000})
        clock.offset_ms += HOUR_MS
        server.backend.wake()
        assert (await server.ended(job["job_id"]))["status"] == "completed"


async def test_a_failed_attempt_comes_back_for_the_next(serve: Serve) -> None:
    async with serve(capacity=1) as server:
        job = await server.start(code=1, call={"max_retries": 2, "wait_seconds": 20})
    assert (job["status"], job["attempt"]) == ("failed", 3)


async def test_a_slot_is_used_at_once_while_its_job_waits_for_another_attempt(
    serve: Serve, world: World
) -> None:
    async with serve(capacity=1, retry_base_seconds=900) as server:
        first = await server.start(waits=True, code=1, call={"max_retries": 1})
        await server.reaches(first["job_id"], "running")
        others = [(await server.start(code=code))["job_id"] for code in (1, 0, 0)]
        await world.release(first["job_id"])
        ends = [(await server.ended(job_id))["status"] for job_id in others]
        waits = await server.check(first["job_id"])
    assert ends == ["failed", "completed", "completed"]
    assert waits["status"] == "retrying"


async def test_a_job_that_asks_holds_no_slot(serve: Serve) -> None:
    async with serve(capacity=1) as server:
        asking = await server.start(asks="who")
        await server.reaches(asking["job_id"], "input_required")
        assert (await server.start(call={"wait_seconds": 20}))["status"] == "completed"


async def test_a_job_that_was_confirmed_is_run(serve: Serve) -> None:
    async with serve(job_type=work_type(confirm=True)) as server:
        job_id = (await server.start())["job_id"]
        (question,) = await server.service.questions(OWNER, job_id)
        answer = {"action": "accept", "content": {}}
        await server.service.answer(OWNER, job_id, question.key, answer)
        assert (await server.ended(job_id))["status"] == "completed"


async def test_a_job_that_was_cancelled_while_it_waited_never_runs(
    serve: Serve, world: World
) -> None:
    async with serve(capacity=1) as server:
        first = (await server.start(waits=True))["job_id"]
        waiting = (await server.start(prints="never\n"))["job_id"]
        assert (await server.cancel(waiting))["status"] == "cancelled"
        await world.release(first)
        await server.ended(first)
        assert not server.executor.output(waiting).begun()


async def test_an_end_of_its_work_leaves_what_runs_to_others(serve: Serve, world: World) -> None:
    async with serve("one") as one:
        job = await one.start(prints="begun\n", waits=True)
        await until(lambda: one.executor.is_watched(job["job_id"]))
    assert world.jobs[job["job_id"]].newest is not None
    async with serve("two") as two:
        await world.release(job["job_id"])
        ended = await two.ended(job["job_id"])
    assert (ended["status"], ended["attempt"]) == ("completed", 1)


async def test_a_store_out_of_order_delays_jobs_and_loses_none(
    serve: Serve, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = _fail(monkeypatch, world, times=2)
    async with serve() as server:
        await until(lambda: tries)
        job = await server.start()
        await _wake_until(server, lambda: len(tries) == 2)
        server.backend.wake()
        assert (await server.ended(job["job_id"]))["status"] == "completed"


async def test_a_claim_whose_answer_was_lost_is_found_and_its_job_is_run(
    serve: Serve, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = _fail(monkeypatch, world, times=1, late=True)
    async with serve() as server:
        job = await server.start(prints="run\n")
        assert await outputs(server, [job["job_id"]]) == ["run\n"]
    assert len(tries) == 1


async def test_a_fault_in_one_job_keeps_no_other_from_being_run(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, odd = Supervisor.run, set[str]()

    async def faulty(supervisor: Supervisor, job: Job) -> None:
        if not odd:
            odd.add(job.id)
            raise ValueError
        await real(supervisor, job)

    monkeypatch.setattr(Supervisor, "run", faulty)
    async with serve() as server:
        first = (await server.start())["job_id"]
        await until(lambda: odd)
        assert (await server.start(call={"wait_seconds": 20}))["status"] == "completed"
        assert (await server.ended(first))["status"] == "completed"
    assert odd == {first}


async def test_it_is_drained_when_nothing_waits_or_runs_any_more(
    serve: Serve, world: World
) -> None:
    async with serve(capacity=1) as server:
        ids = [(await server.start(waits=True, code=1))["job_id"] for _ in range(3)]
        retried = (await server.start(code=1, call={"max_retries": 1}))["job_id"]
        for job_id in ids:
            await world.release(job_id)
        with anyio.fail_after(BOUND_S):
            await server.backend.drained()
        states = await world.store.states_of([*ids, retried])
    assert set(states.values()) == {"failed"}


async def test_it_is_not_drained_while_a_job_runs(serve: Serve, world: World) -> None:
    drained = anyio.Event()

    async def drain(server: Server) -> None:
        await server.backend.drained()
        drained.set()

    async with serve() as server, anyio.create_task_group() as tasks:
        job_id = (await server.start(waits=True))["job_id"]
        await server.reaches(job_id, "running")
        tasks.start_soon(drain, server)
        await server.start(call={"wait_seconds": 20})
        assert not drained.is_set()
        await world.release(job_id)
        with anyio.fail_after(BOUND_S):
            await drained.wait()
        assert (await server.check(job_id))["status"] == "completed"


async def test_it_is_drained_though_a_job_waits_for_leave(serve: Serve) -> None:
    async with serve(job_type=work_type(confirm=True)) as server:
        await server.start()
        with anyio.fail_after(BOUND_S):
            await server.backend.drained()


def _fail(
    monkeypatch: pytest.MonkeyPatch, world: World, *, times: int, late: bool = False
) -> list[None]:
    """Let claims fail; `late`: after they have brought a job. Returns how often they did."""
    real, failed = world.store.claim, list[None]()

    async def claim(**given: Any) -> Any:
        if len(failed) == times or (late and await real(**given) is None):
            return await real(**given)
        failed.append(None)
        raise StoreError("out of order")

    monkeypatch.setattr(world.store, "claim", claim)
    return failed


async def _wake_until(server: Server, condition: Callable[[], object]) -> None:
    with anyio.fail_after(BOUND_S):
        while not condition():
            server.backend.wake()
            await anyio.sleep(0.01)
