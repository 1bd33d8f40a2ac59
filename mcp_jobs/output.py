"""Read what a job printed: its tail, what came after a cursor, the lines that match a pattern.

A cursor is a byte offset in the masked stream. What is shown from one cursor to another is those
bytes as a terminal would leave them: decoded, without escape sequences, repaints folded. The cost
depends on what is asked for and not on the size of the output (`grep` apart).
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, NamedTuple, TypeAlias, TypeVar

from anyio import to_thread

from mcp_jobs.launcher.spool import SpoolView

if TYPE_CHECKING:
    import regex

StrPath: TypeAlias = str | os.PathLike[str]
Match: TypeAlias = tuple[int, str]
"""Offset of a line, and `<number>: <text>` with a newline."""
T = TypeVar("T")

LIMIT_BYTES = 16_384
MIN_LIMIT_BYTES = 128
"""Room for the line that states a drop, and for some text after it."""
MAX_PATTERN_CHARS = 1000
_LOOK_BYTES = 1 << 18
_LISTINGS = 100
_MAX_COLUMN = 1024
_MAX_ESCAPE = 4096

_ESCAPE_SOURCE = (
    rf"\x1b(?:\[[0-?]*[ -/]*[@-~]?|[\]PX^_][^\x07\x1b\n]{{0,{_MAX_ESCAPE}}}(?:\x07|\x1b\\)"
    r"|[ -/]+[0-~]?|[0-~])"
)
_ESCAPE = re.compile(_ESCAPE_SOURCE)
_ESCAPE_BYTES = re.compile(_ESCAPE_SOURCE.encode())
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_MOVE = re.compile(r"[\r\x08]|\x1b\[(?:2K|\d*[CDG])")
_TOKEN = re.compile(rf"[\r\x08]|\x1b\[(\d{{0,4}})([CDGK])|{_ESCAPE_SOURCE}|[^\r\x08\x1b]+|\x1b")
_CONTINUATION = re.compile(rb"\A[\x80-\xbf]{1,3}")
_UNFINISHED = re.compile(
    rb"(?:[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2}"
    rb"|\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\n]{0,%d}\x1b?|[ -/]*))\Z" % _MAX_ESCAPE
)
# Patterns that find something in a block of lines whenever they do in one of its lines alone:
# no atoms that are likely to run over a newline, no looking around, nothing possessive.
_LINE_PATTERN = re.compile(
    r"(?:\(\?i\))?(?:(?:[^\\\[\](){}*+?\n]|\\[dwsb]|\\[^\w\s]|\((?![?*])|\))(?:[*+?]\??)?)*"
)


class CursorPastEnd(ValueError):
    """The cursor lies outside the output."""


class BadPattern(ValueError):
    """The pattern is too long or is no regular expression."""


class PatternTimeout(ValueError):
    """The search took longer than it may."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputStat:
    """The size of an output."""

    bytes_total: int
    """Bytes printed so far, kept or not."""
    lines_total: int
    """Newlines so far, and one more when the last line has none."""
    dropped_bytes: int
    """Bytes that were printed and are not kept."""
    size_on_disk_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSlice:
    """A part of an output, as a reader sees it."""

    text: str
    bytes_total: int
    lines_total: int
    first_cursor: int
    """Offset of the first byte shown."""
    next_cursor: int
    """Offset after the last byte shown; with `grep`, after the last byte searched for good."""
    dropped_bytes: int
    truncated: bool
    """The text is less than what was asked for: over the limit, or partly dropped."""


class _Item(NamedTuple):
    """One line with its newline, or the statement of a loss."""

    start: int
    end: int
    raw: bytes
    lost: bool = False
    torn: bool = False
    """A line of which the first bytes may be missing."""


async def tail(directory: StrPath, *, lines: int, limit_bytes: int = LIMIT_BYTES) -> OutputSlice:
    """`read_tail` in a thread."""
    return await to_thread.run_sync(
        partial(read_tail, directory, lines=lines, limit_bytes=limit_bytes)
    )


