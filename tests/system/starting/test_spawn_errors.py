"""A job that cannot be started ends as `spawn_error` with a clear message and blocks nobody."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from mcp_jobs.domain.models import Launch
from mcp_jobs.execution import job_directory
from mcp_jobs.execution.launcher import exit_record
from tests.support import Place
from tests.system.attempts import client_of, request_for
from tests.system.station import Station, gate, release, station

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mcp_jobs.execution.launcher.exit_record import ExitRecord
    from tests.system.station import Shown


async def _spoiled(
    jobs: Station, spoil: Callable[[Path], None], **arguments: Any
) -> tuple[Shown, Shown]:
    """Run a job that is spoiled while it waits for its slot, and one behind it."""
    path = await gate(jobs.place)
    first = await jobs.start("read x < gate")
    spoiled = await jobs.start("echo never", **arguments)
    behind = await jobs.start("echo fine")
    await jobs.reaches(first, "running")
    spoil(jobs.directory(spoiled))
    await release(path)
    return await jobs.ended(spoiled), await jobs.ended(behind)


def _assert_failed(job: Shown, *parts: str) -> None:
    assert (job["status"], job["reason"]) == ("failed", "spawn_error")
    for part in parts:
        assert part in job["error"]
    assert "Traceback" not in job["error"]


async def test_a_vanished_directory_ends_that_job_only(place: Place) -> None:
    gone = place.root / "gone"
    gone.mkdir()
    async with station(place, capacity=1) as jobs:
        job, behind = await _spoiled(jobs, lambda _: gone.rmdir(), cwd=str(gone))

    _assert_failed(job, str(gone), "no such file or directory")
    assert job["exit_code"] is None
    assert (behind["status"], behind["output"]["text"]) == ("completed", "fine\n")


async def test_a_directory_that_became_a_file_ends_that_job_only(place: Place) -> None:
    gone = place.root / "gone"
    gone.mkdir()

    def spoil(_: Path) -> None:
        gone.rmdir()
        gone.write_text("a file")

    async with station(place, capacity=1) as jobs:
        job, behind = await _spoiled(jobs, spoil, cwd=str(gone))

    _assert_failed(job, str(gone), "not a directory")
    assert behind["status"] == "completed"


async def test_a_lost_environment_file_ends_that_job_only(place: Place) -> None:
    async with station(place, capacity=1) as jobs:
        job, behind = await _spoiled(jobs, lambda directory: (directory / "env").unlink())

    # A start takes it away, so the job may have run.
    assert (job["status"], job["reason"], job["output"]["text"]) == ("failed", "interrupted", "")
    assert "`env` is gone" in job["error"]
    assert behind["status"] == "completed"


async def test_a_torn_environment_file_is_made_again_from_the_store(place: Place) -> None:
    def tear(directory: Path) -> None:
        text = (directory / "env").read_bytes()
        (directory / "env").write_bytes(text[: len(text) // 2])

    async with station(place, capacity=1) as jobs:
        job, behind = await _spoiled(jobs, tear)

    assert (job["status"], job["output"]["text"]) == ("completed", "never\n")
    assert behind["status"] == "completed"


async def test_a_lost_job_directory_ends_that_job_only(place: Place) -> None:
    async with station(place, capacity=1) as jobs:
        job, behind = await _spoiled(jobs, shutil.rmtree)

    assert (job["status"], job["reason"]) == ("failed", "interrupted")
    assert "its directory is gone" in job["error"]
    assert behind["status"] == "completed"


async def test_a_program_that_the_shell_does_not_find_is_named(place: Place) -> None:
    async with station(place, capacity=1) as jobs:
        job = await jobs.run("no-such-program --help")
        after = await jobs.run("echo fine")

    _assert_failed(job, "no-such-program", "not found")
    assert job["exit_code"] == 127
    assert after["status"] == "completed"


async def test_a_file_that_the_shell_may_not_execute_is_named(place: Place) -> None:
    (place.project / "plain-file").write_text("echo no\n")
    (place.project / "plain-file").chmod(0o644)
    async with station(place, capacity=1) as jobs:
        job = await jobs.run("./plain-file")
        after = await jobs.run("echo fine")

    _assert_failed(job, "plain-file", "ermission denied")
    assert job["exit_code"] == 126
    assert after["status"] == "completed"


async def test_an_environment_that_is_too_large_in_all_ends_that_job_only(place: Place) -> None:
    env = {f"LARGE_{number}": "x" * 120_000 for number in range(70)}
    async with station(place, capacity=1) as jobs:
        job = await jobs.run("echo never", env=env)
        after = await jobs.run("echo fine")

    _assert_failed(job, "sh", "too long")
    assert job["output"]["text"] == ""
    assert after["status"] == "completed"


async def test_a_job_that_could_not_start_has_no_output_and_keeps_nothing(place: Place) -> None:
    gone = place.root / "gone"
    gone.mkdir()
    async with station(place, capacity=1) as jobs:
        job, _ = await _spoiled(jobs, lambda _: gone.rmdir(), cwd=str(gone))

        assert job["output"]["bytes_total"] == 0
        assert not (jobs.directory(job["job_id"]) / "env").exists()


# -- without a shell in between ------------------------------------------------------------------


async def _record_of(place: Place, *argv: str, **changes: Any) -> ExitRecord:
    """Run a program through the launcher itself, as job types without a shell do."""
    launch = {
        "argv": argv,
        "cwd": str(place.project),
        "umask": 0o022,
        "environ": {"PATH": os.defpath},
        "secrets": (),
        "rlimit_nofile": None,
    }
    job_dir = place.home / "one"
    job_directory.make_job_dir(job_dir, Launch(**{**launch, **changes}))
    link = await client_of(place).run(request_for(job_dir, 1))
    assert link is not None
    await link.wait_closed()
    link.close()
    found = exit_record.read(str(job_dir), 1)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("no-such-program", "was not found"),
        ("/nowhere/program", "was not found"),
        ("{project}/plain-file", "not executable"),
        ("{project}", "not executable"),
        (
            "{project}/no-interpreter",
            "the interpreter that its first line (#!) names",
        ),
        ("{project}/no-format", "cannot be executed: exec format error"),
    ],
)
async def test_a_program_that_cannot_be_executed_is_named_with_the_reason(
    place: Place, program: str, message: str
) -> None:
    for name, mode in (("plain-file", 0o644), ("no-interpreter", 0o755), ("no-format", 0o755)):
        text = "#!/no/such/interpreter\n" if name == "no-interpreter" else "\1\2\3\n"
        (place.project / name).write_text(text)
        (place.project / name).chmod(mode)
    program = program.format(project=place.project)

    found = await _record_of(place, program)

    assert (found["reason"], found["exit_code"], found["signal"]) == ("spawn_error", None, None)
    assert found["error"] is not None
    assert program in found["error"]
    assert message in found["error"]


async def test_an_argument_that_is_too_long_is_a_spawn_error(place: Place) -> None:
    found = await _record_of(place, "/bin/echo", "x" * 200_000)

    assert found["reason"] == "spawn_error"
    assert "too long" in str(found["error"])


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"argv": ("/bin/echo", "a\0b")}, id="NUL in an argument"),
        pytest.param({"environ": {"A=B": "c"}}, id="= in a name"),
    ],
)
async def test_what_the_system_cannot_be_given_is_a_spawn_error(
    place: Place, changes: dict[str, Any]
) -> None:
    found = await _record_of(place, "/bin/echo", **changes)

    assert found["reason"] == "spawn_error"
    assert found["error"]
