"""Readers see the last lines, what came after a cursor, and matches, whatever was dropped."""

from __future__ import annotations

import itertools
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mcp_jobs import output
from mcp_jobs.execution.launcher.spool import Spool
from mcp_jobs.execution.spool_reader import SpoolFiles
from mcp_jobs.output import (
    BadPattern,
    CursorPastEnd,
    OutputSlice,
    OutputStat,
    PatternTimeout,
    fold,
    grep_output,
    read_after,
    read_recent,
    read_tail,
    stat_output,
)
from mcp_jobs.output.view import OutputView

SEGMENT = 4096
CAP = 8 * SEGMENT
DROP = re.compile(r"\[\.\.\. (\d+) bytes dropped by the output cap \.\.\.\]\n")

_LINES = st.lists(
    st.one_of(st.integers(0, 60), st.integers(100, 9000)).map(lambda size: b"=" * size),
    max_size=30,
)
_PARTS = [
    *(b"plain", b".", b"\n", b"\r", b"\r\n", b"\b", b"\x00", b"\t", "äö€😀".encode()),
    *(b"\x1b[31mred\x1b[0m", b"\x1b[K", b"\x1b[2K", b"\x1b[9D"),
    *(b"\x1b]0;title\x07", b"\x1b]8;;x\x1b\\"),
]
_STREAMS = st.lists(st.sampled_from(_PARTS), max_size=60).map(b"".join)
_REPEATS = st.sampled_from([1, 2, 50, 300])


def _write(directory: Path, data: bytes, cap: int = CAP) -> Path:
    spool = Spool(str(directory), cap)
    spool.write(data)
    spool.close()
    return directory


def _numbered(count: int) -> bytes:
    return b"".join(b"line %d\n" % number for number in range(1, count + 1))


def _read_all(directory: Path, limit_bytes: int) -> list[OutputSlice]:
    slices = [read_after(SpoolFiles(directory), cursor=0, limit_bytes=limit_bytes)]
    while slices[-1].next_cursor < slices[-1].bytes_total:
        cursor = slices[-1].next_cursor
        slices.append(read_after(SpoolFiles(directory), cursor=cursor, limit_bytes=limit_bytes))
        assert slices[-1].next_cursor > cursor
    return slices


def _kept(directory: Path) -> list[tuple[int, bytes]]:
    view = OutputView(SpoolFiles(directory))
    return [(first, view.read(first, last)) for first, last in view.runs]


def test_a_missing_directory_is_an_empty_output(tmp_path: Path) -> None:
    missing = tmp_path / "none"
    empty = OutputSlice(
        text="",
        bytes_total=0,
        lines_total=0,
        lines_shown=0,
        first_cursor=0,
        next_cursor=0,
        dropped_bytes=0,
        truncated=False,
    )
    assert read_tail(SpoolFiles(missing), lines=10) == empty
    assert read_after(SpoolFiles(missing), cursor=0) == empty
    assert grep_output(SpoolFiles(missing), pattern="x", lines=10) == empty
    assert read_recent(SpoolFiles(missing), limit_bytes=10) == b""
    assert stat_output(SpoolFiles(missing)) == OutputStat(
        bytes_total=0, lines_total=0, dropped_bytes=0, size_on_disk_bytes=0
    )


@settings(max_examples=60, deadline=None)
@given(_LINES, st.sampled_from([2 * SEGMENT, CAP, 1 << 20]), st.integers(128, 20_000))
def test_reading_on_by_cursor_returns_exactly_the_kept_bytes(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], cap: int, limit: int
) -> None:
    directory = _write(tmp_path_factory.mktemp("out"), b"\n".join(lines), cap)
    slices = _read_all(directory, limit)
    assert all(len(part.text.encode()) <= limit for part in slices)
    text = "".join(part.text for part in slices)
    shown = DROP.split(text)[::2]
    kept = [data.decode() for _, data in _kept(directory)] or [""]
    assert shown[-1] == kept[-1]
    # The line that states a drop begins on a new line.
    assert [piece.rstrip("\n") for piece in shown] == [piece.rstrip("\n") for piece in kept]
    lost = sum(int(size) for size in DROP.split(text)[1::2])
    assert lost == slices[-1].dropped_bytes == stat_output(SpoolFiles(directory)).dropped_bytes