async def after(directory: StrPath, *, cursor: int, limit_bytes: int = LIMIT_BYTES) -> OutputSlice:
    """`read_after` in a thread."""
    return await to_thread.run_sync(
        partial(read_after, directory, cursor=cursor, limit_bytes=limit_bytes)
    )


async def grep(
    directory: StrPath,
    *,
    pattern: str,
    lines: int,
    after: int = 0,
    limit_bytes: int = LIMIT_BYTES,
    timeout_s: float = 5.0,
) -> OutputSlice:
    """`grep_output` in a thread. When cancelled it returns at once; the thread ends by itself."""
    search = partial(grep_output, directory, pattern=pattern, lines=lines, after=after)
    return await to_thread.run_sync(
        partial(search, limit_bytes=limit_bytes, timeout_s=timeout_s), abandon_on_cancel=True
    )


def stat_output(directory: StrPath) -> OutputStat:
    """Return the size of the output in `directory`; a missing one is empty."""
    return _look(directory, _stat)


def read_recent(directory: StrPath, *, limit_bytes: int) -> bytes:
    """Return the last raw bytes, at most `limit_bytes`; a loss ends them."""

    def read(view: SpoolView) -> bytes:
        start, end = view.runs[-1] if view.runs else (0, 0)
        return view.read(max(start, end - limit_bytes), end)

    return _look(directory, read)


def read_tail(directory: StrPath, *, lines: int, limit_bytes: int = LIMIT_BYTES) -> OutputSlice:
    """Return the last `lines` lines, of these the last that fit into `limit_bytes` of text.

    Of very long lines only the end is looked at. A loss between the lines is stated in a line.
    Raises ValueError for a limit under MIN_LIMIT_BYTES.
    """
    _check_limit(limit_bytes)
    return _look(directory, lambda view: _tail_of(view, lines, limit_bytes))


def read_after(directory: StrPath, *, cursor: int, limit_bytes: int = LIMIT_BYTES) -> OutputSlice:
    """Return what follows `cursor`, up to `limit_bytes` of text and where possible whole lines.

    Going on with `next_cursor` shows every kept byte once; a loss on the way is stated in a line.
    A character or escape sequence that is still being written is left for the next call.
    Raises CursorPastEnd, and ValueError for a limit under MIN_LIMIT_BYTES.
    """
    _check_limit(limit_bytes)
    return _look(directory, lambda view: _after_of(view, cursor, limit_bytes))


def _look(directory: StrPath, read: Callable[[SpoolView], T]) -> T:
    """Read from a view; from a new one when the writer dropped a segment meanwhile."""
    for _ in range(_LISTINGS):
        with contextlib.suppress(FileNotFoundError):
            return read(SpoolView(directory))
    return read(SpoolView(directory))


def _check_limit(limit_bytes: int) -> None:
    if limit_bytes < MIN_LIMIT_BYTES:
        raise ValueError(f"limit_bytes is {limit_bytes}; give at least {MIN_LIMIT_BYTES}.")


def _check_cursor(total: int, cursor: int) -> None:
    if not 0 <= cursor <= total:
        raise CursorPastEnd(
            f"The cursor {cursor} lies outside the output, which has {total} bytes so far. Allowed "
            f"is 0 to {total}: give a next_cursor of an earlier reply, or none for the last lines."
        )


def _stat(view: SpoolView) -> OutputStat:
    lines = 0
    if view.segments:
        start, newlines, size = view.segments[-1]
        data = view.read(start, start + size)
        lines = newlines + data.count(b"\n") + (bool(data) and not data.endswith(b"\n"))
    return OutputStat(
        bytes_total=view.bytes_total,
        lines_total=lines,
        dropped_bytes=view.bytes_total - view.kept_bytes,
        size_on_disk_bytes=view.kept_bytes,
    )


