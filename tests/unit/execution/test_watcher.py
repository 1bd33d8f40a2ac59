"""What a look at the files of a job shows, with and without a reader and a probe."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.execution.attempt_reader import AttemptReader
from mcp_jobs.execution.launcher import layout
from mcp_jobs.execution.launcher.spool import segment_name
from mcp_jobs.execution.watcher import OutputSize, Watch

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def job_dir(tmp_path: Path) -> Path:
    (tmp_path / layout.OUTPUT).mkdir()
    _print(tmp_path, "begun\n")
    return tmp_path


def _print(job_dir: Path, text: str) -> None:
    with (job_dir / layout.OUTPUT / segment_name(0, 0)).open("a") as file:
        file.write(text)


def _report(job_dir: Path, percent: int) -> None:
    with (job_dir / layout.PROGRESS).open("a") as file:
        file.write(json.dumps({"current": percent, "total": 100}) + "\n")


def _read(job_dir: Path) -> tuple[Watch, AttemptReader]:
    size = OutputSize(job_dir / layout.OUTPUT)
    reader = AttemptReader(job_dir, size.source, pattern=None)
    return Watch("a", size, reader=reader), reader


def test_without_a_reader_only_what_is_printed_from_now_on_is_growth(job_dir: Path) -> None:
    watch = Watch("a", OutputSize(job_dir / layout.OUTPUT))
    watch.look(0.0)
    assert not watch.grew
    _print(job_dir, "more\n")
    assert watch.may_differ()
    watch.look(1.0)
    assert watch.grew
    watch.look(2.0)
    assert not watch.grew


def test_with_a_reader_everything_of_the_attempt_is_growth(job_dir: Path) -> None:
    watch, _ = _read(job_dir)
    assert watch.may_have_grown()
    watch.look(0.0)
    assert watch.grew
    assert not watch.may_have_grown()


def test_what_is_reported_is_shown_when_it_is_known_what_must_not_be(job_dir: Path) -> None:
    watch, reader = _read(job_dir)
    _report(job_dir, 40)
    watch.look(0.0)
    watch.tell()
    assert reader.progress.take() is None
    assert reader.secrets.wanted
    assert watch.changed.is_set()

    reader.tell_secrets(())
    assert watch.may_differ()
    watch.look(1.0)
    shown = reader.progress.take()
    assert shown is not None
    assert shown.percent == 40
    assert not reader.secrets.wanted


def test_nothing_is_told_as_long_as_nothing_is_new(job_dir: Path) -> None:
    watch, reader = _read(job_dir)
    reader.tell_secrets(())
    watch.look(0.0)
    watch.tell()
    assert not watch.changed.is_set()


def test_a_probe_is_asked_at_every_look_and_its_no_is_told(job_dir: Path) -> None:
    answers = [True, False]
    size = OutputSize(job_dir / layout.OUTPUT)
    watch = Watch("a", size, alive=lambda: answers.pop(0))
    watch.look(0.0)
    watch.tell()
    assert not watch.changed.is_set()
    assert watch.may_differ()
    watch.look(1.0)
    watch.tell()
    assert watch.changed.is_set()


def test_the_last_look_is_at_everything(job_dir: Path) -> None:
    watch, reader = _read(job_dir)
    reader.tell_secrets(())
    watch.look(0.0)
    _report(job_dir, 70)
    assert watch.may_have_grown()
    watch.last_look(1.0)
    shown = reader.progress.take()
    assert shown is not None
    assert shown.percent == 70