@settings(max_examples=150, deadline=None)
@given(_STREAMS, _REPEATS, st.integers(128, 1000))
@example(b"\x1b]0;", 1, 128)
@example(b"\x1b]0;title", 300, 128)
@example(b"\xe2\x82", 1, 128)
def test_every_slice_shows_the_bytes_between_its_cursors(
    tmp_path_factory: pytest.TempPathFactory, stream: bytes, repeats: int, limit: int
) -> None:
    data = stream * repeats
    directory = _write(tmp_path_factory.mktemp("out"), data, 1 << 20)
    slices = [
        *_read_all(directory, limit),
        read_tail(SpoolFiles(directory), lines=20, limit_bytes=limit),
    ]
    for part in slices:
        raw = data[part.first_cursor : part.next_cursor]
        assert part.text == fold(raw.decode("utf-8", "replace"))
        assert len(part.text.encode()) <= limit
    borders = [(part.first_cursor, part.next_cursor) for part in slices[:-1]]
    assert [0, *(end for _, end in borders)][:-1] == [start for start, _ in borders]
    assert borders[-1][1] == len(data)


@settings(max_examples=60, deadline=None)
@given(st.text("aä€😀\n", max_size=50), _REPEATS, st.integers(128, 999))
def test_no_slice_cuts_a_character(
    tmp_path_factory: pytest.TempPathFactory, text: str, repeats: int, limit: int
) -> None:
    directory = _write(tmp_path_factory.mktemp("out"), (text * repeats).encode())
    slices = [
        *_read_all(directory, limit),
        read_tail(SpoolFiles(directory), lines=9, limit_bytes=limit),
    ]
    assert not [part.text for part in slices if "\ufffd" in part.text]


@settings(max_examples=60, deadline=None)
@given(_LINES, st.integers(0, 40))
def test_the_tail_is_the_last_lines(
    tmp_path_factory: pytest.TempPathFactory, lines: list[bytes], asked: int
) -> None:
    data = b"".join(line + b"\n" for line in lines)
    directory = _write(tmp_path_factory.mktemp("out"), data, 1 << 24)
    shown = read_tail(SpoolFiles(directory), lines=asked, limit_bytes=1 << 20)
    expected = b"".join(data.splitlines(keepends=True)[max(0, len(lines) - asked) :])
    assert shown.text.encode() == expected
    assert (shown.first_cursor, shown.next_cursor) == (len(data) - len(expected), len(data))
    assert not shown.truncated
    assert shown.lines_total == len(lines)
    assert shown.lines_shown == min(asked, len(lines))


def test_the_tail_shows_the_last_bytes_when_the_limit_cuts(tmp_path: Path) -> None:
    directory = _write(tmp_path, b"first\n" + b"x" * 500 + b"yz\nlast\n")
    shown = read_tail(SpoolFiles(directory), lines=10, limit_bytes=200)
    assert shown.text == "x" * 192 + "yz\nlast\n"
    assert (len(shown.text), shown.first_cursor, shown.truncated) == (200, 514 - 200, True)
    # A part of a line is shown too.
    assert (shown.lines_shown, shown.lines_total) == (2, 3)


def test_the_tail_of_one_endless_line_is_its_end(tmp_path: Path) -> None:
    directory = _write(tmp_path, b"0123456789" * 1_000_000, 64 << 20)
    shown = read_tail(SpoolFiles(directory), lines=5)
    assert shown.text == "6789" + "0123456789" * 1638
    assert (shown.first_cursor, shown.next_cursor) == (10_000_000 - 16_384, 10_000_000)
    assert shown.truncated
    assert shown.lines_total == 1


