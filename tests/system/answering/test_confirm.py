"""A job that must be confirmed asks its user once, in the way that the client has."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from mcp_types import ElicitResult

from mcp_jobs.domain.models import Answer
from tests import contract
from tests.stores import sqlite_store
from tests.support import ERAS, LEGACY, MODERN, Place, open_client

if TYPE_CHECKING:
    from contextlib import AbstractAsyncContextManager

    from mcp import Client

APP = Path(__file__).parents[1] / "python_app.py"
DEPLOY: dict[str, Any] = {"type": "deploy", "params": {"target": "prod"}}
ASKED = 'Deploy to production?\ndeploy\n  target: "prod"'


class User:
    """Answers what is asked, and remembers it."""

    def __init__(self, action: Any, content: dict[str, Any] | None = None) -> None:
        self.asked: list[tuple[str, dict[str, Any]]] = []
        self.action = action
        self._content = content

    async def __call__(self, context: object, params: Any) -> ElicitResult:
        self.asked.append((params.message, params.requested_schema))
        return ElicitResult(action=self.action, content=self._content)


@pytest.fixture
def script(place: Place) -> Path:
    path = place.root / "tools.py"
    shutil.copy(APP, path)
    return path


def served(
    place: Place, script: Path, mode: str = MODERN, user: User | None = None
) -> AbstractAsyncContextManager[Client]:
    more = {} if user is None else {"elicitation_callback": user}
    return open_client(place, mode, args=[str(script)], **more)


async def refused_deploy(client: Client) -> str:
    """Start a deployment that nobody can be asked about; return the job's id."""
    error = await contract.refused(client, "start_job", DEPLOY)
    (job,) = (await contract.call(client, "list_jobs"))["jobs"]
    assert f"mcp-jobs approve {job['job_id']}` in a terminal of their own" in error
    assert "only a person may" in error
    return str(job["job_id"])


@pytest.mark.parametrize("mode", ERAS)
async def test_a_user_who_accepts_is_asked_once_and_the_job_runs(
    place: Place, script: Path, mode: str
) -> None:
    user = User("accept", {})
    async with served(place, script, mode, user) as client:
        job = await contract.call(client, "start_job", {**DEPLOY, "wait_seconds": 20})
        jobs = await contract.call(client, "list_jobs")

    assert (job["status"], job["result"]) == ("completed", "deployed prod")
    assert user.asked == [(ASKED, {"type": "object", "properties": {}})]
    assert len(jobs["jobs"]) == 1
    assert (place.project / "deployed").read_text() == "prod"


@pytest.mark.parametrize("mode", ERAS)
async def test_a_user_who_declines_cancels_the_job_before_it_begins(
    place: Place, script: Path, mode: str
) -> None:
    user = User("decline")
    async with served(place, script, mode, user) as client:
        job = await contract.call(client, "start_job", {**DEPLOY, "idempotency_key": "d"})
        again = await contract.call(client, "start_job", {**DEPLOY, "idempotency_key": "d"})

    assert (job["status"], job["reason"]) == ("cancelled", "declined")
    assert (again["job_id"], again["status"]) == (job["job_id"], "cancelled")
    assert len(user.asked) == 1
    assert not (place.project / "deployed").exists()


@pytest.mark.parametrize("mode", ERAS)
async def test_a_question_that_nobody_answered_waits_and_the_agent_is_told_who_approves(
    place: Place, script: Path, mode: str
) -> None:
    nobody = User("cancel")
    async with served(place, script, mode, nobody) as client:
        # It would wait so long if a question that was put away were worth to wait for.
        error = await contract.refused(client, "start_job", {**DEPLOY, "wait_seconds": 50})
        (job,) = (await contract.call(client, "list_jobs"))["jobs"]
        assert job["status"] == "input_required"
        assert "nobody answered when this client asked" in error
        assert f"mcp-jobs approve {job['job_id']}` in a terminal of their own" in error
        assert len(nobody.asked) == 1
        shown = await contract.call(client, "check_job", {"job_id": job["job_id"]})
        assert (shown["status"], len(nobody.asked)) == ("input_required", 2)
        assert f"mcp-jobs approve {job['job_id']}`" in shown["next_step"]
        nobody.action = "decline"
        shown = await contract.call(client, "check_job", {"job_id": job["job_id"]})

    assert (shown["status"], shown["reason"]) == ("cancelled", "declined")


