"""A waiter returns when any or all of its jobs have ended, and leaves nothing on the bus."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import anyio
import anyio.lowlevel
import pytest

from mcp_jobs.domain.events import InProcessBus, JobChanged, OutputGrew
from mcp_jobs.domain.states import TERMINAL, Status
from mcp_jobs.service.waiting import Waiter
from mcp_jobs.store import Store
from tests.stores import claimed, created, ending, in_state, progress
from tests.support import BOUND_S, until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mcp_jobs.domain.events import Event
    from mcp_jobs.domain.models import Job

LONG_S = 10 * BOUND_S
"""No wait in these tests ends by its time, but for the one that is about that."""

Mode = Literal["any", "all"]


class CountingBus(InProcessBus):
    """A bus that knows how many listen."""

    def __init__(self) -> None:
        super().__init__()
        self.listening = 0

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        unsubscribe = super().subscribe(listener)
        self.listening += 1

        def stop() -> None:
            self.listening -= 1
            unsubscribe()

        return stop


class Wait:
    """A wait in a task of its own."""

    def __init__(self, waiter: Waiter, jobs: Sequence[Job], mode: Mode) -> None:
        self.scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self.result: Sequence[Job] = ()
        self.looks: list[list[Status]] = []
        self._call = (waiter, jobs, mode)

    async def run(self) -> None:
        waiter, jobs, mode = self._call
        try:
            with self.scope:
                self.result = await waiter.wait(
                    jobs, mode=mode, wait_s=LONG_S, on_look=self._on_look
                )
        finally:
            self.ended.set()

    async def _on_look(self, jobs: Sequence[Job]) -> None:
        self.looks.append([job.status for job in jobs])

    async def looked(self, times: int) -> None:
        await until(lambda: len(self.looks) >= times)

    async def end(self) -> list[Status]:
        with anyio.fail_after(BOUND_S):
            await self.ended.wait()
        return [job.status for job in self.result]


@pytest.fixture
def bus() -> CountingBus:
    return CountingBus()


@pytest.fixture
def waiter(store: Store, bus: CountingBus) -> Waiter:
    return Waiter(store=store, bus=bus)


def announce(bus: InProcessBus, job: Job | None) -> None:
    assert job is not None
    bus.publish(
        JobChanged(
            job_id=job.id,
            owner=job.owner,
            status=job.status,
            created=False,
            ended=job.status in TERMINAL,
        )
    )


async def two_running(store: Store) -> list[Job]:
    for _ in range(2):
        await created(store)
    return [await claimed(store), await claimed(store)]


@pytest.mark.parametrize("mode", ["any", "all"])
@pytest.mark.parametrize("status", sorted(TERMINAL))
async def test_a_job_that_has_ended_is_not_waited_for(
    store: Store, bus: CountingBus, waiter: Waiter, status: Status, mode: Mode
) -> None:
    job = await in_state(store, status)

    with anyio.fail_after(BOUND_S):
        assert await waiter.wait([job], mode=mode, wait_s=LONG_S, on_look=None) == [job]
    assert bus.listening == 0


async def test_an_end_that_is_stored_but_unknown_to_the_caller_is_seen_at_once(
    store: Store, bus: CountingBus, waiter: Waiter
) -> None:
    stale = await in_state(store, Status.RUNNING)
    ended = await store.settle(stale, ending(Status.COMPLETED))

    with anyio.fail_after(BOUND_S):
        assert await waiter.wait([stale], mode="all", wait_s=LONG_S, on_look=None) == [ended]


async def test_waiting_for_any_ends_with_the_first_end(
    store: Store, bus: CountingBus, waiter: Waiter
) -> None:
    jobs = await two_running(store)
    wait = Wait(waiter, jobs, "any")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait.run)
        await wait.looked(1)
        announce(bus, await store.set_progress(jobs[0], progress(10)))
        await wait.looked(2)
        assert not wait.ended.is_set()
        announce(bus, await store.settle(jobs[1], ending(Status.FAILED)))

        assert await wait.end() == [Status.RUNNING, Status.FAILED]
    assert bus.listening == 0


async def test_waiting_for_all_ends_with_the_last_end(
    store: Store, bus: CountingBus, waiter: Waiter
) -> None:
    jobs = await two_running(store)
    wait = Wait(waiter, jobs, "all")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait.run)
        await wait.looked(1)
        announce(bus, await store.settle(jobs[1], ending(Status.FAILED)))
        await wait.looked(2)
        assert not wait.ended.is_set()
        assert wait.looks[-1] == [Status.RUNNING, Status.FAILED]
        announce(bus, await store.settle(jobs[0], ending(Status.COMPLETED)))

        assert await wait.end() == [Status.COMPLETED, Status.FAILED]
    assert len(wait.looks) == 2, "one look at the start and one for each change"
    assert bus.listening == 0


async def test_other_jobs_and_output_wake_nobody(
    store: Store, bus: CountingBus, waiter: Waiter
) -> None:
    job, other = await two_running(store)
    wait = Wait(waiter, [job], "all")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait.run)
        await wait.looked(1)
        announce(bus, await store.settle(other, ending(Status.COMPLETED)))
        bus.publish(OutputGrew(job_id=job.id))
        await anyio.wait_all_tasks_blocked()
        assert len(wait.looks) == 1

        announce(bus, await store.settle(job, ending(Status.COMPLETED)))
        assert await wait.end() == [Status.COMPLETED]
    assert len(wait.looks) == 1


async def test_an_end_while_the_caller_is_told_is_not_missed(
    store: Store, bus: CountingBus, waiter: Waiter
) -> None:
    job = await in_state(store, Status.RUNNING)

    async def on_look(_: Sequence[Job]) -> None:
        announce(bus, await store.settle(job, ending(Status.COMPLETED)))

    with anyio.fail_after(BOUND_S):
        (ended,) = await waiter.wait([job], mode="all", wait_s=LONG_S, on_look=on_look)
    assert ended.status is Status.COMPLETED


async def test_an_end_while_the_store_is_read_is_not_missed(
    store: Store, bus: CountingBus, waiter: Waiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = await in_state(store, Status.RUNNING)
    find = store.find
    looks = 0

    async def find_then_end(job_id: str) -> Job | None:
        nonlocal looks
        looks += 1
        found = await find(job_id)
        if looks == 1:
            announce(bus, await store.settle(job, ending(Status.COMPLETED)))
        return found

    monkeypatch.setattr(store, "find", find_then_end)
    with anyio.fail_after(BOUND_S):
        (ended,) = await waiter.wait([job], mode="all", wait_s=LONG_S, on_look=None)
    assert (ended.status, looks) == (Status.COMPLETED, 2)


async def test_the_time_ends_a_wait_with_the_jobs_as_they_were_last_seen(
    store: Store, bus: CountingBus, waiter: Waiter
) -> None:
    job = await in_state(store, Status.RUNNING)

    with anyio.fail_after(BOUND_S):
        assert await waiter.wait([job], mode="all", wait_s=0.05, on_look=None) == [job]
    assert bus.listening == 0


async def test_a_wait_that_ran_out_returns_the_job_as_it_is_then(
    store: Store, bus: CountingBus, waiter: Waiter
) -> None:
    waiting = await created(store)
    running = await claimed(store)

    with anyio.fail_after(BOUND_S):
        # Nobody was told of the start, and there is no time to look before it is over.
        assert await waiter.wait([waiting], mode="all", wait_s=0, on_look=None) == [running]


async def test_a_silent_job_is_looked_at_again_and_again(
    store: Store, bus: CountingBus, waiter: Waiter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_jobs.service.waiting._HEARTBEAT_S", 0.001)
    job = await in_state(store, Status.RUNNING)
    wait = Wait(waiter, [job], "all")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait.run)
        await wait.looked(3)
        # Not announced: the end is found all the same.
        await store.settle(job, ending(Status.COMPLETED))
        assert await wait.end() == [Status.COMPLETED]


async def test_a_cancelled_wait_leaves_no_listener_and_the_job_as_it_is(
    store: Store, bus: CountingBus, waiter: Waiter
) -> None:
    job = await in_state(store, Status.RUNNING)
    wait = Wait(waiter, [job], "all")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait.run)
        await wait.looked(1)
        assert bus.listening == 1
        wait.scope.cancel()
        assert await wait.end() == []
    assert wait.scope.cancelled_caught
    assert bus.listening == 0
    assert await store.find(job.id) == job


@pytest.mark.parametrize("steps", range(6))
async def test_a_wait_that_is_cancelled_at_any_moment_leaves_no_listener(
    store: Store, bus: CountingBus, waiter: Waiter, steps: int
) -> None:
    job = await in_state(store, Status.RUNNING)
    wait = Wait(waiter, [job], "all")
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(wait.run)
        for _ in range(steps):
            await anyio.lowlevel.checkpoint()
        wait.scope.cancel()
        await wait.end()
    assert bus.listening == 0
    assert await store.find(job.id) == job


async def test_a_caller_that_fails_when_told_leaves_no_listener(
    store: Store, bus: CountingBus, waiter: Waiter
) -> None:
    job = await in_state(store, Status.RUNNING)

    async def on_look(_: Sequence[Job]) -> None:
        raise ConnectionError("the client is gone")

    with pytest.raises(ConnectionError):
        await waiter.wait([job], mode="all", wait_s=LONG_S, on_look=on_look)
    assert bus.listening == 0


async def test_many_waiters_of_one_job_all_wake(
    store: Store, bus: CountingBus, waiter: Waiter
) -> None:
    job = await in_state(store, Status.RUNNING)
    waits = [Wait(waiter, [job], "any") for _ in range(20)]
    async with anyio.create_task_group() as tasks:
        for wait in waits:
            tasks.start_soon(wait.run)
        for wait in waits:
            await wait.looked(1)
        assert bus.listening == 20
        announce(bus, await store.settle(job, ending(Status.COMPLETED)))
        for wait in waits:
            assert await wait.end() == [Status.COMPLETED]
    assert bus.listening == 0
