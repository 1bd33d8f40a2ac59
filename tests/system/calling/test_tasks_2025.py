"""The experimental tasks of 2025-11-25, for hosts of the handshake era."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.gates import gate
from tests.raw import RawServer
from tests.support import python

if TYPE_CHECKING:
    from tests.support import Place

FIELDS = {
    "taskId", "status", "statusMessage", "createdAt", "lastUpdatedAt", "ttl", "pollInterval",
}  # fmt: skip
NO_TASK = "0" * 25
FORMS: dict[str, Any] = {"elicitation": {}}
RELATED = "io.modelcontextprotocol/related-task"


def start_task(server: RawServer, command: str, **more: Any) -> dict[str, Any]:
    call = {"name": "start_job", "arguments": {"params": {"command": command}}, "task": {}, **more}
    result: dict[str, Any] = server.request("tools/call", call)["result"]
    assert set(result) == {"task"}
    return dict(result["task"])


def ask(server: RawServer, method: str, task_id: str) -> dict[str, Any]:
    return server.request(method, {"taskId": task_id})


def open_from_thread(path: Path) -> None:
    with path.open("w") as file:
        file.write("go\n")


def test_tasks_are_offered_with_the_tools_that_can_be_one(place: Place) -> None:
    with RawServer(place, modern=False) as server:
        assert server.offered["capabilities"]["tasks"] == {
            "list": {},
            "cancel": {},
            "requests": {"tools": {"call": {}}},
        }
        tools = server.request("tools/list", {})["result"]["tools"]
        support = {tool["name"]: tool.get("execution") for tool in tools}
        assert support["start_job"] == {"taskSupport": "optional"}
        assert {support[name] for name in ("check_job", "cancel_job", "list_jobs")} == {None}


def test_a_call_with_a_task_is_answered_at_once_and_its_result_waits_for_the_end(
    place: Place,
) -> None:
    end = gate(place, "end")
    with RawServer(place, modern=False) as server:
        task = start_task(server, "read x < end; echo done")
        assert set(task) == FIELDS
        assert task["status"] == "working"
        assert set(ask(server, "tasks/get", task["taskId"])["result"]) == FIELDS
        waiting = server.send("tasks/result", {"taskId": task["taskId"]})
        open_from_thread(end)
        result = server.answer(waiting)["result"]
        assert result["structuredContent"]["output"]["text"] == "done\n"
        assert result["_meta"] == {RELATED: {"taskId": task["taskId"]}}
        assert ask(server, "tasks/get", task["taskId"])["result"]["status"] == "completed"
        listed = server.request("tasks/list", {})["result"]["tasks"]
        assert [found["taskId"] for found in listed] == [task["taskId"]]


def test_a_failed_job_is_a_failed_task_with_an_error_for_a_result(place: Place) -> None:
    with RawServer(place, modern=False) as server:
        task = start_task(server, "echo broken; exit 3")
        result = ask(server, "tasks/result", task["taskId"])["result"]
        assert result["isError"] is True
        assert "broken" in result["content"][0]["text"]
        assert ask(server, "tasks/get", task["taskId"])["result"]["status"] == "failed"


def test_a_task_is_cancelled_once(place: Place) -> None:
    with RawServer(place, modern=False) as server:
        task = start_task(server, "sleep 600")
        assert "result" in ask(server, "tasks/cancel", task["taskId"])
        ask(server, "tasks/result", task["taskId"])
        assert ask(server, "tasks/get", task["taskId"])["result"]["status"] == "cancelled"
        assert ask(server, "tasks/cancel", task["taskId"])["error"]["code"] == -32602


def test_what_cannot_be_a_task_is_refused(place: Place) -> None:
    with RawServer(place, modern=False) as server:
        for method in ("tasks/get", "tasks/result", "tasks/cancel"):
            assert ask(server, method, NO_TASK)["error"]["code"] == -32602
        other = {"name": "list_jobs", "arguments": {}, "task": {}}
        assert server.request("tools/call", other)["error"]["code"] == -32601
        wrong = {"name": "start_job", "arguments": {"nothing": 1}, "task": {}}
        refused = server.request("tools/call", wrong)["error"]
        assert (refused["code"], "nothing" in refused["message"]) == (-32602, True)
        assert server.request("tasks/update", {"taskId": NO_TASK, "inputResponses": {}})["error"]
        server.assert_alive()


@pytest.fixture
def application(place: Place) -> list[str]:
    """Arguments that serve the tests' Python jobs."""
    script = place.root / "tools.py"
    shutil.copy(Path(__file__).parents[1] / "python_app.py", script)
    return ["--app", f"{script}:jobs"]


