"""Whatever a caller sends, it learns what is wrong and what is allowed; the server lives on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.raw import RawServer
from tests.support import dispose, make_place

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support import Place

Case = tuple[str, dict[str, Any], tuple[str, ...]]

TRUE = {"command": "true"}
NO_JOB = "0" * 25
MIB = 1 << 20
SHELL = "It takes: command (required: Command line for the shell.), interpreter (optional: "
NAME_RULE = "cannot be the name of an environment variable; a name is not empty and has no ="
STATES = "'pending', 'running', 'retrying', 'input_required', 'completed', 'failed' or 'cancelled'"


@pytest.fixture(scope="module", params=[False, True], ids=["handshake", "2026-07-28"])
def server(request: pytest.FixtureRequest) -> Iterator[RawServer]:
    """One server for all the cases of an era: each must leave it as good as new."""
    place = make_place()
    (place.project / "file").touch()
    with RawServer(place, modern=request.param) as server:
        yield server
    assert not dispose(place)


def counts(server: RawServer) -> int:
    shown = server.call("list_jobs", {})["structuredContent"]
    return sum(shown["counts"].values())


CASES: dict[str, Case] = {
    "an unknown type": (
        "start_job",
        {"type": "pytest", "params": TRUE},
        ("There is no job type 'pytest'", "The types are: shell."),
    ),
    "a type that is not text": ("start_job", {"type": 5}, ("type: input should be", "not 5")),
    "no params": ("start_job", {}, ("command: Field required", SHELL)),
    "a misspelt parameter": (
        "start_job",
        {"params": {"comand": "true"}},
        ("command: Field required", "comand: Extra inputs are not permitted", SHELL),
    ),
    "a command that is a list": (
        "start_job",
        {"params": {"command": ["true"]}},
        ("command: Input should be a valid string", SHELL),
    ),
    "a command that is a number": (
        "start_job",
        {"params": {"command": 7}},
        ("command: Input should be a valid string", SHELL),
    ),
    "an empty command": (
        "start_job",
        {"params": {"command": ""}},
        ("command: String should have at least 1 character", SHELL),
    ),
    "params that are text": (
        "start_job",
        {"params": "true"},
        ("params: input should be a valid dictionary, not 'true'", '{"command": "..."}'),
    ),
    "a NUL in a command": (
        "start_job",
        {"params": {"command": "echo a\0b"}},
        ("The command contains a NUL character",),
    ),
    "a command of 1 MB": (
        "start_job",
        {"params": {"command": "a" * MIB}},
        ("The command has 1048576 bytes and must stay below 131072 (128 KiB)", "into a file"),
    ),
    "a command of exactly 128 KiB": (
        "start_job",
        {"params": {"command": "a" * (128 << 10)}},
        ("The command has 131072 bytes and must stay below 131072 (128 KiB)",),
    ),
    "an environment value of 128 KiB": (
        "start_job",
        {"params": TRUE, "env": {"BIG": "é" * (64 << 10)}},
        ("env.BIG: The value of an environment variable has 131072 bytes", "below 131072"),
    ),
    "an environment value with NUL": (
        "start_job",
        {"params": TRUE, "env": {"A": "\0"}},
        ("env.A: The value of an environment variable contains a NUL",),
    ),
    "an environment value that is a number": (
        "start_job",
        {"params": TRUE, "env": {"A": 5}},
        ("env.A: input should be a valid string, not 5",),
    ),
    "an environment name with =": (
        "start_job",
        {"params": TRUE, "env": {"A=B": "1"}},
        (f"env.A=B: 'A=B' {NAME_RULE}",),
    ),
    "an empty environment name": (
        "start_job",
        {"params": TRUE, "env": {"": "1"}},
        (f"env: '' {NAME_RULE}",),
    ),
    "an environment name that is ours": (
        "start_job",
        {"params": TRUE, "env": {"MCP_JOBS_JOB_ID": "1"}},
        ("env.MCP_JOBS_JOB_ID: MCP_JOBS_JOB_ID is set by mcp-jobs itself",),
    ),
    "hundreds of bad names": (
        "start_job",
        {"params": TRUE, "env": {f"A{i}=": "1" for i in range(500)}},
        ("'A0=' cannot be", "There are 495 more problems."),
    ),
    "a relative cwd": (
        "start_job",
        {"params": TRUE, "cwd": "src"},
        ("cwd: 'src' must be an absolute path of a directory",),
    ),
    "a missing cwd": (
        "start_job",
        {"params": TRUE, "cwd": "/no/such/place"},
        ("cwd: /no/such/place does not exist; create it first or name another directory",),
    ),
    "a cwd that is a file": (
        "start_job",
        {"params": TRUE, "cwd": "/etc/passwd"},
        ("cwd: /etc/passwd is a file; it must be a directory",),
    ),
    "a cwd with NUL": ("start_job", {"params": TRUE, "cwd": "/\0"}, ("absolute path",)),
    "a cwd of 1 MB": ("start_job", {"params": TRUE, "cwd": "/" + "x" * MIB}, ("does not exist",)),
    "an extra field of 1 MB": (
        "start_job",
        {"params": TRUE, "x" * MIB: 1},
        ("There is no argument 'xxx", "the arguments are type, params, cwd"),
    ),
    "a misspelt limit": (
        "start_job",
        {"params": TRUE, "timeout": 5},
        ("There is no argument 'timeout'", "timeout_seconds"),
    ),
    "a misspelt job id": ("check_job", {"jobid": "x"}, ("'jobid'", "'job_id' is missing")),
    "no job id": ("cancel_job", {}, ("The argument 'job_id' is missing.",)),
    "an empty job id": ("check_job", {"job_id": ""}, ("job_id: string should have at least 1",)),
    "a job id of 1 MB": ("check_job", {"job_id": "x" * MIB}, ("at most 100 characters",)),
    "an unknown job": (
        "check_job",
        {"job_id": NO_JOB},
        (f"There is no job '{NO_JOB}'.", "list_jobs shows the ids of your jobs."),
    ),
    "cancelling an unknown job": ("cancel_job", {"job_id": "../x"}, ("There is no job '../x'.",)),
    "an unknown state": (
        "list_jobs",
        {"status": "done"},
        (f"status: input should be {STATES}, not 'done'",),
    ),
    "an unknown state among others": (
        "list_jobs",
        {"status": ["running", "done"]},
        (f"status.1: input should be {STATES}, not 'done'",),
    ),
    "a cursor that nobody gave": (
        "list_jobs",
        {"cursor": "page 2"},
        ("cursor 'page 2' is not one that list_jobs returned", "Pass next_cursor"),
    ),
    "wait_for without jobs": (
        "list_jobs",
        {"wait_for": "any", "wait_seconds": 1},
        ("wait_for needs job_ids",),
    ),
    "wait_for with no job in the list": (
        "list_jobs",
        {"wait_for": "all", "job_ids": [], "wait_seconds": 1},
        ("wait_for needs job_ids",),
    ),
    "wait_for of an unknown job": (
        "list_jobs",
        {"wait_for": "all", "job_ids": [NO_JOB], "wait_seconds": 1},
        (f"There is no job '{NO_JOB}'",),
    ),
    "waiting in a list for nothing in particular": (
        "list_jobs",
        {"wait_seconds": 1},
        ('wait_seconds needs wait_for ("any" or "all") and job_ids',),
    ),
    "a strange wait_for": ("list_jobs", {"wait_for": "some"}, ("should be 'any' or 'all'",)),
    "job ids that are text": ("list_jobs", {"job_ids": "x"}, ("should be a valid list",)),
}


@pytest.mark.parametrize("name", CASES)
def test_bad_arguments_are_refused_with_advice(server: RawServer, name: str) -> None:
    tool, arguments, fragments = CASES[name]
    before = counts(server)
    text = server.refusal(tool, arguments)

    assert [fragment for fragment in fragments if fragment not in text] == []
    assert len(text) < 3000
    assert counts(server) == before
    server.assert_alive()


NUMBERS: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {
    ("start_job", "wait_seconds"): (("-1", "to 0"), ("true", "must be a number")),
    ("start_job", "timeout_seconds"): (("0", "than 0"), ("-3", "than 0")),
    ("start_job", "idle_timeout_seconds"): (("0", "than 0"),),
    ("start_job", "delay_seconds"): (("-0.1", "to 0"), ("1e12", "31622400")),
    ("start_job", "max_retries"): (("-1", "to 0"), ("1.5", "integer")),
    ("check_job", "wait_seconds"): (("-0.001", "to 0"), ("true", "must be a number")),
    ("check_job", "tail_lines"): (("-1", "to 0"), ("1.5", "integer")),
    ("check_job", "after"): (("-1", "to 0"), ("9" * 30, "4611686018427387904")),
    ("cancel_job", "grace_seconds"): (("-1", "to 0"),),
    ("list_jobs", "limit"): (("0", "to 1"), ("-1", "to 1"), ('"5"', "number")),
    ("list_jobs", "wait_seconds"): (("-51", "to 0"), ("[]", "number")),
}
CUT: tuple[tuple[str, dict[str, Any], str, str], ...] = (
    ("start_job", {"params": TRUE, "wait_seconds": "RAW"}, "120", "50"),
    ("start_job", {"params": TRUE, "timeout_seconds": "RAW"}, "1e9", "31622400"),
    ("start_job", {"params": TRUE, "max_retries": "RAW"}, "101", "100"),
    ("check_job", {"wait_seconds": "RAW"}, "50.001", "50"),
    ("check_job", {"tail_lines": "RAW"}, "9" * 400, "1000"),
    ("cancel_job", {"grace_seconds": "RAW"}, "301", "300"),
    ("list_jobs", {"limit": "RAW"}, "1e308", "100"),
)
NOT_FINITE = ("NaN", "Infinity", "-Infinity", "1e400")


@pytest.mark.parametrize(("tool", "field"), NUMBERS)
def test_a_number_out_of_range_is_refused_with_its_limit(
    server: RawServer, tool: str, field: str
) -> None:
    arguments: dict[str, Any] = {"params": TRUE} if tool == "start_job" else {"job_id": "x"}
    if tool == "list_jobs":
        arguments = {}
    before = counts(server)
    for raw, advice in NUMBERS[tool, field]:
        text = server.refusal(tool, {**arguments, field: "RAW"}, raw=raw)
        assert text.startswith(f"{field}: ")
        assert advice in text
    for raw in NOT_FINITE:
        text = server.refusal(tool, {**arguments, field: "RAW"}, raw=raw)
        assert text.startswith(f"{field}: must be a finite number")
    assert counts(server) == before
    server.assert_alive()


def test_a_number_that_anyone_would_cut_down_is_cut_down_and_both_halves_say_so(
    place: Place,
) -> None:
    with RawServer(place) as server:
        first = server.call("start_job", {"params": TRUE, "wait_seconds": 20})
        known = {"job_id": first["structuredContent"]["job_id"]}
        for tool, arguments, raw, most in CUT:
            (field,) = (name for name, value in arguments.items() if value == "RAW")
            job = known if tool in ("check_job", "cancel_job") else {}
            reply = server.call(tool, {**job, **arguments}, raw=raw)
            warning = reply["structuredContent"]["warning"]
            assert warning.startswith(f"{field} is at most {most}, so that was used instead of ")
            assert f"\nWarning: {warning}" in reply["content"][0]["text"]
        assert "warning" not in server.call("list_jobs", {"limit": 100})["structuredContent"]


def test_nan_where_no_number_belongs_is_refused(server: RawServer) -> None:
    assert "a valid string" in server.refusal(
        "start_job", {"params": {"command": "RAW"}}, raw="NaN"
    )
    extra = {"params": {"command": "true", "x": "RAW"}}
    assert "x: Extra inputs" in server.refusal("start_job", extra, raw="NaN")
    assert "valid dictionary" in server.refusal("start_job", {"params": "RAW"}, raw="NaN")
    server.assert_alive()


def test_an_unknown_id_is_answered_with_the_nearest_ids(server: RawServer) -> None:
    job = server.call("start_job", {"params": {"command": "printf hi"}, "wait_seconds": 20})
    job_id = job["structuredContent"]["job_id"]
    typo = job_id[:-2] + ("zz" if job_id[-2:] != "zz" else "00")

    for tool in ("check_job", "cancel_job"):
        text = server.refusal(tool, {"job_id": typo})
        assert f"There is no job '{typo}'. The nearest ids are: {job_id}." in text
    assert job_id in server.refusal("check_job", {"job_id": job_id.upper()})
    text = server.refusal("list_jobs", {"job_ids": [typo], "wait_for": "any", "wait_seconds": 1})
    assert job_id in text


def test_a_cursor_past_the_end_is_answered_with_the_end(server: RawServer) -> None:
    job = server.call("start_job", {"params": {"command": "printf hi"}, "wait_seconds": 20})
    job_id = job["structuredContent"]["job_id"]

    for cursor in (3, 2**62):
        text = server.refusal("check_job", {"job_id": job_id, "after": cursor})
        assert f"The cursor {cursor} lies outside the output, which has 2 bytes" in text
        assert "Allowed is 0 to 2" in text
    at_end = server.call("check_job", {"job_id": job_id, "after": 2})["structuredContent"]
    assert (at_end["output"]["text"], at_end["output"]["next_cursor"]) == ("", 2)


def test_a_bad_pattern_is_refused_with_its_fault(server: RawServer) -> None:
    job = server.call("start_job", {"params": {"command": "printf hi"}, "wait_seconds": 20})
    job_id = job["structuredContent"]["job_id"]

    for pattern, advice in (("(", "missing )"), ("[a", "unterminated"), ("*", "nothing to repeat")):
        text = server.refusal("check_job", {"job_id": job_id, "grep": pattern})
        assert f"The pattern {pattern!r} is not a regular expression: " in text
        assert advice in text
        assert "backslash" in text
    assert "at least 1" in server.refusal("check_job", {"job_id": job_id, "grep": ""})
    assert "at most 1000" in server.refusal("check_job", {"job_id": job_id, "grep": "a" * 1001})
    server.assert_alive()


def test_a_pattern_that_backtracks_for_ever_is_stopped_and_blocks_nobody(place: Place) -> None:
    with RawServer(place) as server:
        text = "a" * 60
        job = server.call("start_job", {"params": {"command": f"echo {text}!"}, "wait_seconds": 20})
        job_id = job["structuredContent"]["job_id"]
        arguments = {"job_id": job_id, "grep": r"^(a|aa)+$"}

        search = server.send("tools/call", {"name": "check_job", "arguments": arguments})
        server.assert_alive()
        ran = server.call("start_job", {"params": TRUE, "wait_seconds": 20})["structuredContent"]
        assert ran["status"] == "completed"
        # All that was answered while the search went on.
        assert [m for m in server.notifications if m.get("id") == search] == []

        result = server.answer(search)["result"]
        assert result["isError"]
        assert "The search took longer than 5 s and was stopped" in result["content"][0]["text"]
        server.assert_alive()


def test_an_unknown_tool_is_a_protocol_error_that_names_the_tools(server: RawServer) -> None:
    for name in ("run", "start_job ", "", "x" * MIB):
        error = server.request("tools/call", {"name": name, "arguments": {}})["error"]
        assert error["code"] == -32602
        assert "the tools are start_job, check_job, cancel_job, list_jobs." in error["message"]
        assert len(error["message"]) < 3000
    for params in ({"name": 5}, {}, {"name": "start_job", "arguments": "true"}):
        assert server.request("tools/call", params)["error"]["code"] == -32602
    server.assert_alive()


def test_an_unknown_resource_is_refused_with_the_code_of_the_era(server: RawServer) -> None:
    code = -32602 if server.modern else -32002
    for uri in ("jobs://nope", "file:///etc/passwd", "jobs://job/../output", f"x:{'y' * MIB}"):
        error = server.request("resources/read", {"uri": uri})["error"]
        assert error["code"] == code
        assert "There is no resource " in error["message"]
        assert "jobs://job/<job_id>/output" in error["message"]
    for uri in (f"jobs://job/{NO_JOB}", f"jobs://job/{NO_JOB}/output"):
        error = server.request("resources/read", {"uri": uri})["error"]
        assert error["code"] == code
        assert f"There is no job '{NO_JOB}'" in error["message"]
    assert server.request("nope/nope", {})["error"]["code"] == -32601
    server.assert_alive()


MALFORMED = {
    "nothing": b"\n",
    "half an object": b'{"jsonrpc": "2.0", "id": 9, "method"\n',
    "null": b"null\n",
    "an array": b"[]\n",
    "another protocol": b'{"id": 9, "method": "tools/list"}\n',
    "an unknown answer": b'{"jsonrpc": "2.0", "id": 999, "result": {}}\n',
    "no text at all": b"\x00\xff\xfe\x80\n",
    "half a character": b'{"jsonrpc": "2.0", "id": 9, "method": "\\udc80"}\n',
    "too deep": b"[" * 100_000 + b"\n",
    "a number of 5000 digits": b'{"jsonrpc": "2.0", "id": ' + b"9" * 5000 + b"}\n",
    "a notification nobody knows": b'{"jsonrpc": "2.0", "method": "notifications/nope"}\n',
    "a bad cancellation": b'{"jsonrpc":"2.0","method":"notifications/cancelled","params":[]}\n',
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_line_is_survived(server: RawServer, name: str) -> None:
    server.write(MALFORMED[name])
    server.assert_alive()


def test_a_request_of_10_mb_is_answered(server: RawServer) -> None:
    text = server.refusal("start_job", {"params": {"command": "a" * (10 * MIB)}})
    assert "The command has 10485760 bytes and must stay below 131072" in text
    assert len(json.dumps(text)) < 3000
    server.assert_alive()


def test_the_largest_command_that_is_accepted_runs(server: RawServer) -> None:
    command = ": " + "a" * ((128 << 10) - 3)
    job = server.call("start_job", {"params": {"command": command}, "wait_seconds": 20})
    assert job["structuredContent"]["status"] == "completed"
    assert len(job["structuredContent"]["title"]) <= 80