def _slice(stat: OutputStat, text: str, cursors: tuple[int, int], truncated: bool) -> OutputSlice:
    return OutputSlice(
        text=text,
        bytes_total=stat.bytes_total,
        lines_total=stat.lines_total,
        first_cursor=cursors[0],
        next_cursor=cursors[1],
        dropped_bytes=stat.dropped_bytes,
        truncated=truncated,
    )


def _tail_of(view: SpoolView, lines: int, limit_bytes: int) -> OutputSlice:
    # One newline more than lines: the first line read is seldom whole.
    pieces = view.read_back(lines + 1, max(_LOOK_BYTES, 4 * limit_bytes))
    items = _hold_back(_items(pieces, pieces[0][0] if pieces else 0))
    first = end = items[-1].end if items else view.bytes_total
    texts: list[str] = []
    room, count, whole = limit_bytes, 0, True
    for item in reversed(items):
        if count >= lines:
            break
        text = _text(item.raw)
        if _size(text) > room:
            part = b"" if item.lost else _fitting_end(item.raw, room)
            texts.append(_text(part))
            first, whole = (item.start + len(item.raw) - len(part) if part else first), False
            break
        texts.append(text)
        room -= _size(text)
        whole = whole and not (item.lost or item.torn)
        if not item.lost:
            first, count = item.start, count + 1
    truncated = not whole or (count < lines and first > 0)
    return _slice(_stat(view), "".join(reversed(texts)), (first, end), truncated)


def _after_of(view: SpoolView, cursor: int, limit_bytes: int) -> OutputSlice:
    _check_cursor(view.bytes_total, cursor)
    items = _items(view.read_on(cursor, max(_LOOK_BYTES, 4 * limit_bytes)), cursor)
    cut = bool(items) and items[-1].end < view.bytes_total
    if cut and not items[-1].raw.endswith(b"\n") and len(items) > 1 and not items[-2].lost:
        items.pop()
    items = _hold_back(items)
    texts: list[str] = []
    room, first, position = limit_bytes, -1, cursor
    for item in items:
        text, end = _text(item.raw), item.end
        if _size(text) > room and (item.lost or first >= 0):
            break
        if _size(text) > room:
            part = _fitting_start(item.raw, room)
            text, end = _text(part), item.start + len(part)
        texts.append(text)
        room, position = room - _size(text), end
        first = item.start if first < 0 and not item.lost else first
        if end < item.end:
            break
    first = position if first < 0 else first
    lost = any(item.lost and item.end <= position for item in items)
    truncated = lost or cut or (bool(items) and position < items[-1].end)
    return _slice(_stat(view), "".join(texts), (first, position), truncated)


def _items(pieces: list[tuple[int, bytes]], cursor: int) -> list[_Item]:
    """Return the lines of `pieces`, and the losses between them and after `cursor`."""
    items: list[_Item] = []
    for start, data in pieces:
        if start > cursor:
            text = b"[... %d bytes dropped by the output cap ...]\n" % (start - cursor)
            if items:
                text = text if items[-1].raw.endswith(b"\n") else b"\n" + text
                # The other half of an unfinished character is lost.
                items[-1] = items[-1]._replace(raw=_UNFINISHED.sub(b"", items[-1].raw))
            items.append(_Item(cursor, start, text, lost=True))
            cursor = start
        for raw in io.BytesIO(data):
            torn, cursor = 0 < cursor == start, cursor + len(raw)
            line = _CONTINUATION.sub(b"", raw) if torn else raw
            items.append(_Item(cursor - len(line), cursor, line, torn=torn))
    return items


def _hold_back(items: list[_Item]) -> list[_Item]:
    """Take off an unfinished character or escape sequence at the end, unless it is all there is."""
    if not items or items[-1].lost:
        return items
    last = items[-1]
    unfinished = _UNFINISHED.search(last.raw[-_MAX_ESCAPE:])
    raw = last.raw[: len(last.raw) - len(unfinished.group())] if unfinished else last.raw
    kept = [last._replace(end=last.start + len(raw), raw=raw)] if raw else []
    return items[:-1] + kept or items


