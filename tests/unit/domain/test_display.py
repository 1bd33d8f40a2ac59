"""No character of what others wrote is obeyed or hidden where it is shown."""

from __future__ import annotations

import io
import json
import logging
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_jobs.domain import display
from mcp_jobs.interfaces.log_format import Formatter

_JOINERS = "\u200c\u200d"
_SIGNS_WITH_A_SHAPE = "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2"


def _obeyed(character: str) -> bool:
    kind = unicodedata.category(character)
    return (
        kind in ("Cc", "Cs", "Zl", "Zp")
        or (kind == "Cf" and character not in _JOINERS + _SIGNS_WITH_A_SHAPE)
    )  # fmt: skip


OBEYED = [chr(point) for point in range(sys.maxunicode + 1) if _obeyed(chr(point))]
WHOLE = [c for c in OBEYED if unicodedata.category(c) != "Cs"]
"""Halves of a pair become one character where they meet in JSON."""


def test_every_character_that_is_obeyed_is_written_out_in_a_line() -> None:
    assert not [c for c in OBEYED if not display.line(c).isprintable()]


def test_lines_keep_their_ends_and_tabs_alone() -> None:
    kept = [c for c in OBEYED if display.lines(c) == c]
    assert kept == ["\t", "\n"]


def test_a_blank_stands_for_each_in_a_line_of_output() -> None:
    assert display.blanked("".join(OBEYED)).strip(" ") == ""


@pytest.mark.parametrize(
    "text", ["plain", "Grüße 你好 😀", "👩\u200d💻", "می\u200cخواهم", "a b", ""]
)
def test_what_is_only_seen_stays(text: str) -> None:
    assert (display.line(text), display.lines(text), display.blanked(text)) == (text,) * 3


@given(st.text() | st.lists(st.text(st.sampled_from(WHOLE))))
def test_json_means_the_same_and_obeys_nothing(value: object) -> None:
    written = display.json_line(value)
    assert json.loads(written) == value
    assert not [c for c in written if _obeyed(c)]


def test_a_log_line_moves_no_cursor() -> None:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(Formatter("mcp-jobs: %(message)s"))
    record = logging.LogRecord("x", logging.WARNING, "x", 1, "file %s", ("\x1b[2J\u202e",), None)
    handler.handle(record)
    assert stream.getvalue() == "mcp-jobs: file \\u001b[2J\\u202e\n"
