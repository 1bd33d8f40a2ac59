"""Old jobs go with their files, in small steps; what lives stays, and reading removes nothing."""

from __future__ import annotations

import os
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from mcp_jobs.domain.ids import new_id
from mcp_jobs.domain.states import Status
from mcp_jobs.engine.retention import Retention
from mcp_jobs.execution.host import prepare_home
from mcp_jobs.execution.job_directory import remove_job_dir
from mcp_jobs.service.assembly import LOCAL_OWNER
from mcp_jobs.service.requests import ListJobs
from mcp_jobs.store import Store
from tests.executors import local_executor
from tests.stores import all_changes, claimed, created, ending, open_store
from tests.support import Place
from tests.system.station import station

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

    from mcp_jobs.settings import Settings

DAY_MS = 86_400_000


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@dataclass
class MovedClock:
    """The wall clock of the machine, some days on."""

    days: float = 0

    def now_ms(self) -> int:
        return _now_ms() + round(self.days * DAY_MS)

    def monotonic_s(self) -> float:
        return time.monotonic()


@dataclass
class Keeper:
    """A home with jobs in all states, and its maintenance."""

    store: Store
    settings: Settings
    clock: MovedClock = field(default_factory=MovedClock)

    async def clean(self) -> None:
        await self.maintenance().run_once()

    def maintenance(self) -> Retention:
        return Retention(
            store=self.store,
            executor=local_executor(self.settings, self.store),
            settings=self.settings,
            clock=self.clock,
        )

    async def job(self, status: Status, *, days_ago: float = 0) -> str:
        """Store a job in a state, ended so long ago if it has ended, with a directory."""
        now_ms = _now_ms()
        job = await created(self.store, created_at_ms=now_ms - round(days_ago * DAY_MS))
        self.make_directory(job.id)
        if status is Status.PENDING:
            return job.id
        job = await claimed(self.store, now_ms=now_ms)
        if status is not Status.RUNNING:
            # Far off, so that the next claim does not take this one.
            outcome = ending(
                status,
                finished_at_ms=now_ms - round(days_ago * DAY_MS),
                run_at_ms=now_ms + DAY_MS if status is Status.RETRYING else None,
            )
            assert await self.store.settle(job, outcome) is not None
        return job.id

    def make_directory(self, name: str, *, hours_old: float = 0) -> Path:
        path = self.settings.jobs_dir / name
        (path / "output").mkdir(parents=True)
        for file in ("env", "alive", "fence", "output/0000000000000000-000000000000"):
            (path / file).write_text("{}")
        made_s = time.time() - hours_old * 3600
        os.utime(path, (made_s, made_s))
        return path

    async def left(self, ids: Sequence[str]) -> list[str]:
        """Return which of the jobs are stored; a job and its directory go together."""
        known = await self.store.states_of(ids)
        assert {name for name in self.directories() if name in ids} == set(known)
        return [job_id for job_id in ids if job_id in known]

    def directories(self) -> list[str]:
        return sorted(path.name for path in self.settings.jobs_dir.iterdir())


@asynccontextmanager
async def keeper(place: Place, **policy: Any) -> AsyncIterator[Keeper]:
    settings = place.settings(**policy)
    prepare_home(settings)
    store = await open_store(settings.database)
    try:
        yield Keeper(store, settings)
    finally:
        await store.close()


# -- the policy ----------------------------------------------------------------------------------


async def test_jobs_go_when_they_ended_longer_ago_than_the_policy_keeps(place: Place) -> None:
    async with keeper(place, retention_days=10) as home:
        ends = (Status.COMPLETED, Status.FAILED, Status.CANCELLED)
        old = [await home.job(status, days_ago=11) for status in ends]
        young = [await home.job(status, days_ago=9) for status in ends]
        await home.clean()
        left = await home.left(old + young)
        counts = await home.store.counts(LOCAL_OWNER)
        attempts = [await home.store.attempts(job_id) for job_id in old]

    assert left == young
    assert sum(counts.values()) == 3
    assert attempts == [[], [], []]


async def test_the_oldest_ended_jobs_beyond_the_count_go(place: Place) -> None:
    async with keeper(place, retention_jobs=3) as home:
        ids = [await home.job(Status.COMPLETED) for _ in range(8)]
        await home.clean()
        left = await home.left(ids)

    assert left == ids[-3:]


@pytest.mark.parametrize("status", [Status.RUNNING, Status.PENDING, Status.RETRYING])
async def test_a_job_that_has_not_ended_never_goes(place: Place, status: Status) -> None:
    async with keeper(place, retention_jobs=1, retention_days=1) as home:
        if status is Status.PENDING:
            ended = [await home.job(Status.FAILED) for _ in range(2)]
            living = [await home.job(status, days_ago=500) for _ in range(2)]
            ended.append(await _newest(home))
        else:
            living = [await home.job(status, days_ago=500) for _ in range(2)]
            ended = [await home.job(Status.FAILED) for _ in range(3)]
        home.clock.days = 400
        await home.clean()
        left = await home.left(living + ended)
        environments = [(home.settings.jobs_dir / job_id / "env").exists() for job_id in living]

    assert left == living
    assert environments == [True, True]


