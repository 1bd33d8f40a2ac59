"""Python code starts its jobs itself, with no server there; a worker comes and runs them."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import date
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from pydantic import BaseModel, Field, SecretStr

from mcp_jobs import JobContext, Jobs
from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.execution.incarnation import identify
from mcp_jobs.service.assembly import LOCAL_OWNER, visit
from mcp_jobs.service.requests import ListJobs
from tests.markdown import ROOT
from tests.support import Place

if TYPE_CHECKING:
    from pathlib import Path

jobs = Jobs("tests")
others = Jobs("others")


class Region(BaseModel):
    name: str = Field(alias="region")


@jobs.job()
def report(ctx: JobContext, pages: int, where: Region | None = None) -> str:
    return f"{pages} {ctx.attempt} {where and where.name}"


@jobs.job()
async def sign(key: SecretStr, when: date, keys: list[SecretStr]) -> int:
    return when.year + len(key.get_secret_value()) + len(keys[0].get_secret_value())


@others.job()
async def other(pages: int = 1) -> int:
    return pages


APP = """\
import asyncio, sys
from pathlib import Path
from mcp_jobs import JobContext, Jobs

jobs = Jobs("app")

@jobs.job()
def report(pages: int, ctx: JobContext, title: str = "Report") -> str:
    ctx.log(title)
    return f"{pages} in {Path.cwd().name}"

@jobs.job(confirm="Really?")
async def drop() -> None: ...

async def main() -> None:
    try:
        jobs.enqueue(report, 2)
    except Exception as error:
        print(f"{type(error).__name__}: {error}")
    print((await jobs.start(drop)).id)
"""
MAIN = """
if __name__ == "__main__":
    print(jobs.enqueue(report, 3, title="Mine").id)
    asyncio.run(main())
"""


def run(place: Place, text: str, **environ: str) -> list[str]:
    """Run a script as its developer does, and return what it prints."""
    path = place.root / "app.py"
    path.write_text(text)
    done = subprocess.run(
        [sys.executable, str(path)],
        env={**os.environ, **place.environment(), "PYTHONPATH": str(ROOT), **environ},
        cwd=place.project,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return [*done.stdout.splitlines(), *done.stderr.splitlines()[-1:]]


async def seen(place: Place, *statuses: str) -> list[dict[str, Any]]:
    """Return the jobs of the home, oldest first, when these are their states."""
    with anyio.fail_after(20):
        while True:
            async with visit(place.settings()) as core:
                shown = await core.service.list(LOCAL_OWNER, ListJobs())
            found = shown["jobs"][::-1]
            if [job["status"] for job in found] == [*statuses]:
                return list(found)
            await anyio.sleep(0.05)


async def test_a_job_that_code_starts_runs_without_any_server(place: Place) -> None:
    first, refused, second = run(place, APP + MAIN)

    done, asked = await seen(place, "completed", "input_required")
    assert (done["job_id"], asked["job_id"]) == (first, second)
    assert (done["type"], done["result"]) == ("report", "3 in project")
    assert refused == (
        "InvalidInputError: enqueue would hold up the event loop that runs here. Write: await "
        "jobs.start(...)."
    )


async def test_a_module_that_starts_a_job_on_import_does_not_do_so_in_the_jobs_process(
    place: Place,
) -> None:
    (first,) = run(place, f"{APP}\nprint(jobs.enqueue(report, 1).id)\n")

    (job,) = await seen(place, "failed")
    assert job["job_id"] == first
    assert "must not start another job" in job["error"]


def test_a_process_of_a_job_misses_no_home(place: Place) -> None:
    text = f"{APP}\nprint(jobs.enqueue(drop).id)\n"
    place.home.mkdir(exist_ok=True)
    own = identify(place.home).home_id

    assert "belongs to a job of another home" in run(place, text, MCP_JOBS_HOME_ID="of-another")[-1]
    assert len(run(place, text, MCP_JOBS_HOME_ID=own)) == 1


@pytest.fixture
def home(place: Place, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, value in place.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(place.project)
    return place.home


@pytest.mark.usefixtures("home")
async def test_what_the_function_does_not_take_is_refused_before_anything_is_stored(
    place: Place,
) -> None:
    # A checker that saw no fault in these lines would complain of the comments.
    with pytest.raises(TypeError, match="missing a required argument: 'pages'"):
        await jobs.start(report)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match="got an unexpected keyword argument 'page'"):
        await jobs.start(report, 3, page=3)  # type: ignore[call-arg]
    with pytest.raises(InvalidInputError, match="arguments do not fit the job 'report': pages"):
        await jobs.start(report, "many")  # type: ignore[call-overload]
    with pytest.raises(InvalidInputError, match="'other' belongs to other Jobs than 'tests'"):
        await jobs.start(other)
    with pytest.raises(InvalidInputError, match="is not a job: decorate it"):
        await jobs.start(print)

    assert await seen(place) == []


@pytest.mark.usefixtures("home")
async def test_values_reach_the_function_as_they_were_given(place: Place) -> None:
    started = await jobs.start(report, 2, where=Region(region="eu"))

    (job,) = await seen(place, "completed")
    assert (job["job_id"], job["result"]) == (started.id, "2 1 eu")


@pytest.mark.usefixtures("home")
async def test_a_secret_reaches_the_function_and_not_as_asterisks(place: Place) -> None:
    await jobs.start(sign, SecretStr("four"), date(2000, 1, 1), [SecretStr("fifty")])

    (job,) = await seen(place, "completed")
    assert job["result"] == 2009


@pytest.mark.usefixtures("home")
async def test_a_start_says_what_it_waits_for_and_attaches_to_the_same(place: Place) -> None:
    first = await jobs.options(locks="printer", priority=7).start(report, 1)
    waits = jobs.options(after=[first], if_running="attach")
    second = await waits.start(report, 2)
    same = await waits.start(report, 2)
    assert (same.id, second.existing, same.existing) == (second.id, False, True)
    done = await seen(place, "completed", "completed")
    assert [job["job_id"] for job in done] == [first.id, second.id]
    assert (done[0]["priority"], done[0]["locks"]) == (7, ["printer"])
    again = await jobs.options(retry_of=first).start(report, 3)
    assert (await seen(place, *["completed"] * 3))[-1]["job_id"] == again.id
    with pytest.raises(InvalidInputError, match="options of the start do not fit: priority"):
        await jobs.options(priority=101).start(report, 1)
