"""After a power cut and in a copy of a home: what waited runs once, what may have run does not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sqlite3
import subprocess
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread
import pytest

from mcp_jobs.domain.models import JobFilter
from mcp_jobs.execution import incarnation, job_directory
from mcp_jobs.execution.incarnation import identify
from mcp_jobs.execution.launcher import layout, process_tree
from mcp_jobs.job_types.python import child
from mcp_jobs.service.assembly import open_core
from tests.stores import open_store
from tests.support import Place, alive, until
from tests.system.fleet import accept
from tests.system.station import (
    Station,
    gate,
    identity_of,
    pids_in,
    release,
    shell,
    station,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from mcp_jobs.domain.models import Job

NOTE = "echo run >> runs"
_ANY = JobFilter()
SPOILS: dict[str, Callable[[Path], object]] = {
    "nothing": lambda _: None,
    "an empty env": lambda directory: os.truncate(directory / "env", 0),
    "half an env": lambda directory: os.truncate(directory / "env", 20),
    "an env of zeros": lambda directory: (directory / "env").write_bytes(bytes(500)),
    "no directory": shutil.rmtree,
    "an empty alive": lambda directory: (directory / "alive").touch(),
    "an alive of zeros": lambda directory: (directory / "alive").write_bytes(bytes(500)),
}
"""What a power cut makes of files that were not synced."""


def _power_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """From now on it is another boot of the machine."""
    monkeypatch.setattr(incarnation, "boot_id", lambda: "another boot")


async def _claimed_by_the_dead(place: Place, *, incarnation: str | None = None) -> Job:
    """Claim a job for an owner who is gone before it launched anything."""
    store = await open_store(place.settings().database)
    try:
        (job,) = (await store.list("local", _ANY, limit=1, cursor=None)).jobs
        claimed = await store.claim(
            claimer="dead",
            locality=job.locality,
            incarnation=incarnation or str(identify(place.home)),
            capacity=9,
            now_ms=job.run_at_ms + 1,
        )
    finally:
        await store.close()
    assert claimed is not None
    return claimed.job


def _runs(place: Place) -> int:
    path = place.project / "runs"
    return path.read_text().count("run") if path.exists() else 0


# -- power cuts ----------------------------------------------------------------------------------


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
async def test_an_accepted_job_runs_once_whatever_the_power_cut_left_of_its_files(
    place: Place, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], object]
) -> None:
    secret = {"env": {"API_TOKEN": "hunter2-hunter2"}}
    (job_id,) = await accept(place, shell(place, f"{NOTE}; echo $API_TOKEN", **secret))
    spoil(place.home / "jobs" / job_id)
    _power_cut(monkeypatch)
    async with station(place) as jobs:
        job = await jobs.ended(job_id)

    assert (job["status"], job["output"]["text"], _runs(place)) == ("completed", "[masked]\n", 1)


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
async def test_a_job_claimed_before_the_power_cut_counts_as_run(
    place: Place, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], object]
) -> None:
    (job_id,) = await accept(place, shell(place, NOTE, max_retries=3))
    await _claimed_by_the_dead(place)
    spoil(place.home / "jobs" / job_id)
    _power_cut(monkeypatch)
    async with station(place) as jobs:
        job = await jobs.ended(job_id)

    assert (job["status"], job["reason"], job["attempt"]) == ("failed", "interrupted", 1)
    assert "the machine went down as it was started" in job["error"]
    assert _runs(place) == 0


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
async def test_a_job_claimed_before_the_power_cut_is_tried_again_if_it_asked_for_that(
    place: Place, monkeypatch: pytest.MonkeyPatch, spoil: Callable[[Path], object]
) -> None:
    (job_id,) = await accept(place, shell(place, NOTE, retry_on_interrupt=True))
    await _claimed_by_the_dead(place)
    spoil(place.home / "jobs" / job_id)
    _power_cut(monkeypatch)
    async with station(place) as jobs:
        job = await jobs.ended(job_id)

    assert (job["status"], job["attempt"], _runs(place)) == ("completed", 2, 1)
    assert [attempt["reason"] for attempt in job["attempts"]] == ["interrupted", None]


async def test_a_retry_that_waited_through_the_power_cut_runs_once(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with station(place, retry_base_seconds=0.5) as jobs:
        job_id = await jobs.start(f"{NOTE}; test $(wc -l < runs) -gt 1", max_retries=1)
        await jobs.reaches(job_id, "retrying")
    _power_cut(monkeypatch)
    async with station(place) as jobs:
        job = await jobs.ended(job_id)

    assert (job["status"], job["attempt"], _runs(place)) == ("completed", 2, 2)


@pytest.mark.parametrize("kept", ["all of its traces", "what an ended job keeps"])
async def test_a_database_older_than_the_directories_starts_no_job_again(
    place: Place, kept: str
) -> None:
    job_ids = await accept(place, shell(place, f"{NOTE}; echo out"), shell(place, NOTE))
    shutil.copy(place.home / "jobs.db", place.root / "backup.db")
    async with station(place) as jobs:
        traces: dict[str, bytes] = {}
        for job_id in job_ids:
            await jobs.ended(job_id)
    if kept == "all of its traces":
        traces = dict.fromkeys(job_ids, b'{"token": 1, "attempt": 1, "output_start": 0}\n')
    for name, text in traces.items():
        (place.home / "jobs" / name / "alive").write_bytes(text)
    shutil.copy(place.root / "backup.db", place.home / "jobs.db")
    async with station(place) as jobs:
        ends = [await jobs.ended(job_id) for job_id in job_ids]

    assert [(job["status"], job["reason"]) for job in ends] == [("failed", "interrupted")] * 2
    assert _runs(place) == 2


# -- copies --------------------------------------------------------------------------------------


@asynccontextmanager
async def _copied(place: Place) -> AsyncIterator[Station]:
    """Copy the home and work on the copy."""
    copy = Place(place.root / "other")
    copy.root.mkdir()
    (copy.root / "project").mkdir()
    shutil.copytree(place.home, copy.home, symlinks=True)
    async with open_core(copy.settings()) as core:
        yield Station(copy, core)


async def test_a_server_on_a_copy_leaves_the_jobs_of_the_original_alone(place: Place) -> None:
    path = await gate(place)
    async with station(place) as jobs:
        job_id = await jobs.start("echo $$ > pids; read x < gate; echo end")
        (pid,) = await pids_in(place.project / "pids")
        await identity_of(jobs.directory(job_id))
        async with _copied(place) as there:
            copied = await there.ended(job_id)
            assert alive(pid)
        await release(path)
        original = await jobs.ended(job_id)

    assert (copied["status"], copied["reason"]) == ("failed", "interrupted")
    assert "this home is a copy" in copied["error"]
    assert (original["status"], original["output"]["text"]) == ("completed", "end\n")


async def test_a_cancel_in_a_copy_ends_nothing_of_the_original(place: Place) -> None:
    path = await gate(place)
    async with station(place) as jobs:
        job_id = await jobs.start("echo $$ > pids; read x < gate")
        (pid,) = await pids_in(place.project / "pids")
        async with _copied(place) as there:
            (there.directory(job_id) / "alive").unlink()
            await there.cancel(job_id)
            assert alive(pid)
        await release(path)
        original = await jobs.ended(job_id)

    assert original["status"] == "completed"


async def test_what_waits_in_a_copy_runs_in_the_copy(place: Place) -> None:
    report = 'echo \'{"percent": 40}\' > "$MCP_JOBS_PROGRESS"; echo "$MCP_JOBS_PROGRESS"'
    (job_id,) = await accept(place, shell(place, report))
    async with _copied(place) as there:
        job = await there.ended(job_id)
        progress = there.directory(job_id) / "progress"

    assert (job["status"], job["output"]["text"]) == ("completed", f"{progress}\n")
    assert not (place.home / "jobs" / job_id / "progress").exists()


def test_a_copy_gets_an_identity_of_its_own_and_says_so(
    place: Place, caplog: pytest.LogCaptureFixture
) -> None:
    original = identify(place.home)
    shutil.copytree(place.home, place.root / "copy")

    copy = identify(place.root / "copy")

    assert (copy.home_id != original.home_id, copy.copy_of) == (True, original.home_id)
    assert "is a copy" in caplog.text
    assert identify(place.root / "copy") == copy
    assert identify(place.home) == original


def test_a_home_that_was_renamed_keeps_its_identity(place: Place) -> None:
    before = identify(place.home)
    place.home.rename(place.root / "moved")

    assert identify(place.root / "moved") == before


async def test_several_that_open_a_copy_at_once_give_it_one_identity(place: Place) -> None:
    identify(place.home)
    shutil.copytree(place.home, place.root / "copy")
    found: set[str] = set()

    async def ask() -> None:
        found.add((await anyio.to_thread.run_sync(identify, place.root / "copy")).home_id)

    async with anyio.create_task_group() as tasks:
        for _ in range(16):
            tasks.start_soon(ask)

    assert len(found) == 1


@pytest.mark.parametrize("text", [b"", b"?", b"[]", b'{"id": 5}', b"{"])
def test_an_identity_that_is_spoiled_is_made_anew(place: Place, text: bytes) -> None:
    (place.home / "identity").write_bytes(text)

    first = identify(place.home)

    assert (identify(place.home), first.copy_of) == (first, None)


# -- homes of older versions ---------------------------------------------------------------------


async def test_a_job_of_an_older_version_is_run_and_retried_from_its_file(place: Place) -> None:
    request = shell(place, f"{NOTE}; test $(wc -l < runs) -gt 1", max_retries=1)
    (job_id,) = await accept(place, request)
    await _make_old(place, job_id)
    async with station(place) as jobs:
        job = await jobs.ended(job_id)

    assert (job["status"], job["attempt"], _runs(place)) == ("completed", 2, 2)


def test_a_python_job_of_an_older_version_runs_in_the_module_of_today(tmp_path: Path) -> None:
    old = ["/usr/bin/python3", "-P", "-m", "mcp_jobs.child", str(tmp_path)]
    fields = {"argv": old, "cwd": "/", "umask": 18, "environ": {}, "secrets": []}
    layout.write_json(str(tmp_path / layout.ENV), {**fields, "rlimit_nofile": None})
    layout.write_json(str(tmp_path / layout.CALL), {"function": "double"})

    launch = job_directory.read_launch(tmp_path)

    assert launch is not None
    assert launch.argv == ("/usr/bin/python3", "-P", "-m", child.__name__)


async def test_a_process_of_an_older_version_is_known_by_the_job_alone(place: Place) -> None:
    (job_id,) = await accept(place, shell(place, NOTE))
    await _claimed_by_the_dead(place)
    await _execute(place, "UPDATE jobs SET claimed_in = NULL, prepared_in = NULL")
    mark = {"MCP_JOBS_JOB_ID": job_id}
    with subprocess.Popen(["/bin/sleep", "1000"], env=mark, cwd=place.root) as process:
        async with station(place) as jobs:
            await until(lambda: process_tree.marked(job_id, (None,)))
            await jobs.seen(job_id, lambda job: job["status"] == "running")
            cancelled = await jobs.cancel(job_id)
        assert process.wait() == -signal.SIGKILL

    assert (cancelled["status"], cancelled["reason"]) == ("cancelled", "cancelled_by_user")
    assert _runs(place) == 0


async def _make_old(place: Place, job_id: str) -> None:
    """Leave only what a version without stored launches did."""
    await _execute(place, "DELETE FROM launches", "UPDATE jobs SET prepared_in = NULL")
    path = place.home / "jobs" / job_id / "env"
    fields = json.loads(path.read_text())
    del fields["takes_directory"]
    fields["environ"]["MCP_JOBS_JOB_ID"] = job_id
    path.write_text(json.dumps(fields))


async def _execute(place: Place, *statements: str) -> None:
    with sqlite3.connect(place.settings().database) as database:
        for statement in statements:
            database.execute(statement)
    database.close()