def test_a_tail_over_the_gap_states_the_drop(tmp_path: Path) -> None:
    data = b"a\nb\n" + b"=" * (4 * SEGMENT) + b"\nend\n"
    shown = read_tail(SpoolFiles(_write(tmp_path, data, 2 * SEGMENT)), lines=4, limit_bytes=1 << 16)
    match = DROP.search(shown.text)
    assert match is not None
    assert int(match.group(1)) == shown.dropped_bytes > 0
    assert shown.text.startswith("b\n===")
    assert shown.text.endswith("=\nend\n")
    assert shown.truncated


def test_a_cursor_in_the_gap_states_the_drop_and_goes_on_at_the_tail(tmp_path: Path) -> None:
    directory = _write(tmp_path, _numbered(20_000), 4 * SEGMENT)
    (_, (tail_start, tail)) = _kept(directory)
    shown = read_after(SpoolFiles(directory), cursor=2 * SEGMENT + 100)
    dropped = tail_start - 2 * SEGMENT - 100
    statement = f"[... {dropped} bytes dropped by the output cap ...]\n"
    assert shown.text == statement + tail.decode()
    assert shown.lines_shown == len(tail.splitlines())
    assert (shown.first_cursor, shown.next_cursor) == (tail_start, shown.bytes_total)
    assert shown.truncated


def test_a_loss_at_the_end_is_stated(tmp_path: Path) -> None:
    directory = _write(tmp_path, b"kept\n")
    (directory / "0000000000000050-000000000007").touch()
    statement = "[... 45 bytes dropped by the output cap ...]\n"
    for shown in (
        read_after(SpoolFiles(directory), cursor=0),
        read_tail(SpoolFiles(directory), lines=9),
    ):
        assert shown.text == "kept\n" + statement
        assert shown.lines_shown == 1
        assert (shown.next_cursor, shown.bytes_total, shown.lines_total) == (50, 50, 7)
        assert shown.truncated


@pytest.mark.parametrize("cursor", [-1, 6])
def test_a_cursor_outside_the_output_is_refused(tmp_path: Path, cursor: int) -> None:
    directory = _write(tmp_path, b"12345")
    assert read_after(SpoolFiles(directory), cursor=5).text == ""
    with pytest.raises(CursorPastEnd, match=r"which has 5 bytes so far\. Allowed is 0 to 5"):
        read_after(SpoolFiles(directory), cursor=cursor)
    with pytest.raises(CursorPastEnd):
        grep_output(SpoolFiles(directory), pattern="1", lines=1, after=cursor)


def test_a_limit_without_room_for_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 128"):
        read_tail(SpoolFiles(tmp_path), lines=1, limit_bytes=10)


def test_what_is_still_being_written_is_left_for_the_next_call(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), CAP)
    spool.write("price: 5 €".encode()[:-1])
    first = read_after(SpoolFiles(tmp_path), cursor=0)
    spool.write("€".encode()[-1:] + b" \x1b[3")
    second = read_after(SpoolFiles(tmp_path), cursor=first.next_cursor)
    spool.write(b"1mred\n")
    spool.close()
    third = read_after(SpoolFiles(tmp_path), cursor=second.next_cursor)
    assert [first.text, second.text, third.text] == ["price: 5 ", "€ ", "red\n"]
    assert not any(part.truncated for part in (first, second, third))


def test_a_segment_that_vanishes_while_reading_is_looked_for_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _write(tmp_path, _numbered(2000), CAP)
    read = OutputView.read
    vanishing = iter(sorted(tmp_path.iterdir())[-3:-1])

    def read_late(view: OutputView, start: int, end: int) -> bytes:
        for path in itertools.islice(vanishing, 1):
            path.unlink()
        return read(view, start, end)

    monkeypatch.setattr(OutputView, "read", read_late)
    shown = read_tail(SpoolFiles(tmp_path), lines=5000, limit_bytes=1 << 20)
    monkeypatch.undo()
    assert shown == read_tail(SpoolFiles(tmp_path), lines=5000, limit_bytes=1 << 20)
    assert shown.dropped_bytes == 2 * SEGMENT


