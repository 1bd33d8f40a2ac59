"""Whatever stands where a file of a job should be is named, removed itself, and never followed."""

from __future__ import annotations

import errno
import json
import os
from typing import TYPE_CHECKING, Any

import anyio
import anyio.to_thread
import pytest

from mcp_jobs import output
from mcp_jobs.domain.events import InProcessBus
from mcp_jobs.domain.ids import new_id
from mcp_jobs.execution import job_directory, python_files
from mcp_jobs.execution.attempt_reader import AttemptReader
from mcp_jobs.execution.job_directory import runner_alive
from mcp_jobs.execution.launcher import files, layout, stop_notice
from mcp_jobs.execution.launcher.spool import Spool, list_segments, segment_name
from mcp_jobs.execution.spool_reader import SpoolFiles
from mcp_jobs.execution.watcher import OutputSize, Watch
from mcp_jobs.output import search, slices
from mcp_jobs.output.excerpt import read_excerpt
from mcp_jobs.output.view import OutputView
from mcp_jobs.settings import Settings
from tests.executors import local_executor_of
from tests.system import planting
from tests.unit.domain.test_job_object import STARTED

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_jobs.output.source import Segment

KINDS = tuple(planting.KINDS)


@pytest.fixture
def job_dir(tmp_path: Path) -> Path:
    """A job's directory, with something outside of it that must stay as it is."""
    (tmp_path / "secret").write_text("do not touch")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "kept").write_text("do not touch")
    directory = tmp_path / "jobs" / "job"
    directory.mkdir(parents=True)
    return directory


def _untouched(job_dir: Path) -> bool:
    root = job_dir.parents[1]
    kept = (root / "elsewhere" / "kept").read_text() == "do not touch"
    return kept and (root / "secret").read_text() == "do not touch"


# -- removing ------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_the_clean_up_removes_what_was_planted_and_nothing_behind_it(
    job_dir: Path, kind: str
) -> None:
    names = (layout.ENV, layout.CALL, layout.ALIVE, layout.QUESTIONS, layout.ANSWERS, "report.1")
    for name in names:
        planting.plant(job_dir, name, kind)
    (job_dir / layout.PROGRESS).touch()

    job_directory.clean_after_end(job_dir)

    assert {name for name in os.listdir(job_dir) if not name.endswith(".fifo")} == {"progress"}
    assert _untouched(job_dir)


@pytest.mark.parametrize("kind", KINDS)
def test_a_directory_that_is_something_else_is_removed_itself(job_dir: Path, kind: str) -> None:
    planting.plant(job_dir, ".", kind)

    job_directory.remove_job_dir(job_dir)

    assert not os.path.lexists(job_dir)
    assert _untouched(job_dir)


def test_a_link_in_the_place_of_the_directory_is_not_cleaned_behind(job_dir: Path) -> None:
    (job_dir.parents[1] / "elsewhere" / layout.ALIVE).touch()
    planting.plant(job_dir, ".", "link-to-directory")

    with pytest.raises(files.OddFileError, match="a symbolic link"):
        job_directory.clean_after_end(job_dir)

    assert (job_dir.parents[1] / "elsewhere" / layout.ALIVE).exists()


def test_a_job_with_many_files_is_not_cleaned_on_the_way(job_dir: Path) -> None:
    for number in range(100):
        (job_dir / f"report.{number}").touch()

    assert job_directory.clean_after_end(job_dir, at_once=True) is False
    assert len(os.listdir(job_dir)) == 100
    assert job_directory.clean_after_end(job_dir) is True
    assert os.listdir(job_dir) == []


async def test_the_arguments_of_an_ended_function_go_whatever_else_it_has_removed(
    tmp_path: Path,
) -> None:
    executor = local_executor_of(Settings(home=tmp_path), _forgotten, InProcessBus())
    job_dir = tmp_path / "jobs" / new_id(0)
    # Whoever asks is cleaned up by the slower way, as those are that a killed process left.
    (job_dir / layout.QUESTIONS).mkdir(parents=True)
    (job_dir / layout.CALL).write_text('{"params": {"token": "hunter2"}}')
    await executor.finish(job_dir.name)
    assert list(job_dir.iterdir()) == []


