"""REST: the operations on jobs, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.contract import JOB_FIELDS
from tests.mcp_http import RawHttp
from tests.support import MODERN, dispose, make_place
from tests.web import ended, problem, serving, start

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    from tests.web import WebServer

UNKNOWN = "0" * 25


@pytest.fixture(scope="module")
def server() -> Iterator[WebServer]:
    """One server for the whole file: its tests do not see each other's jobs by id."""
    place = make_place()
    try:
        with serving(place) as running:
            yield running
    finally:
        left = dispose(place)
    assert not left


@pytest.fixture
def client(server: WebServer) -> Iterator[httpx2.Client]:
    with server.client() as client:
        yield client


def test_a_started_job_is_stored_answered_with_its_place_and_comes_to_its_end(
    client: httpx2.Client,
) -> None:
    answer = client.post("/jobs", json={"params": {"command": "echo hello"}})
    assert answer.status_code == 201
    job = answer.json()
    assert answer.headers["location"] == f"/jobs/{job['job_id']}"
    assert set(job) >= JOB_FIELDS
    done = ended(client, job["job_id"])
    assert (done["status"], done["exit_code"], done["output"]["text"]) == (
        "completed",
        0,
        "hello\n",
    )


def test_a_start_attaches_waits_for_others_and_is_made_again(client: httpx2.Client) -> None:
    first = client.post("/jobs", json={"params": {"command": "exit 3"}, "delay_seconds": 1}).json()
    same = {"params": {"command": "exit 3"}, "if_running": "attach"}
    attached = client.post("/jobs", json=same)
    assert (attached.status_code, attached.json()["job_id"]) == (200, first["job_id"])
    child = {"params": {"command": "true"}, "after": [first["job_id"]], "locks": ["a b"]}
    waits = client.post("/jobs", json=child).json()
    early = client.post(f"/jobs/{first['job_id']}/retry")
    assert early.status_code == 422
    assert "has not ended" in problem(early, 422, "invalid_input")["detail"]

    ends = [ended(client, job["job_id"]) for job in (first, waits)]
    assert [job["reason"] for job in ends] == ["exit_code", "dependency_failed"]
    changed = {"params": {"command": "echo done"}, "priority": 3}
    again = client.post(f"/jobs/{first['job_id']}/retry", json=changed)
    assert (again.status_code, again.json()["retry_of"]) == (201, first["job_id"])
    assert ended(client, again.json()["job_id"])["output"]["text"] == "done\n"
    other = client.post(f"/jobs/{first['job_id']}/retry", json={"retry_of": UNKNOWN})
    assert "leave it out" in problem(other, 422, "invalid_input")["detail"]
    assert client.post(f"/jobs/{UNKNOWN}/retry").status_code == 404


def test_what_to_do_next_is_told_as_requests_and_by_the_tools_of_the_server_as_tools(
    client: httpx2.Client,
) -> None:
    job = start(client, "exec sleep 600")
    job_id = job["job_id"]
    assert f"GET /jobs/{job_id}?wait_seconds=50" in job["next_step"]
    unknown = client.get(f"/jobs/{UNKNOWN}").json()["detail"]
    assert "GET /jobs shows the ids of your jobs." in unknown
    call = {"name": "check_job", "arguments": {"job_id": job_id}}
    answer = RawHttp(client, MODERN, {}).request("tools/call", call)
    told = answer["result"]["structuredContent"]["next_step"]
    assert f'check_job {{"job_id": "{job_id}"' in told
    assert client.post(f"/jobs/{job_id}/cancel").json()["status"] == "cancelled"


def test_a_start_may_wait_for_the_end(client: httpx2.Client) -> None:
    assert start(client, "echo x", wait_seconds=30)["status"] == "completed"


def test_the_same_key_is_the_same_job_and_other_arguments_are_a_conflict(
    client: httpx2.Client,
) -> None:
    first = client.post("/jobs", json={"params": {"command": "true"}, "idempotency_key": "k"})
    again = client.post("/jobs", json={"params": {"command": "true"}, "idempotency_key": "k"})
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["existing"] is True
    assert again.json()["job_id"] == first.json()["job_id"]
    other = client.post("/jobs", json={"params": {"command": "false"}, "idempotency_key": "k"})
    problem(other, 409, "key_conflict")