def test_a_reader_follows_a_fast_writer_through_every_kept_byte(tmp_path: Path) -> None:
    data = _numbered(300_000)

    def write() -> None:
        spool = Spool(str(tmp_path), 2 * SEGMENT)
        for start in range(0, len(data), 1000):
            spool.write(data[start : start + 1000])
        spool.close()

    with ThreadPoolExecutor(1) as threads:
        writing = threads.submit(write)
        cursor = 0
        while not writing.done() or cursor < stat_output(SpoolFiles(tmp_path)).bytes_total:
            part = read_after(SpoolFiles(tmp_path), cursor=cursor)
            dropped = DROP.match(part.text)
            shown = part.text[dropped.end() :] if dropped else part.text
            cursor += int(dropped[1]) if dropped else 0
            # A gap inside the slice can only be that after the head.
            if not DROP.search(shown):
                assert shown.encode() == data[cursor : part.next_cursor]
            assert read_tail(SpoolFiles(tmp_path), lines=3).next_cursor >= part.next_cursor
            assert grep_output(SpoolFiles(tmp_path), pattern="no such line", lines=1).text == ""
            cursor = part.next_cursor
        writing.result()
    assert cursor == len(data)


def test_recent_bytes_are_raw_and_stop_at_a_loss(tmp_path: Path) -> None:
    directory = _write(tmp_path, b"x" * (5 * SEGMENT) + b"\x1b[1mend", 2 * SEGMENT)
    assert read_recent(SpoolFiles(directory), limit_bytes=7) == b"\x1b[1mend"
    assert read_recent(SpoolFiles(directory), limit_bytes=1 << 20) == _kept(directory)[-1][1]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("plain\ttext\n", "plain\ttext\n"),
        ("a\r\nb\r\r\n", "a\nb\n"),
        ("10%\r50%\r100%\ndone", "100%\ndone"),
        ("long text\rshort", "shorttext"),
        ("long text\r\x1b[Kshort", "short"),
        ("long text\x1b[2K\rshort", "short"),
        ("progress\x1b[1Gdone", "doneress"),
        ("abc\x1b[1000Dx", "xbc"),
        ("a\x1b[3Cb", "a   b"),
        ("abd\bc", "abc"),
        ("\b\bx", "x"),
        ("\x1b[1;31mred\x1b[0m \x1b(Bx\x1b7y\x1b[?25l", "red xy"),
        ("\x1b]0;title\x07a\x1b]8;;http://x\x1b\\b\x1b]8;;\x1b\\", "ab"),
        ("\x1b]0;never ended\nnext", "0;never ended\nnext"),
        ("nul\x00bell\x07vt\x0bdel\x7fesc\x1b", "nulbellvtdelesc"),
        ("x" * 3000 + ("\x1b[2K" + "y") * 3, "  y"),
        ("ab\x1b[" + "9" * 5000 + "Dc", "abc"),
    ],
)
def test_text_is_folded_as_a_terminal_leaves_it(raw: str, shown: str) -> None:
    assert fold(raw) == shown


def test_invalid_bytes_become_replacement_characters(tmp_path: Path) -> None:
    assert (
        read_tail(SpoolFiles(_write(tmp_path, b"a\xffb\xc3\n")), lines=1).text == "a\ufffdb\ufffd\n"
    )


