"""The four tools as a client sees them, in both protocol eras."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeAlias

import jsonschema
import pytest
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

from mcp_jobs.interfaces.mcp.tools import schemas
from mcp_jobs.service.requests import CancelJob, CheckJob, ListJobs, StartJob
from tests.contract import call, ended, refused, run, start
from tests.raw import RawServer
from tests.support import ERAS, MODERN, dispose, make_place, open_client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mcp_types import Tool

    from tests.support import Place

# DESIGN section 4: a name alone has no default that a caller could see.
NO_DEFAULT = object()
ARGUMENTS: dict[str, dict[str, Any]] = {
    "start_job": {
        "type": "shell", "params": {}, "cwd": NO_DEFAULT, "title": NO_DEFAULT, "env": {},
        "timeout_seconds": NO_DEFAULT, "idle_timeout_seconds": NO_DEFAULT, "max_retries": 0,
        "retry_on_interrupt": False, "delay_seconds": 0, "idempotency_key": NO_DEFAULT,
        "priority": 0, "locks": [], "if_running": "start", "after": [], "after_any_end": False,
        "retry_of": NO_DEFAULT, "wait_seconds": 0,
    },
    "check_job": {
        "job_id": NO_DEFAULT, "wait_seconds": 0, "tail_lines": 40, "after": NO_DEFAULT,
        "grep": NO_DEFAULT,
    },
    "cancel_job": {"job_id": NO_DEFAULT, "grace_seconds": 5},
    "list_jobs": {
        "status": NO_DEFAULT, "type": NO_DEFAULT, "cwd": NO_DEFAULT, "job_ids": NO_DEFAULT,
        "scope": NO_DEFAULT,
        "limit": 20, "cursor": NO_DEFAULT, "wait_for": NO_DEFAULT, "wait_seconds": 0,
    },
}  # fmt: skip
REQUIRED = {"start_job": [], "check_job": ["job_id"], "cancel_job": ["job_id"], "list_jobs": []}
TITLES = {
    "start_job": "Start a background job",
    "check_job": "Look at a job",
    "cancel_job": "End a job",
    "list_jobs": "List jobs",
}
MODELS: dict[str, type[BaseModel]] = {
    "start_job": StartJob,
    "check_job": CheckJob,
    "cancel_job": CancelJob,
    "list_jobs": ListJobs,
}
NONE = (None, PydanticUndefined)
HOST_CUT_BYTES = 2048

Listed: TypeAlias = "tuple[dict[str, Tool], str]"


@pytest.fixture(scope="module", params=ERAS)
async def listed(request: pytest.FixtureRequest) -> Listed:
    """What a client of each era is told; asked once for all the tests that only look at it."""
    place = make_place()
    try:
        # A client that is pinned to the new era never asks who the server is.
        mode = "auto" if request.param == MODERN else request.param
        async with open_client(place, mode) as client:
            assert (client.protocol_version == MODERN) == (request.param == MODERN)
            tools = (await client.list_tools()).tools
            return {tool.name: tool for tool in tools}, client.instructions or ""
    finally:
        dispose(place)


async def test_the_four_tools_are_listed_with_titles_and_annotations(listed: Listed) -> None:
    tools, instructions = listed

    assert {name: tool.title for name, tool in tools.items()} == TITLES
    for name, tool in tools.items():
        hints = tool.annotations
        assert hints is not None
        reads = name in ("check_job", "list_jobs")
        assert hints.read_only_hint is reads
        assert bool(hints.destructive_hint) is not reads
        assert 0 < len((tool.description or "").encode()) < HOST_CUT_BYTES
    assert 0 < len(instructions.encode()) < HOST_CUT_BYTES


async def test_every_argument_has_the_designed_default_and_a_description(listed: Listed) -> None:
    tools, _ = listed

    for name, designed in ARGUMENTS.items():
        schema = tools[name].input_schema
        fields = schema["properties"]
        assert list(fields) == list(designed)
        assert [f for f in fields if not fields[f].get("description")] == []
        assert schema.get("required", []) == REQUIRED[name]
        # Hosts that check arguments themselves leave what is unknown or beyond a bound to us.
        assert "additionalProperties" not in schema
        for field, default in designed.items():
            told = f"default {json.dumps(default)}" if default and default is not NO_DEFAULT else ""
            assert told in fields[field]["description"], field
            assert not {"default", "maximum", "minimum", "maxLength"} & set(fields[field]), field
        made = MODELS[name].model_fields
        found = {f: NO_DEFAULT if made[f].default in NONE else made[f].default for f in fields}
        assert found == designed


async def test_schemas_are_valid_and_have_no_union_at_the_root(listed: Listed) -> None:
    tools, _ = listed

    for tool in tools.values():
        for schema in (tool.input_schema, tool.output_schema):
            assert schema is not None
            jsonschema.Draft202012Validator.check_schema(schema)
            assert schema["type"] == "object"
            assert not {"anyOf", "oneOf", "allOf", "$ref"} & set(schema)
            assert "$ref" not in json.dumps(schema)
    # The helper that checks the replies of all other tests uses these.
    assert tools["list_jobs"].output_schema == schemas.LIST_RESULT
    for name in ("start_job", "check_job", "cancel_job"):
        assert tools[name].output_schema == schemas.JOB_RESULT


async def test_both_eras_are_told_of_the_same_tools(listed: Listed, place: Place) -> None:
    async with open_client(place, "auto") as client:
        told = {tool.name: tool for tool in (await client.list_tools()).tools}
        said = client.instructions
    tools, instructions = listed
    # Whether a tool can be a task is told with it in one era, and by the extension in the other.
    assert _without_execution(told) == _without_execution(tools)
    assert said == instructions


def _without_execution(tools: dict[str, Tool]) -> dict[str, Tool]:
    return {name: tool.model_copy(update={"execution": None}) for name, tool in tools.items()}


def test_the_tool_list_is_the_same_bytes_every_time(place: Place) -> None:
    with RawServer(place) as server:
        first = json.dumps(server.request("tools/list", {})["result"])
        assert server.call("start_job", {"params": {"command": "true"}})["structuredContent"]
        again = json.dumps(server.request("tools/list", {})["result"])
    with RawServer(place) as server:
        other_process = json.dumps(server.request("tools/list", {})["result"])

    assert '"start_job"' in first
    assert first == again == other_process


@pytest.mark.parametrize("mode", ERAS)
async def test_an_argument_that_is_not_listed_is_refused(place: Place, mode: str) -> None:
    needed: dict[str, dict[str, Any]] = {
        "start_job": {"params": {"command": "true"}},
        "check_job": {"job_id": "x"},
        "cancel_job": {"job_id": "x"},
        "list_jobs": {},
    }
    async with open_client(place, mode) as client:
        texts = {
            tool: await refused(client, tool, {**arguments, "timeout": 3})
            for tool, arguments in needed.items()
        }
        counts = (await call(client, "list_jobs"))["counts"]

    for tool, text in texts.items():
        known = ", ".join(ARGUMENTS[tool])
        assert text.startswith(f"There is no argument 'timeout'; the arguments are {known}.")
    assert set(counts.values()) == {0}


@pytest.mark.parametrize("mode", ERAS)
async def test_every_reply_of_a_job_s_life_keeps_the_contract(place: Place, mode: str) -> None:
    async with open_client(place, mode) as client:
        done = await run(client, "echo out; exit 3", title="one  title", idempotency_key="k")
        again = await start(client, "echo out; exit 3", title="one  title", idempotency_key="k")
        waited = await start(client, "echo hello", wait_seconds=20)
        late = await start(client, "true", delay_seconds=3600)
        gone = await call(client, "cancel_job", {"job_id": late["job_id"]})
        retried = await run(client, "exit 1", max_retries=1)
        listed = await call(client, "list_jobs", {"limit": 2})
        rest = await call(client, "list_jobs", {"cursor": listed["next_cursor"]})

    assert (done["status"], done["reason"], done["exit_code"]) == ("failed", "exit_code", 3)
    assert (done["title"], done["type"], done["cwd"]) == (
        "one title", "shell", str(place.project),
    )  # fmt: skip
    assert done["output"]["text"] == "out\n"
    assert "existing" not in done
    assert (again["existing"], again["job_id"]) == (True, done["job_id"])
    assert (waited["status"], waited["output"]["text"]) == ("completed", "hello\n")
    assert (late["status"], late["started_at"]) == ("pending", None)
    assert late["run_at"] > late["created_at"]
    assert (gone["status"], gone["reason"]) == ("cancelled", "cancelled_by_user")
    assert (retried["attempt"], retried["max_attempts"]) == (2, 2)
    assert [a["exit_code"] for a in retried["attempts"]] == [1, 1]
    ids = [job["job_id"] for page in (listed, rest) for job in page["jobs"]]
    assert ids == [retried["job_id"], late["job_id"], waited["job_id"], done["job_id"]]
    assert rest["next_cursor"] is None
    assert {k: v for k, v in listed["counts"].items() if v} == {
        "completed": 1, "failed": 2, "cancelled": 1,
    }  # fmt: skip


async def test_next_step_names_the_call_that_waits_for_the_end(place: Place) -> None:
    async with open_client(place) as client:
        job = await start(client, "true", delay_seconds=3600)
        asked = job["next_step"].partition("check_job ")[2].rpartition("}")[0] + "}"
        shown = await call(client, "check_job", {**json.loads(asked), "wait_seconds": 0})
        await call(client, "cancel_job", {"job_id": job["job_id"]})
        done = await ended(client, job["job_id"])

    assert json.loads(asked) == {"job_id": job["job_id"], "wait_seconds": 50}
    assert shown["job_id"] == job["job_id"]
    assert "check_job" not in done["next_step"]


def _descriptions(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        if isinstance(schema.get("description"), str):
            yield schema["description"]
        for value in schema.values():
            yield from _descriptions(value)


def test_descriptions_are_one_short_paragraph() -> None:
    for schema in (schemas.START_INPUT, schemas.CHECK_INPUT, schemas.LIST_INPUT):
        found = list(_descriptions(schema))
        assert found
        assert [text for text in found if "\n" in text or len(text.encode()) >= 500] == []
