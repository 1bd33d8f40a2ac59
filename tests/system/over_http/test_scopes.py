"""Scopes: every method of every era, every route and every command, with every set of scopes.

What is refused has no effect either: no job is started, cancelled or answered, and no file is made.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, get_args

import pytest
from mcp_types.methods import SPEC_CLIENT_METHODS
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

from mcp_jobs.interfaces.http.auth.gate import PRINCIPAL
from mcp_jobs.interfaces.http.auth.rights import COMMANDS, Rights, RightsGate
from mcp_jobs.interfaces.http.auth.tokens import Principal, TokenFile
from mcp_jobs.interfaces.http.live.websocket import Command
from tests.mcp_http import FORMS, TASKS, VERSIONS, RawHttp
from tests.support import BOUND_S, MODERN
from tests.system.over_http.test_oidc import AUDIENCE, issuing
from tests.web import Json, ended, serving

if TYPE_CHECKING:
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    import httpx2
    from starlette.types import Receive, Scope, Send

    from tests.mcp_http import Message
    from tests.support import Place
    from tests.web import WebServer

JOBS = """\
jobs:
  mark: {description: Make a file., command: [touch, '%s/mark']}
  tool: {description: Make a file., command: [touch, '%s/mark'], expose: tool}
  ask: {description: Make a file., command: [touch, '%s/mark'], confirm: true}
  wait: {description: Wait., command: [sleep, '600']}
  secret: {description: Tell a secret., command: [echo, hush]}
