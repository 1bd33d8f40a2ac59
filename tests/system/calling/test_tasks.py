"""A job is the task of the call that started it, by the rules of the Tasks extension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from mcp.shared.exceptions import MCPError

from mcp_jobs.interfaces.mcp.tools import schemas
from tests.contract import check_job_object
from tests.gates import gate, open_gate
from tests.http import open_http_client, serve_http
from tests.support import LEGACY, MODERN, open_client, python, start
from tests.tasks_client import TaskClient, TasksExtension, plain_client, task_client

if TYPE_CHECKING:
    from tests.support import Place
    from tests.tasks_client import Task

TRANSPORTS = ("stdio", "http")
TASK_FIELDS = {
    "taskId", "status", "statusMessage", "createdAt", "lastUpdatedAt", "ttlMs", "pollIntervalMs",
}  # fmt: skip
NO_TASK = "0" * 25


def fields(task: Task) -> set[str]:
    return set(task) - {"_meta", "resultType"}


def check_result(result: dict[str, Any]) -> dict[str, Any]:
    shown: dict[str, Any] = result["structuredContent"]
    jsonschema.validate(shown, schemas.JOB_RESULT)
    check_job_object(shown)
    return shown


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_call_that_declares_tasks_gets_one_and_its_result_later(
    place: Place, transport: str
) -> None:
    end = gate(place, "end")
    async with task_client(place, transport) as client:
        created = await client.start("read x < end; echo done", cwd=str(place.project))
        assert fields(created) == TASK_FIELDS
        assert (created["status"], created["ttlMs"]) == ("working", None)
        assert created["pollIntervalMs"] > 0
        working = await client.get(created["taskId"])
        assert working["resultType"] == "complete"
        assert fields(working) == TASK_FIELDS

        await open_gate(end)
        task = await client.ended(created["taskId"])
        assert task["status"] == "completed"
        assert fields(task) == TASK_FIELDS | {"result"}
        assert task["result"]["isError"] is False
        shown = check_result(task["result"])
        assert (shown["job_id"], shown["status"]) == (created["taskId"], "completed")
        assert shown["output"]["text"] == "done\n"
        assert "done" in task["result"]["content"][0]["text"]


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_without_the_extension_the_job_object_comes_at_once_and_task_methods_are_refused(
    place: Place, transport: str
) -> None:
    async with plain_client(place, transport) as client:
        arguments = {"params": {"command": "echo hello"}, "cwd": str(place.project)}
        result = await client.call("start_job", arguments)
        assert result["resultType"] == "complete"
        assert "check_job" in result["structuredContent"]["next_step"]
        job_id = result["structuredContent"]["job_id"]
        for method in ("tasks/get", "tasks/cancel", "tasks/update"):
            with pytest.raises(MCPError) as caught:
                await client.ask(method, taskId=job_id, inputResponses={})
            assert caught.value.error.code == -32021
            assert caught.value.error.data == {
                "requiredCapabilities": {"extensions": {"io.modelcontextprotocol/tasks": {}}}
            }
        with pytest.raises(MCPError) as caught:
            await client.listen({"taskIds": [job_id]})
        assert caught.value.error.code == -32021


async def test_the_handshake_era_is_answered_with_the_job_object(place: Place) -> None:
    async with open_client(place, LEGACY) as client:
        assert (client.server_capabilities.extensions or {}) == {}
        job = await start(client, "true", wait_seconds=20)
        assert job["status"] == "completed"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_failed_job_is_a_completed_task_whose_result_is_an_error(
    place: Place, transport: str
) -> None:
    code = "print('before'); raise ValueError('the reason')"
    async with task_client(place, transport) as client:
        created = await client.start(python(code), cwd=str(place.project))
        task = await client.ended(created["taskId"])
        assert task["status"] == "completed"
        assert task["result"]["isError"] is True
        shown = check_result(task["result"])
        assert (shown["status"], shown["reason"]) == ("failed", "exit_code")
        assert "ValueError: the reason" in task["result"]["content"][0]["text"]
        # The same job is no error to whoever looks at it.
        looked = await client.call("check_job", {"job_id": created["taskId"]})
        assert looked["isError"] is False


async def test_a_failed_task_names_the_tests_and_its_text_has_the_end_of_the_output(
    place: Place,
) -> None:
    lines = [f"error: number {i}" for i in range(60)]
    summary = [
        "=== short test summary info ===",
        "FAILED tests/test_a.py::test_one - assert 1 == 2",
        "=== 1 failed, 3 passed in 0.10s ===",
    ]
    code = f"print(*{lines + summary!r}, sep=chr(10)); raise SystemExit(1)"
    async with task_client(place, "stdio") as client:
        created = await client.start(python(code))
        task = await client.ended(created["taskId"])
    text = task["result"]["content"][0]["text"]
    assert "1 test failed: tests/test_a.py::test_one." in task["statusMessage"]
    assert "error: number 59\n" in text
    assert text.index("error: number 0\n") < text.index("=== 1 failed, 3 passed in 0.10s ===")


async def test_an_end_that_check_job_has_told_is_not_told_again_by_the_task(place: Place) -> None:
    async with task_client(place, "stdio") as client:
        job_id = (await client.start("it=cause; echo the $it; exit 3"))["taskId"]
        looked = await client.call("check_job", {"job_id": job_id, "wait_seconds": 20})
        task = await client.get(job_id)
        # Whoever starts a job knows its end only from its task.
        other = await client.ended((await client.start("echo another"))["taskId"])
    assert "the cause" in looked["structuredContent"]["output"]["text"]
    assert (task["status"], task["result"]["isError"]) == ("completed", True)
    shown = check_result(task["result"])
    assert (shown["status"], "output" in shown) == ("failed", False)
    assert "check_job has told you of this end already" in shown["next_step"]
    assert "the cause" not in str(task["result"])
    assert other["result"]["structuredContent"]["output"]["text"] == "another\n"


async def test_the_result_has_what_failed_then_the_head_and_the_tail(place: Place) -> None:
    code = (
        "import sys\n"
        "for i in range(20000): print('line', i)\n"
        "print('error: the cause is here')\n"
        "for i in range(4000): print('later', i)\n"
        "sys.exit(3)"
    )
    async with task_client(place, "stdio") as client:
        created = await client.start(python(code))
        task = await client.ended(created["taskId"])
        shown = check_result(task["result"])
        text = shown["output"]["text"]
        assert len(text) < 9000
        assert "error: the cause is here" in shown["failing"]
        assert text.index("line 0\n") < text.index("left out") < text.index("later 3999\n")
        assert "error: the cause is here" in task["result"]["content"][0]["text"]


async def test_who_has_the_task_of_a_job_is_not_sent_to_poll_it(place: Place) -> None:
    async with task_client(place, "stdio") as client:
        created = await client.start("sleep 600")
        assert created["statusMessage"].endswith("You will be told when it ends; do not poll.")
        looked = await client.call("check_job", {"job_id": created["taskId"]})
        step = looked["structuredContent"]["next_step"]
        assert step.endswith(" You will be told when it ends; do not poll.")
        assert "check_job" not in step
        assert step in looked["content"][0]["text"]
        await client.call("cancel_job", {"job_id": created["taskId"], "grace_seconds": 0})


async def test_waiting_comes_first_and_only_a_job_that_runs_on_is_a_task(place: Place) -> None:
    async with task_client(place, "stdio") as client:
        arguments = {"params": {"command": "echo quick"}, "wait_seconds": 20}
        quick = await client.call("start_job", arguments)
        assert quick["resultType"] == "complete"
        assert quick["structuredContent"]["output"]["text"] == "quick\n"
        slow = await client.start("sleep 600", wait_seconds=0.1)
        for tool in ("check_job", "cancel_job"):
            other = await client.call(tool, {"job_id": slow["taskId"]})
            assert other["resultType"] == "complete"
        assert (await client.call("list_jobs", {}))["resultType"] == "complete"
        assert (await client.ended(slow["taskId"]))["status"] == "cancelled"


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_cancelling_a_task_is_acknowledged_and_ends_its_job(
    place: Place, transport: str
) -> None:
    async with task_client(place, transport) as client:
        created = await client.start("sleep 600", cwd=str(place.project))
        for _ in range(2):
            acknowledged = await client.ask("tasks/cancel", taskId=created["taskId"])
            assert fields(acknowledged) == set()
        task = await client.ended(created["taskId"])
        assert (task["status"], fields(task)) == ("cancelled", TASK_FIELDS)
        assert fields(await client.ask("tasks/cancel", taskId=created["taskId"])) == set()


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_unknown_tasks_and_removed_methods_are_refused(place: Place, transport: str) -> None:
    async with task_client(place, transport) as client:
        responses = {"key": {"action": "accept"}}
        for method in ("tasks/get", "tasks/cancel", "tasks/update"):
            with pytest.raises(MCPError) as caught:
                await client.ask(method, taskId=NO_TASK, inputResponses=responses)
            assert caught.value.error.code == -32602
            assert caught.value.error.message.startswith("There is no job")
        with pytest.raises(MCPError) as caught:
            await client.listen({"taskIds": [NO_TASK]})
        assert caught.value.error.code == -32602
        for method in ("tasks/result", "tasks/list"):
            with pytest.raises(MCPError) as caught:
                await client.ask(method, taskId=NO_TASK)
            assert caught.value.error.code == -32601


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_listener_is_told_of_the_end_with_the_whole_task(
    place: Place, transport: str
) -> None:
    end = gate(place, "end")
    async with task_client(place, transport) as client:
        created = await client.start("read x < end; echo done", cwd=str(place.project))
        async with client.listening(created["taskId"]):
            await open_gate(end)
            told = await client.until_told(created["taskId"], "completed")
        got = await client.get(created["taskId"])
        del told["_meta"], got["resultType"]
        assert told == got


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_a_listener_is_told_at_once_of_a_task_that_has_ended(
    place: Place, transport: str
) -> None:
    async with task_client(place, transport) as client:
        created = await client.start("echo done", cwd=str(place.project))
        await client.ended(created["taskId"])
        async with client.listening(created["taskId"], NO_TASK):
            told = await client.until_told(created["taskId"], "completed")
        assert told["result"]["structuredContent"]["output"]["text"] == "done\n"


async def test_a_task_id_is_valid_in_the_next_server_process(place: Place) -> None:
    end = gate(place, "end")
    async with task_client(place, "stdio") as client:
        created = await client.start("read x < end; echo done")
    async with task_client(place, "stdio") as client:
        assert (await client.get(created["taskId"]))["status"] == "working"
        async with client.listening(created["taskId"]):
            await open_gate(end)
            await client.until_told(created["taskId"], "completed")


async def test_an_owner_knows_nothing_of_anothers_tasks(place: Place) -> None:
    async with (
        serve_http(place) as url,
        open_http_client(url, MODERN, owner="ann", extensions=[TasksExtension()]) as ann,
        open_http_client(url, MODERN, owner="bob", extensions=[TasksExtension()]) as bob,
    ):
        created = await TaskClient(ann).start("true", cwd=str(place.project))
        with pytest.raises(MCPError) as caught:
            await TaskClient(bob).get(created["taskId"])
        assert caught.value.error.code == -32602
        await TaskClient(ann).ended(created["taskId"])