async def _forgotten(job_id: str) -> None:
    del job_id


# -- orders and answers --------------------------------------------------------------------------


@pytest.mark.parametrize("kind", KINDS)
def test_an_order_is_given_over_whatever_stands_there(job_dir: Path, kind: str) -> None:
    planting.plant(job_dir, layout.STOP, kind)
    assert layout.read_stop(str(job_dir)) is None

    layout.order_stop(str(job_dir), "timeout", 2.0)

    assert layout.read_stop(str(job_dir)) == ("timeout", 2.0)


@pytest.mark.parametrize("target", ["timeout", "timeout soon", "timeout nan", "timeout -1", "x"])
def test_a_link_that_is_no_order_orders_nothing(job_dir: Path, target: str) -> None:
    (job_dir / layout.STOP).symlink_to(target)

    assert layout.read_stop(str(job_dir)) is None


def test_no_order_gives_more_time_than_a_caller_may(job_dir: Path) -> None:
    (job_dir / layout.STOP).symlink_to("cancelled_by_user inf")

    assert layout.read_stop(str(job_dir)) == ("cancelled_by_user", layout.STOP_GRACE_LIMIT_S)


@pytest.mark.parametrize("kind", KINDS)
def test_a_notice_is_written_into_nothing_but_a_fifo(job_dir: Path, kind: str) -> None:
    planting.plant(job_dir, layout.NOTICE, kind)

    stop_notice.give(str(job_dir))

    assert _untouched(job_dir)


@pytest.mark.parametrize("kind", KINDS)
def test_a_bell_is_a_fifo_of_its_own(job_dir: Path, kind: str) -> None:
    planting.plant(job_dir, layout.NOTICE, kind)
    made = stop_notice.StopNotice(str(job_dir), notify=False)
    try:
        stop_notice.give(str(job_dir))
        assert made.fd is not None
        assert os.read(made.fd, 9) == b"!"
    finally:
        made.close()


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("directory", "nothing")])
def test_an_answer_is_delivered_into_a_directory_of_the_job_alone(job_dir: Path, kind: str) -> None:
    planting.plant(job_dir, layout.ANSWERS, kind)

    with pytest.raises(OSError, match=r"stands where a directory should be|Not a directory"):
        python_files.deliver_answer(job_dir, "key", {"action": "accept"})

    assert _untouched(job_dir)
    assert os.listdir(job_dir.parents[1] / "elsewhere") == ["kept"]


@pytest.mark.parametrize("kind", [k for k in KINDS if k != "nothing"])
def test_the_fence_is_raised_over_whatever_stands_there(job_dir: Path, kind: str) -> None:
    planting.plant(job_dir, layout.FENCE, kind)

    layout.raise_fence(str(job_dir), 7)

    assert layout.read_fence(str(job_dir)) == 7


# -- what Python jobs leave ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("nothing", "nested", "foreign")])
def test_a_spoiled_report_says_what_stands_there(job_dir: Path, kind: str) -> None:
    planting.plant(job_dir, "report.1", kind)

    report = python_files.read_report(job_dir, 1, ())

    # Root may read a file of any mode; what it holds is no report.
    assert report is not None
    assert report.came_to == "raised"
    assert "The job has damaged the report of its end" in str(report.error)


@pytest.mark.parametrize(
    "fields",
    [
        {"came_to": "won", "stopped": False},
        {"came_to": ["returned"], "stopped": False},
        {"came_to": "raised", "error": {"a": 1}, "stopped": False},
        {"came_to": "retry", "after_s": 1e300, "stopped": False},
        {"came_to": "retry", "after_s": float("nan"), "stopped": False},
        {"came_to": "returned"},
    ],
)
def test_a_report_with_other_contents_is_a_spoiled_one(
    job_dir: Path, fields: dict[str, Any]
) -> None:
    (job_dir / "report.1").write_text(json.dumps(fields))

    report = python_files.read_report(job_dir, 1, ())

    assert report is not None
    assert "holds something else" in str(report.error)