async def _newest(home: Keeper) -> str:
    """Store one more ended job though older ones wait."""
    job = await created(home.store, run_at_ms=0)
    home.make_directory(job.id)
    assert await home.store.settle(await claimed(home.store), ending(Status.COMPLETED)) is not None
    return job.id


async def test_many_old_jobs_go_in_small_steps(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    monkeypatch.setattr("mcp_jobs.engine.retention._STEP", 4)
    async with keeper(place, retention_days=1) as home:
        ids = [await home.job(Status.COMPLETED, days_ago=2) for _ in range(10)]
        remove = home.store.remove_old

        async def counted(**asked: Any) -> Sequence[str]:
            removed = await remove(**asked)
            # The files of one step are gone before the next is taken.
            assert len(home.directories()) == 10 - sum(steps)
            steps.append(len(removed))
            return removed

        monkeypatch.setattr(home.store, "remove_old", counted)
        await home.clean()
        left = await home.left(ids)

    assert (steps, left) == ([4, 4, 2, 0], [])


async def test_two_processes_may_clean_up_at_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mcp_jobs.engine.retention._STEP", 3)
    async with keeper(place, retention_days=1) as home:
        old = [await home.job(Status.COMPLETED, days_ago=2) for _ in range(12)]
        young = [await home.job(Status.COMPLETED) for _ in range(2)]
        other = await open_store(home.settings.database)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(home.clean)
            tasks.start_soon(Keeper(other, home.settings).clean)
        await other.close()
        left = await home.left(old + young)

    assert left == young


# -- what crashes leave --------------------------------------------------------------------------


async def test_a_directory_without_a_job_goes_unless_it_is_young(place: Place) -> None:
    async with keeper(place) as home:
        old, young = new_id(_now_ms()), new_id(_now_ms())
        home.make_directory(old, hours_old=2)
        home.make_directory(young, hours_old=0.5)
        home.make_directory("not-a-job", hours_old=1000)
        await home.clean()

        assert home.directories() == sorted([young, "not-a-job"])


async def test_what_only_a_living_job_needs_is_removed_from_an_ended_one(place: Place) -> None:
    async with keeper(place) as home:
        living = await home.job(Status.RUNNING)
        ended = await home.job(Status.COMPLETED)
        for job_id in (living, ended):
            remove_job_dir(home.settings.jobs_dir / job_id)
            home.make_directory(job_id, hours_old=2)
        (home.settings.jobs_dir / ended / "report.1").write_text("{}")
        os.utime(home.settings.jobs_dir / ended, (0, 0))
        await home.clean()
        kept = [
            sorted(path.name for path in (home.settings.jobs_dir / job_id).iterdir())
            for job_id in (living, ended)
        ]

    assert kept == [["alive", "env", "fence", "output"], ["output"]]


async def test_a_link_in_place_of_a_job_directory_leads_nowhere(place: Place) -> None:
    async with keeper(place) as home:
        treasure = place.root / "treasure"
        treasure.mkdir()
        (treasure / "env").write_text("precious")
        os.utime(treasure, (0, 0))
        (home.settings.jobs_dir / new_id(_now_ms())).symlink_to(treasure)
        await home.clean()

    assert (treasure / "env").read_text() == "precious"


# -- what stays ----------------------------------------------------------------------------------


async def test_reading_removes_nothing(place: Place) -> None:
    async with station(place, retention_jobs=1, retention_days=0.000001) as jobs:
        ids = [(await jobs.run(f"echo {n}"))["job_id"] for n in range(3)]
        for job_id in ids:
            await jobs.check(job_id, grep=".")
            await jobs.core.service.show(LOCAL_OWNER, job_id)
        listed = await jobs.core.service.list(LOCAL_OWNER, ListJobs())
        texts = [(await jobs.check(job_id))["output"]["text"] for job_id in ids]

    assert [job["job_id"] for job in listed["jobs"]] == ids[::-1]
    assert texts == ["0\n", "1\n", "2\n"]


async def test_of_the_old_changes_only_the_newest_stays(place: Place) -> None:
    async with keeper(place) as home:
        for _ in range(4):
            await home.job(Status.COMPLETED)
        before = await all_changes(home.store)
        await home.clean()
        young = await all_changes(home.store)
        home.clock.days = 2
        await home.clean()
        after = await all_changes(home.store)
        last = await home.store.last_change()
        await home.job(Status.PENDING)
        (*_, newest) = await all_changes(home.store)

    assert young == before
    assert after == before[-1:]
    assert last == before[-1].seq
    assert newest.seq == last + 1
