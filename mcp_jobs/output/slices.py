"""The tail of a job's output, and what came after a cursor."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, TypeVar

from mcp_jobs.domain.declaration import maker
from mcp_jobs.domain.job_object import OutputObject
from mcp_jobs.output.fold import (
    CONTINUATION,
    MAX_ESCAPE,
    UNFINISHED,
    fitting_end,
    fitting_start,
    size_of,
    text_of,
)
from mcp_jobs.output.source import Unreadable
from mcp_jobs.output.view import OutputView

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp_jobs.output.source import OutputSource

T = TypeVar("T")

LIMIT_BYTES = 16_384
MIN_LIMIT_BYTES = 128
"""Room for the line that states a drop, and for some text after it."""
_LOOK_BYTES = 1 << 18
_LISTINGS = 100


class CursorPastEnd(ValueError):
    """The cursor lies outside the output."""


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
    lines_shown: int
    """Lines of the output in the text, a part of one too; without those that state a loss."""
    first_cursor: int
    """Offset of the first byte shown."""
    next_cursor: int
    """Offset after the last byte shown; with `grep`, after the last byte searched for good."""
    dropped_bytes: int
    truncated: bool
    """The text is less than what was asked for: over the limit, or partly dropped."""


_made_of = maker(OutputObject)


def output_object(output: OutputSlice) -> dict[str, Any]:
    """Return the `output` part of a job object."""
    return _made_of(output, None)


class _Item(NamedTuple):
    """One line with its newline, or the statement of a loss."""

    start: int
    end: int
    raw: bytes
    lost: bool = False
    torn: bool = False
    """A line of which the first bytes may be missing."""


def stat_output(source: OutputSource) -> OutputStat:
    """Return the size of an output."""
    return look(source, stat_of)


def read_recent(source: OutputSource, *, limit_bytes: int) -> bytes:
    """Return the last raw bytes, at most `limit_bytes`; a loss ends them."""

    def read(view: OutputView) -> bytes:
        start, end = view.runs[-1] if view.runs else (0, 0)
        return view.read(max(start, end - limit_bytes), end)

    try:
        return look(source, read)
    except Unreadable:
        return b""


def read_tail(source: OutputSource, *, lines: int, limit_bytes: int = LIMIT_BYTES) -> OutputSlice:
    """Return the last `lines` lines, of these the last that fit into `limit_bytes` of text.

    Of very long lines only the end is looked at. A loss between the lines is stated in a line,
    and so is why an output cannot be read.
    Raises ValueError for a limit under MIN_LIMIT_BYTES.
    """
    check_limit(limit_bytes)
    try:
        return look(source, lambda view: _tail_of(view, lines, limit_bytes))
    except Unreadable as error:
        nothing = OutputStat(bytes_total=0, lines_total=0, dropped_bytes=0, size_on_disk_bytes=0)
        return slice_of(nothing, f"[... {error} ...]\n", 0, (0, 0), True)


def read_after(source: OutputSource, *, cursor: int, limit_bytes: int = LIMIT_BYTES) -> OutputSlice:
    """Return what follows `cursor`, up to `limit_bytes` of text and where possible whole lines.

    Going on with `next_cursor` shows every kept byte once; a loss on the way is stated in a line.
    A character or escape sequence that is still being written is left for the next call.
    Raises CursorPastEnd, and ValueError for a limit under MIN_LIMIT_BYTES.
    """
    check_limit(limit_bytes)
    return look(source, lambda view: _after_of(view, cursor, limit_bytes))


def look(source: OutputSource, read: Callable[[OutputView], T]) -> T:
    """Read from a view; from a new one when the writer dropped a segment meanwhile.

    Raises Unreadable when something else stands in the place of the output.
    """
    for _ in range(_LISTINGS):
        with contextlib.suppress(FileNotFoundError):
            return read(OutputView(source))
    return read(OutputView(source))


def check_limit(limit_bytes: int) -> None:
    """Refuse a limit that leaves no room for the line which states a drop."""
    if limit_bytes < MIN_LIMIT_BYTES:
        raise ValueError(f"limit_bytes is {limit_bytes}; give at least {MIN_LIMIT_BYTES}.")


def check_cursor(total: int, cursor: int) -> None:
    """Refuse a cursor that lies outside the output."""
    if not 0 <= cursor <= total:
        raise CursorPastEnd(
            f"The cursor {cursor} lies outside the output, which has {total} bytes so far. Allowed "
            f"is 0 to {total}: give a next_cursor of an earlier reply, or none for the last lines."
        )


def stat_of(view: OutputView) -> OutputStat:
    """Return the totals of what a view shows."""
    lines = 0
    if view.segments:
        _, newlines, size = view.segments[-1]
        last = view.read(view.bytes_total - 1, view.bytes_total) if size else b""
        lines = newlines + view.count_lines(view.segments[-1]) + (last not in (b"", b"\n"))
    return OutputStat(
        bytes_total=view.bytes_total,
        lines_total=lines,
        dropped_bytes=view.bytes_total - view.kept_bytes,
        size_on_disk_bytes=view.kept_bytes,
    )


def slice_of(
    stat: OutputStat, text: str, lines: int, cursors: tuple[int, int], truncated: bool
) -> OutputSlice:
    """Return a text of so many lines with its cursors and the totals of the output."""
    return OutputSlice(
        text=text,
        bytes_total=stat.bytes_total,
        lines_total=stat.lines_total,
        lines_shown=lines,
        first_cursor=cursors[0],
        next_cursor=cursors[1],
        dropped_bytes=stat.dropped_bytes,
        truncated=truncated,
    )


def _tail_of(view: OutputView, lines: int, limit_bytes: int) -> OutputSlice:
    # One newline more than lines: the first line read is seldom whole.
    pieces = view.read_back(lines + 1, max(_LOOK_BYTES, 4 * limit_bytes))
    items = _hold_back(_items(pieces, pieces[0][0] if pieces else 0))
    first = end = items[-1].end if items else view.bytes_total
    texts: list[str] = []
    room, count, torn, whole = limit_bytes, 0, 0, True
    for item in reversed(items):
        if count >= lines:
            break
        text = text_of(item.raw)
        if size_of(text) > room:
            part = b"" if item.lost else fitting_end(item.raw, room)
            texts.append(text_of(part))
            torn = int(bool(part))
            first, whole = (item.start + len(item.raw) - len(part) if part else first), False
            break
        texts.append(text)
        room -= size_of(text)
        whole = whole and not (item.lost or item.torn)
        if not item.lost:
            first, count = item.start, count + 1
    truncated = not whole or (count < lines and first > 0)
    text = "".join(reversed(texts))
    return slice_of(stat_of(view), text, count + torn, (first, end), truncated)


def _after_of(view: OutputView, cursor: int, limit_bytes: int) -> OutputSlice:
    check_cursor(view.bytes_total, cursor)
    items = _items(view.read_on(cursor, max(_LOOK_BYTES, 4 * limit_bytes)), cursor)
    cut = bool(items) and items[-1].end < view.bytes_total
    if cut and not items[-1].raw.endswith(b"\n") and len(items) > 1 and not items[-2].lost:
        items.pop()
    items = _hold_back(items)
    texts: list[str] = []
    room, shown, first, position = limit_bytes, 0, -1, cursor
    for item in items:
        text, end = text_of(item.raw), item.end
        if size_of(text) > room and (item.lost or first >= 0):
            break
        if size_of(text) > room:
            part = fitting_start(item.raw, room)
            text, end = text_of(part), item.start + len(part)
        texts.append(text)
        room, shown, position = room - size_of(text), shown + (not item.lost), end
        first = item.start if first < 0 and not item.lost else first
        if end < item.end:
            break
    first = position if first < 0 else first
    lost = any(item.lost and item.end <= position for item in items)
    truncated = lost or cut or (bool(items) and position < items[-1].end)
    return slice_of(stat_of(view), "".join(texts), shown, (first, position), truncated)


def _items(pieces: list[tuple[int, bytes]], cursor: int) -> list[_Item]:
    """Return the lines of `pieces`, and the losses between them and after `cursor`."""
    items: list[_Item] = []
    for start, data in pieces:
        if start > cursor:
            text = b"[... %d bytes dropped by the output cap ...]\n" % (start - cursor)
            if items:
                text = text if items[-1].raw.endswith(b"\n") else b"\n" + text
                # The other half of an unfinished character is lost.
                items[-1] = items[-1]._replace(raw=UNFINISHED.sub(b"", items[-1].raw))
            items.append(_Item(cursor, start, text, lost=True))
            cursor = start
        for raw in io.BytesIO(data):
            torn, cursor = 0 < cursor == start, cursor + len(raw)
            line = CONTINUATION.sub(b"", raw) if torn else raw
            items.append(_Item(cursor - len(line), cursor, line, torn=torn))
    return items


def _hold_back(items: list[_Item]) -> list[_Item]:
    """Take off an unfinished character or escape sequence at the end, unless it is all there is."""
    if not items or items[-1].lost:
        return items
    last = items[-1]
    unfinished = UNFINISHED.search(last.raw[-MAX_ESCAPE:])
    raw = last.raw[: len(last.raw) - len(unfinished.group())] if unfinished else last.raw
    kept = [last._replace(end=last.start + len(raw), raw=raw)] if raw else []
    return items[:-1] + kept or items
