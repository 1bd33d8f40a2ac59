"""Schedules fire by the clock: once, late, or not at all, and say so."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.domain.schedules import recurrence
from mcp_jobs.domain.states import Status
from mcp_jobs.service.scheduling import OTHERS_MS
from tests.schedules import MINE, Firer, MovedClock, ms, new_schedule
from tests.stores import OWNER, claimed, ending

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_jobs.domain.models import Job
    from mcp_jobs.domain.schedules import Overlap
    from mcp_jobs.store import Store


@pytest.fixture(autouse=True)
def _own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock(ms("2026-01-01T00:30"))


@pytest.fixture
def firer(store: Store, clock: MovedClock, tmp_path: Path) -> Firer:
    return Firer(store, clock, tmp_path)


# -- on time ---------------------------------------------------------------------------------------


async def test_a_fire_starts_the_job_once_and_the_next_look_waits_for_the_next(
    firer: Firer, store: Store
) -> None:
    await store.schedules.add(new_schedule(), most=9)

    assert await firer.look_at("2026-01-01T00:59") == 60
    assert await firer.fires() == []
    assert await firer.look_at("2026-01-01T01:00") == 3600
    assert await firer.look_at("2026-01-01T01:00") == 3600
    assert await firer.fires() == ["2026-01-01T01:00"]
    (job,) = await firer.jobs()
    assert (job.type, job.owner, job.cwd) == ("shell", OWNER, "/")
    launch = await store.launch_of(job.id)
    assert launch is not None
    assert launch.environ["FIRED_BY"] == "this process"
    seen = await firer.one()
    assert (seen.last_fire_at_ms, seen.missed, seen.problem) == (job.fire_at_ms, 0, None)


async def test_several_processes_fire_once(store: Store, clock: MovedClock, tmp_path: Path) -> None:
    firers = [Firer(store, clock, tmp_path) for _ in range(4)]
    await store.schedules.add(new_schedule(overlap="allow"), most=9)

    for hour in range(1, 6):
        for one in firers:
            await one.look_at(f"2026-01-01T0{hour}:00")

    assert await firers[0].fires() == [f"2026-01-01T0{hour}:00" for hour in range(1, 6)]


async def test_a_fire_whose_process_died_half_way_is_not_made_twice(
    firer: Firer, store: Store
) -> None:
    schedule = new_schedule()
    await store.schedules.add(schedule, most=9)
    firer.clock.to("2026-01-01T01:00")
    # Killed after the job was stored, and before the schedule was advanced.
    draft = firer.scheduling.draft(schedule)
    await store.create(replace(draft, schedule=schedule.id, fire_at_ms=ms("2026-01-01T01:00")))

    await firer.scheduling.look()

    assert await firer.fires() == ["2026-01-01T01:00"]
    assert (await firer.one()).skipped == 0
    assert (await firer.one()).next_fire_at_ms == ms("2026-01-01T02:00")


# Every Sunday of 2026 with a fire, by hand: stretches of weeks whose fires have the same time in
# UTC, with the UTC dates of the first and the last. The clocks change on Sundays; one without the
# time is missing between two stretches.
SUNDAYS = {
    ("Europe/Berlin", "30 2 * * SUN"): [
        ("2026-01-04", "2026-03-22", "01:30"),
        ("2026-04-05", "2026-10-25", "00:30"),
        ("2026-11-01", "2026-12-27", "01:30"),
    ],
    ("America/New_York", "30 2 * * SUN"): [
        ("2026-01-04", "2026-03-01", "07:30"),
        ("2026-03-15", "2026-10-25", "06:30"),
        ("2026-11-01", "2026-12-27", "07:30"),
    ],
    ("America/New_York", "30 1 * * SUN"): [
        ("2026-01-04", "2026-03-08", "06:30"),
        ("2026-03-15", "2026-11-01", "05:30"),
        ("2026-11-08", "2026-12-27", "06:30"),
    ],
    ("Australia/Lord_Howe", "15 2 * * SUN"): [
        ("2026-01-03", "2026-03-28", "15:15"),
        ("2026-04-04", "2026-09-26", "15:45"),
        ("2026-10-10", "2026-12-26", "15:15"),
    ],
}


def every_week(first: str, last: str, time: str) -> list[str]:
    day, end = date.fromisoformat(first), date.fromisoformat(last)
    return [f"{day + timedelta(n)}T{time}" for n in range(0, (end - day).days + 1, 7)]


@pytest.mark.parametrize(("zone", "cron"), SUNDAYS)
async def test_a_year_of_looks_fires_as_the_table_says(
    firer: Firer, store: Store, zone: str, cron: str
) -> None:
    firer.clock.to("2026-01-01T12:00")
    rule = recurrence(cron, timezone=zone)
    schedule = new_schedule(
        cron=cron,
        timezone=zone,
        overlap="allow",
        next_fire_at_ms=rule.next_after(firer.clock.now_ms()),
    )
    await store.schedules.add(schedule, most=9)

    while firer.clock.now_ms() < ms("2026-12-31T00:00"):
        due_in_s = await firer.scheduling.look()
        assert due_in_s is not None
        # As the loop does, it looks now and then although nothing is due.
        firer.clock.pass_s(min(due_in_s, 86_400 * 2))

    expected = [fire for stretch in SUNDAYS[zone, cron] for fire in every_week(*stretch)]
    assert await firer.fires() == expected
    assert ((await firer.one()).missed, (await firer.one()).skipped) == (0, 0)


# -- after downtime --------------------------------------------------------------------------------


async def test_after_a_night_the_latest_missed_fire_is_made_up_for_and_the_others_are_counted(
    firer: Firer, store: Store
) -> None:
    await store.schedules.add(new_schedule(), most=9)

    await firer.look_at("2026-01-01T08:30")

    assert await firer.fires() == ["2026-01-01T08:00"]
    seen = await firer.one()
    assert (seen.missed, seen.next_fire_at_ms) == (7, ms("2026-01-01T09:00"))


async def test_a_missed_fire_that_is_too_old_is_counted_and_not_made(
    firer: Firer, store: Store
) -> None:
    await store.schedules.add(new_schedule(catchup_s=60.0), most=9)

    await firer.look_at("2026-01-01T08:30")

    assert await firer.fires() == []
    seen = await firer.one()
    assert (seen.missed, seen.next_fire_at_ms) == (8, ms("2026-01-01T09:00"))
    assert "No server or worker" in str(seen.problem)


async def test_without_catchup_a_fire_is_on_time_that_a_busy_machine_makes_late(
    firer: Firer, store: Store
) -> None:
    await store.schedules.add(new_schedule(catchup_s=0.0), most=9)
    firer.clock.to("2026-01-01T01:00")
    firer.clock.pass_s(3)

    await firer.scheduling.look()

    assert await firer.fires() == ["2026-01-01T01:00"]


async def test_a_clock_that_was_years_ahead_and_is_set_right_delays_nothing(
    firer: Firer, store: Store
) -> None:
    await store.schedules.add(new_schedule(), most=9)
    await firer.look_at("2031-06-01T00:00")
    firer.clock.wall_ms = ms("2026-01-01T00:59")

    await firer.scheduling.look()

    assert (await firer.one()).next_fire_at_ms == ms("2026-01-01T01:00")


async def test_a_clock_that_is_set_back_over_a_fire_does_not_make_it_twice(
    firer: Firer, store: Store
) -> None:
    await store.schedules.add(new_schedule(overlap="allow"), most=9)
    await firer.look_at("2026-01-01T01:00")
    firer.clock.wall_ms = ms("2026-01-01T00:58")
    await firer.scheduling.look()

    await firer.look_at("2026-01-01T01:00")

    assert await firer.fires() == ["2026-01-01T01:00"]
    assert (await firer.one()).next_fire_at_ms == ms("2026-01-01T02:00")


# -- while another one runs ------------------------------------------------------------------------


async def overlapping(firer: Firer, store: Store, overlap: Overlap) -> list[Job]:
    """Let the first job run through the second and third fire."""
    await store.schedules.add(new_schedule(overlap=overlap), most=9)
    await firer.look_at("2026-01-01T01:00")
    await claimed(store, now_ms=firer.clock.now_ms())
    await firer.look_at("2026-01-01T02:00")
    await firer.look_at("2026-01-01T03:00")
    return await firer.jobs()


async def test_skip_leaves_out_what_comes_while_the_job_runs(firer: Firer, store: Store) -> None:
    assert len(await overlapping(firer, store, "skip")) == 1
    assert ((await firer.one()).skipped, (await firer.one()).missed) == (2, 0)

    job = (await firer.jobs())[0]
    await store.settle(job, ending(Status.FAILED))
    await firer.look_at("2026-01-01T04:00")
    assert await firer.fires() == ["2026-01-01T01:00", "2026-01-01T04:00"]


async def test_queue_one_lets_one_wait_for_the_end_of_the_other(firer: Firer, store: Store) -> None:
    running, waiting = await overlapping(firer, store, "queue_one")

    assert (await firer.one()).skipped == 1
    assert (waiting.after, waiting.after_any_end, waiting.unmet) == ((running.id,), True, 1)
    await store.settle(running, ending(Status.FAILED))
    assert (await claimed(store, now_ms=2**45)).id == waiting.id


async def test_cancel_running_ends_the_other_and_begins_when_it_is_gone(
    firer: Firer, store: Store
) -> None:
    first, second, third = await overlapping(firer, store, "cancel_running")

    assert firer.acceptance.cancelled == [first.id, first.id, second.id]
    assert first.cancel_requested_at_ms is not None
    assert second.status is Status.CANCELLED
    assert third.after == (first.id, second.id)
    await store.settle(first, ending(Status.CANCELLED))
    assert (await claimed(store, now_ms=2**45)).id == third.id


async def test_allow_begins_beside_it(firer: Firer, store: Store) -> None:
    jobs = await overlapping(firer, store, "allow")

    assert len(jobs) == 3
    assert [job.unmet for job in jobs] == [0, 0, 0]


# -- pauses ----------------------------------------------------------------------------------------


async def test_what_comes_while_paused_is_not_made_up_for(firer: Firer, store: Store) -> None:
    await store.schedules.add(new_schedule(), most=9)
    shown = await firer.service.pause(MINE, "hourly", by="ann", why="a demo")
    assert (shown["paused"]["by"], shown["paused"]["why"]) == ("ann", "a demo")
    assert shown["next_fires"] == []
    await firer.look_at("2026-01-01T05:10")
    assert await firer.fires() == []

    await firer.service.resume(MINE, "hourly")
    await firer.look_at("2026-01-01T05:50")
    assert await firer.fires() == []
    await firer.look_at("2026-01-01T06:00")

    assert await firer.fires() == ["2026-01-01T06:00"]
    assert ((await firer.one()).missed, (await firer.one()).paused) == (0, False)


async def test_the_job_of_a_paused_schedule_can_be_started_by_hand(
    firer: Firer, store: Store
) -> None:
    await store.schedules.add(new_schedule(), most=9)
    await firer.service.pause(MINE, "hourly", by="ann", why=None)

    job = await firer.service.run(MINE, "hourly")

    assert [one.id for one in await firer.jobs()] == [job.id]
    assert (await firer.one()).next_fire_at_ms == ms("2026-01-01T01:00")


# -- what cannot be started ------------------------------------------------------------------------


async def test_a_fire_that_cannot_be_made_is_left_to_others_first_then_missed_with_the_reason(
    firer: Firer, store: Store
) -> None:
    await store.schedules.add(new_schedule(type="gone"), most=9)

    assert await firer.look_at("2026-01-01T01:00") == OTHERS_MS / 1000
    assert (await firer.one()).missed == 0
    firer.clock.pass_s(OTHERS_MS / 1000)
    await firer.scheduling.look()

    seen = await firer.one()
    assert (seen.missed, seen.next_fire_at_ms) == (1, ms("2026-01-01T02:00"))
    assert "There is no job type 'gone'" in str(seen.problem)


async def test_another_process_makes_the_fire_that_this_one_cannot(
    store: Store, clock: MovedClock, tmp_path: Path
) -> None:
    strict = Firer(store, clock, tmp_path, only_declared=True)
    able = Firer(store, clock, tmp_path)
    await store.schedules.add(new_schedule(), most=9)

    await strict.look_at("2026-01-01T01:00")
    await able.look_at("2026-01-01T01:00")
    clock.pass_s(OTHERS_MS / 1000)
    await strict.scheduling.look()

    assert await able.fires() == ["2026-01-01T01:00"]
    assert ((await able.one()).missed, (await able.one()).problem) == (0, None)


async def test_a_time_zone_that_this_machine_does_not_know_is_told(
    firer: Firer, store: Store
) -> None:
    await store.schedules.add(new_schedule(timezone="Moon/Base"), most=9)
    await firer.look_at("2026-01-01T01:00")
    firer.clock.pass_s(OTHERS_MS / 1000)

    await firer.scheduling.look()

    assert "Moon/Base" in str((await firer.one()).problem)
    assert (await firer.service.show(MINE, "hourly"))["next_fires"]


async def test_what_came_over_http_is_started_by_no_other_server(
    store: Store, clock: MovedClock, tmp_path: Path
) -> None:
    over_stdio = Firer(store, clock, tmp_path)
    over_http = Firer(store, clock, tmp_path, shared=True)
    await store.schedules.add(new_schedule(shared=True), most=9)

    await over_stdio.look_at("2026-01-01T01:00")
    assert await over_stdio.fires() == []
    await over_http.look_at("2026-01-01T01:00")

    assert await over_http.fires() == ["2026-01-01T01:00"]
    assert (await over_http.jobs())[0].shared