def test_a_cancel_is_answered_when_nothing_of_the_job_is_left(client: httpx2.Client) -> None:
    job = start(client, "sleep 600")
    answer = client.post(f"/jobs/{job['job_id']}/cancel", json={"grace_seconds": 1})
    assert answer.status_code == 200
    assert (answer.json()["status"], answer.json()["reason"]) == ("cancelled", "cancelled_by_user")
    assert client.post(f"/jobs/{job['job_id']}/cancel").json()["status"] == "cancelled"


def test_pages_of_a_filtered_list_hold_every_job_once(client: httpx2.Client) -> None:
    started = [start(client, f"exit {n}", title="paged", wait_seconds=30) for n in (3, 4, 5)]
    seen: list[str] = []
    cursor: str | None = None
    while True:
        query = "status=failed&status=cancelled&limit=1" + (f"&cursor={cursor}" if cursor else "")
        page = client.get(f"/jobs?{query}").json()
        seen += [job["job_id"] for job in page["jobs"] if job["title"] == "paged"]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == [job["job_id"] for job in reversed(started)]
    by_id = client.get("/jobs", params={"job_id": [seen[0], seen[1]]}).json()
    assert [job["job_id"] for job in by_id["jobs"]] == seen[:2]
    assert client.get("/jobs", params={"type": "none"}).json()["jobs"] == []


def test_output_is_read_by_tail_by_cursor_and_by_pattern(client: httpx2.Client) -> None:
    job = start(client, "seq 1 100", wait_seconds=30)
    url = f"/jobs/{job['job_id']}/output"
    assert client.get(url, params={"tail_lines": 2}).json()["text"] == "99\n100\n"
    assert client.get(url, params={"after": 0}).json()["text"].startswith("1\n2\n")
    assert client.get(url, params={"grep": "^5$"}).json()["text"] == "5: 5\n"
    problem(client.get(url, params={"grep": "("}), 422, "invalid_input")
    problem(client.get(url, params={"after": 10**6}), 422, "invalid_input")


@pytest.mark.parametrize(
    ("asked", "text", "told"),
    [
        ("bytes=0-1", "ab", "bytes 0-1/6"),
        ("bytes=4-", "ef", "bytes 4-5/6"),
        ("bytes=-3", "def", "bytes 3-5/6"),
        ("bytes=2-99", "cdef", "bytes 2-5/6"),
    ],
)
def test_a_range_of_the_raw_output_is_that_range(
    client: httpx2.Client, asked: str, text: str, told: str
) -> None:
    job = start(client, "printf abcdef", wait_seconds=30)
    answer = client.get(f"/jobs/{job['job_id']}/output/raw", headers={"range": asked})
    assert (answer.status_code, answer.text) == (206, text)
    assert answer.headers["content-range"] == told


def test_raw_output_without_a_usable_range_is_everything(client: httpx2.Client) -> None:
    job = start(client, "printf abcdef", wait_seconds=30)
    for asked in ({}, {"range": "bytes=3-1"}, {"range": "lines=1"}, {"range": "bytes=0-1,3-4"}):
        answer = client.get(f"/jobs/{job['job_id']}/output/raw", headers=asked)
        assert (answer.status_code, answer.text) == (200, "abcdef")
    beyond = client.get(f"/jobs/{job['job_id']}/output/raw", headers={"range": "bytes=6-"})
    problem(beyond, 416, "range")
    assert beyond.headers["content-range"] == "bytes */6"


def test_raw_output_says_where_bytes_were_dropped() -> None:
    place = make_place()
    with serving(place, MCP_JOBS_OUTPUT_CAP_BYTES="65536") as server, server.client() as client:
        job = start(client, "seq 1 200000", wait_seconds=50)
        total, dropped = (
            ended(client, job["job_id"])["output"][k] for k in ("bytes_total", "dropped_bytes")
        )
        raw = client.get(f"/jobs/{job['job_id']}/output/raw").text
        assert f"\n[{dropped} bytes were dropped here]\n" in raw
        assert raw.startswith("1\n2\n")
        assert raw.endswith("200000\n")
        middle = client.get(
            f"/jobs/{job['job_id']}/output/raw", headers={"range": f"bytes={total // 2}-"}
        )
        problem(middle, 416, "range")
    assert not dispose(place)


def test_the_types_come_with_the_schema_of_their_parameters(client: httpx2.Client) -> None:
    (shell,) = client.get("/job-types").json()["types"]
    assert shell["name"] == "shell"
    assert shell["params"]["required"] == ["command"]


