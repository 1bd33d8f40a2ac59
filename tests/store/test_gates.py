"""What holds up waiting jobs: priorities, locks, other jobs and pauses, in every store."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.gates import Lock, Obstacles, Pause
from mcp_jobs.domain.states import Reason, Status
from tests.stores import NOW, OWNER, all_changes, claim, claimed, created, ending, new_job

if TYPE_CHECKING:
    from mcp_jobs.domain.gates import PauseKind
    from mcp_jobs.domain.models import Job
    from mcp_jobs.store import Store


def pause(kind: PauseKind = "all", name: str = "") -> Pause:
    return Pause(kind=kind, name=name, paused_by="ann", why="a demo", at_ms=NOW)


async def ended(store: Store, job: Job, status: Status) -> Job:
    settled = await store.settle(job, ending(status))
    assert settled is not None
    return settled


async def now(store: Store, job: Job) -> Job:
    found = await store.find(job.id)
    assert found is not None
    return found


async def test_the_highest_priority_comes_first_then_who_is_due_for_longest(store: Store) -> None:
    late = await created(store)
    early = await created(store, run_at_ms=NOW - 5)
    high = await created(store, priority=7, type="other")
    low = await created(store, priority=-7, run_at_ms=NOW - 50)

    found = [await claimed(store) for _ in range(4)]

    assert [job.id for job in found] == [high.id, early.id, late.id, low.id]


async def test_a_priority_changes_while_a_job_waits_and_not_later(store: Store) -> None:
    await created(store)
    second = await created(store)
    assert await store.set_priority(OWNER, second.id, 5) is not None

    assert (await claimed(store)).id == second.id
    assert await store.set_priority(OWNER, second.id, 6) is None
    assert await store.set_priority("eve", second.id, 6) is None


async def test_a_lock_is_held_by_one_and_those_behind_the_others_go_on(store: Store) -> None:
    holder = await created(store, locks=("build",))
    blocked = await created(store, locks=("build", "gpu"))
    behind = await created(store)
    first = await claimed(store)

    assert first.id == holder.id
    assert (await claimed(store)).id == behind.id
    assert await claim(store) is None
    assert await store.gates.locks() == [
        Lock(name="build", capacity=1, holders=(holder.id,), waiting=1),
        Lock(name="gpu", capacity=1, holders=(), waiting=1),
    ]
    await ended(store, first, Status.FAILED)
    assert (await claimed(store)).id == blocked.id


async def test_a_lock_is_given_back_while_a_job_waits_for_its_next_attempt(store: Store) -> None:
    await created(store, locks=("build",), max_attempts=2)
    other = await created(store, locks=("build",))
    first = await claimed(store)
    assert await claim(store) is None

    await store.settle(first, ending(Status.RETRYING, run_at_ms=NOW + 50))

    assert (await claimed(store)).id == other.id


async def test_a_capacity_lets_several_hold_a_lock_and_a_lower_one_ends_none(store: Store) -> None:
    for _ in range(4):
        await created(store, locks=("gpu",))
    assert await store.gates.set_capacity("gpu", 3, declared=True)
    held = [await claimed(store) for _ in range(3)]
    assert await claim(store) is None

    assert await store.gates.set_capacity("gpu", 1, declared=False)
    assert not await store.gates.set_capacity("gpu", 9, declared=True)

    await ended(store, held[0], Status.COMPLETED)
    await ended(store, held[1], Status.COMPLETED)
    assert await claim(store) is None
    await ended(store, held[2], Status.COMPLETED)
    assert await claim(store) is not None


async def test_what_holds_up_a_job_is_told_of_those_that_wait(store: Store) -> None:
    holder = await created(store, locks=("build",))
    running = await claimed(store)
    await created(store, owner="eve", locks=("gpu",))
    assert (await claimed(store)).owner == "eve"
    waiting = await created(store, locks=("build", "gpu", "free"), after=(holder.id,))
    for held in (pause("type", "shell"), pause("lock", "gpu"), pause("lock", "other"), pause()):
        assert await store.gates.pause(held)

    found = await store.gates.obstacles([running.id, waiting.id, "unknown"])

    assert found == {
        waiting.id: Obstacles(
            attempt=0,
            running=2,
            taken_locks=("build", "gpu"),
            holders=(holder.id,),
            open_parents=(holder.id,),
            pauses=(pause(), pause("lock", "gpu"), pause("type", "shell")),
        )
    }
    assert await store.gates.obstacles([]) == {}
    many = [(await created(store)).id for _ in range(30)]
    assert set(await store.gates.obstacles(many)) == set(many)


async def test_only_jobs_that_nothing_holds_up_come_before_another(store: Store) -> None:
    await created(store, locks=("build",))
    await claimed(store)
    await created(store, locks=("build",))
    await created(store, type="held")
    await created(store, run_at_ms=NOW + 50, priority=9)
    await created(store, owner="eve")
    assert await store.gates.pause(pause("type", "held"))
    mine = await created(store)

    async def before(most: int = 9) -> int:
        return await store.gates.ready_before(mine.id, now_ms=NOW, most=most)

    assert await before() == 0
    await created(store, priority=1)
    await created(store, priority=1)
    assert (await before(), await before(1)) == (2, 1)


async def test_a_job_begins_when_all_that_it_waits_for_have_completed(store: Store) -> None:
    first, second = await created(store), await created(store)
    child = await created(store, after=(first.id, second.id))
    assert child.unmet == 2

    await ended(store, await claimed(store), Status.COMPLETED)
    running = await claimed(store)
    assert await claim(store) is None
    await ended(store, running, Status.COMPLETED)

    assert (await claimed(store)).id == child.id


async def test_whoever_waits_for_a_failure_ends_with_it_and_so_do_those_behind(
    store: Store,
) -> None:
    root = await created(store)
    child = await created(store, after=(root.id,))
    grandchild = await created(store, after=(child.id,), confirm="Really?")
    anyway = await created(store, after=(grandchild.id, root.id), after_any_end=True)

    await ended(store, await claimed(store), Status.FAILED)

    for job in (child, grandchild):
        gone = await now(store, job)
        assert (gone.status, gone.reason) == (Status.CANCELLED, Reason.DEPENDENCY_FAILED)
        assert root.id in str(gone.error)
    assert (await claimed(store)).id == anyway.id


async def test_ends_that_the_store_makes_are_told_like_any_other(store: Store) -> None:
    hook = {"webhooks": ({"url": "https://a.example", "on": ["cancelled"]},)}
    root = await created(store)
    doomed = await created(store, after=(root.id,), **hook)
    old = await created(store, likeness="same", run_at_ms=NOW + 5000, **hook)
    await store.create(new_job(likeness="same", if_running="supersede", run_at_ms=NOW + 5000))
    await ended(store, await claimed(store), Status.FAILED)

    for job in (doomed, old):
        assert len(await store.outbox.of_job(job.id)) == 1
    assert {change.job_id for change in await all_changes(store) if not change.created} >= {
        doomed.id,
        old.id,
    }


@pytest.mark.parametrize("depth", [3000])
async def test_a_long_chain_ends_in_one_step(store: Store, depth: int) -> None:
    root = last = await created(store)
    for _ in range(depth):
        last = await created(store, after=(last.id,))

    await store.request_cancel(OWNER, root.id, now_ms=NOW + 5)

    assert (await store.counts(OWNER))[Status.CANCELLED] == depth + 1
    assert (await now(store, last)).reason is Reason.DEPENDENCY_FAILED


async def test_what_never_can_begin_is_refused(store: Store) -> None:
    failed = await ended(store, await _begun(store), Status.FAILED)
    foreign = await created(store, owner="eve")

    with pytest.raises(InvalidInputError, match="has ended as failed"):
        await store.create(new_job(after=(failed.id,)))
    for unknown in (foreign.id, "nobody"):
        with pytest.raises(InvalidInputError, match="there is no job"):
            await store.create(new_job(after=(unknown,)))
    assert (await created(store, after=(failed.id,), after_any_end=True)).unmet == 0


async def _begun(store: Store, **given: object) -> Job:
    await created(store, **given)
    return await claimed(store)


async def test_a_parent_is_kept_as_long_as_somebody_waits_for_it(store: Store) -> None:
    parent = await _begun(store)
    await created(store, after=(parent.id,), run_at_ms=NOW + 1000)
    await ended(store, parent, Status.COMPLETED)

    assert await store.remove_old(before_ms=NOW + 10_000, keep=0, limit=10) == []


async def test_to_attach_finds_the_job_that_does_the_same(store: Store) -> None:
    first = await created(store, likeness="same")
    again = await store.create(new_job(likeness="same", if_running="attach"))
    other = await store.create(new_job(likeness="other", if_running="attach"))
    foreign = await store.create(new_job(likeness="same", if_running="attach", owner="eve"))

    assert (again.existing, again.job.id) == (True, first.id)
    assert not other.existing
    assert not foreign.existing


async def test_to_supersede_ends_what_waits_and_waits_for_what_runs(store: Store) -> None:
    running = await _begun(store, likeness="same")
    waiting = await created(store, likeness="same")
    accepted = await store.create(new_job(likeness="same", if_running="supersede"))

    gone = await now(store, waiting)
    assert (gone.status, gone.reason) == (Status.CANCELLED, Reason.SUPERSEDED)
    asked = await now(store, running)
    assert asked.cancel_requested_at_ms is not None
    assert accepted.job.unmet == 1
    assert await claim(store) is None
    settled = await ended(store, running, Status.CANCELLED)
    assert settled.reason is Reason.SUPERSEDED
    assert (await claimed(store)).id == accepted.job.id


@pytest.mark.parametrize(("kind", "name"), [("all", ""), ("type", "shell"), ("lock", "build")])
async def test_what_is_paused_does_not_begin_until_it_is_resumed(
    store: Store, kind: PauseKind, name: str
) -> None:
    job = await created(store, locks=("build",))
    other = await created(store, type="other")
    assert await store.gates.pause(pause(kind, name))
    assert not await store.gates.pause(pause(kind, name))

    if kind != "all":
        assert (await claimed(store)).id == other.id
    assert await claim(store) is None
    assert (await store.gates.obstacles([job.id]))[job.id].pauses == (pause(kind, name),)

    before = await store.last_change()
    assert await store.gates.resume(kind, name) == pause(kind, name)
    assert [change.status for change in await store.changes_after(before, limit=5)] == [None]
    assert await claim(store) is not None


async def test_obstacles_name_the_jobs_of_the_owner_that_are_in_the_way(store: Store) -> None:
    holder = await _begun(store, locks=("build",))
    foreign = await _begun(store, locks=("gpu",), owner="eve")
    parent = await created(store, run_at_ms=NOW + 1000)
    job = await created(store, locks=("build", "gpu"), after=(parent.id,))

    found = (await store.gates.obstacles([job.id, holder.id]))[job.id]

    assert found.taken_locks == ("build", "gpu")
    assert found.holders == (holder.id,)
    assert foreign.id not in found.holders
    assert found.open_parents == (parent.id,)
