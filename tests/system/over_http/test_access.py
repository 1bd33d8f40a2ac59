"""Closed by default: who may come in, what he may do, and that owners never meet."""

from __future__ import annotations

import os
import stat
import subprocess
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError

from mcp_jobs.interfaces.http.auth.tokens import TokenFile
from tests.support import BOUND_S, ERAS, error_of, job_of
from tests.web import (
    ended,
    environment_for,
    named_token,
    problem,
    python_for,
    serving,
    start_server,
    stream,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from tests.support import Place
    from tests.web import WebServer

JOBS = """\
jobs:
  hello: {description: Say hello., command: [echo, hello]}
  tool: {description: Say hello., command: [echo, hello], expose: tool}
  wait: {description: Wait., command: [sleep, '600']}
"""


def declare(place: Place) -> None:
    place.declare(JOBS)


@asynccontextmanager
async def mcp_client(server: WebServer, mode: str, token: str) -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {token}"}
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60, trust_env=False) as http,
        Client(streamable_http_client(f"{server.url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


@pytest.mark.parametrize("mode", ERAS)
async def test_a_directory_that_a_type_does_not_allow_is_refused_whether_it_is_there_or_not(
    place: Place, mode: str
) -> None:
    declare(place)
    (place.root / "file").touch()
    places = [place.root, place.root / "no", place.root / "file", "/root", "/root/no"]
    with serving(place, "--only-declared") as server, server.client() as client:
        told = [
            client.post("/jobs", json={"type": "hello", "cwd": str(path)}).text for path in places
        ]
        async with mcp_client(server, mode, server.token) as agent:
            for path in places:
                result = await agent.call_tool("start_job", {"type": "hello", "cwd": str(path)})
                told.append(error_of(result))
        for path in places:
            shell = {"params": {"command": "true"}, "cwd": str(path)}
            told.append(client.post("/jobs", json=shell).json()["code"])
    # Per way of asking one answer, which names the directory of the type and no other.
    assert len(set(told)) == 3
    assert all("nowhere else" in text for text in told[:10])


# -- the token of the home -----------------------------------------------------------------------


def command(place: Place, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*python_for(None), *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=BOUND_S,
        cwd=place.project,
        env=environment_for(place),
    )


def test_the_token_is_made_once_printed_alone_and_private(place: Place) -> None:
    first, second = command(place, "token"), command(place, "token")
    assert first.stdout == second.stdout
    assert len(first.stdout.split()) == 1
    assert first.stderr == ""
    assert stat.S_IMODE(os.stat(place.home / "tokens.json").st_mode) == 0o600


def test_a_named_token_is_shown_once_and_only_its_hash_is_kept(place: Place) -> None:
    added = command(place, "token", "add", "ann", "--scopes", "read,start")
    token = added.stdout.strip()
    assert token
    assert token not in (place.home / "tokens.json").read_text()
    assert command(place, "token", "list").stdout == "ann\towner ann\tread,start\n"
    assert command(place, "token", "add", "ann").returncode == 1
    assert command(place, "token", "remove", "ann").returncode == 0
    assert command(place, "token", "list").stdout == ""
    refused = command(place, "token", "add", "bob", "--scopes", "everything")
    assert (refused.returncode, refused.stderr.count("\n")) == (1, 1)


def test_a_token_file_that_others_can_read_is_refused(place: Place) -> None:
    TokenFile(place.home).load()
    (place.home / "tokens.json").chmod(0o644)
    refused = command(place, "serve", "--http", "--port", "0")
    assert refused.returncode == 1
    assert "chmod 600" in refused.stderr


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wrong"},
        {"authorization": "Basic dXNlcjpwYXNz"},
        {"authorization": "Bearer " + "x" * 20_000},
    ],
)
def test_a_request_without_the_token_is_refused_everywhere(
    place: Place, headers: dict[str, str]
) -> None:
    with serving(place) as server:
        for path in ("/jobs", "/events", "/metrics", "/openapi.json", "/mcp", "/nothing"):
            answer = httpx2.get(server.url + path, headers=headers, trust_env=False)
            problem(answer, 401, "unauthorized")
            assert answer.headers["www-authenticate"].startswith("Bearer ")


def test_no_token_reaches_the_log(place: Place) -> None:
    with serving(place) as server, server.client() as client:
        client.get("/jobs")
        httpx2.get(f"{server.url}/jobs?access_token=wrong-secret", trust_env=False)
        httpx2.get(
            f"{server.url}/jobs", headers={"authorization": "Bearer wrong-secret"}, trust_env=False
        )
        assert server.token not in server.text
        assert "wrong-secret" not in server.text


