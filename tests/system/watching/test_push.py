"""Subscribers of both eras are told of every change, whoever made it, and always of the end."""

from __future__ import annotations

import json
import warnings
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp.shared.subscriptions import ResourcesListChanged, ResourceUpdated

from tests.contract import call, check_job_object, ended, run, start
from tests.gates import gate, open_gate
from tests.support import BOUND_S, ERAS, LEGACY, MODERN, Inbox, open_client, python, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from mcp import Client

    from tests.support import Place

ALL = "jobs://all"
SCHEDULES = "jobs://schedules"
NO_JOB = "jobs://job/" + "0" * 25


@dataclass
class News:
    """What one client was told, in order: URIs, and LIST for a changed list."""

    client: Client
    inbox: Inbox
    heard: list[str] = field(default_factory=list)

    LIST = "list changed"

    def all(self) -> list[str]:
        if self.client.protocol_version == MODERN:
            return self.heard
        listed = "notifications/resources/list_changed"
        told = [m for m in self.inbox.messages if getattr(m, "method", "") == listed]
        return self.inbox.updated() + [self.LIST for _ in told]

    def count(self, uri: str) -> int:
        return self.all().count(uri)

    async def until_told(self, uri: str, times: int = 1) -> None:
        await until(lambda: self.count(uri) >= times)

    async def until_found(self, uri: str, looked: Callable[[str], Awaitable[bool]]) -> None:
        """Look only when told: were the last news lost, this would not end."""
        seen = 0
        with anyio.fail_after(BOUND_S):
            while True:
                await self.until_told(uri, seen + 1)
                seen = self.count(uri)
                if await looked(uri):
                    return

    async def is_running(self, uri: str) -> bool:
        return bool((await job_at(self.client, uri))["status"] == "running")

    async def has_ended(self, uri: str) -> bool:
        return bool((await job_at(self.client, uri))["finished_at"])

    async def says_end(self, uri: str) -> bool:
        return (await read(self.client, uri)).endswith("end\n")


@asynccontextmanager
async def subscribed(news: News, *uris: str) -> AsyncIterator[None]:
    """Subscribe in the way of the client's era, and unsubscribe at the end."""
    client = news.client
    if client.protocol_version == MODERN:
        async with (
            client.listen(resource_subscriptions=uris, resources_list_changed=True) as stream,
            anyio.create_task_group() as tasks,
        ):
            assert list(stream.honored.resource_subscriptions or ()) == list(uris)
            tasks.start_soon(_collect, stream, news.heard)
            yield
            tasks.cancel_scope.cancel()
        return
    for uri in uris:
        await subscribe(client, uri)
    yield
    for uri in uris:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", MCPDeprecationWarning)
            await client.unsubscribe_resource(uri)


