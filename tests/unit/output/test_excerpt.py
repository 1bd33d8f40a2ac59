"""An excerpt says what failed, and shows the beginning and the end, within its limit."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mcp_jobs.execution.launcher.spool import Spool
from mcp_jobs.execution.spool_reader import SpoolFiles
from mcp_jobs.output import Excerpt, read_excerpt, read_failing

if TYPE_CHECKING:
    from pathlib import Path

LIMIT = 8192
LONG = "".join(f"line {number}\n" for number in range(5000))


def excerpt(directory: Path, text: str, *, failed: bool = True) -> Excerpt:
    spool = Spool(str(directory), 1 << 20)
    spool.write(text.encode())
    spool.close()
    return read_excerpt(SpoolFiles(str(directory)), failed=failed, limit_bytes=LIMIT)


def test_a_short_output_is_whole_and_in_order(tmp_path: Path) -> None:
    found = excerpt(tmp_path, "one\ntwo\n")
    assert found.output.text == "one\ntwo\n"
    assert found.output.truncated is False
    # Nothing looks like a failure: the end is the best guess, and is not called one.
    assert (found.failing, found.ending) == ("", "one\ntwo")


def test_the_last_lines_are_the_last_that_fit(tmp_path: Path) -> None:
    found = excerpt(tmp_path, LONG + "".join(f"{number}{'x' * 1200}\n" for number in range(12)))
    assert found.ending.endswith("11" + "x" * 1200)
    assert found.ending.startswith("10x")
    assert found.failing == ""


def test_what_completed_has_no_failing_part(tmp_path: Path) -> None:
    found = excerpt(tmp_path, "error: not at all\n" + LONG, failed=False)
    assert (found.failing, found.ending) == ("", "")
    assert found.output.text.startswith("error: not at all\nline 0\n")


@pytest.mark.parametrize(
    "said",
    [
        "=========== FAILURES ===========\nE   assert 1 == 2",
        "Traceback (most recent call last):\n  ValueError: x",
        "src/main.rs:3:5: error[E0308]: mismatched types",
        "main.c:7:1: fatal error: no.h: No such file",
        "npm ERR! code 1",
        "thread 'main' panicked at src/lib.rs:1",
        "sh: 1: nope: not found",
    ],
)
def test_the_failing_part_is_found_and_is_not_said_twice(tmp_path: Path, said: str) -> None:
    found = excerpt(tmp_path, f"{LONG}{said}\n{LONG}")
    first = said.split("\n", maxsplit=1)[0]
    assert first in found.failing
    assert first not in found.output.text
    assert found.ending == ""
    assert read_failing(SpoolFiles(str(tmp_path)), limit_bytes=LIMIT // 3) == found.failing


def test_a_long_output_keeps_to_the_limit_and_says_what_is_left_out(tmp_path: Path) -> None:
    found = excerpt(tmp_path, LONG + "error: here\n" + LONG)
    text = found.output.text
    assert len(text.encode()) <= LIMIT
    assert found.output.truncated is True
    assert text.index("line 0\n") < text.index("left out") < text.rindex("line 4999\n")
    assert found.output.lines_total == 10_001
    # But for the line that says what is left out.
    assert found.output.lines_shown == len(text.splitlines()) - 1
    assert text.endswith("line 4999\n")
    assert found.output.next_cursor == found.output.bytes_total