async def test_a_question_in_the_middle_that_nobody_answered_is_asked_again(
    place: Place, script: Path
) -> None:
    user = User("cancel", {"region": "eu"})
    async with served(place, script, LEGACY, user) as client:
        job = await contract.call(client, "start_job", {"type": "region"})
        ask = {"job_id": job["job_id"], "wait_seconds": 20}
        shown = await contract.call(client, "check_job", ask)
        assert (shown["status"], len(user.asked)) == ("input_required", 1)
        user.action = "accept"
        await contract.call(client, "check_job", {"job_id": job["job_id"]})
        job = await contract.ended(client, job["job_id"])

    assert (job["status"], job["result"], len(user.asked)) == ("completed", "eu/small", 2)


@pytest.mark.parametrize("mode", ERAS)
async def test_a_client_that_cannot_ask_is_told_how_a_person_approves(
    place: Place, script: Path, mode: str
) -> None:
    async with served(place, script, mode) as client:
        job_id = await refused_deploy(client)
        job = await contract.call(client, "check_job", {"job_id": job_id, "wait_seconds": 0.05})
        assert job["status"] == "input_required"
        assert [question["key"] for question in job["questions"]] == ["confirm"]
        assert "That is for a person" in job["next_step"]
        assert f"mcp-jobs approve {job_id}` in a terminal of their own" in job["next_step"]
        ended = await contract.call(client, "cancel_job", {"job_id": job_id})

    assert (ended["status"], ended["reason"]) == ("cancelled", "cancelled_by_user")
    assert not (place.project / "deployed").exists()


async def test_an_approval_given_elsewhere_starts_the_job_also_after_a_restart(
    place: Place, script: Path
) -> None:
    async with served(place, script) as client:
        job_id = await refused_deploy(client)
        server = [pid for pid in place.processes() if _is_server(pid, script)]
        os.kill(server[0], signal.SIGKILL)

    user = User("accept", {})
    async with served(place, script, LEGACY, user) as client:
        job = await contract.call(client, "check_job", {"job_id": job_id})
        job = await contract.ended(client, job_id)

    assert (job["status"], job["result"]) == ("completed", "deployed prod")
    assert len(user.asked) == 1


@pytest.mark.parametrize("mode", ERAS)
async def test_a_question_in_the_middle_is_asked_by_the_call_that_waits(
    place: Place, script: Path, mode: str
) -> None:
    user = User("accept", {"region": "eu", "size": "large"})
    async with served(place, script, mode, user) as client:
        job = await contract.call(client, "start_job", {"type": "region"})
        job = await contract.ended(client, job["job_id"])

    assert (job["status"], job["result"]) == ("completed", "eu/large")
    ((message, schema),) = user.asked
    assert message == "Which region?"
    assert schema["properties"]["size"]["enum"] == ["small", "large"]
    assert schema["required"] == ["region"]
    assert (place.project / "began").read_text() == "1\n"


async def test_a_question_whose_form_is_declined_cancels_a_job_that_insists(
    place: Place, script: Path
) -> None:
    async with served(place, script, LEGACY, User("decline")) as client:
        job = await contract.call(client, "start_job", {"type": "region"})
        job = await contract.ended(client, job["job_id"])

    assert (job["status"], job["reason"]) == ("cancelled", "declined")
    assert job["error"] == "Declined: Which region?"