async def subscribe(client: Client, uri: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", MCPDeprecationWarning)
        await client.subscribe_resource(uri)


async def _collect(stream: Any, heard: list[str]) -> None:
    async for event in stream:
        if isinstance(event, ResourceUpdated):
            heard.append(event.uri)
        elif isinstance(event, ResourcesListChanged):
            heard.append(News.LIST)


@asynccontextmanager
async def opened(place: Place, mode: str, **options: Any) -> AsyncIterator[News]:
    inbox = Inbox()
    async with open_client(place, mode, message_handler=inbox, **options) as client:
        yield News(client, inbox)


async def read(client: Client, uri: str) -> str:
    (contents,) = (await client.read_resource(uri, cache_mode="bypass")).contents
    text: str = getattr(contents, "text", "")
    return text


async def job_at(client: Client, uri: str) -> dict[str, Any]:
    job: dict[str, Any] = json.loads(await read(client, uri))
    check_job_object(job)
    return job


@pytest.mark.parametrize("mode", ERAS)
async def test_output_and_end_of_a_running_job_are_pushed(place: Place, mode: str) -> None:
    first, last = gate(place, "first"), gate(place, "last")
    async with opened(place, mode) as news:
        client = news.client
        job = await start(client, "read x < first; echo one; read x < last; echo two")
        job_uri, output_uri = job["uri"], job["uri"] + "/output"
        async with subscribed(news, job_uri, output_uri):
            await open_gate(first)
            await news.until_told(output_uri)
            assert await read(client, output_uri) == "one\n"
            assert (await job_at(client, job_uri))["status"] == "running"

            await open_gate(last)
            await news.until_found(job_uri, news.has_ended)
            shown = await job_at(client, job_uri)
            assert shown["status"] == "completed"
            assert shown["output"]["text"] == "one\ntwo\n"
            assert await read(client, output_uri) == "one\ntwo\n"


@pytest.mark.parametrize("mode", ERAS)
async def test_a_new_job_changes_the_list_and_jobs_all(place: Place, mode: str) -> None:
    async with opened(place, mode) as news, subscribed(news, ALL):
        client = news.client
        assert json.loads(await read(client, ALL))["jobs"] == []
        job = await start(client, "true", delay_seconds=3600)
        await news.until_told(ALL)
        await news.until_told(News.LIST)
        (shown,) = json.loads(await read(client, ALL))["jobs"]
        assert (shown["job_id"], shown["status"]) == (job["job_id"], "pending")
        resources = (await client.list_resources(cache_mode="bypass")).resources
        assert [str(r.uri) for r in resources] == [ALL, SCHEDULES, job["uri"]]
        assert [(r.name, r.mime_type) for r in resources][2] == (job["job_id"], "application/json")

        told = news.count(ALL)
        await call(client, "cancel_job", {"job_id": job["job_id"]})
        await news.until_told(ALL, told + 1)
        # A change of a job that is listed already does not change the list.
        assert news.count(News.LIST) == 1


async def test_a_host_that_follows_no_resource_is_not_told_that_each_start_lists_one_more(
    place: Place,
) -> None:
    async with opened(place, LEGACY) as news:
        for _ in range(3):
            await run(news.client, "true")
        async with subscribed(news, ALL):
            await run(news.client, "true")
            await news.until_told(News.LIST)
        assert news.count(News.LIST) == 1


@pytest.mark.parametrize("mode", ERAS)
async def test_nothing_is_pushed_after_unsubscribing(place: Place, mode: str) -> None:
    async with opened(place, mode) as news:
        client = news.client
        left = await start(client, "true", delay_seconds=3600)
        kept = await start(client, "true", delay_seconds=3600)
        async with subscribed(news, left["uri"]):
            pass
        async with subscribed(news, kept["uri"]):
            # The end of the one is pushed, if at all, before that of the other.
            await call(client, "cancel_job", {"job_id": left["job_id"]})
            await call(client, "cancel_job", {"job_id": kept["job_id"]})
            await news.until_told(kept["uri"])
        assert news.count(left["uri"]) == 0


@pytest.mark.parametrize("mode", ERAS)
async def test_much_output_is_coalesced_and_its_end_never_dropped(place: Place, mode: str) -> None:
    last = gate(place, "last")
    code = (
        "import time\n"
        "for i in range(2000): print(i, flush=True); time.sleep(0.0005)\n"
        'open("last").read(); print("end")'
    )
    async with opened(place, mode) as news:
        client = news.client
        opening = gate(place, "first")
        job = await start(client, "read x < first; " + python(code))
        job_uri, output_uri = job["uri"], job["uri"] + "/output"
        async with subscribed(news, job_uri, output_uri):
            await open_gate(opening)
            await open_gate(last)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(news.until_found, job_uri, news.has_ended)
                tasks.start_soon(news.until_found, output_uri, news.says_end)
            done = await ended(client, job["job_id"])
            most = 4 * (done["duration_seconds"] + 1) + 4
            assert 1 <= news.count(output_uri) <= most
            assert 1 <= news.count(job_uri) <= most
    assert done["output"]["lines_total"] == 2001


@pytest.mark.parametrize("mode", ERAS)
async def test_what_another_server_does_is_pushed(place: Place, mode: str) -> None:
    block, end = gate(place, "block"), gate(place, "end")
    # A job runs already, so the server with room for one leaves the next job to the other.
    async with (
        opened(place, mode, env={"MCP_JOBS_CAPACITY": "1"}) as news,
        open_client(place, env={"MCP_JOBS_CAPACITY": "8"}) as other,
        subscribed(news, ALL),
    ):
        blocker = await start(other, "read x < block")
        await news.until_told(ALL)
        await news.until_told(News.LIST)
        await news.until_found(ALL, lambda _: news.is_running(blocker["uri"]))
        job = await start(other, "read x < end; echo done")
        output_uri = job["uri"] + "/output"
        async with subscribed(news, job["uri"], output_uri):
            await open_gate(end)
            await news.until_found(job["uri"], news.has_ended)
            shown = await job_at(news.client, job["uri"])
            assert (shown["status"], shown["output"]["text"]) == ("completed", "done\n")
            await news.until_told(output_uri)
        await open_gate(block)
        await ended(other, blocker["job_id"])


async def test_subscribing_to_what_is_not_there_is_an_error_up_to_2025(place: Place) -> None:
    async with open_client(place, LEGACY) as client:
        for uri in (NO_JOB, NO_JOB + "/output", "jobs://nope"):
            with pytest.raises(MCPError) as caught:
                await subscribe(client, uri)
            assert caught.value.error.code == -32002
            assert caught.value.error.message.startswith("There is no ")
        await call(client, "list_jobs")


async def test_listening_to_what_is_not_there_is_an_error_in_2026(place: Place) -> None:
    async with open_client(place) as client:
        for uri in (NO_JOB, NO_JOB + "/output", "jobs://nope"):
            with pytest.raises(MCPError) as caught:
                async with client.listen(resource_subscriptions=[uri]):
                    pass
            assert caught.value.error.code == -32602
            assert caught.value.error.message.startswith("There is no ")
        async with client.listen(resource_subscriptions=[NO_JOB, ALL]) as stream:
            assert stream.honored.resource_subscriptions == [ALL]
        async with client.listen(
            resource_subscriptions=[NO_JOB], resources_list_changed=True
        ) as stream:
            assert stream.honored.resource_subscriptions is None
            assert stream.honored.resources_list_changed is True


@pytest.mark.parametrize("mode", ERAS)
async def test_resources_are_listed_described_and_read(place: Place, mode: str) -> None:
    async with open_client(place, mode) as client:
        job = await start(client, "echo hello", wait_seconds=20)
        shown = await call(client, "check_job", {"job_id": job["job_id"]})
        resources = (await client.list_resources()).resources
        templates = (await client.list_resource_templates()).resource_templates
        everything = json.loads(await read(client, ALL))
        listed = await call(client, "list_jobs")
        at_uri = await job_at(client, job["uri"])
        output = await client.read_resource(job["uri"] + "/output")
        codes = []
        for uri in (NO_JOB, NO_JOB + "/output", "jobs://nope"):
            with pytest.raises(MCPError) as caught:
                await client.read_resource(uri)
            codes.append(caught.value.error.code)
        capabilities = client.server_capabilities.resources

    assert [str(r.uri) for r in resources] == [ALL, SCHEDULES, job["uri"]]
    assert all(r.title and r.description for r in resources)
    assert [t.uri_template for t in templates] == [
        "jobs://job/{job_id}", "jobs://job/{job_id}/output",
    ]  # fmt: skip
    assert everything == listed
    del shown["next_step"]
    assert at_uri == shown
    (contents,) = output.contents
    assert (contents.mime_type, getattr(contents, "text", "")) == ("text/plain", "hello\n")
    assert codes == [-32602 if mode == MODERN else -32002] * 3
    if mode == LEGACY:
        assert capabilities is not None
        assert (capabilities.subscribe, capabilities.list_changed) == (True, True)
