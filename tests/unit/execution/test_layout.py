"""The files that servers and runners share are whole, private and locked as they say."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import stat
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_jobs.execution import job_directory
from mcp_jobs.execution.launcher import exit_record, layout, stop_notice

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mcp_jobs.execution.launcher.exit_record import ExitRecord

_JSON = st.dictionaries(
    st.text(max_size=5),
    st.one_of(st.none(), st.integers(), st.text(max_size=9), st.lists(st.booleans(), max_size=3)),
    max_size=4,
)


# -- JSON files ----------------------------------------------------------------------------------


@given(_JSON)
def test_what_is_written_is_read(
    tmp_path_factory: pytest.TempPathFactory, value: dict[str, Any]
) -> None:
    path = str(tmp_path_factory.mktemp("layout") / "file")
    layout.write_json(path, value)

    assert layout.read_json(path) == value


def test_bytes_that_are_no_text_survive(tmp_path: Path) -> None:
    value = {"cwd": os.fsdecode(b"/tmp/\xff\xfe")}
    layout.write_json(str(tmp_path / "file"), value)

    assert layout.read_json(str(tmp_path / "file")) == value


def test_a_written_file_is_private_and_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        layout.write_json(str(tmp_path / "file"), {"a": 1})
    finally:
        os.umask(before)

    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o600


def test_an_exit_record_is_told_of_when_written_and_synced_before_its_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[str] = []
    sync = os.fsync

    def fsync(fd: int) -> None:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            steps.append("directory")
        else:
            steps.append(f"content of {len(layout.read_lines(str(tmp_path)))}")
        sync(fd)

    monkeypatch.setattr(os, "fsync", fsync)
    fd = layout.lock_file(str(tmp_path / layout.ALIVE), wait=False)
    assert fd is not None
    exit_record.write(str(tmp_path), fd, _record(1), written=lambda: steps.append("told"))
    os.close(fd)

    assert steps == ["told", "content of 1", "directory"]


def test_a_reader_sees_the_old_or_the_new_and_nothing_between(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    values = [{"text": letter * 100_000} for letter in "ab"]
    layout.write_json(path, values[0])
    done = threading.Event()

    def write() -> None:
        for number in range(300):
            layout.write_json(path, values[number % 2])
        done.set()

    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(write)
        while not done.is_set() and not writing.done():
            assert layout.read_json(path) in values
        writing.result()


def test_threads_that_write_the_same_file_do_not_meet(tmp_path: Path) -> None:
    path = str(tmp_path / "stop")

    def write(number: int) -> None:
        for _ in range(100):
            layout.write_json(path, {"number": number})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, range(8)))

    found = layout.read_json(path)
    assert found is not None
    assert found["number"] in range(8)
    assert os.listdir(tmp_path) == ["stop"]


def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(tmp_path / "file")
    layout.write_json(path, {"a": 1})

    def full(fd: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(layout, "write_all", full)
    with pytest.raises(OSError, match="No space left"):
        layout.write_json(path, {"a": 2})

    assert layout.read_json(path) == {"a": 1}


@pytest.mark.parametrize("text", [b"", b"{", b"[1]", b"7", b"null", b"\xff", b'{"a": 1} x'])
def test_what_is_no_whole_object_is_as_good_as_absent(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "file").write_bytes(text)

    assert layout.read_json(str(tmp_path / "file")) is None


def test_an_absent_file_is_none(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    assert layout.read_json(str(tmp_path / "nothing")) is None
    assert layout.read_json(str(tmp_path / "file" / "below")) is None


def test_a_short_write_is_continued(monkeypatch: pytest.MonkeyPatch) -> None:
    read_fd, write_fd = os.pipe()
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: write(fd, bytes(data)[:3]))
    layout.write_all(write_fd, b"0123456789")
    monkeypatch.undo()
    os.close(write_fd)
    with os.fdopen(read_fd, "rb") as file:
        assert file.read() == b"0123456789"


# -- locks ---------------------------------------------------------------------------------------


def test_a_free_lock_can_be_taken(tmp_path: Path) -> None:
    path = str(tmp_path / "alive")
    fd = layout.lock_file(path, wait=False)
    assert fd is not None
    try:
        assert layout.is_locked(path) is True
        assert stat.S_IMODE(os.stat(path).st_mode) == 0o600
        assert os.get_inheritable(fd) is False
    finally:
        os.close(fd)
    assert layout.is_locked(path) is False


def test_an_absent_file_is_not_locked_and_not_made(tmp_path: Path) -> None:
    assert layout.is_locked(str(tmp_path / "alive")) is False
    assert os.listdir(tmp_path) == []


def test_observers_do_not_see_one_another(tmp_path: Path) -> None:
    path = tmp_path / "alive"
    path.touch()
    with ThreadPoolExecutor(8) as pool:
        seen = list(pool.map(lambda _: layout.is_locked(str(path)), range(2000)))

    assert not any(seen)


# -- the fence -----------------------------------------------------------------------------------


def _fence(directory: Path) -> int | None:
    with layout.fence_lock(str(directory)):
        return layout.read_fence(str(directory))


def test_an_absent_fence_admits_every_token(tmp_path: Path) -> None:
    assert _fence(tmp_path) == 0


@given(tokens=st.lists(st.integers(0, 2**62), min_size=1, max_size=5))
def test_the_fence_is_the_highest_token_and_never_falls(
    tmp_path_factory: pytest.TempPathFactory, tokens: list[int]
) -> None:
    directory = tmp_path_factory.mktemp("fence")
    for count, token in enumerate(tokens, 1):
        layout.raise_fence(str(directory), token)
        assert _fence(directory) == max(tokens[:count])


def _is_locked(directory: Path) -> bool:
    fd = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def test_raising_the_fence_waits_for_whoever_reads_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        with layout.fence_lock(str(tmp_path)):
            raising = pool.submit(layout.raise_fence, str(tmp_path), 5)
            assert _is_locked(tmp_path)
            assert layout.read_fence(str(tmp_path)) == 0
        raising.result(timeout=20)

    assert _fence(tmp_path) == 5


@pytest.mark.parametrize("text", [b"", b"?", b"-1", b"1 2", b"\0" * 21, b"x" * 30])
def test_a_fence_that_is_no_number_tells_nothing_and_is_raised_all_the_same(
    tmp_path: Path, text: bytes
) -> None:
    (tmp_path / layout.FENCE).write_bytes(text)
    assert _fence(tmp_path) is None

    layout.raise_fence(str(tmp_path), 3)

    assert _fence(tmp_path) == 3


def test_many_that_raise_the_fence_at_once_leave_the_highest(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda token: layout.raise_fence(str(tmp_path), token), range(200)))

    assert _fence(tmp_path) == 199


# -- identities ----------------------------------------------------------------------------------


def _record(token: int, **fields: Any) -> ExitRecord:
    numbers = ("finished_at_ms", "cpu_s", "memory_peak_bytes", "bytes_total", "dropped_bytes")
    return cast(
        "ExitRecord",
        {"token": token, **dict.fromkeys((*numbers, "output_start"), 0), "error": None, **fields},
    )


def _write(directory: Path, alive_fd: int, ended: ExitRecord) -> None:
    exit_record.write(str(directory), alive_fd, ended, written=lambda: None)


def _add(directory: Path, text: bytes) -> None:
    with (directory / layout.ALIVE).open("ab") as file:
        file.write(text)


@pytest.fixture
def alive_fd(tmp_path: Path) -> Iterator[int]:
    fd = layout.lock_file(str(tmp_path / layout.ALIVE), wait=False)
    assert fd is not None
    yield fd
    os.close(fd)


def _identity(token: int) -> dict[str, Any]:
    return {"token": token, "attempt": 1, "output_start": 0, "job_pid": None}


def test_the_newest_whole_identity_is_read(tmp_path: Path, alive_fd: int) -> None:
    assert layout.read_identity(str(tmp_path)) is None
    for token in (1, 2):
        layout.add_line(alive_fd, _identity(token))
        assert layout.read_identity(str(tmp_path)) == _identity(token)
    # A runner that was killed while it wrote.
    _add(tmp_path, b'{"token": 3')
    assert layout.read_identity(str(tmp_path)) == _identity(2)
    layout.add_line(alive_fd, _identity(4))

    assert layout.read_identity(str(tmp_path)) == _identity(4)


def test_an_absent_file_has_no_lines(tmp_path: Path) -> None:
    assert layout.read_lines(str(tmp_path)) == []
    assert layout.read_lines(str(tmp_path / "nowhere")) == []


def test_records_are_found_by_their_token_between_identities(tmp_path: Path, alive_fd: int) -> None:
    for token in (1, 2):
        layout.add_line(alive_fd, _identity(token), room_bytes=exit_record.ROOM_BYTES)
        assert exit_record.read(str(tmp_path), token) is None
        _write(tmp_path, alive_fd, _record(token, signal=9))
        assert layout.read_identity(str(tmp_path)) == _identity(token)

    assert exit_record.read(str(tmp_path), 1) == _record(1, signal=9)
    assert exit_record.read(str(tmp_path), 2) == _record(2, signal=9)
    assert exit_record.read(str(tmp_path), 3) is None


def test_a_record_of_which_a_part_was_written_is_none(tmp_path: Path, alive_fd: int) -> None:
    layout.add_line(alive_fd, {"token": 1}, room_bytes=exit_record.ROOM_BYTES)
    used = layout.used_bytes(alive_fd)
    whole = json.dumps({layout.EXIT: _record(1)}).encode()
    for length in range(1, len(whole) + 1):
        os.pwrite(alive_fd, whole[:length], used)
        assert exit_record.read(str(tmp_path), 1) is None
    os.ftruncate(alive_fd, used)
    _write(tmp_path, alive_fd, _record(1))

    assert exit_record.read(str(tmp_path), 1) == _record(1)


def test_a_record_takes_no_more_space_than_was_kept_for_it(tmp_path: Path, alive_fd: int) -> None:
    identity = {"token": 1, "boot_id": "b" * 400}
    layout.add_line(alive_fd, identity, room_bytes=exit_record.ROOM_BYTES)
    before = os.fstat(alive_fd)
    layout.add_line(alive_fd, identity)
    _write(tmp_path, alive_fd, _record(1, error="\U0001f600" * 5000))
    after = os.fstat(alive_fd)

    assert (after.st_size, after.st_blocks) == (before.st_size, before.st_blocks)
    written = exit_record.read(str(tmp_path), 1)
    assert written is not None
    assert str(written["error"]).endswith("\U0001f600\u2026")


@given(
    st.lists(
        st.tuples(
            st.dictionaries(st.text(), st.text() | st.integers(), min_size=1),
            st.integers(0, 5000),
            st.binary(max_size=20).map(lambda torn: torn.replace(b"\n", b"") + b"{"),
        )
    )
)
def test_lines_are_read_as_they_were_added_whatever_was_torn_between(
    tmp_path_factory: pytest.TempPathFactory, added: list[tuple[dict[str, Any], int, bytes]]
) -> None:
    directory = tmp_path_factory.mktemp("lines")
    fd = layout.lock_file(str(directory / layout.ALIVE), wait=False)
    assert fd is not None
    for line, room_bytes, torn in added:
        layout.add_line(fd, line, room_bytes=room_bytes)
        os.pwrite(fd, torn, layout.used_bytes(fd))
    os.close(fd)

    assert layout.read_lines(str(directory)) == [line for line, _, _ in added]


# -- the notice ------------------------------------------------------------------------------------


@pytest.mark.parametrize("notify", [True, False], ids=["told by the system", "rung"])
def test_an_order_wakes_whoever_waits_for_its_notice(tmp_path: Path, *, notify: bool) -> None:
    heard: list[int] = []
    before = signal.signal(signal.SIGIO, lambda number, _: heard.append(number))
    notice = stop_notice.StopNotice(str(tmp_path), notify=notify)
    try:
        job_directory.request_stop(tmp_path, reason="timeout", grace_s=1.0)
        if notice.fd is None:
            assert signal.SIGIO in heard
        else:
            assert os.read(notice.fd, 10) == b"!"
    finally:
        notice.close()
        signal.signal(signal.SIGIO, before)

    assert (notice.fd is None) == (notify and sys.platform == "linux")
    assert os.listdir(tmp_path) == [layout.STOP]


def test_an_order_that_the_clean_up_after_the_end_takes_away_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = os.replace

    def late(source: str, target: str, **options: int) -> None:
        job_directory.clean_after_end(tmp_path)
        replace(source, target, **options)

    monkeypatch.setattr(os, "replace", late)
    job_directory.request_stop(tmp_path, reason="cancelled_by_user", grace_s=1.0)

    assert os.listdir(tmp_path) == []


def test_an_order_for_a_job_that_has_no_runner_is_only_written_down(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / layout.NOTICE)
    job_directory.request_stop(tmp_path, reason="timeout", grace_s=1.0)

    assert layout.read_stop(str(tmp_path)) == ("timeout", 1.0)


# -- the order to stop ---------------------------------------------------------------------------


@given(grace_s=st.floats(0, layout.STOP_GRACE_LIMIT_S))
def test_an_order_to_stop_is_read_as_it_was_given(
    tmp_path_factory: pytest.TempPathFactory, grace_s: float
) -> None:
    directory = str(tmp_path_factory.mktemp("stop"))
    assert layout.read_stop(directory) is None
    layout.order_stop(directory, "timeout", 5.0)
    layout.order_stop(directory, "cancelled_by_user", grace_s)

    assert layout.read_stop(directory) == ("cancelled_by_user", grace_s)
    assert os.listdir(directory) == [layout.STOP]
