"""Over HTTP one server serves many clients and owners: each hears of its own jobs alone."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest
from mcp.shared.exceptions import MCPError

from tests.contract import call, ended, start
from tests.gates import gate, open_gate
from tests.http import open_http_client, serve_http
from tests.support import ERAS, LEGACY, MODERN, Inbox
from tests.system.watching.test_push import ALL, News, subscribe, subscribed

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support import Place


@asynccontextmanager
async def opened(url: str, mode: str, owner: str) -> AsyncIterator[News]:
    inbox = Inbox()
    async with open_http_client(url, mode, owner=owner, message_handler=inbox) as client:
        yield News(client, inbox)


@pytest.mark.parametrize("mode", ERAS)
async def test_a_job_runs_and_its_end_is_pushed_over_http(place: Place, mode: str) -> None:
    end = gate(place, "end")
    async with serve_http(place) as url, opened(url, mode, "ann") as news:
        job = await start(news.client, "read x < end; echo done", cwd=str(place.project))
        async with subscribed(news, job["uri"]):
            await open_gate(end)
            await news.until_found(job["uri"], news.has_ended)
        shown = await ended(news.client, job["job_id"])
        assert (shown["status"], shown["output"]["text"]) == ("completed", "done\n")


@pytest.mark.parametrize("mode", ERAS)
async def test_an_owner_hears_nothing_of_anothers_jobs(place: Place, mode: str) -> None:
    cwd = str(place.project)
    async with (
        serve_http(place) as url,
        opened(url, mode, "ann") as ann,
        opened(url, mode, "bob") as bob,
        subscribed(ann, ALL),
        subscribed(bob, ALL),
    ):
        hers = await start(ann.client, "true", delay_seconds=3600, cwd=cwd)
        await ann.until_told(ALL)
        await ann.until_told(News.LIST)
        # His own news come after hers would have come.
        his = await start(bob.client, "true", delay_seconds=3600, cwd=cwd)
        await bob.until_told(ALL)
        await bob.until_told(News.LIST)
        assert (ann.count(News.LIST), bob.count(News.LIST)) == (1, 1)
        with pytest.raises(MCPError, match="There is no job"):
            await ask_for(bob, hers["uri"])
        await call(ann.client, "cancel_job", {"job_id": hers["job_id"]})
        await call(bob.client, "cancel_job", {"job_id": his["job_id"]})


async def ask_for(news: News, uri: str) -> None:
    if news.client.protocol_version != MODERN:
        await subscribe(news.client, uri)
        return
    async with news.client.listen(resource_subscriptions=[uri]):
        pass


async def test_a_dead_session_costs_the_others_nothing(place: Place) -> None:
    end = gate(place, "end")
    async with serve_http(place) as url, opened(url, LEGACY, "ann") as ann:
        job = await start(ann.client, "read x < end; echo done", cwd=str(place.project))
        for _ in range(3):
            async with opened(url, LEGACY, "ann") as other:
                await subscribe(other.client, job["uri"])
        async with subscribed(ann, job["uri"]):
            await open_gate(end)
            await ann.until_found(job["uri"], ann.has_ended)
        listed = await call(ann.client, "list_jobs")
        assert listed["counts"]["completed"] == 1


async def test_both_eras_are_served_at_once(place: Place) -> None:
    async with serve_http(place) as url, anyio.create_task_group() as tasks:
        for mode in ERAS:
            tasks.start_soon(_run_one, place, url, mode)


async def _run_one(place: Place, url: str, mode: str) -> None:
    async with opened(url, mode, "ann") as news:
        job = await start(news.client, f"echo {mode}", cwd=str(place.project))
        shown = await ended(news.client, job["job_id"])
        assert shown["output"]["text"] == f"{mode}\n"
