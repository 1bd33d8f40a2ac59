"""Schedules that files of job types declare: they come, change and go with the declaration."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest

from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.domain.schedules import recurrence
from mcp_jobs.job_types.registry import shell_type
from mcp_jobs.job_types.trust_marks import Trust
from mcp_jobs.service.scheduling import OTHERS_MS
from tests.schedules import MINE, SHELLS, Firer, MovedClock, ms, new_schedule
from tests.stores import OWNER

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_jobs.store import Store

NIGHTLY = """
jobs:
  nightly:
    description: Tidy up.
    command: ["true"]
    schedule: {cron: "0 3 * * *"}
"""


@pytest.fixture(autouse=True)
def _own_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


@pytest.fixture
def clock() -> MovedClock:
    return MovedClock(ms("2026-01-01T00:30"))


def project_of(tmp_path: Path, text: str = NIGHTLY, *, name: str = "project") -> Path:
    directory = tmp_path / name
    directory.mkdir(exist_ok=True)
    (directory / "jobs.yaml").write_text(text)
    return directory


def trust(tmp_path: Path, project: Path) -> None:
    file = project / "jobs.yaml"
    Trust(tmp_path / "state" / "mcp-jobs" / "trusted").add(str(file), file.read_bytes())


async def test_a_trusted_file_declares_a_schedule_and_an_untrusted_one_does_not(
    store: Store, clock: MovedClock, tmp_path: Path
) -> None:
    project = project_of(tmp_path)
    firer = Firer(store, clock, tmp_path, project=project)
    await firer.scheduling.sync()
    assert await store.schedules.of() == []

    trust(tmp_path, project)
    await firer.scheduling.sync()

    (schedule,) = await store.schedules.of()
    assert (schedule.name, schedule.owner) == ("nightly", OWNER)
    assert schedule.declared_in == str(project / "jobs.yaml")
    assert schedule.next_fire_at_ms == ms("2026-01-01T03:00")


async def test_a_declaration_that_changes_or_goes_takes_its_schedule_with_it(
    store: Store, clock: MovedClock, tmp_path: Path
) -> None:
    project = project_of(tmp_path)
    trust(tmp_path, project)
    firer = Firer(store, clock, tmp_path, project=project)
    await firer.scheduling.sync()
    before = await firer.one("nightly")

    project_of(tmp_path, NIGHTLY.replace("0 3", "0 4"))
    trust(tmp_path, project)
    await firer.scheduling.sync()
    changed = await firer.one("nightly")
    assert (changed.id, changed.next_fire_at_ms) == (before.id, ms("2026-01-01T04:00"))

    (project / "jobs.yaml").unlink()
    await firer.scheduling.sync()
    assert await store.schedules.of() == []


async def test_a_paused_schedule_keeps_its_pause_while_its_file_is_away(
    store: Store, clock: MovedClock, tmp_path: Path
) -> None:
    project = project_of(tmp_path)
    trust(tmp_path, project)
    firer = Firer(store, clock, tmp_path, project=project)
    await firer.scheduling.sync()
    await firer.service.pause(MINE, "nightly", by="ann", why=None)

    (project / "jobs.yaml").unlink()
    await firer.scheduling.sync()
    project_of(tmp_path)
    await firer.scheduling.sync()

    assert (await firer.one("nightly")).paused_by == "ann"


async def test_a_worker_elsewhere_fires_what_a_trusted_file_of_a_project_declares(
    store: Store, clock: MovedClock, tmp_path: Path
) -> None:
    project = project_of(tmp_path)
    trust(tmp_path, project)
    await Firer(store, clock, tmp_path, project=project).scheduling.sync()
    worker = Firer(store, clock, tmp_path)

    await worker.look_at("2026-01-01T03:00")

    (job,) = await worker.jobs("nightly")
    assert (job.type, job.cwd) == ("nightly", str(project))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (None, "is gone"),
        (NIGHTLY.replace("Tidy up", "Tidy up more"), "mcp-jobs trust"),
    ],
)
async def test_a_file_that_is_gone_or_not_trusted_any_more_starts_nothing_elsewhere(
    store: Store, clock: MovedClock, tmp_path: Path, text: str | None, told: str
) -> None:
    project = project_of(tmp_path)
    trust(tmp_path, project)
    await Firer(store, clock, tmp_path, project=project).scheduling.sync()
    worker = Firer(store, clock, tmp_path)
    if text is None:
        (project / "jobs.yaml").unlink()
    else:
        project_of(tmp_path, text)

    await worker.look_at("2026-01-01T03:00")
    clock.pass_s(OTHERS_MS / 1000)
    await worker.scheduling.look()

    assert await worker.fires("nightly") == []
    seen = await worker.one("nightly")
    assert seen.missed == 1
    assert told in str(seen.problem)


async def test_a_file_that_is_trusted_anew_fires_as_it_says_now(
    store: Store, clock: MovedClock, tmp_path: Path
) -> None:
    project = project_of(tmp_path)
    trust(tmp_path, project)
    await Firer(store, clock, tmp_path, project=project).scheduling.sync()
    worker = Firer(store, clock, tmp_path)
    project_of(tmp_path, NIGHTLY.replace("0 3", "0 5"))
    trust(tmp_path, project)

    await worker.look_at("2026-01-01T03:00")
    assert await worker.fires("nightly") == []
    await worker.look_at("2026-01-01T05:00")

    assert await worker.fires("nightly") == ["2026-01-01T05:00"]


async def test_a_declared_schedule_cannot_be_removed_while_it_is_declared(
    store: Store, clock: MovedClock, tmp_path: Path
) -> None:
    project = project_of(tmp_path)
    trust(tmp_path, project)
    firer = Firer(store, clock, tmp_path, project=project)
    await firer.scheduling.sync()

    with pytest.raises(InvalidInputError, match="declares the schedule"):
        await firer.service.remove(MINE, "nightly")
    (project / "jobs.yaml").unlink()
    await firer.service.remove(MINE, "nightly")

    assert await store.schedules.of() == []


async def test_one_file_that_two_paths_lead_to_declares_one_schedule(
    store: Store, clock: MovedClock, tmp_path: Path
) -> None:
    project = project_of(tmp_path)
    trust(tmp_path, project)
    (tmp_path / "link").symlink_to(project)

    for path in (project, tmp_path / "link"):
        await Firer(store, clock, tmp_path, project=path).scheduling.sync()

    assert len(await store.schedules.of()) == 1


@pytest.mark.parametrize("kind", ["fifo", "link", "directory", "huge"])
async def test_what_is_no_file_any_more_starts_nothing_and_holds_up_nobody(
    store: Store, clock: MovedClock, tmp_path: Path, kind: str
) -> None:
    project = project_of(tmp_path)
    trust(tmp_path, project)
    await Firer(store, clock, tmp_path, project=project).scheduling.sync()
    await store.schedules.add(new_schedule(next_fire_at_ms=ms("2026-01-01T03:00")), most=9)
    worker = Firer(store, clock, tmp_path)
    file = project / "jobs.yaml"
    real = file.rename(project / "moved")
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "link":
        file.symlink_to(real)
    elif kind == "directory":
        file.mkdir()
    else:
        with file.open("wb") as huge:
            huge.truncate(10 << 30)

    with anyio.fail_after(5):
        await worker.look_at("2026-01-01T03:00")
        clock.pass_s(OTHERS_MS / 1000)
        await worker.scheduling.look()

    assert await worker.fires("nightly") == []
    assert str(file) in str((await worker.one("nightly")).problem)
    assert await worker.fires("hourly") == ["2026-01-01T03:00"]


async def test_a_python_job_is_started_only_where_its_module_is_loaded(
    store: Store, clock: MovedClock, tmp_path: Path
) -> None:
    rule = recurrence("0 3 * * *", params={"command": "true"}, overlap="allow")
    job_type = replace(shell_type(SHELLS), name="report", source="python:/x/app.py", schedule=rule)
    able = Firer(store, clock, tmp_path, types=(job_type,))
    await able.scheduling.sync()
    other = Firer(store, clock, tmp_path)

    await other.look_at("2026-01-01T03:00")
    assert await other.fires("report") == []
    await able.look_at("2026-01-01T03:00")
    assert await able.fires("report") == ["2026-01-01T03:00"]

    await other.look_at("2026-01-02T03:00")
    clock.pass_s(OTHERS_MS / 1000)
    await other.scheduling.look()
    assert "/x/app.py are not loaded" in str((await able.one("report")).problem)
