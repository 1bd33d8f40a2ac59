"""When a job printed last is told from its newest segment, which seldom is another one."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Final

import pytest

from mcp_jobs.execution import spool_reader
from mcp_jobs.execution.launcher.spool import newest_segment, segment_name
from mcp_jobs.execution.spool_reader import SpoolFiles

if TYPE_CHECKING:
    from pathlib import Path

LONG_AGO_MS: Final = 1_700_000_000_000


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The directories that were listed."""
    found: list[str] = []

    def counted(directory: str) -> str:
        found.append(directory)
        return newest_segment(directory)

    monkeypatch.setattr(spool_reader, "newest_segment", counted)
    return found


def dated(path: Path, time_ms: int) -> None:
    os.utime(path, ns=(time_ms * 1_000_000,) * 2)


def printed(directory: Path, offset: int, at_ms: int) -> None:
    path = directory / segment_name(offset, 0)
    path.touch()
    dated(path, at_ms)


def test_a_segment_that_grows_is_followed_without_a_listing(
    tmp_path: Path, listings: list[str]
) -> None:
    seen = []
    for at_ms in (LONG_AGO_MS, LONG_AGO_MS + 5000):
        printed(tmp_path, 0, at_ms)
        dated(tmp_path, LONG_AGO_MS)
        seen.append(SpoolFiles(tmp_path).printed_at_ms())

    assert seen == [LONG_AGO_MS, LONG_AGO_MS + 5000]
    assert len(listings) == 1


def test_the_next_segment_is_found_when_the_directory_has_changed(tmp_path: Path) -> None:
    seen = []
    for number in range(3):
        printed(tmp_path, 100 * number, LONG_AGO_MS + number)
        dated(tmp_path, LONG_AGO_MS + number)
        seen.append(SpoolFiles(tmp_path).printed_at_ms())

    assert seen == [LONG_AGO_MS, LONG_AGO_MS + 1, LONG_AGO_MS + 2]


def test_two_segments_of_one_tick_of_the_clock_are_told_apart(tmp_path: Path) -> None:
    now_ms = time.time_ns() // 1_000_000
    seen = []
    for number in range(2):
        printed(tmp_path, 100 * number, LONG_AGO_MS + number)
        dated(tmp_path, now_ms)
        seen.append(SpoolFiles(tmp_path).printed_at_ms())

    assert seen == [LONG_AGO_MS, LONG_AGO_MS + 1]


def test_what_was_never_printed_or_is_gone_has_no_time(tmp_path: Path) -> None:
    assert SpoolFiles(tmp_path / "none").printed_at_ms() is None
    printed(tmp_path, 0, LONG_AGO_MS)
    dated(tmp_path, LONG_AGO_MS)
    assert SpoolFiles(tmp_path).printed_at_ms() == LONG_AGO_MS
    (tmp_path / segment_name(0, 0)).unlink()
    assert SpoolFiles(tmp_path).printed_at_ms() is None
