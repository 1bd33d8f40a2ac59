"""Declared job types as clients meet them: listed, started, exposed, changed, refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anyio
import jsonschema
import pytest

from mcp_jobs.interfaces.mcp.tools.schemas import STARTED_RESULT
from tests.contract import accepted, call, ended, refused
from tests.processes.test_main import assert_one_sentence, mcp_jobs
from tests.raw import RawServer
from tests.support import ERAS, LEGACY, Inbox, Place, open_client, until

NIGHTLY = """\
  nightly:
    description: Tidy up.
    command: ['true']
    schedule: "0 3 * * *"
"""
JOBS = """\
jobs:
  greet:
    description: Say hello.
    params:
      whom: {type: string, pattern: '^[a-z]+$', required: true}
      loudly: {type: boolean, default: false}
    shell: |
      if [ "$loudly" = true ]; then echo "HELLO $whom"; else echo "hello $whom"; fi
    expose: tool
    annotations: {destructive: false}
  show:
    description: Print one argument.
    params:
      what: {type: string, required: true}
    command: [printf, '%s|', 'a {{b}}', '{what}']
"""


def declare(place: Place, text: str, name: str = "jobs.yaml") -> Path:
    return place.declare(text, name)


async def tools_of(client: Any) -> dict[str, Any]:
    return {tool.name: tool for tool in (await client.list_tools()).tools}


@pytest.mark.parametrize("mode", ERAS)
async def test_a_declared_type_is_listed_and_started(place: Place, mode: str) -> None:
    declare(place, JOBS)
    async with open_client(place, mode) as client:
        start = (await tools_of(client))["start_job"]
        job = await call(client, "start_job", {"type": "show", "params": {"what": "x y;z"}})
        done = await ended(client, job["job_id"])

    assert "- greet(whom, loudly?: boolean): Say hello." in start.description
    assert "- shell(command, interpreter?: bash|sh): " in start.description
    assert start.input_schema["properties"]["type"]["enum"] == ["greet", "shell", "show"]
    assert start.input_schema["properties"]["type"]["description"] == 'Job type; default "shell".'
    assert (done["status"], done["output"]["text"]) == ("completed", "a {b}|x y;z|")
    assert done["type"] == "show"
    assert done["cwd"] == str(place.project)
    assert done["title"] == "show what=x y;z"


async def test_an_exposed_type_is_a_tool_with_typed_params(place: Place) -> None:
    declare(place, JOBS)
    async with open_client(place) as client:
        tools = await tools_of(client)
        tool = tools["greet"]
        result = await client.call_tool("greet", {"whom": "ann", "loudly": True})
        jsonschema.validate(result.structured_content, tool.output_schema)
        done = await ended(client, accepted("start_job", result)["job_id"])
        fault = await client.call_tool("greet", {"whom": "ann\n", "wait_seconds": 51})
        wrong = await refused(client, "greet", {"whom": "Ann", "other": 1})

    assert "show" not in tools
    assert tool.output_schema == STARTED_RESULT
    schema = tool.input_schema
    jsonschema.Draft202012Validator.check_schema(schema)
    assert schema["properties"]["whom"] == {"type": "string", "pattern": "^[a-z]+$"}
    assert schema["properties"]["loudly"] == {"type": "boolean", "default": False}
    assert set(schema["properties"]) == {"whom", "loudly", "wait_seconds", "idempotency_key"}
    assert schema["required"] == ["whom"]
    assert tool.annotations.destructive_hint is False
    assert tool.annotations.read_only_hint is False
    assert done["output"]["text"] == "HELLO ann\n"
    assert fault.is_error
    assert "there is no param 'other'" in wrong
    assert "whom: must match ^[a-z]+$" in wrong


async def test_what_a_type_declares_is_not_the_callers_to_change(place: Place) -> None:
    declare(place, JOBS + "    timeout: 5\n    idle_timeout: 4\n")
    good = {"type": "show", "params": {"what": "x"}}
    async with open_client(place) as client:
        env = await refused(client, "start_job", {**good, "env": {"BASH_ENV": "/x"}})
        cwd = await refused(client, "start_job", {**good, "cwd": str(place.root)})
        time = await refused(client, "start_job", {**good, "timeout_seconds": 6})
        idle = await refused(client, "start_job", {**good, "idle_timeout_seconds": 5})
        fine = {"cwd": str(place.project), "timeout_seconds": 3, "idle_timeout_seconds": 2}
        job = await call(client, "start_job", {**good, **fine})
        await ended(client, job["job_id"])

    assert "takes no env" in env
    assert f"runs in {place.project}" in cwd
    assert "timeout_seconds 6 is more than" in time
    assert "idle_timeout_seconds 5 is more than" in idle


async def test_only_declared_refuses_shell_everywhere(place: Place) -> None:
    declare(place, JOBS)
    env = {"MCP_JOBS_ONLY_DECLARED": "true"}
    async with open_client(place, env=env) as client:
        start = (await tools_of(client))["start_job"]
        for arguments in ({}, {"type": "shell"}):
            text = await refused(client, "start_job", {**arguments, "params": {"command": "true"}})
            assert "declared job types only" in text
            assert "greet, show" in text
        job = await call(client, "start_job", {"type": "greet", "params": {"whom": "bob"}})
        done = await ended(client, job["job_id"])

    assert "shell" not in start.description
    assert "shell" not in str(start.input_schema)
    assert start.input_schema["required"] == ["type"]
    assert done["status"] == "completed"


def test_the_command_line_names_files_and_refuses_shell(place: Place) -> None:
    path = place.root / "types.yaml"
    path.write_text(JOBS, "utf-8")
    declare(place, "jobs: {other: {description: d, command: [x]}}")
    arguments = f"'--config', {str(path)!r}, '--only-declared'"
    code = f"import sys; sys.argv[1:] = [{arguments}]; from mcp_jobs.__main__ import main; main()"
    with RawServer(place, code=code) as server:
        text = server.refusal("start_job", {"params": {"command": "true"}})
        job = server.call("start_job", {"type": "greet", "params": {"whom": "x"}})

    assert "The types are: greet, show." in text
    # A named file belongs to the directory that it lies in.
    assert job["structuredContent"]["cwd"] == str(place.root)


def test_a_named_file_that_is_not_there_ends_the_server(place: Place) -> None:
    done = mcp_jobs(place, "--config", str(place.root / "none.yaml"))
    assert_one_sentence(done, f"{place.root}/none.yaml", "MCP_JOBS_CONFIG", "no file")


@pytest.mark.parametrize("mode", ERAS)
async def test_a_changed_file_changes_the_tools_and_clients_are_told(
    place: Place, mode: str
) -> None:
    inbox = Inbox()

    def told() -> bool:
        return any("tools/list_changed" in getattr(m, "method", "") for m in inbox.messages)

    declare(place, JOBS)
    async with open_client(place, mode, message_handler=inbox) as client:
        assert "greet" in await tools_of(client)
        if mode == LEGACY:
            declare(place, JOBS.replace("greet", "hail"))
            await until(told)
        else:
            async with client.listen(tools_list_changed=True) as news:
                declare(place, JOBS.replace("greet", "hail"))
                with anyio.fail_after(20):
                    await news.__anext__()
        tools = await tools_of(client)

    assert "hail" in tools
    assert "greet" not in tools


@pytest.mark.parametrize("mode", [LEGACY, "auto"])
async def test_both_eras_are_told_that_the_tools_change(place: Place, mode: str) -> None:
    async with open_client(place, mode) as client:
        capabilities = client.server_capabilities

    assert capabilities is not None
    assert capabilities.tools is not None
    assert capabilities.tools.list_changed


async def test_a_broken_file_keeps_the_old_types_and_the_next_start_says_so(place: Place) -> None:
    path = declare(place, JOBS)
    params = {"type": "show", "params": {"what": "x"}}
    async with open_client(place) as client:
        first = await call(client, "start_job", params)
        declare(place, JOBS.replace("description: Say", "descripton: Say"))
        second = await call(client, "start_job", params)
        third = await call(client, "start_job", params)
        unknown = await refused(client, "start_job", {"type": "nothing"})
        declare(place, JOBS.replace("greet", "hail"))
        fourth = await call(client, "start_job", {"type": "hail", "params": {"whom": "x"}})
        for job in (first, second, third, fourth):
            await ended(client, job["job_id"])

    problem = f"{path}:3: jobs.greet: there is no key 'descripton' here; did you mean description?"
    assert "warning" not in first
    assert problem in second["warning"]
    assert "warning" not in third
    assert problem in unknown
    assert "warning" not in fourth


async def test_a_name_in_two_files_is_an_error_that_names_both(place: Place) -> None:
    (place.root / "config" / "mcp-jobs").mkdir(parents=True)
    user = place.root / "config" / "mcp-jobs" / "jobs.yaml"
    user.write_text(JOBS.replace("show", "mine"), "utf-8")
    project = declare(place, JOBS)
    async with open_client(place) as client:
        text = await refused(client, "start_job", {"type": "greet", "params": {"whom": "x"}})
        job = await call(client, "start_job", {"type": "mine", "params": {"what": "x"}, "cwd": "/"})
        await ended(client, job["job_id"])

    assert f"'greet' is declared in {user} and {project}" in text
    assert "The types are: mine, shell, show." in text
    # A type of the user's own runs where the caller says.
    assert job["cwd"] == "/"


async def test_a_tool_of_a_gantz_file_is_not_put_over_ours(place: Place) -> None:
    declare(
        place,
        """\
