"""What a store keeps of schedules: each step once, and every change told."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mcp_jobs.domain.schedules import Recurrence
from mcp_jobs.domain.states import Status
from mcp_jobs.store.timetable import Fired
from tests.schedules import new_schedule
from tests.stores import NOW, all_changes, claimed, created, ending

if TYPE_CHECKING:
    from mcp_jobs.store import Store


async def test_a_schedule_comes_back_as_it_was_stored(store: Store) -> None:
    schedule = new_schedule(cwd=None, project="/work", timezone="Europe/Berlin", catchup_s=0.5)

    assert await store.schedules.add(schedule, most=1)

    assert await store.schedules.find(schedule.id) == schedule
    assert await store.schedules.of(schedule.owner) == [schedule]
    assert await store.schedules.of("eve") == []
    assert await store.schedules.find("other") is None


async def test_a_name_is_taken_once_and_a_share_is_full_at_its_bound(store: Store) -> None:
    await store.schedules.add(new_schedule(), most=2)

    assert not await store.schedules.add(new_schedule(id="b"), most=2)
    assert await store.schedules.add(new_schedule(id="b", name="other"), most=2)
    assert not await store.schedules.add(new_schedule(id="c", name="third"), most=2)
    assert await store.schedules.add(new_schedule(id="d", owner="eve"), most=2)


async def test_a_declaration_that_stays_the_same_changes_nothing(store: Store) -> None:
    declared = new_schedule(declared_in="/work/jobs.yaml")
    assert await store.schedules.declare(declared)
    before = await all_changes(store)

    again = replace(declared, id="other", next_fire_at_ms=1)

    assert not await store.schedules.declare(again)
    assert await store.schedules.declared_in("/work/jobs.yaml") == [declared]
    assert await all_changes(store) == before


async def test_another_rule_has_other_times_and_another_parameter_has_not(store: Store) -> None:
    declared = new_schedule(declared_in="/work/jobs.yaml")
    await store.schedules.declare(declared)

    params = replace(declared, recurrence=replace(declared.recurrence, params={"command": "a"}))
    await store.schedules.declare(replace(params, next_fire_at_ms=1))
    assert await store.schedules.find(declared.id) == params

    moved = replace(params, recurrence=Recurrence(cron="5 * * * *"), next_fire_at_ms=2)
    await store.schedules.declare(moved)
    assert await store.schedules.find(declared.id) == moved


async def test_what_is_due_is_not_paused_and_not_for_others(store: Store) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "late": {"next_fire_at_ms": NOW - 2},
        "now": {"next_fire_at_ms": NOW},
        "soon": {"next_fire_at_ms": NOW + 5},
        "shared": {"next_fire_at_ms": NOW, "shared": True},
        "never": {"next_fire_at_ms": None},
        "held": {"next_fire_at_ms": NOW + 1},
    }
    for name, given in kinds.items():
        await store.schedules.add(new_schedule(id=name, name=name, **given), most=9)
    await store.schedules.pause("held", by="ann", why="x", now_ms=NOW)

    due = await store.schedules.due(NOW, shared=False, limit=9)
    assert [one.name for one in due] == ["late", "now"]
    due = await store.schedules.due(NOW, shared=True, limit=9)
    assert [one.name for one in due] == ["late", "now", "shared"]
    assert await store.schedules.next_due_ms(NOW) == NOW + 5


async def test_a_fire_is_settled_once(store: Store) -> None:
    schedule = new_schedule(next_fire_at_ms=NOW)
    await store.schedules.add(schedule, most=9)
    fired = Fired(next_fire_at_ms=NOW + 9, fire_at_ms=NOW, missed=2, skipped=1, problem="why")

    assert await store.schedules.advance(schedule, fired)
    assert not await store.schedules.advance(schedule, fired)

    seen = await store.schedules.find(schedule.id)
    assert seen == replace(
        schedule,
        next_fire_at_ms=NOW + 9,
        last_fire_at_ms=NOW,
        missed=2,
        skipped=1,
        problem="why",
    )


async def test_a_paused_schedule_is_not_advanced_and_is_kept_by_its_file(store: Store) -> None:
    schedule = new_schedule(next_fire_at_ms=NOW)
    await store.schedules.add(schedule, most=9)

    assert await store.schedules.pause(schedule.id, by="ann", why=None, now_ms=NOW)
    assert not await store.schedules.pause(schedule.id, by="bob", why="no", now_ms=NOW)
    assert not await store.schedules.advance(schedule, Fired(next_fire_at_ms=NOW + 9))
    assert not await store.schedules.remove(schedule.id, unless_paused=True)
    assert await store.schedules.resume(schedule.id, next_fire_at_ms=NOW + 7)
    assert not await store.schedules.resume(schedule.id, next_fire_at_ms=NOW + 8)

    assert await store.schedules.find(schedule.id) == replace(schedule, next_fire_at_ms=NOW + 7)
    assert await store.schedules.remove(schedule.id, unless_paused=True)
    assert not await store.schedules.remove(schedule.id)


async def test_the_jobs_of_a_schedule_are_its_own_newest_fire_first(store: Store) -> None:
    first = await created(store, schedule="s", fire_at_ms=1)
    second = await created(store, schedule="s", fire_at_ms=2)
    await created(store, schedule="other", fire_at_ms=3)
    await created(store)

    jobs = await store.schedules.jobs_of("s", limit=9)
    assert [job.id for job in jobs] == [second.id, first.id]
    await store.settle(await claimed(store), ending(Status.COMPLETED))
    assert [job.id for job in await store.schedules.unfinished("s")] == [second.id]


async def test_changes_of_schedules_and_ends_of_their_jobs_are_told_to_all(store: Store) -> None:
    await store.schedules.add(new_schedule(id="s"), most=9)
    job = await created(store, schedule="s", fire_at_ms=1)
    await store.settle(await claimed(store), ending(Status.COMPLETED))
    await store.schedules.remove("s")

    told = [change for change in await all_changes(store) if change.about == "schedules"]

    assert [(change.owner, change.created) for change in told] == [
        (job.owner, True),
        (job.owner, False),
        (job.owner, False),
    ]
    assert all(change.status is None for change in told)
