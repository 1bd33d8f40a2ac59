"""The progress file: what is read, what is clamped and what is passed over."""

from __future__ import annotations

import json

import pytest

from mcp_jobs.output.progress import ProgressFileParser, Reading
from mcp_jobs.output.progress.explicit import LINE_MAX_BYTES


def fed(*chunks: bytes) -> Reading | None:
    parser = ProgressFileParser()
    last: Reading | None = None
    for chunk in chunks:
        last = parser.feed(chunk) or last
    return last


def test_a_full_line_is_read() -> None:
    line = b'{"current": 23, "total": 47, "message": "checking"}\n'
    assert fed(line) == Reading(current=23, total=47, message="checking")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        (b'{"percent": 40}', Reading(percent=40)),
        (b'{"message": "linking"}', Reading(message="linking")),
        (b'{"current": 5}', Reading(current=5)),
        (b'{"total": 5}', Reading(total=5)),
        (b'{"current": 1.5, "total": 3.0}', Reading(current=1.5, total=3)),
        (b'{"percent": 140}', Reading(percent=100)),
        (b'{"current": 9, "total": 4}', Reading(current=4, total=4)),
        (b'{"current": 0, "total": 0}', Reading(current=0)),
        (b'{"percent": 10, "note": {"a": [1]}}', Reading(percent=10)),
        (b'  {"percent": 10}\r', Reading(percent=10)),
    ],
)
def test_any_subset_is_enough(line: bytes, expected: Reading) -> None:
    assert fed(line + b"\n") == expected


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"not json",
        b"{",
        b"[1, 2]",
        b"40",
        b'"40"',
        b"null",
        b"{}",
        b'{"percent": NaN}',
        b'{"percent": Infinity}',
        b'{"percent": 1e999}',
        b'{"current": 1' + b"0" * 400 + b"}",
        b'{"current": 1' + b"0" * 5000 + b"}",
        b'{"current": -1}',
        b'{"percent": -0.1}',
        b'{"total": 0}',
        b'{"percent": true}',
        b'{"current": "23"}',
        b'{"current": [1]}',
        b'{"current": {"value": 1}}',
        b'{"message": 5}',
        b'{"message": "\\u0007 \\n"}',
        b'{"percent": 40, "message": "\xff"}',
        b"[" * 8000,
        b'{"a":' * 1500,
        '{"percent": 40}'.encode("utf-16"),
        b'{"percent": 40, "message": "' + b"x" * 10_000_000 + b'"}',
    ],
)
def test_nonsense_is_passed_over(line: bytes) -> None:
    assert fed(line + b"\n") is None
    assert fed(line + b'\n{"percent": 7}\n') == Reading(percent=7)


def test_an_unfinished_line_waits_for_its_newline() -> None:
    parser = ProgressFileParser()
    assert parser.feed(b'{"percent"') is None
    assert parser.feed(b": 12}") is None
    assert parser.feed(b"\n") == Reading(percent=12)


def test_an_endless_line_is_not_buffered() -> None:
    parser = ProgressFileParser()
    for _ in range(1000):
        parser.feed(b" " * LINE_MAX_BYTES)
    kept = [value for value in vars(parser).values() if isinstance(value, bytes)]
    assert sum(map(len, kept)) <= LINE_MAX_BYTES
    assert parser.feed(b'\n{"percent": 3}\n') == Reading(percent=3)


def test_later_lines_are_merged_over_earlier_ones() -> None:
    lines = b'{"current": 1, "total": 9, "message": "a"}\n{"current": 2}\n{"message": "b"}\n'
    assert fed(lines) == Reading(current=2, total=9, message="b")


def test_a_percentage_and_a_count_replace_each_other() -> None:
    count, percent = b'{"current": 1, "total": 9}\n', b'{"percent": 60}\n'
    assert fed(count, percent) == Reading(percent=60)
    assert fed(percent, count) == Reading(current=1, total=9)


def test_bytes_without_a_valid_line_give_nothing_new() -> None:
    parser = ProgressFileParser()
    assert parser.feed(b'{"percent": 1}\n') is not None
    assert parser.feed(b"nonsense\n") is None


def test_a_message_becomes_one_safe_short_line() -> None:
    text = "a\r\nb\t\x1b[31mred\x1b[0m\x00\x9b\ud800\u202e\u2028z" + "ä" * 300
    reading = fed(json.dumps({"message": text}).encode() + b"\n")
    assert reading is not None
    assert reading.message is not None
    assert reading.message.startswith("a b red zä")
    assert len(reading.message) == 200
    assert reading.message.encode()
