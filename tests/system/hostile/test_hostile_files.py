"""A job that puts other things in the place of its files harms nobody but itself."""

from __future__ import annotations

import os
import re
import shlex
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.execution.launcher import layout
from mcp_jobs.execution.launcher.spool import segment_name
from tests.support import Place, until
from tests.system import planting
from tests.system.station import Station, gate, release, server, shell, station

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

_QUESTION = layout.question_name("key")
_SEGMENT = segment_name(0, 0)
_NAMES = (
    *(layout.PROGRESS, layout.ALIVE, layout.ENV, layout.FENCE, layout.STOP, layout.NOTICE),
    *(layout.CALL, layout.report_name(1), layout.QUESTIONS, layout.ANSWERS, layout.WORK),
    *(f"{layout.QUESTIONS}/{_QUESTION}", f"{layout.ANSWERS}/{_QUESTION}"),
    *(layout.OUTPUT, f"{layout.OUTPUT}/{_SEGMENT}", f"{layout.OUTPUT}/{segment_name(10**9, 7)}"),
    ".",
)
_MARK = "do not show this"
_HONEST = (
    "stands where|directory|runner was killed|stored environment|damaged the report|exit code 0"
)


def _planting(name: str, kind: str, then: str) -> str:
    """A job that plants something, and says so outside of its directory."""
    program = shlex.join([sys.executable, "-I", "-S", planting.__file__])
    first = '[ -e "$D/call" ] || echo "{}" > "$D/call"; ' if name not in (".", "call") else ""
    return (
        f'D=$(dirname "$MCP_JOBS_PROGRESS"); echo begun; {first}'
        f'{program} "$D" {name} {kind} && echo {kind} >> planted; {then}'
    )


@asynccontextmanager
async def _opened(place: Place) -> AsyncIterator[Station]:
    (place.home / "secret").write_text(_MARK)
    (place.home / "elsewhere").mkdir()
    async with station(place, capacity=64) as jobs:
        yield jobs
    assert os.listdir(place.home / "elsewhere") == []
    assert (place.home / "secret").read_text() == _MARK


async def _planted(place: Place, count: int) -> None:
    path = place.project / "planted"
    await until(lambda: path.exists() and path.read_text().count("\n") >= count, bound_s=60)


async def _look_everywhere(jobs: Station, job_ids: Iterable[str]) -> None:
    """Read all that can be read of jobs; refusals must be in words."""
    for job_id in job_ids:
        for arguments in ({}, {"after": 0}, {"grep": "begun"}):
            try:
                shown: Any = await jobs.check(job_id, **arguments)
            except InvalidInputError as error:
                assert re.search("stands where|longer than|search took more than", str(error))  # noqa: PT017
            else:
                assert _MARK not in str(shown)


@pytest.mark.parametrize("name", _NAMES)
async def test_nothing_that_a_job_plants_stops_others_or_its_own_end(
    place: Place, name: str
) -> None:
    kinds = list(planting.KINDS)
    gates = [await gate(place, kind) for kind in kinds]
    async with _opened(place) as jobs:
        ending = [await jobs.start(_planting(name, k, f"read x < {k}")) for k in kinds]
        staying = [await jobs.start(_planting(name, k, "exec sleep 1000")) for k in kinds]
        limited = [
            await jobs.start(_planting(name, k, "exec sleep 1000"), timeout_seconds=10)
            for k in kinds
        ]
        await _planted(place, 3 * len(kinds))
        healthy = await jobs.run('echo "{\\"percent\\": 50}" >> "$MCP_JOBS_PROGRESS"; echo well')
        await _look_everywhere(jobs, ending)
        cancelled = [await jobs.cancel(job_id, 1) for job_id in staying]
        async with anyio.create_task_group() as tasks:
            for path in gates:
                tasks.start_soon(release, path)
        ended = [await jobs.ended(job_id) for job_id in ending]
        stopped = [await jobs.ended(job_id) for job_id in limited]
        await _look_everywhere(jobs, ending)

    assert (healthy["status"], healthy["output"]["text"]) == ("completed", "well\n")
    for kind, job in zip(kinds, cancelled, strict=True):
        assert (kind, job["status"], job["reason"]) == (kind, "cancelled", "cancelled_by_user")
    for kind, job in zip(kinds, ended, strict=True):
        _assert_honest(kind, job, None, ("completed", "failed"))
    for kind, job in zip(kinds, stopped, strict=True):
        _assert_honest(kind, job, "timeout", ("failed",))


def _assert_honest(
    kind: str, job: dict[str, Any], reason: str | None, statuses: tuple[str, ...]
) -> None:
    assert job["status"] in statuses, (kind, job)
    if job["reason"] != reason:
        assert job["reason"] in ("interrupted", "exception"), (kind, job)
        assert re.search(_HONEST, job["error"]), (kind, job)


async def test_a_hundred_thousand_files_are_no_other_job_s_burden(place: Place) -> None:
    names = (layout.QUESTIONS, layout.ANSWERS, layout.OUTPUT, "more")
    async with _opened(place) as jobs:
        many = [await jobs.start(_planting(name, "many", "exec sleep 1000")) for name in names]
        await _planted(place, len(names))
        healthy = await jobs.run("echo well")
        await _look_everywhere(jobs, many)
        cancelled = [await jobs.cancel(job_id, 1) for job_id in many]
        ended = [await jobs.ended(job_id) for job_id in many]

    assert (healthy["status"], healthy["output"]["text"]) == ("completed", "well\n")
    assert {job["status"] for job in (*cancelled, *ended)} <= {"cancelled", "running"}
    assert {job["reason"] for job in ended} == {"cancelled_by_user"}
    assert not (jobs.directory(many[0]) / layout.QUESTIONS).exists()


async def test_an_order_that_the_job_made_up_ends_it_as_interrupted(place: Place) -> None:
    async with station(place) as jobs:
        plant = 'ln -s "nonsense 0.5" "$(dirname "$MCP_JOBS_PROGRESS")/stop"; exec sleep 1000'
        job = await jobs.run(plant)

    assert (job["status"], job["reason"]) == ("failed", "interrupted")
    assert "an order that does not come from mcp-jobs" in job["error"]


async def test_a_job_that_removes_its_directory_can_be_cancelled(place: Place) -> None:
    async with station(place) as jobs:
        job_id = await jobs.start(
            'rm -rf "$(dirname "$MCP_JOBS_PROGRESS")"; echo gone > gone; exec sleep 1000'
        )
        await until((place.project / "gone").exists)
        job = await jobs.cancel(job_id, 1)
        job = await jobs.ended(job_id)

    assert (job["status"], job["reason"]) == ("cancelled", "cancelled_by_user")


@pytest.mark.parametrize("kind", ["fifo", "link-to-zeros", "directory"])
async def test_a_job_with_spoiled_files_can_be_cancelled_after_its_server(
    place: Place, kind: str
) -> None:
    command = _planting(layout.ALIVE, kind, "exec sleep 1000")
    with server(place, shell(place, command)) as first:
        await _planted(place, 1)
        first.kill()
        async with station(place) as jobs:
            healthy = await jobs.run("echo well")
            await jobs.cancel(first.job_ids[0], 1)
            job = await jobs.ended(first.job_ids[0])

    assert healthy["status"] == "completed"
    assert (job["status"], job["reason"]) == ("cancelled", "cancelled_by_user")