def test_who_guesses_tokens_is_slowed_and_others_are_not(place: Place) -> None:
    with serving(place) as server, server.client() as client, server.client("wrong") as guesser:
        codes = {guesser.get("/jobs").status_code for _ in range(40)}
        assert codes == {401, 429}
        assert client.get("/jobs").status_code == 200


def test_a_token_that_asks_too_often_is_told_when_to_come_back(place: Place) -> None:
    with (
        serving(place, MCP_JOBS_REQUESTS_PER_SECOND="1") as server,
        server.client() as client,
    ):
        answers = [client.get("/job-types") for _ in range(5)]
        problem(answers[-1], 429, "too_many_requests")
        assert int(answers[-1].headers["retry-after"]) >= 1


# -- where a request comes from ------------------------------------------------------------------


@pytest.mark.parametrize("path", ["/jobs", "/healthz", "/mcp"])
def test_a_request_for_another_host_is_refused(place: Place, path: str) -> None:
    with serving(place, MCP_JOBS_ALLOWED_HOSTS="jobs.example") as server:
        with server.client(host="evil.example") as client:
            problem(client.get(path), 421, "wrong_host")
        for host in (f"localhost:{server.port}", "JOBS.example", f"[::1]:{server.port}"):
            with server.client(host=host) as client:
                assert client.get(path).status_code != 421


def test_a_page_of_another_origin_is_refused_unless_it_is_allowed(place: Place) -> None:
    with serving(place, MCP_JOBS_ALLOWED_ORIGINS="https://good.example") as server:
        with server.client(origin="https://evil.example") as client:
            problem(client.get("/jobs"), 403, "wrong_origin")
            problem(client.post("/mcp"), 403, "wrong_origin")
        for origin in ("https://good.example", server.url):
            with server.client(origin=origin) as client:
                assert client.get("/jobs").status_code == 200
        asked = httpx2.options(
            f"{server.url}/jobs",
            headers={"origin": "https://good.example", "access-control-request-method": "GET"},
            trust_env=False,
        )
        assert asked.headers["access-control-allow-origin"] == "https://good.example"


# -- scopes --------------------------------------------------------------------------------------


def test_a_scope_allows_what_it_names_and_nothing_else(place: Place) -> None:
    declare(place)
    tokens = {scope: named_token(place, scope, [scope]) for scope in ("read", "start", "cancel")}
    asked = {
        "read": ("GET", "/jobs"),
        "start": ("POST", "/jobs"),
        "cancel": ("POST", "/jobs/x/cancel"),
    }
    with serving(place, "--only-declared") as server:
        for name, token in tokens.items():
            for scope, (method, path) in asked.items():
                with server.client(token) as client:
                    body = {"type": "hello"} if scope == "start" else None
                    answer = client.request(method, path, json=body)
                assert (answer.status_code != 403) == (scope == name), (name, scope, answer.text)
            with server.client(token) as client:
                problem(client.get("/metrics"), 403, "forbidden")


@pytest.mark.parametrize("mode", ERAS)
async def test_scopes_hold_in_mcp_too(place: Place, mode: str) -> None:
    declare(place)
    reader = named_token(place, "ann", ["read"])
    with serving(place, "--only-declared") as server:
        async with mcp_client(server, mode, reader) as client:
            assert job_of(await client.call_tool("list_jobs", {}))["jobs"] == []
            for tool, arguments in (
                ("start_job", {"type": "hello"}),
                ("tool", {}),
                ("cancel_job", {"job_id": "0" * 25}),
            ):
                assert "no scope" in error_of(await client.call_tool(tool, arguments))


# -- owners --------------------------------------------------------------------------------------


def test_tokens_of_several_owners_need_only_declared_and_the_start_says_so(place: Place) -> None:
    declare(place)
    named_token(place, "ann")
    refused = command(place, "serve", "--http", "--port", "0")
    assert refused.returncode == 1
    assert "several owners" in refused.stderr
    assert "--only-declared" in refused.stderr
    with serving(place, "--only-declared") as server:
        assert "several owners have tokens" in server.text


def test_a_token_of_another_owner_that_comes_later_is_refused(place: Place) -> None:
    with serving(place) as server:
        token = named_token(place, "ann")
        with server.client(token) as client:
            problem(client.get("/jobs"), 401, "unauthorized")


def test_a_removed_token_is_refused_at_once(place: Place) -> None:
    declare(place)
    token = named_token(place, "ann")
    with serving(place, "--only-declared") as server, server.client(token) as client:
        assert client.get("/jobs").status_code == 200
        TokenFile(place.home).remove("ann")
        problem(client.get("/jobs"), 401, "unauthorized")