def start_type(server: RawServer, name: str, **params: str) -> str:
    """Start a job of a type as a task; return its id."""
    arguments = {"type": name, "params": params}
    call = {"name": "start_job", "arguments": arguments, "task": {}}
    return str(server.request("tools/call", call)["result"]["task"]["taskId"])


def test_a_task_to_be_confirmed_asks_on_its_result_and_goes_on_with_the_answer(
    place: Place, application: list[str]
) -> None:
    with RawServer(place, modern=False, arguments=application, capabilities=FORMS) as server:
        task_id = start_type(server, "deploy", target="prod")
        task = ask(server, "tasks/get", task_id)["result"]
        assert task["status"] == "input_required"
        assert f"mcp-jobs approve {task_id}" in task["statusMessage"]
        waiting = server.send("tasks/result", {"taskId": task_id})
        question = server.asked()
        assert question["method"] == "elicitation/create"
        assert question["params"]["message"].startswith("Deploy to production?")
        assert question["params"]["_meta"] == {RELATED: {"taskId": task_id}}
        server.respond(question, {"action": "accept", "content": {}})
        result = server.answer(waiting)["result"]
        assert result["structuredContent"]["result"] == "deployed prod"
        assert result["_meta"] == {RELATED: {"taskId": task_id}}


def test_the_result_of_a_task_that_nobody_confirms_says_how_a_person_approves(
    place: Place, application: list[str]
) -> None:
    with RawServer(place, modern=False, arguments=application, capabilities=FORMS) as server:
        task_id = start_type(server, "deploy", target="prod")
        waiting = server.send("tasks/result", {"taskId": task_id})
        server.respond(server.asked(), {"action": "cancel"})
        result = server.answer(waiting)["result"]
        assert result["isError"] is True
        assert f"mcp-jobs approve {task_id}`" in result["content"][0]["text"]
        assert "nobody answered" in result["content"][0]["text"]
        assert ask(server, "tasks/get", task_id)["result"]["status"] == "input_required"
        waiting = server.send("tasks/result", {"taskId": task_id})
        server.respond(server.asked(), {"action": "decline"})
        assert server.answer(waiting)["result"]["structuredContent"]["reason"] == "declined"


def test_the_result_of_a_task_says_what_its_job_asks_to_a_client_that_cannot_ask(
    place: Place, application: list[str]
) -> None:
    with RawServer(place, modern=False, arguments=application) as server:
        confirmed = start_type(server, "deploy", target="prod")
        result = ask(server, "tasks/result", confirmed)["result"]
        assert (result["isError"], "cannot ask" in result["content"][0]["text"]) == (True, True)
        asking = start_type(server, "region")
        # It runs at first, and then waits for an answer.
        shown = ask(server, "tasks/result", asking)["result"]["structuredContent"]
        assert (shown["status"], shown["questions"][0]["key"]) == ("input_required", "region")
        assert f"mcp-jobs approve {asking}`" in shown["next_step"]
        for task_id in (confirmed, asking):
            assert "result" in ask(server, "tasks/cancel", task_id)


def test_an_answer_to_a_task_that_does_not_fit_is_an_error_and_the_question_stays(
    place: Place, application: list[str]
) -> None:
    with RawServer(place, modern=False, arguments=application, capabilities=FORMS) as server:
        task_id = start_type(server, "region")
        waiting = server.send("tasks/result", {"taskId": task_id})
        server.respond(server.asked(), {"action": "accept", "content": {"region": "e"}})
        error = server.answer(waiting)["error"]
        assert (error["code"], "region must have" in error["message"]) == (-32602, True)
        assert ask(server, "tasks/get", task_id)["result"]["status"] == "input_required"
        assert "result" in ask(server, "tasks/cancel", task_id)


def test_progress_goes_on_until_the_task_has_ended(place: Place) -> None:
    end = gate(place, "end")
    code = (
        'import os, json; f = open(os.environ["MCP_JOBS_PROGRESS"], "a")\n'
        'f.write(json.dumps({"current": 1, "total": 4}) + chr(10)); f.flush()\n'
        'open("end").read()'
    )
    with RawServer(place, modern=False) as server:
        task = start_task(server, python(code), _meta={"progressToken": "mine"})
        waiting = server.send("tasks/result", {"taskId": task["taskId"]})
        while not any(m["method"] == "notifications/progress" for m in server.notifications):
            server.request("ping", {})
        open_from_thread(end)
        server.answer(waiting)
        told = [
            m["params"] for m in server.notifications if m["method"] == "notifications/progress"
        ]
        assert told[0]["progressToken"] == "mine"
        assert (told[0]["progress"], told[0]["total"]) == (25, 100)
