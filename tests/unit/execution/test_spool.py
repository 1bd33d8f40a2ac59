"""The spool keeps a head and a tail under its cap, and its errors never stop a job."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mcp_jobs.execution.launcher.spool import Spool, list_segments
from mcp_jobs.execution.spool_reader import SpoolFiles
from mcp_jobs.output.view import OutputView

SEGMENT = 4096
SMALLEST_CAP = 4 * SEGMENT
CAP = 8 * SEGMENT

# Sizes around the borders of segments; the bytes are made from them, so that examples stay small.
_SIZES = st.lists(
    st.one_of(st.integers(0, 40), st.integers(SEGMENT - 2, SEGMENT + 2), st.integers(0, 3 * CAP)),
    max_size=7,
)
_CAPS = st.sampled_from([1, SEGMENT, SEGMENT + 1, 2 * SEGMENT, 10_000, CAP, CAP + 777])


_WHOLE = b"".join(b"%d\n" % n if n % 3 else b"%d " % n for n in range(120_000))


def _stream(size: int) -> bytes:
    """Return `size` bytes in which each place can be told, with a newline now and then."""
    assert size <= len(_WHOLE)
    return _WHOLE[:size]


def _chunks(sizes: list[int]) -> Iterator[bytes]:
    data = _stream(sum(sizes))
    start = 0
    for size in sizes:
        yield data[start : start + size]
        start += size


def _kept(directory: Path) -> list[tuple[int, bytes]]:
    view = OutputView(SpoolFiles(directory))
    return [(first, view.read(first, last)) for first, last in view.runs]


def _size_on_disk(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.glob("*"))


@settings(max_examples=60, deadline=None)
@given(_SIZES, _CAPS, st.sets(st.integers(0, 7)))
def test_head_and_tail_are_kept_exactly_and_the_disk_use_is_bounded(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int], cap: int, reopened: set[int]
) -> None:
    directory = tmp_path_factory.mktemp("spool") / "output"
    spool = Spool(str(directory), cap)
    for index, chunk in enumerate(_chunks(sizes)):
        spool.write(chunk)
        assert _size_on_disk(directory) <= max(cap, SMALLEST_CAP)
        if index in reopened:
            spool.close()
            spool = Spool(str(directory), cap)
    spool.close()
    _assert_true(spool, directory, _stream(sum(sizes)), cap)


def _assert_true(spool: Spool, directory: Path, whole: bytes, cap: int) -> None:
    kept = _kept(directory)
    assert all(whole[start : start + len(data)] == data for start, data in kept)
    assert spool.error is None
    assert spool.bytes_total == len(whole)
    assert spool.lines_total == len(whole.splitlines())
    assert spool.dropped_bytes == len(whole) - sum(len(data) for _, data in kept)
    cap = max(cap, SMALLEST_CAP)
    if len(whole) <= cap:
        assert b"".join(data for _, data in kept) == whole
    else:
        assert kept[0][0] == 0
        assert len(kept[0][1]) > cap // 2 - SEGMENT
        assert kept[-1][0] <= len(whole) - (cap // 2 - 2 * SEGMENT)
        assert kept[-1][0] + len(kept[-1][1]) == len(whole)


@settings(max_examples=30, deadline=None)
@given(_SIZES)
def test_names_carry_the_offset_and_the_newlines_before(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int]
) -> None:
    directory = tmp_path_factory.mktemp("spool")
    spool = Spool(str(directory), CAP)
    for chunk in _chunks(sizes):
        spool.write(memoryview(chunk))
    spool.close()
    whole = _stream(sum(sizes))
    starts = [start for start, _, _ in list_segments(directory)]
    names = {f"{start:016d}-{whole[:start].count(10):012d}" for start in starts}
    assert {path.name for path in directory.iterdir()} == names
    assert all(int(name[:16]) % SEGMENT == 0 for name in names)


def test_the_smallest_cap_keeps_a_head_and_a_tail(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), 1)
    whole = _stream(10 * SEGMENT + 1)
    spool.write(whole)
    spool.close()
    assert _kept(tmp_path) == [(0, whole[: 2 * SEGMENT]), (9 * SEGMENT, whole[9 * SEGMENT :])]
    assert spool.dropped_bytes == 7 * SEGMENT


def test_only_the_user_can_read_the_files(tmp_path: Path) -> None:
    old_umask = os.umask(0)
    try:
        spool = Spool(str(tmp_path / "output"), CAP)
        spool.write(b"x")
        spool.close()
    finally:
        os.umask(old_umask)
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "output").iterdir()]
    assert stat.S_IMODE((tmp_path / "output").stat().st_mode) == 0o700
    assert modes == [0o600]


def test_an_empty_write_and_a_second_close_change_nothing(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), CAP)
    spool.write(b"")
    spool.sync()
    spool.close()
    spool.close()
    assert list(tmp_path.iterdir()) == []
    assert (spool.bytes_total, spool.lines_total, spool.dropped_bytes) == (0, 0, 0)


def test_a_last_line_without_newline_is_counted(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), CAP)
    spool.write(b"one\ntwo")
    spool.close()
    assert spool.lines_total == 2
    resumed = Spool(str(tmp_path), CAP)
    assert (resumed.bytes_total, resumed.lines_total) == (7, 2)
    resumed.write(b"\n")
    resumed.sync()
    resumed.close()
    assert resumed.lines_total == 2


def test_files_with_other_names_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "notes").write_bytes(b"mine")
    (tmp_path / "0000000000000000-x").write_bytes(b"mine")
    (tmp_path / ("0" * 17 + "-" + "0" * 12)).write_bytes(b"mine")
    spool = Spool(str(tmp_path), CAP)
    assert spool.bytes_total == 0
    spool.write(_stream(3 * CAP))
    spool.close()
    assert (tmp_path / "notes").read_bytes() == b"mine"


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole_write = os.write

    def short_write(fd: int, data: memoryview) -> int:
        return whole_write(fd, data[:1000])

    monkeypatch.setattr(os, "write", short_write)
    spool = Spool(str(tmp_path), CAP)
    spool.write(_stream(CAP))
    monkeypatch.undo()
    spool.close()
    assert _kept(tmp_path) == [(0, _stream(CAP))]


def test_a_directory_that_cannot_be_made_is_an_error_and_everything_is_lost(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    spool = Spool(str(tmp_path / "file" / "output"), CAP)
    spool.write(b"one\n")
    spool.sync()
    spool.close()
    assert spool.error == "ENOTDIR"
    assert (spool.bytes_total, spool.lines_total, spool.dropped_bytes) == (4, 1, 4)