async def test_a_job_of_another_owner_looks_like_one_that_does_not_exist(place: Place) -> None:
    declare(place)
    hers, his = named_token(place, "ann"), named_token(place, "bob")
    with (
        serving(place, "--only-declared", MCP_JOBS_CAPACITY="1") as server,
        server.client(hers) as ann,
        server.client(his) as bob,
    ):
        running = ann.post("/jobs", json={"type": "wait"}).json()
        waiting = ann.post("/jobs", json={"type": "hello", "idempotency_key": "k"}).json()
        own = bob.post("/jobs", json={"type": "hello", "idempotency_key": "k"})
        assert own.status_code == 201
        assert own.json()["queue_position"] == 1

        near = waiting["job_id"][:-1] + ("0" if waiting["job_id"][-1] != "0" else "1")
        for job_id in (waiting["job_id"], near):
            for method, path in (
                ("GET", ""), ("POST", "/cancel"), ("GET", "/output"), ("GET", "/output/raw"),
                ("GET", "/events"), ("GET", "/deliveries"),
            ):  # fmt: skip
                told = problem(bob.request(method, f"/jobs/{job_id}{path}"), 404, "unknown_job")
                assert running["job_id"] not in told["detail"]
                assert waiting["job_id"] not in told["detail"].replace(f"'{job_id}'", "")
        shown = bob.get("/jobs").json()
        assert [job["job_id"] for job in shown["jobs"]] == [own.json()["job_id"]]
        assert sum(shown["counts"].values()) == 1
        assert bob.get(f"/jobs?job_id={waiting['job_id']}").json()["jobs"] == []
        project = waiting["origin"]["project"]
        for query in ("scope=all", f"project={project}", f"project={project}&scope=project"):
            shown = bob.get(f"/jobs?{query}").json()
            assert [job["job_id"] for job in shown["jobs"]] == [own.json()["job_id"]]
            assert (sum(shown["counts"].values()), shown["others"]) == (1, 0)
        nowhere = bob.get("/jobs?project=/nowhere").json()
        assert (nowhere["jobs"], sum(nowhere["counts"].values()), nowhere["others"]) == ([], 0, 1)
        assert bob.get("/jobs?scope=session").status_code == 422

        for mode in ERAS:
            async with mcp_client(server, mode, his) as client:
                listed = job_of(await client.call_tool("list_jobs", {}))
                assert [job["job_id"] for job in listed["jobs"]] == [own.json()["job_id"]]
                asked = await client.call_tool("check_job", {"job_id": waiting["job_id"]})
                assert "There is no job" in error_of(asked)
                with pytest.raises(MCPError, match="There is no job"):
                    await client.read_resource(waiting["uri"])
        ann.post(f"/jobs/{running['job_id']}/cancel", json={"grace_seconds": 0})


def test_events_of_another_owner_are_not_heard_and_their_ids_do_not_fit(place: Place) -> None:
    declare(place)
    hers, his = named_token(place, "ann"), named_token(place, "bob")
    with (
        serving(place, "--only-declared") as server,
        server.client(hers) as ann,
        server.client(his) as bob,
        stream(bob, "/events") as sent,
    ):
        first = next(sent)
        assert sum(first.data["counts"].values()) == 0
        other = ann.post("/jobs", json={"type": "hello"}).json()
        ended(ann, other["job_id"])
        own = bob.post("/jobs", json={"type": "hello"}).json()
        event = next(sent)
        assert (event.event, event.data["job_id"]) == ("job.created", own["job_id"])
        with stream(ann, "/events", event.id) as foreign:
            assert next(foreign).event == "reset"


async def test_a_session_of_another_token_does_not_exist(place: Place) -> None:
    declare(place)
    hers, his = named_token(place, "ann"), named_token(place, "bob")
    message = {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {"protocolVersion": "2025-11-25", "capabilities": {},
                   "clientInfo": {"name": "x", "version": "1"}},
    }  # fmt: skip
    accept = {"accept": "application/json, text/event-stream"}
    with serving(place, "--only-declared") as server:
        with server.client(hers, **accept) as ann:
            session = ann.post("/mcp", json=message).headers["mcp-session-id"]
            ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
            own = ann.post("/mcp", json=ping, headers={"mcp-session-id": session})
            assert own.status_code == 200
        with server.client(his, **accept) as bob:
            foreign = bob.post("/mcp", json=ping, headers={"mcp-session-id": session})
            assert foreign.status_code == 404


def test_jobs_of_the_default_token_are_those_of_the_user(place: Place) -> None:
    server = start_server(place)
    with server.client() as client:
        job = client.post("/jobs", json={"params": {"command": "true"}, "wait_seconds": 30}).json()
    server.end()
    with serving(place) as server, server.client() as client:
        assert client.get(f"/jobs/{job['job_id']}").json()["status"] == "completed"