@pytest.mark.parametrize("kind", KINDS)
def test_odd_questions_are_not_read_and_keep_no_other_from_it(job_dir: Path, kind: str) -> None:
    planting.plant(job_dir, f"{layout.QUESTIONS}/odd", kind)
    layout.write_json(str(job_dir / layout.QUESTIONS / "good"), {"key": "k"})

    asked = python_files.read_questions(job_dir, ())

    assert asked["good"] == {"key": "k"}
    assert asked.keys() <= {"good", "odd"}


def test_of_very_many_questions_some_are_read(job_dir: Path) -> None:
    (job_dir / layout.QUESTIONS).mkdir()
    for number in range(5000):
        name = os.fsencode(job_dir / layout.QUESTIONS) + b"/\xff%d" % number
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT, 0o600))

    assert 0 < len(layout.unanswered(str(job_dir))) <= 1000
    assert python_files.read_questions(job_dir, ()) == {}


# -- output --------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("directory", "nothing")])
def test_an_output_that_is_none_says_so_to_readers_and_keeps_its_writer_going(
    job_dir: Path, kind: str
) -> None:
    planting.plant(job_dir, layout.OUTPUT, kind)
    spool = Spool(str(job_dir / layout.OUTPUT), 1 << 20)
    spool.write(b"hello\n")
    spool.close()

    assert spool.bytes_total == 6
    assert "stands where a directory should be" in str(spool.error)
    tail = output.read_tail(SpoolFiles(job_dir / layout.OUTPUT), lines=9)
    assert "The output cannot be read" in tail.text
    with pytest.raises(output.Unreadable, match="stands where a directory should be"):
        output.grep_output(SpoolFiles(job_dir / layout.OUTPUT), pattern="x", lines=1)
    assert _untouched(job_dir)


@pytest.mark.parametrize("kind", [k for k in KINDS if k not in ("nothing", "sparse", "nested")])
def test_a_segment_that_is_no_file_is_not_shown(job_dir: Path, kind: str) -> None:
    spool = Spool(str(job_dir / layout.OUTPUT), 1 << 20)
    spool.write(b"hello\n")
    spool.close()
    planting.plant(job_dir, f"{layout.OUTPUT}/{segment_name(6, 1)}", kind)

    assert output.read_tail(SpoolFiles(job_dir / layout.OUTPUT), lines=9).text.startswith("hello\n")
    assert "do not touch" not in output.read_tail(SpoolFiles(job_dir / layout.OUTPUT), lines=9).text


def test_a_segment_that_was_made_longer_ends_where_the_next_begins(job_dir: Path) -> None:
    directory = job_dir / layout.OUTPUT
    directory.mkdir()
    (directory / segment_name(0, 0)).write_bytes(b"0123456789")
    (directory / segment_name(4, 0)).write_bytes(b"abcd\n")

    assert list_segments(directory) == [(0, 0, 4), (4, 0, 5)]
    assert OutputView(SpoolFiles(directory)).read(0, 9) == b"0123abcd\n"