def _text(raw: bytes) -> str:
    return fold(raw.decode("utf-8", "replace"))


def _size(text: str) -> int:
    return len(text) if text.isascii() else len(text.encode())


def _fitting_start(raw: bytes, room: int) -> bytes:
    """Return a start of `raw` that is not empty and whose text fits into `room` bytes."""
    length = room
    while _size(_text(raw[:length])) > room:
        length = length * 2 // 3
    return _UNFINISHED.sub(b"", raw[:length]) or raw[:length]


def _fitting_end(raw: bytes, room: int) -> bytes:
    """Return an end of `raw` whose text fits into `room` bytes."""
    start = max(0, len(raw) - room)
    while _size(_text(raw[start:])) > room:
        start += (len(raw) - start + 2) // 3
    escape = raw.rfind(b"\x1b", 0, start)
    crossed = _ESCAPE_BYTES.match(raw, escape) if escape >= 0 else None
    start = max(start, crossed.end()) if crossed else start
    return _CONTINUATION.sub(b"", raw[start:])


def fold(text: str) -> str:
    """Return `text` as a terminal would leave it: no escapes or controls, repaints applied."""
    if not _CONTROL.search(text):
        return text
    text = text.replace("\r\n", "\n")
    if not _MOVE.search(text):
        return _CONTROL.sub("", _ESCAPE.sub("", text))
    return "\n".join(_repaint(line) for line in text.split("\n"))


def _repaint(line: str) -> str:
    if not _MOVE.search(line):
        return _CONTROL.sub("", _ESCAPE.sub("", line))
    cells: list[str] = []
    column = 0
    for token in _TOKEN.finditer(line):
        text, move = token.group(), token.group(2)
        if text == "\r":
            column = 0
        elif text == "\b":
            column = max(0, column - 1)
        elif move:
            column = _move(cells, column, move, token.group(1))
        elif text[0] != "\x1b":
            printed = _CONTROL.sub("", text)
            cells.extend(" " * (column - len(cells)))
            cells[column : column + len(printed)] = printed
            column += len(printed)
    return "".join(cells)


def _move(cells: list[str], column: int, move: str, digits: str) -> int:
    """Apply a cursor movement or an erasure to a line; return the new column."""
    if move == "K":
        del cells[0 if digits == "2" else len(cells) if digits == "1" else column :]
        # Far out on an erased line, blanks would be filled in again and again.
        return column if column <= max(len(cells), _MAX_COLUMN) else 0
    count = int(digits or 1)
    if move == "G":
        return min(max(count, 1), _MAX_COLUMN) - 1
    if move == "C":
        return max(column, min(column + count, _MAX_COLUMN))
    return max(0, column - count)


def grep_output(
    directory: StrPath,
    *,
    pattern: str,
    lines: int,
    after: int = 0,
    limit_bytes: int = LIMIT_BYTES,
    timeout_s: float = 5.0,
) -> OutputSlice:
    """Return the last `lines` lines with a match of `pattern`, each as `<number>: <text>`.

    Lines are numbered from 1 over the whole stream, matched as they are shown, and of each the
    first 64 KiB. What begins before `after` is not searched. A last line without newline and
    without a match lies behind `next_cursor`, as it may go on. Raises BadPattern, CursorPastEnd,
    PatternTimeout, and ValueError for a limit under MIN_LIMIT_BYTES.
    """
    _check_limit(limit_bytes)
    search = _Search(directory, pattern, timeout_s)
    _check_cursor(search.stat.bytes_total, after)
    found = search.find_last(lines, after)
    texts, whole = _last_fitting([text for _, text in found], limit_bytes)
    missed = not found or found[-1][0] < search.open_line
    end = search.open_line if missed else search.stat.bytes_total
    first = found[-len(texts)][0] if texts else end
    truncated = not whole or (len(found) < lines and search.has_loss(after))
    return _slice(search.stat, "".join(texts), (first, end), truncated)


