"""What every `OutputSource` promises; another one joins by a line in `PRINTERS`."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, Protocol

import anyio.to_thread
import pytest

from mcp_jobs.domain.clock import SystemClock
from mcp_jobs.execution.launcher.spool import Spool, segment_name
from mcp_jobs.execution.spool_reader import SpoolFiles
from mcp_jobs.output import tail
from mcp_jobs.output.view import OutputView
from tests.contracts.memory_output import MemoryOutput

if TYPE_CHECKING:
    from pathlib import Path

    from mcp_jobs.output.source import OutputSource, Segment

_BLOCK_BYTES: Final = 4096
_ONE, _TWO, _THREE = (line * (_BLOCK_BYTES // 4) for line in (b"one\n", b"two\n", b"six\n"))
"""Whole segments."""


class Printer(Protocol):
    """Fills an output."""

    source: OutputSource

    def print(self, data: bytes) -> None:
        """Append to the output; a whole block becomes a segment of its own."""
        ...

    def drop(self, segment: Segment) -> None:
        """Lose a segment."""
        ...


class MemoryPrinter:
    def __init__(self, _directory: Path) -> None:
        self._output = MemoryOutput()
        self.source: OutputSource = self._output

    def print(self, data: bytes) -> None:
        self._output.append(data)

    def drop(self, segment: Segment) -> None:
        self._output.drop(segment)


class SpoolPrinter:
    def __init__(self, directory: Path) -> None:
        self._directory = directory / "output"
        self.source: OutputSource = SpoolFiles(self._directory)

    def print(self, data: bytes) -> None:
        # As the runner of another attempt goes on.
        spool = Spool(str(self._directory), 8 * _BLOCK_BYTES)
        spool.write(data)
        spool.close()
        assert spool.error is None

    def drop(self, segment: Segment) -> None:
        (self._directory / segment_name(segment[0], segment[1])).unlink()


PRINTERS: Final[dict[str, Callable[[Path], Printer]]] = {
    "memory": MemoryPrinter,
    "spool": SpoolPrinter,
}


@pytest.fixture(params=PRINTERS)
def printer(request: pytest.FixtureRequest, tmp_path: Path) -> Printer:
    return PRINTERS[request.param](tmp_path)


def test_before_anything_is_printed_there_is_nothing(printer: Printer) -> None:
    source = printer.source
    assert (source.begun(), source.printed_at_ms(), source.segments()) == (False, None, [])
    assert OutputView(source).bytes_total == 0


def test_what_was_printed_is_read_by_offsets(printer: Printer) -> None:
    printer.print(b"one\ntwo\n")
    (segment,) = printer.source.segments()
    assert segment == (0, 0, 8)
    assert printer.source.read(segment, 0, 8) == b"one\ntwo\n"
    assert printer.source.read(segment, 2, 3) == b"e\nt"
    assert printer.source.read(segment, 4, 100) == b"two\n"
    assert printer.source.read(segment, 8, 10) == b""


def test_it_has_begun_and_tells_when_something_was_printed(printer: Printer) -> None:
    printer.print(b"x")
    assert printer.source.begun()
    assert abs((printer.source.printed_at_ms() or 0) - SystemClock().now_ms()) < 60_000


def test_segments_follow_each_other_and_count_the_lines_before_them(printer: Printer) -> None:
    for data in (b"one\ntwo\n", b"three", b"\nfour\n"):
        printer.print(data)
    view = OutputView(printer.source)
    assert view.runs == [(0, 19)]
    assert view.read(0, 19) == b"one\ntwo\nthree\nfour\n"
    newlines = b"one\ntwo\nthree\nfour\n"
    for start, before, _ in view.segments:
        assert before == newlines[:start].count(b"\n")


def test_what_is_appended_is_seen_by_a_new_look_only(printer: Printer) -> None:
    printer.print(b"one\n")
    early = OutputView(printer.source)
    printer.print(b"two\n")
    assert (early.bytes_total, early.read(0, 100)) == (4, b"one\n")
    assert OutputView(printer.source).read(0, 100) == b"one\ntwo\n"


def test_a_segment_that_was_dropped_is_missing_and_the_others_keep_their_offsets(
    printer: Printer,
) -> None:
    printer.print(_ONE)
    printer.print(_TWO)
    first, second = printer.source.segments()
    printer.drop(first)
    assert printer.source.segments() == [second]
    assert second == (_BLOCK_BYTES, 1024, _BLOCK_BYTES)
    assert printer.source.read(second, _BLOCK_BYTES, 4) == b"two\n"
    with pytest.raises(FileNotFoundError):
        printer.source.read(first, 0, 4)


async def test_what_reads_outputs_says_what_is_lost(printer: Printer) -> None:
    for data in (_ONE, _TWO, _THREE):
        printer.print(data)
    first, *_ = printer.source.segments()
    printer.drop(first)
    shown = await tail(printer.source, lines=2, limit_bytes=1000)
    assert (shown.bytes_total, shown.lines_total) == (3 * _BLOCK_BYTES, 3 * 1024)
    assert (shown.dropped_bytes, shown.text) == (_BLOCK_BYTES, "six\nsix\n")


async def test_it_is_read_in_any_thread_and_after_a_trip_to_another_process(
    printer: Printer,
) -> None:
    printer.print(b"one\n")
    copy: OutputSource = pickle.loads(pickle.dumps(printer.source))  # noqa: S301 - our own bytes
    for source in (printer.source, copy):
        view = await anyio.to_thread.run_sync(OutputView, source)
        assert await anyio.to_thread.run_sync(view.read, 0, 4) == b"one\n"
