"""Schedules with real processes: any number of them fire once, and clients are told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio
import pytest

from mcp_jobs.domain.clock import SystemClock
from tests.schedules import new_schedule
from tests.support import BOUND_S, ERAS
from tests.system.fleet import idle_core, worker
from tests.system.watching.test_push import SCHEDULES, opened, read, subscribed

if TYPE_CHECKING:
    from tests.support import Place

PAST_MS = 60_000


async def test_several_workers_start_the_job_of_a_fire_once(place: Place) -> None:
    async with idle_core(place) as core:
        now_ms = SystemClock().now_ms()
        schedule = new_schedule(
            cron="0 0 1 1 *", cwd=str(place.project), next_fire_at_ms=now_ms - PAST_MS
        )
        await core.store.schedules.add(schedule, most=9)
        with worker(place), worker(place), worker(place), anyio.fail_after(BOUND_S):
            while True:
                jobs = await core.store.schedules.jobs_of(schedule.id, limit=9)
                found = await core.store.schedules.find(schedule.id)
                assert found is not None
                if jobs and jobs[0].ended and found.next_fire_at_ms != schedule.next_fire_at_ms:
                    break
                await anyio.sleep(0.02)
        assert len(jobs) == 1
        assert (found.missed, found.problem) == (0, None)


@pytest.mark.parametrize("mode", ERAS)
async def test_the_resource_of_schedules_is_told_of_changes_and_of_ends(
    place: Place, mode: str
) -> None:
    async with idle_core(place) as core, opened(place, mode) as news:
        async with subscribed(news, SCHEDULES):
            assert json.loads(await read(news.client, SCHEDULES)) == {"schedules": []}
            schedule = new_schedule(
                cron="0 0 1 1 *",
                cwd=str(place.project),
                next_fire_at_ms=SystemClock().now_ms() - PAST_MS,
            )
            await core.store.schedules.add(schedule, most=9)

            async def shows_end(uri: str) -> bool:
                (shown,) = json.loads(await read(news.client, uri))["schedules"]
                return [job["status"] for job in shown["last_jobs"]] == ["completed"]

            await news.until_found(SCHEDULES, shows_end)
        listed = (await news.client.list_resources()).resources
        assert SCHEDULES in [str(resource.uri) for resource in listed]