def test_an_output_that_may_not_be_looked_into_says_so(
    job_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(str(job_dir / layout.OUTPUT), 1 << 20)
    spool.write(b"printed\n")
    spool.close()

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    # Whoever runs the tests may be allowed everything.
    with monkeypatch.context() as patch:
        patch.setattr(os, "stat", refuse)
        shown = output.read_tail(SpoolFiles(job_dir / layout.OUTPUT), lines=9)
        recent = output.read_recent(SpoolFiles(job_dir / layout.OUTPUT), limit_bytes=99)
    assert "a directory that may not be looked into stands where" in shown.text
    assert recent == b""


async def test_a_job_that_locks_its_directories_is_taken_over_all_the_same(tmp_path: Path) -> None:
    executor = local_executor_of(Settings(home=tmp_path), _forgotten, InProcessBus())
    job_dir = tmp_path / "jobs" / STARTED.id
    (job_dir / layout.OUTPUT).mkdir(parents=True)
    for path in (job_dir / layout.OUTPUT, job_dir):
        path.chmod(0o400)
    await executor.attach(STARTED)
    modes = [path.stat().st_mode & 0o777 for path in (job_dir, job_dir / layout.OUTPUT)]
    assert modes == [layout.PRIVATE_DIR] * 2


def test_an_output_of_very_many_files_is_none(job_dir: Path) -> None:
    directory = job_dir / layout.OUTPUT
    directory.mkdir()
    for number in range(5000):
        (directory / segment_name(number, 0)).touch()

    with pytest.raises(output.Unreadable, match="4096 files or more stands where an output should"):
        SpoolFiles(directory).segments()


def test_a_file_of_10_gb_is_read_in_parts(job_dir: Path) -> None:
    directory = job_dir / layout.OUTPUT
    planting.plant(job_dir, f"{layout.OUTPUT}/{segment_name(0, 0)}", "sparse")
    os.truncate(directory / segment_name(0, 0), planting.SPARSE_BYTES)
    view = OutputView(SpoolFiles(directory))
    sizes = [size for _, _, size in view.windows((0, 0, 1 << 26))]

    assert view.bytes_total == planting.SPARSE_BYTES
    assert (max(sizes), sum(sizes)) == (1 << 22, 1 << 26)


# -- following -----------------------------------------------------------------------------------


def _watched(job_dir: Path) -> tuple[Watch, AttemptReader]:
    size = OutputSize(job_dir / layout.OUTPUT)
    reader = AttemptReader(job_dir, size.source, pattern=None)
    return Watch("job", size, reader=reader, alive=lambda: runner_alive(job_dir)), reader


async def test_the_event_loop_waits_for_no_look(
    job_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look that hangs in a thread must not hold up who takes the progress."""
    watch, reader = _watched(job_dir)
    looking, go_on = anyio.Event(), anyio.Event()

    def hang(*_: object) -> None:
        anyio.from_thread.run_sync(looking.set)
        anyio.from_thread.run(go_on.wait)

    monkeypatch.setattr(Watch, "_look", hang)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(anyio.to_thread.run_sync, watch.look, 0.0)
            await looking.wait()
            assert reader.progress.take() is None
            go_on.set()


@pytest.mark.parametrize("kind", KINDS)
def test_a_look_is_over_whatever_stands_there(job_dir: Path, kind: str) -> None:
    planting.plant(job_dir, layout.CALL, "nested")
    watch, reader = _watched(job_dir)
    watch.look(0.0)
    for name in (layout.PROGRESS, layout.ALIVE, layout.ENV, layout.QUESTIONS, layout.OUTPUT):
        planting.plant(job_dir, name, kind)

    watch.last_look(1.0)
    watch.may_differ()
    watch.may_have_grown()

    assert reader.progress.take() is None


class _Recorded(SpoolFiles):
    """Remembers how much was asked for at once."""

    largest = 0

    def read(self, segment: Segment, start: int, size: int) -> bytes:
        self.largest = max(self.largest, size)
        return super().read(segment, start, size)


@pytest.mark.parametrize("name", [segment_name(0, 0), segment_name(10**9, 7)])
@pytest.mark.parametrize("reading", ["tail", "after", "grep", "excerpt"])
def test_of_an_output_that_a_job_made_longer_no_reader_holds_more_than_a_window(
    tmp_path: Path, name: str, reading: str
) -> None:
    length = 256 << 20
    (tmp_path / name).touch()
    os.truncate(tmp_path / name, length)
    source = _Recorded(tmp_path)
    if reading == "tail":
        slices.read_tail(source, lines=1000)
    elif reading == "after":
        slices.read_after(source, cursor=0)
    elif reading == "grep":
        search.grep_output(source, pattern="x", lines=1, timeout_s=60)
    else:
        read_excerpt(source, failed=True, limit_bytes=8192)
    assert 0 < source.largest <= length // 32
