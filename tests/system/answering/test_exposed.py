"""A job type with `expose` is a tool of its own, in both protocol eras."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import jsonschema
import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import ElicitResult

from mcp_jobs.domain.events import TypesChanged
from mcp_jobs.interfaces.mcp.tools import schemas
from mcp_jobs.interfaces.mcp.updates.push import Push
from mcp_jobs.interfaces.mcp.updates.queue import UpdateQueue
from mcp_jobs.service.assembly import open_core
from tests.conformance.servers import FIXTURES
from tests.contract import check_job_object, ended, refusal
from tests.support import ERAS, open_client, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from contextlib import AbstractAsyncContextManager

    from mcp import Client
    from mcp_types import CallToolResult

    from tests.support import Place

OURS = ["start_job", "check_job", "cancel_job", "list_jobs"]


def fixtures(place: Place, mode: str, **options: Any) -> AbstractAsyncContextManager[Client]:
    return open_client(place, mode, env={"MCP_JOBS_APP": FIXTURES}, **options)


async def alice(*_: Any) -> ElicitResult:
    return ElicitResult(action="accept", content={"name": "Alice"})


FAILING = """
jobs:
  breaks:
    description: Fail.
    shell: echo went wrong; exit 3
    expose: tool
  works:
    description: Do not fail.
    shell: echo fine
"""


async def nobody(*_: Any) -> ElicitResult:
    return ElicitResult(action="decline")


async def away(*_: Any) -> ElicitResult:
    return ElicitResult(action="cancel")


@pytest.mark.parametrize("mode", ERAS)
async def test_exposed_types_are_tools_with_typed_parameters(place: Place, mode: str) -> None:
    async with fixtures(place, mode) as client:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert list(tools)[:4] == OURS
    slow = tools["slow_compute"]
    assert set(slow.input_schema["properties"]) >= {"seconds", "label"}
    assert slow.input_schema["required"] == ["seconds"]
    assert slow.output_schema == schemas.STARTED_RESULT
    assert slow.description is not None
    assert "check_job" in slow.description
    # What the user can be asked for may be left out.
    assert tools["test_tool_with_task"].input_schema["required"] == []


@pytest.mark.parametrize("mode", ERAS)
async def test_a_call_starts_a_job_of_the_type(place: Place, mode: str) -> None:
    async with fixtures(place, mode) as client:
        result = await client.call_tool("slow_compute", {"seconds": 0, "label": "one"})
        shown: Any = result.structured_content
        assert (shown["type"], bool(shown["next_step"])) == ("slow_compute", True)
        done = await ended(client, shown["job_id"])
        assert done["result"] == {"label": "one", "seconds": 0}


@pytest.mark.parametrize("mode", ERAS)
async def test_a_tool_that_waits_answers_with_the_result(place: Place, mode: str) -> None:
    async with fixtures(place, mode) as client:
        result = await client.call_tool("greet", {"name": "Bob"})
        assert result.is_error is False
        assert getattr(result.content[0], "text", "") == "Hello, Bob!"
        several = await client.call_tool("greet", {"name": "Bob\nDo as I say"})
        assert getattr(several.content[0], "text", "").startswith("Result <<")
        shown: Any = result.structured_content
        jsonschema.validate(shown, schemas.JOB_RESULT)
        check_job_object({k: v for k, v in shown.items() if k != "notices"})
        assert shown["result"] == "Hello, Bob!"


@pytest.mark.parametrize("mode", ERAS)
async def test_a_failed_job_is_an_error_alike_from_start_job_and_from_its_own_tool(
    place: Place, mode: str
) -> None:
    place.declare(FAILING)
    async with open_client(place, mode) as client:
        own = await client.call_tool("breaks", {"wait_seconds": 20})
        call = {"type": "breaks", "wait_seconds": 20, "idempotency_key": "k"}
        first = await client.call_tool("start_job", call)
        again = await client.call_tool("start_job", call)
        looked = await client.call_tool("check_job", {"job_id": structure(first)["job_id"]})
        fine = await client.call_tool("start_job", {"type": "works", "wait_seconds": 20})
    assert [r.is_error for r in (own, first, again, looked, fine)] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert set(structure(own)) == set(structure(first))
    assert structure(again)["existing"] is True
    for result in (own, first):
        assert structure(result)["status"] == "failed"
        assert "went wrong" in getattr(result.content[-1], "text", "")


def structure(result: CallToolResult) -> dict[str, Any]:
    shown: Any = result.structured_content
    jsonschema.validate(shown, schemas.JOB_RESULT)
    return {name: value for name, value in shown.items() if name != "notices"}


@pytest.mark.parametrize("mode", ERAS)
async def test_wrong_parameters_are_refused_with_advice(place: Place, mode: str) -> None:
    async with fixtures(place, mode) as client:
        text = refusal(await client.call_tool("slow_compute", {"minutes": 1}))
        assert "slow_compute" in text
        assert "seconds" in text
        with pytest.raises(MCPError, match="greet"):
            await client.call_tool("no_such_tool", {})


@pytest.mark.parametrize("mode", ERAS)
async def test_the_user_is_asked_for_what_a_call_leaves_out(place: Place, mode: str) -> None:
    env = {"MCP_JOBS_APP": "tests.system.exposed_app:jobs"}
    async with open_client(place, mode, env=env, elicitation_callback=alice) as client:
        result = await client.call_tool("greet_whom", {})
        assert getattr(result.content[0], "text", "") == "Hello, Alice!"


@pytest.mark.parametrize("mode", ERAS)
async def test_there_is_no_job_when_the_user_declines_or_cannot_be_asked(
    place: Place, mode: str
) -> None:
    env = {"MCP_JOBS_APP": "tests.system.exposed_app:jobs"}
    async with open_client(place, mode, env=env, elicitation_callback=nobody) as client:
        assert "declined" in refusal(await client.call_tool("greet_whom", {}))
    async with open_client(place, mode, env=env, elicitation_callback=away) as client:
        text = refusal(await client.call_tool("greet_whom", {}))
        assert "was asked for name, and nobody answered" in text
        assert "declined" not in text
    async with open_client(place, mode, env=env) as client:
        assert "name" in refusal(await client.call_tool("greet_whom", {}))
        listed: Any = (await client.call_tool("list_jobs", {})).structured_content
        assert listed["jobs"] == []


async def test_other_types_change_the_tool_list_of_every_owner(place: Place) -> None:
    heard: list[tuple[str, str]] = []
    async with open_core(place.settings()) as core, anyio.create_task_group() as tasks:
        push = Push(core.bus)
        tasks.start_soon(push.run)
        await anyio.lowlevel.checkpoint()
        for owner in ("ann", "bob"):
            push.deliver(UpdateQueue(owner, lambda _: True), hearing(heard, owner))
        core.bus.publish(TypesChanged())
        await until(lambda: len(heard) == 2)
        tasks.cancel_scope.cancel()
    assert sorted(heard) == [("ann", "ToolsListChanged"), ("bob", "ToolsListChanged")]


def hearing(heard: list[tuple[str, str]], owner: str) -> Callable[[Any], Awaitable[None]]:
    async def hear(news: Any) -> None:
        heard.append((owner, type(news).__name__))

    return hear
