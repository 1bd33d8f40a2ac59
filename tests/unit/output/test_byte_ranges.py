"""The raw bytes of an output are shown as they were kept, and a loss is stated."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_jobs.execution.launcher.spool import Spool
from mcp_jobs.execution.spool_reader import SpoolFiles
from mcp_jobs.output.byte_ranges import read_raw, tail_start
from mcp_jobs.output.view import OutputView

CAP = 8 * 4096


def _write(directory: Path, data: bytes) -> Path:
    spool = Spool(str(directory), CAP)
    spool.write(data)
    spool.close()
    return directory


def _all(directory: Path, start: int = 0, limit_bytes: int = 1000) -> tuple[bytes, int]:
    data, lost, cursor = b"", 0, start
    piece = read_raw(SpoolFiles(directory), cursor, limit_bytes)
    while piece.data:
        data, lost, cursor = data + piece.data, lost + piece.lost_bytes, piece.next_cursor
        piece = read_raw(SpoolFiles(directory), cursor, limit_bytes)
    return data, lost


def test_all_kept_bytes_come_and_the_loss_is_counted(tmp_path: Path) -> None:
    text = b"".join(b"%06d \x1b[31m\r\n" % n for n in range(20_000))
    view = OutputView(SpoolFiles(_write(tmp_path / "o", text)))
    data, lost = _all(tmp_path / "o")

    assert (len(data), lost) == (view.kept_bytes, len(text) - view.kept_bytes)
    assert lost > 0
    assert text.startswith(data[:4096])
    assert text.endswith(data[-4096:])


def test_a_missing_output_is_empty(tmp_path: Path) -> None:
    assert _all(tmp_path / "none") == (b"", 0)
    assert tail_start(SpoolFiles(tmp_path / "none"), 3) == 0


@given(
    lines=st.lists(st.binary(max_size=9).map(lambda b: b.replace(b"\n", b"")), max_size=9),
    count=st.integers(0, 10),
    open_end=st.booleans(),
)
def test_the_last_lines_begin_where_they_do(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], count: int, open_end: bool
) -> None:
    whole = [line + b"\n" for line in lines]
    if open_end and whole:
        whole[-1] = lines[-1] or b"x"
    directory = _write(tmp_path_factory.mktemp("o") / "o", b"".join(whole))

    wanted = b"".join(whole[len(whole) - min(count, len(whole)) :])
    assert _all(directory, tail_start(SpoolFiles(directory), count))[0] == wanted


def test_the_last_lines_may_lie_on_both_sides_of_a_loss(tmp_path: Path) -> None:
    _write(tmp_path / "o", b"first\n" + b"x" * 100_000 + b"\nlast\n")
    assert _all(tmp_path / "o", tail_start(SpoolFiles(tmp_path / "o"), 1))[0] == b"last\n"
    data, lost = _all(tmp_path / "o", tail_start(SpoolFiles(tmp_path / "o"), 3))
    assert lost > 0
    assert data.startswith(b"first\n")
