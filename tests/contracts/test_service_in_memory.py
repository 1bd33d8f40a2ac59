"""The rules of the service hold on any executor: here without a process or a job's directory."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.models import JobOrigin
from mcp_jobs.engine import claiming, recovery
from mcp_jobs.execution.base import NotStartedError
from mcp_jobs.service.requests import ListJobs, StartJob
from tests.contracts.serving import Server, Shown, World, serving, work_type
from tests.stores import OWNER
from tests.support import until

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_jobs.domain.models import Job, Launch
    from mcp_jobs.store import Due

ANSWER = {"action": "accept", "content": {"name": "Ada"}}


async def test_a_job_that_is_waited_for_is_returned_with_its_output(server: Server) -> None:
    job = await server.start(prints="all done\n", call={"wait_seconds": 20})
    assert (job["status"], job["exit_code"], job["attempt"]) == ("completed", 0, 1)
    assert job["output"]["text"] == "all done\n"
    assert (await server.check(job["job_id"]))["output"]["bytes_total"] == 9


async def test_a_job_that_went_wrong_says_how(server: Server) -> None:
    job = await server.start(code=3, call={"wait_seconds": 20})
    assert (job["status"], job["reason"], job["exit_code"]) == ("failed", "exit_code", 3)
    assert job["error"] == "The command ended with exit code 3."


async def test_a_running_job_shows_its_output_and_its_progress(
    server: Server, world: World
) -> None:
    job = await server.start(prints="begun\n", percent=40, waits=True)
    seen = await server.seen(job["job_id"], lambda job: job["progress"])
    assert (seen["status"], seen["progress"]["percent"]) == ("running", 40)
    assert seen["output"]["text"] == "begun\n"
    await world.release(job["job_id"])
    assert (await server.ended(job["job_id"]))["status"] == "completed"


async def test_output_is_searched_and_read_on(server: Server) -> None:
    job = await server.start(prints="one\ntwo\nthree\n", call={"wait_seconds": 20})
    found = await server.check(job["job_id"], grep="^t")
    assert found["output"]["text"] == "2: two\n3: three\n"
    assert (await server.check(job["job_id"], after=8))["output"]["text"] == "three\n"


async def test_a_running_job_is_cancelled(server: Server) -> None:
    job = await server.start(waits=True)
    await server.reaches(job["job_id"], "running")
    ended = await server.cancel(job["job_id"])
    assert (ended["status"], ended["reason"]) == ("cancelled", "cancelled_by_user")


async def test_a_job_that_does_not_obey_is_cancelled_by_force(server: Server) -> None:
    job = await server.start(stubborn=True, waits=True)
    await server.reaches(job["job_id"], "running")
    assert (await server.cancel(job["job_id"], 0.1))["status"] == "cancelled"


async def test_a_job_that_has_not_begun_is_cancelled_and_never_begins(
    server: Server, world: World
) -> None:
    job = await server.start(prints="never\n", call={"delay_seconds": 1000})
    assert (await server.cancel(job["job_id"]))["status"] == "cancelled"
    assert not server.executor.output(job["job_id"]).begun()
    assert world.jobs[job["job_id"]].launch is None


async def test_a_failed_job_is_tried_again_behind_its_output(server: Server) -> None:
    call = {"max_retries": 2, "wait_seconds": 20}
    job = await server.start(prints="tried\n", code=1, call=call)
    assert (job["status"], job["attempt"]) == ("failed", 3)
    shown = await server.check(job["job_id"])
    assert [attempt["exit_code"] for attempt in shown["attempts"]] == [1, 1, 1]
    assert shown["output"]["text"] == "tried\n" * 3


@pytest.mark.parametrize(
    ("error", "end"),
    [
        (OSError(11, "the fence is locked"), ("completed", None, None)),
        (NotStartedError("It was not started."), ("failed", "spawn_error", "It was not started.")),
    ],
    ids=["not now", "never"],
)
async def test_a_job_that_cannot_be_prepared_now_is_tried_again_and_one_that_never_can_ends(
    server: Server, monkeypatch: pytest.MonkeyPatch, error: Exception, end: object
) -> None:
    monkeypatch.setattr(recovery, "_ADOPT_EVERY_S", 0.05)
    real, errors = server.executor.prepare_again, [error]

    async def prepare_again(claim: Job, launch: Launch) -> None:
        if errors:
            raise errors.pop()
        await real(claim, launch)

    monkeypatch.setattr(server.executor, "prepare_again", prepare_again)
    # What was prepared in an earlier life of the place is not there any more.
    server.executor.here = "memory second"
    job = await server.start()
    ended = await server.ended(job["job_id"])
    assert (ended["status"], ended["reason"], ended["error"]) == end
    assert not errors


async def test_a_question_is_shown_and_its_answer_reaches_the_job(server: Server) -> None:
    job = await server.start(asks="who")
    asking = await server.reaches(job["job_id"], "input_required")
    assert [question["key"] for question in asking["questions"]] == ["who"]
    await server.service.answer(OWNER, job["job_id"], "who", ANSWER)
    ended = await server.ended(job["job_id"])
    assert ended["status"] == "completed"
    assert '"Ada"' in ended["output"]["text"]


async def test_an_answer_is_not_asked_for_again_by_the_next_attempt(server: Server) -> None:
    job = await server.start(asks="who", code=1, call={"max_retries": 1})
    await server.reaches(job["job_id"], "input_required")
    await server.service.answer(OWNER, job["job_id"], "who", ANSWER)
    ended = await server.ended(job["job_id"])
    assert (ended["status"], ended["attempt"]) == ("failed", 2)


@pytest.mark.parametrize(("action", "status"), [("accept", "completed"), ("decline", "cancelled")])
async def test_a_job_that_a_person_must_confirm_begins_when_he_does(
    world: World, tmp_path: Path, action: str, status: str
) -> None:
    async with serving(world, tmp_path, job_type=work_type(confirm=True)) as server:
        job = await server.start(prints="begun\n")
        assert job["status"] == "input_required"
        answer: Shown = {"action": action, "content": {}}
        (question,) = await server.service.questions(OWNER, job["job_id"])
        await server.service.answer(OWNER, job["job_id"], question.key, answer)
        assert (await server.ended(job["job_id"]))["status"] == status


async def test_a_job_tells_whose_wish_it_was(server: Server) -> None:
    origin = JobOrigin(client_name="host", client_version="1", project="/srv/app", session="s")
    wanted = StartJob(type="work")
    job = await server.service.start(OWNER, wanted, origin=origin)
    assert job["origin"] == {
        "client_name": "host", "client_version": "1", "project": "/srv/app", "session": "s",
    }  # fmt: skip
    assert (await server.check(job["job_id"]))["origin"] == job["origin"]


async def test_a_job_of_a_client_without_a_project_is_of_that_of_its_directory(
    world: World, tmp_path: Path
) -> None:
    (tmp_path / "repo" / ".git").mkdir(parents=True)
    below = tmp_path / "repo" / "a" / "b"
    below.mkdir(parents=True)
    async with serving(world, tmp_path, job_type=work_type(cwd=str(below))) as server:
        job = await server.start()
    assert job["origin"]["project"] == str(tmp_path / "repo")


async def test_a_job_that_was_started_from_within_another_one_names_it(
    world: World, tmp_path: Path
) -> None:
    async with serving(world, tmp_path) as server:
        parent = await server.start()
        assert parent["parent_job_id"] is None
    async with serving(world, tmp_path, inside=parent["job_id"]) as server:
        job = await server.start()
        others = await server.service.start("ann", StartJob(type="work"))
    assert job["parent_job_id"] == parent["job_id"]
    # Another owner hears nothing of it, not even that it exists.
    assert others["parent_job_id"] is None


@pytest.mark.parametrize("inside", ["0" * 25, "../../x", "x" * 100_000, "\udcff"])
async def test_a_variable_that_names_no_job_makes_none_a_parent(
    world: World, tmp_path: Path, inside: str
) -> None:
    async with serving(world, tmp_path, inside=inside) as server:
        assert (await server.start())["parent_job_id"] is None


async def test_lists_count_jobs_and_wait_for_them(server: Server, world: World) -> None:
    done = await server.start(call={"wait_seconds": 20})
    waiting = await server.start(waits=True)
    ids = [waiting["job_id"], done["job_id"]]
    shown = await server.service.list(OWNER, ListJobs(job_ids=ids, wait_for="any", wait_seconds=20))
    assert [job["job_id"] for job in shown["jobs"]] == ids
    assert shown["counts"]["completed"] == 1
    await world.release(waiting["job_id"])
    shown = await server.service.list(OWNER, ListJobs(job_ids=ids, wait_for="all", wait_seconds=20))
    assert shown["counts"]["completed"] == 2


A = JobOrigin(project="/a", session="1")
A_LATER = JobOrigin(project="/a", session="2")
B = JobOrigin(project="/b", session="3")
HTTP = JobOrigin()


@pytest.fixture
async def projects(server: Server) -> dict[str, str]:
    """The ids of a job of each caller, and of one of another owner in the same session."""
    found: dict[str, str] = {}
    for name, origin in (("a", A), ("later", A_LATER), ("b", B)):
        job = await server.service.start(OWNER, StartJob(type="work"), origin=origin)
        found[name] = job["job_id"]
        await server.ended(found[name])
    foreign = await server.service.start("ann", StartJob(type="work"), origin=A)
    return {**found, "foreign": foreign["job_id"]}


SCOPES: list[tuple[JobOrigin, dict[str, object], set[str]]] = [
    (A, {}, {"a", "later"}),
    (A, {"scope": "session"}, {"a"}),
    (A, {"scope": "all"}, {"a", "later", "b"}),
    (B, {"scope": "project"}, {"b"}),
    (HTTP, {}, {"a", "later", "b"}),
    (HTTP, {"scope": "project"}, {"a", "later", "b"}),
    # Where it says what it means, it need not say so twice.
    (A, {"cwd": "/"}, {"a", "later", "b"}),
    (A, {"cwd": "/", "scope": "project"}, {"a", "later"}),
]


@pytest.mark.parametrize(("caller", "asked", "listed"), SCOPES)
async def test_a_list_keeps_to_its_scope_and_counts_the_rest(
    server: Server,
    projects: dict[str, str],
    caller: JobOrigin,
    asked: dict[str, object],
    listed: set[str],
) -> None:
    shown = await server.service.list(OWNER, ListJobs.model_validate(asked), origin=caller)
    assert {job["job_id"] for job in shown["jobs"]} == {projects[name] for name in listed}
    assert shown["counts"]["completed"] == len(listed)
    assert shown["others"] == 3 - len(listed)


async def test_jobs_that_are_named_are_listed_wherever_they_are_from(
    server: Server, projects: dict[str, str]
) -> None:
    wanted = ListJobs(job_ids=list(projects.values()), scope="session")
    shown = await server.service.list(OWNER, wanted, origin=B)
    named = {projects[name] for name in ("a", "later", "b")}
    assert {job["job_id"] for job in shown["jobs"]} == named
    assert (shown["counts"]["completed"], shown["others"]) == (3, 0)


async def test_a_caller_that_names_no_session_has_no_list_of_it(server: Server) -> None:
    with pytest.raises(InvalidInputError, match='Use "project" or "all"'):
        await server.service.list(OWNER, ListJobs(scope="session"), origin=HTTP)


async def test_a_job_that_is_accepted_while_the_queue_is_looked_at_need_not_wait(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claiming, "_LONGEST_NAP_S", 1000.0)
    looked, accepted = anyio.Event(), anyio.Event()
    due = world.store.due

    async def late(locality: str, *, now_ms: int) -> Due:
        # Nothing was due a moment ago, when the pool tried to claim something.
        looked.set()
        await accepted.wait()
        return await due(locality, now_ms=now_ms)

    monkeypatch.setattr(world.store, "due", late)
    async with serving(world, tmp_path) as server:
        await looked.wait()
        job = await server.start()
        accepted.set()
        assert (await server.ended(job["job_id"]))["status"] == "completed"


async def test_the_same_key_is_the_same_job(server: Server, world: World) -> None:
    call = {"idempotency_key": "once", "wait_seconds": 20}
    first = await server.start(call=call)
    again = await server.start(call=call)
    assert (again["job_id"], again["existing"]) == (first["job_id"], True)
    assert list(world.jobs) == [first["job_id"]]


async def test_another_server_goes_on_with_a_job_whose_server_left(
    world: World, tmp_path: Path
) -> None:
    async with serving(world, tmp_path, own_id="first") as first:
        job = await first.start(prints="begun\n", waits=True)
        await first.seen(job["job_id"], lambda job: job["output"]["text"])
    async with serving(world, tmp_path, own_id="second") as second:
        await world.release(job["job_id"])
        ended = await second.ended(job["job_id"])
    assert (ended["status"], ended["attempt"]) == ("completed", 1)
    assert ended["output"]["text"] == "begun\n"


async def test_what_nobody_followed_ends_as_its_record_says(world: World, tmp_path: Path) -> None:
    async with serving(world, tmp_path, own_id="first") as first:
        job = await first.start(waits=True, code=3)
        await first.reaches(job["job_id"], "running")
    await world.release(job["job_id"])
    await _over(world, job["job_id"])
    async with serving(world, tmp_path, own_id="second") as second:
        ended = await second.ended(job["job_id"])
    assert (ended["status"], ended["exit_code"], ended["attempt"]) == ("failed", 3, 1)


@pytest.mark.parametrize(("again", "attempts"), [(False, 1), (True, 2)])
async def test_a_lost_job_is_interrupted_and_tried_again_only_where_it_may_be(
    server: Server, world: World, again: bool, attempts: int
) -> None:
    job_id = (await server.start(waits=True, call={"retry_on_interrupt": again}))["job_id"]
    await server.reaches(job_id, "running")
    await until(lambda: server.executor.is_watched(job_id))
    run = world.jobs[job_id].newest
    assert run is not None
    run.watched = False
    run.tell()
    if again:
        await server.seen(job_id, lambda job: job["status"] == "running" and job["attempt"] == 2)
        await world.release(job_id)
    ended = await server.ended(job_id)
    assert ended["attempt"] == attempts
    assert ended["status"] == ("completed" if again else "failed")
    assert ended["reason"] == (None if again else "interrupted")
    assert not run.lives


async def test_retention_keeps_what_has_a_row_and_forgets_what_has_none(
    server: Server, world: World
) -> None:
    job = await server.start(prints="kept\n", call={"wait_seconds": 20})
    launch = await world.store.launch_of(job["job_id"])
    assert launch is None
    for made in world.jobs.values():
        made.made_ms = 0
    stray = "0" * 26
    world.jobs[stray] = world.jobs[job["job_id"]]
    assert await server.maintenance.run_once() == 0
    assert list(world.jobs) == [job["job_id"]]
    assert (await server.check(job["job_id"]))["output"]["text"] == "kept\n"


async def _over(world: World, job_id: str) -> None:
    run = world.jobs[job_id].newest
    assert run is not None
    await run.gone()