def test_matches_are_numbered_over_the_whole_stream_after_a_drop(tmp_path: Path) -> None:
    directory = _write(tmp_path, _numbered(20_000))
    found = grep_output(
        SpoolFiles(directory), pattern=r"line \d*77$", lines=500, limit_bytes=1 << 20
    )
    numbers = [re.fullmatch(r"(\d+): line (\d+)", line) for line in found.text.splitlines()]
    assert all(match is not None and match[1] == match[2] for match in numbers)
    assert found.text.startswith("77: line 77\n")
    assert found.text.endswith("19977: line 19977\n")
    assert found.truncated
    assert grep_output(SpoolFiles(directory), pattern="line 1.99[78]$", lines=2).text == (
        "19997: line 19997\n19998: line 19998\n"
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["ab", "b", "", "a" * 5000, "\x1b[1mab\x1b[m", "x\rb", "äb"])),
    st.sampled_from(["ab", "^b", "b$", "a|ä", "[^b]$", r"\Ab\Z", "(?i)A+", "x*", "(?<!a)b"]),
    st.integers(0, 20),
    st.integers(1, 5),
)
def test_the_last_matching_lines_are_found(
    tmp_path_factory: pytest.TempPathFactory, rows: list[str], pattern: str, start: int, asked: int
) -> None:
    directory = _write(tmp_path_factory.mktemp("out"), "\n".join(rows).encode(), 1 << 17)
    after = len("".join(f"{row}\n" for row in rows[:start]).encode()) if start < len(rows) else 0
    skipped = start if start < len(rows) else 0
    expected = [
        f"{number}: {fold(row)}\n"
        for number, row in enumerate(rows, 1)
        if number > skipped and re.search(pattern, fold(row)) and (row or number < len(rows))
    ]
    found = grep_output(
        SpoolFiles(directory), pattern=pattern, lines=asked, after=after, limit_bytes=1 << 20
    )
    assert found.text == "".join(expected[-asked:])
    assert not found.truncated


def test_long_lines_are_matched_on_their_first_64_kib(tmp_path: Path) -> None:
    line = b"start" + b"=" * 100_000 + b"end\n"
    directory = _write(tmp_path, b"one\n" + line * 3 + b"last", 1 << 17 << 5)
    assert grep_output(SpoolFiles(directory), pattern="end", lines=5).text == ""
    found = grep_output(SpoolFiles(directory), pattern="start|last", lines=2, limit_bytes=200_000)
    assert [len(text) for text in found.text.splitlines()] == [65_536 + 3, 7]
    assert found.text.startswith("4: start")
    cut = grep_output(SpoolFiles(directory), pattern="start", lines=2, limit_bytes=1000)
    assert (len(cut.text), cut.truncated) == (1000, True)


def test_an_unfinished_line_without_a_match_is_searched_again(tmp_path: Path) -> None:
    spool = Spool(str(tmp_path), CAP)
    spool.write(b"ok\nERR")
    first = grep_output(SpoolFiles(tmp_path), pattern="ERROR", lines=5)
    spool.write(b"OR 1\nmore")
    second = grep_output(SpoolFiles(tmp_path), pattern="ERROR", lines=5, after=first.next_cursor)
    spool.close()
    assert (first.text, first.next_cursor) == ("", 3)
    assert (second.text, second.first_cursor) == ("2: ERROR 1\n", 3)


def test_a_catastrophic_pattern_ends_in_a_timeout(tmp_path: Path) -> None:
    directory = _write(tmp_path, b"a" * 60_000 + b"!\n", 1 << 20)
    for pattern in ("(a+)+$", "(?=.)(a+)+$", "(a|a)+$"):
        with pytest.raises(PatternTimeout, match=r"longer than 0\.05 s"):
            grep_output(SpoolFiles(directory), pattern=pattern, lines=1, timeout_s=0.05)


@pytest.mark.parametrize(
    ("pattern", "message"),
    [("x" * 1001, "has 1001 characters; at most 1000"), ("(", "not a regular expression: ")],
)
def test_a_bad_pattern_is_refused(tmp_path: Path, pattern: str, message: str) -> None:
    with pytest.raises(BadPattern, match=message):
        grep_output(SpoolFiles(tmp_path), pattern=pattern, lines=1)


@pytest.mark.anyio
async def test_the_async_functions_return_what_the_others_do(tmp_path: Path) -> None:
    directory = _write(tmp_path, _numbered(30))
    assert await output.tail(SpoolFiles(directory), lines=3) == read_tail(
        SpoolFiles(directory), lines=3
    )
    assert await output.after(SpoolFiles(directory), cursor=9) == read_after(
        SpoolFiles(directory), cursor=9
    )
    expected = grep_output(SpoolFiles(directory), pattern="7$", lines=3)
    assert await output.grep(SpoolFiles(directory), pattern="7$", lines=3) == expected