async def test_an_answer_that_does_not_fit_is_refused_and_the_question_stays(
    place: Place, script: Path
) -> None:
    user = User("accept", {"region": "e"})
    async with served(place, script, LEGACY, user) as client:
        job = await contract.call(client, "start_job", {"type": "region"})
        ask = {"job_id": job["job_id"], "wait_seconds": 20}
        error = await contract.refused(client, "check_job", ask)
        jobs = await contract.call(client, "list_jobs")
        await contract.call(client, "cancel_job", {"job_id": job["job_id"]})

    assert "region must have 2 to" in error
    assert f"The job {jobs['jobs'][0]['job_id']} goes on waiting for an answer." in error
    assert [job["status"] for job in jobs["jobs"]] == ["input_required"]


async def test_a_job_that_asks_goes_on_with_the_answer_after_its_server_was_killed(
    place: Place, script: Path
) -> None:
    async with served(place, script) as client:
        job = await contract.call(client, "start_job", {"type": "region"})
        job_id = job["job_id"]
        job = await contract.call(client, "check_job", {"job_id": job_id, "wait_seconds": 20})
        assert job["status"] == "input_required"
        server = [pid for pid in place.processes() if _is_server(pid, script)]
        os.kill(server[0], signal.SIGKILL)

    user = User("accept", {"region": "us"})
    async with open_client(place, LEGACY, elicitation_callback=user) as client:
        job = await contract.ended(client, job_id)

    assert (job["status"], job["result"], job["attempt"]) == ("completed", "us/small", 1)
    assert len(user.asked) == 1
    assert (place.project / "began").read_text() == "1\n"


async def test_an_answer_whose_giver_was_killed_before_he_passed_it_on_arrives_all_the_same(
    place: Place, script: Path
) -> None:
    async with served(place, script) as client:
        job = await contract.call(client, "start_job", {"type": "region"})
        ask = {"job_id": job["job_id"], "wait_seconds": 20}
        assert (await contract.call(client, "check_job", ask))["status"] == "input_required"
        async with sqlite_store(place.home / "jobs.db") as store:
            # No more than what is durable when a server dies right after it.
            given = Answer(action="accept", content={"region": "eu"})
            await store.answer("local", job["job_id"], "region", given, now_ms=1)
        job = await contract.ended(client, job["job_id"])

    assert (job["status"], job["result"]) == ("completed", "eu/small")


async def test_an_answer_is_not_asked_for_again_by_the_next_attempt(
    place: Place, script: Path
) -> None:
    user = User("accept", {})
    async with served(place, script, LEGACY, user) as client:
        job = await contract.call(client, "start_job", {"type": "asks_and_fails"})
        job = await contract.ended(client, job["job_id"])

    assert job["result"] == ["sure True", "really True"]
    assert job["attempt"] == 2
    assert [message for message, _ in user.asked] == ["Are you sure?", "Really?"]


async def test_a_job_that_waits_for_an_answer_is_cancelled_with_its_process(
    place: Place, script: Path
) -> None:
    async with served(place, script) as client:
        job = await contract.call(client, "start_job", {"type": "region"})
        ask = {"job_id": job["job_id"], "wait_seconds": 20}
        assert (await contract.call(client, "check_job", ask))["status"] == "input_required"
        ended = await contract.call(client, "cancel_job", {"job_id": job["job_id"]})

    assert (ended["status"], ended["reason"]) == ("cancelled", "cancelled_by_user")
    assert (place.project / "began").exists()


async def test_a_job_that_waits_for_an_answer_is_not_idle_but_runs_out_of_time(
    place: Place, script: Path
) -> None:
    async with served(place, script) as client:
        # Long enough for an interpreter to start and ask on a busy machine.
        limits = {"idle_timeout_seconds": 3, "timeout_seconds": 7}
        job = await contract.call(client, "start_job", {"type": "region", **limits})
        job = await contract.ended(client, job["job_id"])

    assert (job["status"], job["reason"]) == ("failed", "timeout")


def _is_server(pid: int, script: Path) -> bool:
    arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    return arguments[1:2] == [os.fsencode(script)]
