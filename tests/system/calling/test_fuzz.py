"""Arguments made from the tools' own schemas, and nonsense: answers, never faults."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp import Client

from mcp_jobs.interfaces.mcp.callers import local_user
from mcp_jobs.interfaces.mcp.server import build_server
from mcp_jobs.interfaces.mcp.tools import schemas
from mcp_jobs.interfaces.mcp.updates.push import Push
from mcp_jobs.service.assembly import open_core
from mcp_jobs.service.requests import CancelJob, CheckJob, ListJobs, StartJob
from tests.contract import accepted, call, refusal
from tests.support import ERAS, open_client

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

    from tests.support import Place

# With the bounds, which clients are not told.
INPUTS = {
    "start_job": schemas.simplified(StartJob.model_json_schema()),
    "check_job": schemas.simplified(CheckJob.model_json_schema()),
    "cancel_job": schemas.simplified(CancelJob.model_json_schema()),
    "list_jobs": schemas.simplified(ListJobs.model_json_schema()),
}
HARMLESS = ("true", "echo x", "exit 3", " ", "echo $UNSET")
UNFINISHED = ["pending", "running", "retrying"]
NO_SUCH = 2**63
# JSON on the wire has no lone surrogates: a line with one is no message at all.
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
NUMBERS = st.one_of(
    st.integers(-NO_SUCH, NO_SUCH), st.floats(), st.sampled_from([0, -1, 1e308, -0.0])
)
NONSENSE = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=5,
)


def from_schema(schema: dict[str, Any]) -> SearchStrategy[Any]:
    """Return values that fit the schema: the part of JSON Schema that the tools use."""
    if "anyOf" in schema:
        return st.one_of([from_schema(option) for option in schema["anyOf"]])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kind = schema["type"]
    makers = {
        "boolean": lambda _: st.booleans(),
        "integer": _integers,
        "number": _numbers,
        "string": _strings,
        "array": _arrays,
        "object": _objects,
    }
    made: SearchStrategy[Any] = makers[kind](schema)
    return made


def _integers(schema: dict[str, Any]) -> SearchStrategy[Any]:
    return st.integers(schema.get("minimum"), schema.get("maximum"))


def _numbers(schema: dict[str, Any]) -> SearchStrategy[Any]:
    least = schema.get("minimum", schema.get("exclusiveMinimum"))
    return st.floats(
        least,
        schema.get("maximum"),
        exclude_min="exclusiveMinimum" in schema,
        allow_nan=False,
        allow_infinity=False,
    )


def _strings(schema: dict[str, Any]) -> SearchStrategy[Any]:
    least = schema.get("minLength", 0)
    return st.text(
        st.characters(exclude_categories=["Cs"]),
        min_size=least,
        max_size=min(schema.get("maxLength", 40), 40),
    )


def _arrays(schema: dict[str, Any]) -> SearchStrategy[Any]:
    return st.lists(from_schema(schema["items"]), max_size=min(schema.get("maxItems", 4), 4))


def _objects(schema: dict[str, Any]) -> SearchStrategy[Any]:
    fields = schema.get("properties")
    if fields is None:
        of = schema.get("additionalProperties")
        values = from_schema(of) if isinstance(of, dict) else NONSENSE
        return st.dictionaries(TEXT, values, max_size=3)
    needed = {n: from_schema(s) for n, s in fields.items() if n in schema.get("required", ())}
    others = {n: from_schema(s) for n, s in fields.items() if n not in needed}
    return st.fixed_dictionaries(needed, optional=others)


@st.composite
def calls(draw: st.DrawFn, known: list[str]) -> tuple[str, dict[str, Any]]:
    """Return a tool and arguments: fitting, slightly wrong, or nonsense; never harmful or slow."""
    tool = draw(st.sampled_from(sorted(INPUTS)))
    arguments: dict[str, Any] = draw(from_schema(INPUTS[tool]))
    wrong = draw(st.integers(0, 3))
    fields = [*INPUTS[tool]["properties"], "timeout"]
    for _ in range(max(0, wrong - 1)):
        arguments[draw(st.one_of(st.sampled_from(fields), TEXT))] = draw(NONSENSE)
    if draw(st.booleans()) and "job_id" in fields:
        arguments["job_id"] = draw(st.sampled_from(known))
    if "params" in fields and isinstance(arguments.get("params", {}), dict):
        params = dict(arguments.get("params", {}))
        params.pop("command", None)
        extra = params if wrong == 3 else {}
        arguments["params"] = {**extra, "command": draw(st.sampled_from(HARMLESS))}
    for name, most in (("wait_seconds", 0.01), ("grace_seconds", 0.01)):
        value = arguments.get(name)
        # However much it is, it is cut down to what would still be waited for.
        if isinstance(value, int | float) and value > most:
            arguments[name] = most
    if isinstance(arguments.get("cwd"), str) and draw(st.booleans()):
        del arguments["cwd"]
    return tool, arguments


async def ask(client: Client, tool: str, arguments: dict[str, Any]) -> None:
    """Make one call, and hold that the answer is a good one or helpful advice.

    Anything else is a fault of the server: a protocol error comes out as an exception.
    """
    with anyio.fail_after(30):
        result = await client.call_tool(tool, arguments)
    # A job that has failed is an error too, with its object.
    if result.is_error and result.structured_content is None:
        refusal(result)
    else:
        accepted(tool, result)


async def fuzz(client: Client, examples: int) -> None:
    """Ask as many times as that. Hypothesis is synchronous, so it runs in a thread."""
    job = await call(client, "start_job", {"params": {"command": "echo x"}, "wait_seconds": 20})
    known = [job["job_id"], job["job_id"].upper(), job["job_id"][:-1], "0" * 25]

    nonsense = st.tuples(st.sampled_from(sorted(INPUTS)), st.dictionaries(TEXT, NONSENSE))

    @settings(
        max_examples=examples,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(st.one_of(calls(known), nonsense))
    def every(made: tuple[str, dict[str, Any]]) -> None:
        anyio.from_thread.run(ask, client, *made)

    await anyio.to_thread.run_sync(every)
    listed = await call(client, "list_jobs", {"limit": 100, "status": UNFINISHED})
    while listed["jobs"]:
        for waiting in listed["jobs"]:
            await call(client, "cancel_job", {"job_id": waiting["job_id"]})
        page = {"limit": 100, "status": UNFINISHED, "cursor": listed["next_cursor"]}
        listed = await call(client, "list_jobs", page) if listed["next_cursor"] else {"jobs": []}
    await call(client, "check_job", {"job_id": job["job_id"]})


@pytest.mark.parametrize("mode", ERAS)
async def test_no_arguments_bring_the_server_down(place: Place, mode: str) -> None:
    async with open_client(place, mode) as client:
        await fuzz(client, 60)


async def test_no_arguments_make_a_tool_fail(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(place.project)
    async with open_core(place.settings()) as core:
        push = Push(core.bus)
        async with Client(build_server(core, push, local_user)) as client:
            await fuzz(client, 400)


@settings(max_examples=100, database=None)
@given(st.sampled_from(sorted(INPUTS)).flatmap(lambda name: from_schema(INPUTS[name])))
def test_what_is_made_from_a_schema_is_json(arguments: dict[str, Any]) -> None:
    assert json.loads(json.dumps(arguments)) == arguments
