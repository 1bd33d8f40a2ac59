"""What callers see of locks, of jobs that wait for jobs, and of those that take another's place."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, Field

from mcp_jobs.domain.errors import InvalidInputError, UnknownJobError
from mcp_jobs.engine import recovery
from mcp_jobs.job_types.registry import Callers, ModelParams
from mcp_jobs.service.requests import StartJob
from tests.contracts.serving import Server, World, serving, work_type
from tests.stores import OWNER
from tests.support import until

if TYPE_CHECKING:
    from pathlib import Path


async def test_a_start_that_attaches_returns_the_job_that_does_the_same(server: Server) -> None:
    first = await server.start(waits=True)
    again = await server.start(waits=True, call={"if_running": "attach", "title": "other"})
    other = await server.start(waits=True, code=1, call={"if_running": "attach"})
    assert (again["job_id"], again["existing"]) == (first["job_id"], True)
    assert "existing" not in other


async def test_what_runs_is_superseded_at_once_and_names_who_took_its_place(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Whoever starts it gives the order, and not the owner a second later.
    monkeypatch.setattr(recovery, "_ADOPT_EVERY_S", 1000)
    old = await server.start(waits=True)
    await server.reaches(old["job_id"], "running")

    new = await server.start(waits=True, call={"if_running": "supersede"})

    ended = await server.ended(old["job_id"])
    assert (ended["status"], ended["reason"]) == ("cancelled", "superseded")
    told = f"Superseded by job {new['job_id']}; every process of the job is gone."
    assert ended["error"] == told
    assert new["job_id"] in ended["next_step"]
    await server.reaches(new["job_id"], "running")


async def test_the_owner_gives_the_order_whose_giver_was_killed(
    server: Server, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery, "_ADOPT_EVERY_S", 0.05)
    old = await server.start(waits=True)
    await server.reaches(old["job_id"], "running")
    request = StartJob(type="work", params={"waits": True}, if_running="supersede")
    # The row is stored, and then nothing follows.
    new = await world.store.create(server.service._acceptor.draft(OWNER, request))

    ended = await server.ended(old["job_id"])
    assert (ended["status"], ended["reason"]) == ("cancelled", "superseded")
    assert new.job.id in ended["error"]


async def test_what_the_store_ends_before_it_ran_leaves_nothing(
    server: Server, world: World
) -> None:
    root = await server.start(waits=True, code=3)
    await server.reaches(root["job_id"], "running")
    child = await server.start(prints="x", call={"after": [root["job_id"]]})
    grandchild = await server.start(code=1, call={"after": [child["job_id"]]})
    waiting = await server.start(code=2, call={"delay_seconds": 1000})
    await server.start(code=2, call={"delay_seconds": 1000, "if_running": "supersede"})
    await world.release(root["job_id"])

    for job, reason in (
        (child, "dependency_failed"), (grandchild, "dependency_failed"), (waiting, "superseded"),
    ):  # fmt: skip
        ended = await server.ended(job["job_id"])
        assert (ended["status"], ended["reason"]) == ("cancelled", reason)
        await until(partial(_is_bare, world, job["job_id"]))
    direct, through = [(await server.check(j["job_id"]))["error"] for j in (child, grandchild)]
    assert direct == f"It waited for job {root['job_id']}, which ended as failed."
    assert through.endswith(f"since it waited for job {root['job_id']}, which ended as failed.")


def _is_bare(world: World, job_id: str) -> bool:
    return world.jobs[job_id].launch is None


async def test_an_ended_job_is_started_again_as_it_was(server: Server) -> None:
    call: dict[str, Any] = {
        "title": "mine", "max_retries": 2, "timeout_seconds": 50, "priority": 4, "locks": ["gpu"],
        "wait_seconds": 20,
    }  # fmt: skip
    old = await server.start(code=3, call=call)
    again = await server.service.start(OWNER, StartJob(retry_of=old["job_id"], wait_seconds=20))
    same = ("title", "type", "cwd", "status", "exit_code", "attempt")
    assert [again[name] for name in same] == [old[name] for name in same]
    stored = await server.service.find(OWNER, again["job_id"])
    assert (stored.retry_of, stored.priority, stored.locks) == (old["job_id"], 4, ("gpu",))
    assert (stored.timeout_s, stored.max_attempts) == (50, 3)


async def test_what_is_given_overrides_what_an_ended_job_was_started_with(server: Server) -> None:
    old = await server.start(code=3, prints="x\n", call={"priority": 4, "wait_seconds": 20})
    changed = StartJob(
        retry_of=old["job_id"], params={"code": 0}, priority=0, title="new", wait_seconds=20
    )
    again = await server.service.start(OWNER, changed)
    assert (again["status"], again["output"]["text"]) == ("completed", "x\n")
    stored = await server.service.find(OWNER, again["job_id"])
    assert (stored.priority, stored.title, stored.retry_of) == (0, "new", old["job_id"])


async def test_a_job_that_has_not_ended_or_is_unknown_is_not_started_again(server: Server) -> None:
    job = await server.start(waits=True)
    with pytest.raises(InvalidInputError, match=r"has not ended.*only an ended job.*check_job"):
        await server.service.start(OWNER, StartJob(retry_of=job["job_id"]))
    with pytest.raises(UnknownJobError):
        await server.service.start("eve", StartJob(retry_of=job["job_id"]))
    ended = await server.start(call={"wait_seconds": 20})
    with pytest.raises(InvalidInputError, match=r"of the type 'work'.*Leave type out"):
        await server.service.start(OWNER, StartJob(retry_of=ended["job_id"], type="shell"))


class SecretParams(BaseModel):
    password: str = Field(json_schema_extra={"writeOnly": True})
    code: int = 0


async def test_what_is_not_kept_of_an_ended_job_must_be_given_again(
    world: World, tmp_path: Path
) -> None:
    declared = work_type()
    secretive = type(declared)(
        name="work",
        description="Work.",
        params=ModelParams(SecretParams),
        prepare=lambda given: declared.prepare(declared.params.check({"code": given.code})),
        cwd="/",
    )
    # The key of the home's hashes lies in it.
    (tmp_path / "nowhere").mkdir()
    async with serving(world, tmp_path, job_type=secretive) as server:
        old = await server.start(password="x" * 9, call={"wait_seconds": 20})
        with pytest.raises(InvalidInputError, match=r"password was secret and is not kept. Pass"):
            await server.service.start(OWNER, StartJob(retry_of=old["job_id"]))
        given = StartJob(retry_of=old["job_id"], params={"password": "y" * 9}, wait_seconds=20)
        assert (await server.service.start(OWNER, given))["status"] == "completed"


async def test_variables_of_an_ended_job_must_be_given_again_or_left_out_by_choice(
    world: World, tmp_path: Path
) -> None:
    async with serving(world, tmp_path, job_type=work_type(callers=Callers(env=None))) as server:
        plain = await server.start(call={"wait_seconds": 20})
        with_env = await server.start(call={"env": {"A": "1"}, "wait_seconds": 20})
        with pytest.raises(InvalidInputError, match=r"variables were given.*Pass env again"):
            await server.service.start(OWNER, StartJob(retry_of=with_env["job_id"]))
        for request in (
            StartJob(retry_of=plain["job_id"]),
            StartJob(retry_of=with_env["job_id"], env={}),
            StartJob(retry_of=with_env["job_id"], env={"A": "2"}),
        ):
            assert (await server.service.start(OWNER, request))["retry_of"] == request.retry_of


async def test_a_declared_capacity_holds_as_soon_as_a_job_uses_the_lock(
    world: World, tmp_path: Path
) -> None:
    declared = work_type(locks=("gpu",), capacities={"gpu": 2})
    async with serving(world, tmp_path, job_type=declared, capacity=9) as server:
        jobs = [await server.start(waits=True, code=code) for code in range(3)]
        for job in jobs[:2]:
            await server.reaches(job["job_id"], "running")
        assert (await server.check(jobs[2]["job_id"]))["status"] == "pending"
        (lock,) = await world.store.gates.locks()
        assert (lock.capacity, len(lock.holders), lock.waiting) == (2, 2, 1)
        # What a person has said wins over it.
        await world.store.gates.set_capacity("gpu", 3, declared=False)
        await server.start(waits=True, code=3)
        await server.reaches(jobs[2]["job_id"], "running")