def _last_fitting(texts: list[str], room: int) -> tuple[list[str], bool]:
    """Return the last texts that fit into `room` bytes, or a start of the last; and if all did."""
    for count, text in enumerate(reversed(texts)):
        if _size(text) > room:
            cut = [text.encode()[:room].decode("utf-8", "ignore")]
            return (texts[-count:] if count else cut), False
        room -= _size(text)
    return texts, True


class _Search:
    """A search from the end of the output backwards, until a deadline."""

    def __init__(self, directory: StrPath, pattern: str, timeout_s: float) -> None:
        self._directory = directory
        self._pattern, self._block_pattern = _compile(pattern)
        self._timeout_s = timeout_s
        self._deadline_s = time.monotonic() + timeout_s
        self._view, self.stat = _look(directory, lambda view: (view, _stat(view)))
        self.open_line = self.stat.bytes_total
        """Where a last line without newline begins, or the end."""

    def has_loss(self, start: int) -> bool:
        """Say whether something after `start` is not kept."""
        kept = sum(max(0, last - max(first, start)) for first, last in self._view.runs)
        return kept < self._view.bytes_total - start

    def find_last(self, lines: int, after: int) -> list[Match]:
        """Return the last matching lines that begin at `after` or later, oldest first."""
        found: list[Match] = []
        bound = self.stat.bytes_total
        while len(found) < lines:
            segments = [s for s in self._view.segments if s[0] < bound and s[0] + s[2] > after]
            if not segments:
                break
            try:
                blocks = self._view.lines_begun(segments[-1], after)
            except FileNotFoundError:
                self._view = _look(self._directory, lambda view: view)
                continue
            bound = segments[-1][0]
            for block in reversed(blocks):
                if len(found) < lines:
                    found = self._find_in(*block) + found
        return found[max(0, len(found) - lines) :]

    def _find_in(self, start: int, number: int, block: bytes) -> list[Match]:
        # A newer view may hold more than there was at the beginning.
        block = block[: max(0, self.stat.bytes_total - start)]
        if block and not block.endswith(b"\n") and start + len(block) == self.stat.bytes_total:
            self.open_line = start + block.rfind(b"\n") + 1
        text = _text(block)
        found: list[Match] = []
        if self._block_pattern is None or self._hits(self._block_pattern, text):
            lines = zip(text.split("\n"), io.BytesIO(block), strict=False)
            for index, (line, raw) in enumerate(lines, number):
                if self._hits(self._pattern, line):
                    found.append((start, f"{index}: {line}\n"))
                start += len(raw)
        return found

    def _hits(self, pattern: regex.Pattern[str], text: str) -> bool:
        left_s = self._deadline_s - time.monotonic()
        with contextlib.suppress(TimeoutError):
            if left_s > 0:
                return pattern.search(text, timeout=left_s, concurrent=True) is not None
        raise PatternTimeout(
            f"The search took longer than {self._timeout_s:g} s and was stopped. Give a simpler "
            "pattern, without nested repeats such as (a+)+, or search less with a later cursor."
        )


def _compile(pattern: str) -> tuple[regex.Pattern[str], regex.Pattern[str] | None]:
    """Return the pattern for one line, and if there can be one, that for a block of lines."""
    import regex  # noqa: PLC0415 - few calls search, and it is large

    if len(pattern) > MAX_PATTERN_CHARS:
        raise BadPattern(
            f"The pattern has {len(pattern)} characters; at most {MAX_PATTERN_CHARS} are allowed. "
            "Search for a shorter part."
        )
    try:
        single = regex.compile(pattern)
    except (regex.error, ValueError, OverflowError, RecursionError) as error:
        raise BadPattern(
            f"The pattern {pattern!r} is not a regular expression: {error}. Allowed is Python "
            "syntax; put a backslash before a special character that is meant as itself."
        ) from error
    in_lines = _LINE_PATTERN.fullmatch(pattern) is not None
    return single, regex.compile(pattern, regex.MULTILINE) if in_lines else None