"""
ALL = ("read", "start", "cancel", "metrics", "admin")
SETS: tuple[tuple[str, ...], ...] = (
    (),
    ("metrics",),
    ("read",),
    ("start",),
    ("cancel",),
    ("admin",),
    ("read", "metrics"),
    ("read", "start"),
    ("read", "cancel"),
    ("start", "cancel"),
    ALL,
)
ANY = {"read", "start", "cancel"}
NOBODY: set[str] = set()
BOTH = {"read", "start", "both"}
"""Looking and answering in one."""


def scopes_id(scopes: Sequence[str]) -> str:
    return "+".join(scopes) or "none"


def give(place: Place, name: str, scopes: Sequence[str], owner: str) -> str:
    """Give somebody a token, also one that the command line would refuse to make."""
    file = TokenFile(place.home)
    token = file.add(name, owner=owner, scopes=scopes or ["read"])
    if not scopes:
        stored = json.loads(file.path.read_text())
        stored["named"][-1]["scopes"] = []
        file.path.write_text(json.dumps(stored))
    return token


def give_all(place: Place) -> dict[tuple[str, ...], tuple[str, str]]:
    """Return for each set of scopes its token, and one of the same owner that may do everything."""
    tokens = {}
    for scopes in SETS:
        name = scopes_id(scopes).replace("+", "-")
        tokens[scopes] = (
            give(place, name, scopes, owner=f"owner-{name}"),
            give(place, f"full-{name}", ALL, owner=f"owner-{name}"),
        )
    return tokens


@dataclass
class Jobs:
    """What there is for a token to misuse."""

    asking: str
    running: str


def prepare(full: httpx2.Client) -> Jobs:
    asking = full.post("/jobs", json={"type": "ask"}).json()
    assert "job_id" in asking, asking
    running = full.post("/jobs", json={"type": "wait"}).json()
    return Jobs(asking["job_id"], running["job_id"])


def clean_up(full: httpx2.Client) -> None:
    """End what still runs."""
    for job in full.get("/jobs", params={"limit": 100}).json()["jobs"]:
        full.post(f"/jobs/{job['job_id']}/cancel", json={"grace_seconds": 0})


def calls(jobs: Jobs) -> list[tuple[str, Message, set[str]]]:
    """Return every request with the scopes of which one is needed."""
    check = {"job_id": jobs.asking}
    answering = {
        "requestState": jobs.asking,
        "inputResponses": {"confirm": {"action": "accept", "content": {}}},
    }
    start = {"name": "start_job", "arguments": {"type": "mark"}}
    tools: list[tuple[Message, set[str]]] = [
        ({"name": "check_job", "arguments": check}, {"read"}),
        ({"name": "list_jobs", "arguments": {}}, {"read"}),
        ({"name": "cancel_job", "arguments": {"job_id": jobs.running}}, {"cancel"}),
        (start, {"start"}),
        ({"name": "tool", "arguments": {}}, {"start"}),
        ({"name": "made_up", "arguments": {}}, {"start"}),
        ({"name": "Check_Job", "arguments": check}, {"start"}),
    ]
    as_tasks = [({**params, "task": {}}, needed) for params, needed in tools]
    task = {"taskId": jobs.asking}
    found = [("tools/call", params, needed) for params, needed in [*tools, *as_tasks]]
    return [
        ("ping", {}, ANY),
        ("server/discover", {}, ANY),
        ("tools/list", {}, ANY),
        ("resources/list", {}, {"read"}),
        ("resources/templates/list", {}, {"read"}),
        ("resources/read", {"uri": "jobs://all"}, {"read"}),
        ("resources/subscribe", {"uri": "jobs://all"}, {"read"}),
        ("resources/unsubscribe", {"uri": "jobs://all"}, {"read"}),
        ("tasks/get", task, {"read"}),
        ("tasks/list", {}, {"read"}),
        ("tasks/result", task, {"read"}),
        *found,
        ("tasks/cancel", {"taskId": jobs.running}, {"cancel"}),
        ("made/up", {}, NOBODY),
        *((method, {}, NOBODY) for method in sorted(UNSERVED)),
        # Answers come last: the job goes on then.
        ("tools/call", {**start, **answering}, {"start"}),
        ("tasks/update", {**task, "inputResponses": answering["inputResponses"]}, {"start"}),
        ("tools/call", {"name": "check_job", "arguments": check, **answering}, BOTH),
    ]


UNSERVED = {"prompts/list", "prompts/get", "completion/complete", "logging/setLevel"}
ELSEWHERE = {"initialize", "subscriptions/listen"}
"""Tried in tests of their own."""


def test_every_method_of_the_specification_is_tried() -> None:
    tried = {method for method, _, _ in calls(Jobs("", ""))}
    assert tried | ELSEWHERE >= SPEC_CLIENT_METHODS


def may(scopes: Sequence[str], needed: set[str]) -> bool:
    """Say whether scopes are enough: one of those that are needed, or both of two."""
    return {"read", "start"} <= set(scopes) if needed == BOTH else bool(needed & set(scopes))


def is_refused(answer: Message) -> bool:
    if "error" in answer:
        return "no scope" in str(answer["error"]["message"])
    result = answer["result"]
    return bool(result.get("isError")) and "no scope" in result["content"][0]["text"]


@pytest.fixture
def place_with_jobs(place: Place) -> Place:
    (place.root / "declared.yaml").write_text(JOBS.replace("%s", str(place.root)))
    return place


def serving_declared(place: Place) -> AbstractContextManager[WebServer]:
    return serving(
        place,
        *("--only-declared", "--config", str(place.root / "declared.yaml")),
        MCP_JOBS_REQUESTS_PER_SECOND="100000",
    )


def assert_nothing_happened(
    place: Place, full: httpx2.Client, jobs: Jobs, scopes: Sequence[str]
) -> None:
    """Hold that a token did nothing that its scopes do not name."""
    listed = full.get("/jobs", params={"limit": 100}).json()["jobs"]
    found: dict[str, Json] = {job["job_id"]: job for job in listed}
    if "start" not in scopes:
        assert not os.path.lexists(place.root / "mark")
        assert set(found) == {jobs.asking, jobs.running}
        assert found[jobs.asking]["status"] == "input_required"
    if "cancel" not in scopes:
        assert not found[jobs.running]["cancel_requested"]
        assert found[jobs.running]["status"] in ("pending", "running")


@pytest.mark.parametrize("version", VERSIONS)
def test_a_method_is_open_to_its_scope_and_to_nobody_else(
    place_with_jobs: Place, version: str
) -> None:
    place = place_with_jobs
    tokens = give_all(place)
    with serving_declared(place) as server:
        for scopes, (token, full_token) in tokens.items():
            (place.root / "mark").unlink(missing_ok=True)
            with server.client(full_token) as full, server.client(token) as client:
                jobs = prepare(full)
                try:
                    walk(RawHttp(client, version, TASKS), jobs, scopes)
                    assert_nothing_happened(place, full, jobs, scopes)
                finally:
                    clean_up(full)


def walk(line: RawHttp, jobs: Jobs, scopes: Sequence[str]) -> None:
    allowed_at_all = bool(ANY & set(scopes))
    assert line.open() == (200 if allowed_at_all or line.modern else 403)
    for method, params, needed in calls(jobs):
        told = line.request(method, params)
        where = f"{line.version} {scopes_id(scopes)} {method} {params}: {told}"
        if not allowed_at_all:
            assert told["error"]["code"] == 403, where
        elif needed == NOBODY:
            assert "error" in told, where
        elif may(scopes, needed):
            assert not is_refused(told), where
        else:
            assert is_refused(told), where
    # A request without an id is a notification, and starts nothing.
    for method, params, needed in calls(jobs):
        if not may(scopes, needed):
            line.notify(method, params)
    if allowed_at_all:
        assert "result" in line.request("tools/list", {})


def test_listening_needs_the_scope_read(place_with_jobs: Place) -> None:
    tokens = give_all(place_with_jobs)
    wanted = {"notifications": {"resourcesListChanged": True}}
    with serving_declared(place_with_jobs) as server:
        for scopes, (token, _) in tokens.items():
            with server.client(token) as client:
                line = RawHttp(client, MODERN, TASKS)
                with line.streaming("subscriptions/listen", wanted) as messages:
                    first = next(messages)
            if "read" in scopes:
                assert first["method"] == "notifications/subscriptions/acknowledged"
            else:
                assert "no scope" in first["error"]["message"]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("tool", ["start_job", "tool"])
def test_a_start_shows_no_job_that_it_is_not_about_to_a_token_without_read(
    place_with_jobs: Place, version: str, tool: str
) -> None:
    blind = give(place_with_jobs, "blind", ["start"], owner="ann")
    full_token = give(place_with_jobs, "full", ALL, owner="ann")
    with serving_declared(place_with_jobs) as server:
        with server.client(full_token) as full, server.client(blind) as client:
            job_id = full.post("/jobs", json={"type": "secret"}).json()["job_id"]
            assert ended(full, job_id)["output"]["text"] == "hush\n"
            arguments = {"type": "mark"} if tool == "start_job" else {}
            call = {"name": tool, "arguments": arguments, "requestState": job_id}
            line = RawHttp(client, version, {})
            line.open()
            told = line.request("tools/call", call)

        assert told["result"]["isError"], told
        assert "no scope 'read'" in told["result"]["content"][0]["text"]
        assert "hush" not in str(told)


def test_who_may_not_answer_is_not_asked(place_with_jobs: Place) -> None:
    reader = give(place_with_jobs, "reader", ["read"], owner="ann")
    full_token = give(place_with_jobs, "full", ALL, owner="ann")
    with serving_declared(place_with_jobs) as server, server.client(full_token) as full:
        job_id = prepare(full).asking
        for version in VERSIONS:
            with server.client(reader) as client:
                line = RawHttp(client, version, FORMS)
                line.open()
                call = {"name": "check_job", "arguments": {"job_id": job_id}}
                with line.streaming("tools/call", call) as messages:
                    first = next(messages)
            # Neither `elicitation/create` nor a result that wants input.
            assert first["result"]["structuredContent"]["status"] == "input_required"
        with server.client(reader) as client:
            line = RawHttp(client, "2025-11-25", FORMS)
            line.open()
            with line.streaming("tasks/result", {"taskId": job_id}) as messages:
                first = next(messages)
        assert f"mcp-jobs approve {job_id}" in first["result"]["content"][0]["text"]
        clean_up(full)


def test_an_answer_from_a_token_with_fewer_scopes_finds_no_session(place_with_jobs: Place) -> None:
    """Tokens of one person of an issuer differ in their scopes; a session is for one set."""
    flags = ("--only-declared", "--config", str(place_with_jobs.root / "declared.yaml"))
    with (
        issuing() as issuer,
        serving(
            place_with_jobs, *flags, "--oidc-issuer", issuer.url, "--oidc-audience", AUDIENCE
        ) as server,
        server.client(issuer.token()) as full,
        server.client(issuer.token(scope="read")) as reader,
    ):
        asker = RawHttp(full, "2025-11-25", FORMS)
        asker.open()
        call = {"name": "start_job", "arguments": {"type": "ask"}}
        with asker.streaming("tools/call", call) as messages:
            question = next(message for message in messages if "method" in message)
            assert question["method"] == "elicitation/create"
            accept = {"action": "accept", "content": {}}
            answer = {"jsonrpc": "2.0", "id": question["id"], "result": accept}
            thief = RawHttp(reader, "2025-11-25", FORMS)
            thief.session = asker.session
            assert thief.post(answer).status_code == 404
            (job,) = full.get("/jobs").json()["jobs"]
            assert job["status"] == "input_required"
            assert asker.post(answer).status_code == 202
            assert "result" in next(messages)
        ended(full, job["job_id"])
    assert os.path.lexists(place_with_jobs.root / "mark")


# -- routes and commands -------------------------------------------------------------------------


ROUTES: dict[tuple[str, str], set[str]] = {
    ("POST", "/jobs"): {"start"},
    ("GET", "/jobs"): {"read"},
    ("GET", "/jobs/{job_id}"): {"read"},
    ("POST", "/jobs/{job_id}/cancel"): {"cancel"},
    ("POST", "/jobs/{job_id}/retry"): {"start"},
    ("GET", "/jobs/{job_id}/output"): {"read"},
    ("GET", "/jobs/{job_id}/output/raw"): {"read"},
    ("GET", "/jobs/{job_id}/deliveries"): {"read"},
    ("GET", "/jobs/{job_id}/events"): {"read"},
    ("GET", "/jobs/{job_id}/stream"): {"read"},
    ("GET", "/events"): {"read"},
    ("GET", "/job-types"): {"read"},
    ("GET", "/schedules"): {"read"},
    ("POST", "/schedules"): {"start"},
    ("GET", "/schedules/{schedule}"): {"read"},
    ("DELETE", "/schedules/{schedule}"): {"start"},
    ("POST", "/schedules/{schedule}/pause"): {"start"},
    ("POST", "/schedules/{schedule}/resume"): {"start"},
    ("POST", "/schedules/{schedule}/run"): {"start"},
    ("GET", "/metrics"): {"metrics"},
    ("GET", "/openapi.json"): set(ALL),
    ("POST", "/mcp"): ANY,
    ("GET", "/mcp"): {"read"},
    ("DELETE", "/mcp"): ANY,
}
OPEN = {"/healthz", "/readyz"}
HIDDEN = {"/jobs/{job_id}/stream", "/openapi.json", "/mcp"}
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")


def test_a_route_is_open_to_its_scope_and_to_nobody_else(place_with_jobs: Place) -> None:
    place = place_with_jobs
    tokens = give_all(place)
    with serving_declared(place) as server:
        with server.client() as user:
            described = set(user.get("/openapi.json").json()["paths"])
        assert described - OPEN == {path for _, path in ROUTES} - HIDDEN
        for scopes, (token, full_token) in tokens.items():
            (place.root / "mark").unlink(missing_ok=True)
            with server.client(full_token) as full, server.client(token) as client:
                jobs = prepare(full)
                try:
                    try_routes(client, jobs, scopes)
                    assert_nothing_happened(place, full, jobs, scopes)
                finally:
                    clean_up(full)


def try_routes(client: httpx2.Client, jobs: Jobs, scopes: Sequence[str]) -> None:
    for path in {path for _, path in ROUTES}:
        for method in METHODS:
            needed = ROUTES.get((method.replace("HEAD", "GET"), path))
            body = {"type": "mark"} if path == "/jobs" else {}
            where = path.replace("{job_id}", jobs.running)
            with client.stream(method, where, json=body if method == "POST" else None) as answer:
                told = f"{scopes_id(scopes)} {method} {path}: {answer.status_code}"
                if needed is None:
                    assert answer.status_code == 405, told
                else:
                    assert (answer.status_code == 403) != bool(needed & set(scopes)), told


def test_the_websocket_is_open_to_readers_only(place_with_jobs: Place) -> None:
    tokens = give_all(place_with_jobs)
    with serving_declared(place_with_jobs) as server:
        address = f"ws://127.0.0.1:{server.port}/ws"
        for scopes, (token, _) in tokens.items():
            bearer = {"authorization": f"Bearer {token}"}
            if "read" not in scopes:
                with pytest.raises(InvalidStatus, match="403"):
                    connect(address, additional_headers=bearer)
                continue
            with connect(address, additional_headers=bearer) as line:
                line.send('{"type": "subscribe"}')
                assert json.loads(line.recv(BOUND_S))["type"] == "subscribed"


def test_every_command_of_the_websocket_has_a_row() -> None:
    assert set(COMMANDS) == set(get_args(Command.model_fields["type"].annotation))


async def test_a_route_without_a_row_is_refused_whatever_the_token_may_do() -> None:
    reached, sent = [], []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        reached.append(scope["path"])

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Any) -> None:
        sent.append(message)

    everything = Principal(name="x", owner="x", scopes=frozenset(ALL))
    gate = RightsGate(app, Rights({}))
    for method, path in (("GET", "/secret"), ("PUT", "/jobs"), ("GET", "/jobs/x/secret")):
        scope = {"type": "http", "path": path, "method": method, PRINCIPAL: everything}
        await gate(scope, receive, send)
    assert [message["status"] for message in sent if "status" in message] == [404, 405, 404]
    assert reached == []