@pytest.mark.parametrize(
    "path", ["", "/output", "/output/raw", "/events", "/stream", "/deliveries"]
)
def test_an_unknown_job_is_not_found(client: httpx2.Client, path: str) -> None:
    problem(client.get(f"/jobs/{UNKNOWN}{path}"), 404, "unknown_job")


def test_cancelling_an_unknown_job_is_not_found(client: httpx2.Client) -> None:
    problem(client.post(f"/jobs/{UNKNOWN}/cancel"), 404, "unknown_job")


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"params": 3}, "body.params"),
        ({"unknown": 1}, "body.unknown"),
        ({"wait_seconds": 51}, "body.wait_seconds"),
        ({"max_retries": -1}, "body.max_retries"),
    ],
)
def test_a_body_that_breaks_the_schema_is_a_bad_request(
    client: httpx2.Client, body: object, where: str
) -> None:
    (found,) = problem(client.post("/jobs", json=body), 400, "bad_request")["errors"]
    assert found["where"] == where


@pytest.mark.parametrize(
    "body",
    [
        {"params": {"command": "true"}, "cwd": "/nowhere"},
        {"type": "none"},
        {"params": {}},
        {"params": {"command": "true"}, "webhook": "https://example.com/"},
    ],
)
def test_a_value_that_cannot_be_used_here_is_unprocessable(
    client: httpx2.Client, body: object
) -> None:
    problem(client.post("/jobs", json=body), 422, "invalid_input")


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[" * 100_000, b'{"params": {"command": "\xff"}}', b"null", b"NaN"]
)
def test_a_body_that_is_no_json_object_is_a_bad_request(client: httpx2.Client, text: bytes) -> None:
    answer = client.post("/jobs", content=text, headers={"content-type": "application/json"})
    assert answer.status_code == 400
    assert answer.headers["content-type"] == "application/problem+json"


def test_a_secret_in_a_refused_body_is_not_repeated(
    client: httpx2.Client, server: WebServer
) -> None:
    answer = client.post("/jobs", json={"env": {"MY_TOKEN": ["hunter2hunter2"]}})
    assert answer.status_code == 400
    assert "hunter2" not in answer.text
    assert "hunter2" not in server.text


def test_a_wrong_path_and_a_wrong_method_are_problems(client: httpx2.Client) -> None:
    problem(client.get("/nothing"), 404, "not_found")
    answer = client.put("/jobs")
    problem(answer, 405, "method_not_allowed")


def test_a_wrong_method_is_told_every_right_one(client: httpx2.Client) -> None:
    answer = client.delete("/jobs")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers.get_list("allow") == ["GET, POST"]
    assert answer.headers["allow"]


def test_the_schema_describes_every_route_and_names_the_token(client: httpx2.Client) -> None:
    schema = client.get("/openapi.json").json()
    assert set(schema["paths"]) == {
        "/jobs", "/jobs/{job_id}", "/jobs/{job_id}/cancel", "/jobs/{job_id}/retry",
            "/jobs/{job_id}/output",
        "/jobs/{job_id}/output/raw", "/jobs/{job_id}/events", "/jobs/{job_id}/deliveries",
        "/events", "/job-types", "/healthz", "/readyz", "/metrics", "/schedules",
        "/schedules/{schedule}", "/schedules/{schedule}/pause",
        "/schedules/{schedule}/resume", "/schedules/{schedule}/run",
    }  # fmt: skip
    for path, operations in schema["paths"].items():
        for operation in operations.values():
            assert ("security" in operation) == (path not in ("/healthz", "/readyz"))
    assert "HTTPValidationError" not in schema["components"]["schemas"]


def test_health_needs_no_token_and_the_numbers_do(client: httpx2.Client, server: WebServer) -> None:
    with server.client("") as stranger:
        del stranger.headers["authorization"]
        assert stranger.get("/healthz").json() == {"status": "ok"}
        assert stranger.get("/readyz").json() == {"status": "ok"}
        assert stranger.get("/metrics").status_code == 401
    start(client, "true", wait_seconds=30)
    page = client.get("/metrics").text
    assert 'mcp_jobs_jobs{status="completed"}' in page
    assert 'mcp_jobs_http_requests_total{method="POST",route="/jobs",status="201"}' in page