tools:
  - name: say
    description: Say something.
    parameters: [{name: what, type: string, required: true}]
    script: {shell: 'echo "said {{what}}"'}
  - name: check_job
    parameters: [{name: job_id, type: string, required: true}]
    script: {shell: "echo {{job_id}}"}
""",
        "gantz.yaml",
    )
    async with open_client(place) as client:
        tools = await tools_of(client)
        job = accepted("start_job", await client.call_tool("say", {"what": "$(id) `id`"}))
        done = await ended(client, job["job_id"])
        other = await call(client, "start_job", {"type": "check_job", "params": {"job_id": "7"}})
        late = await ended(client, other["job_id"])

    assert tools["check_job"].title == "Look at a job"
    assert done["output"]["text"] == "said $(id) `id`\n"
    assert late["output"]["text"] == "7\n"
    assert "there is a tool check_job already" in job["warning"]


def test_the_list_is_the_same_bytes_every_time_and_within_the_limit(place: Place) -> None:
    many = "".join(
        f"  type_{n:03}: {{description: Does the thing number {n} in some way, "
        f"params: {{one: {{}}, two: {{}}}}, command: [echo, '{{one}}', '{{two}}']}}\n"
        for n in range(200)
    )
    declare(place, "jobs:\n" + many)
    lists = []
    for _ in range(2):
        with RawServer(place) as server:
            lists.append(server.request("tools/list", {})["result"]["tools"])

    assert lists[0] == lists[1]
    start = next(tool for tool in lists[0] if tool["name"] == "start_job")
    assert len(start["description"].encode()) <= 2048
    assert "shell, type_000, type_001" in start["description"]
    assert "more; an unknown type is answered with their names" in start["description"]


def test_without_a_file_nothing_of_it_is_loaded(place: Place) -> None:
    code = (
        "import atexit, sys, os\n"
        "import mcp_jobs.interfaces.worker as worker\n"
        "import mcp_jobs.service.scheduling as scheduling\n"
        "scheduling._FIRST_S = 0\n"
        "from mcp_jobs.__main__ import main\n"
        "real = os._exit\n"
        "def leave(code):\n"
        "    heavy = {'yaml', 'regex', 'mcp_jobs.job_types.yaml', 'jsonschema', 'cronsim'}\n"
        "    heavy = heavy & set(sys.modules)\n"
        "    print('loaded', sorted(heavy), file=sys.stderr, flush=True)\n"
        "    real(code)\n"
        "os._exit = leave\n"
        "main()\n"
    )
    seen = []
    scheduled = f"{JOBS}{NIGHTLY}"
    for text in (None, JOBS, scheduled):
        if text is not None:
            declare(place, text)
        with RawServer(place, code=code) as server:
            server.request("tools/list", {})
            server.request("resources/read", {"uri": "jobs://schedules"})
            server.close_stdin()
            server.wait()
            seen.append(server.stderr.strip())

    assert seen == [
        "loaded []",
        "loaded ['mcp_jobs.job_types.yaml', 'yaml']",
        "loaded ['cronsim', 'mcp_jobs.job_types.yaml', 'yaml']",
    ]
