"""Output as a terminal would leave it: decoded, no escapes, repaints applied."""

from __future__ import annotations

import re

_MAX_COLUMN = 1024
MAX_ESCAPE = 4096

_ESCAPE_SOURCE = (
    rf"\x1b(?:\[[0-?]*[ -/]*[@-~]?|[\]PX^_][^\x07\x1b\n]{{0,{MAX_ESCAPE}}}(?:\x07|\x1b\\)"
    r"|[ -/]+[0-~]?|[0-~])"
)
_ESCAPE = re.compile(_ESCAPE_SOURCE)
_ESCAPE_BYTES = re.compile(_ESCAPE_SOURCE.encode())
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")
_MOVE = re.compile(r"[\r\x08]|\x1b\[(?:2K|\d*[CDG])")
_TOKEN = re.compile(rf"[\r\x08]|\x1b\[(\d{{0,4}})([CDGK])|{_ESCAPE_SOURCE}|[^\r\x08\x1b]+|\x1b")
CONTINUATION = re.compile(rb"\A[\x80-\xbf]{1,3}")
UNFINISHED = re.compile(
    rb"(?:[\xc2-\xdf]|[\xe0-\xef][\x80-\xbf]?|[\xf0-\xf4][\x80-\xbf]{0,2}"
    rb"|\x1b(?:\[[0-?]*[ -/]*|[\]PX^_][^\x07\x1b\n]{0,%d}\x1b?|[ -/]*))\Z" % MAX_ESCAPE
)


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


def text_of(raw: bytes) -> str:
    """Decode and fold."""
    return fold(raw.decode("utf-8", "replace"))


def size_of(text: str) -> int:
    """Return the size of `text` in UTF-8."""
    return len(text) if text.isascii() else len(text.encode())


def fitting_start(raw: bytes, room: int) -> bytes:
    """Return a start of `raw` that is not empty and whose text fits into `room` bytes."""
    length = room
    while size_of(text_of(raw[:length])) > room:
        length = length * 2 // 3
    return UNFINISHED.sub(b"", raw[:length]) or raw[:length]


def fitting_end(raw: bytes, room: int) -> bytes:
    """Return an end of `raw` whose text fits into `room` bytes."""
    start = max(0, len(raw) - room)
    while size_of(text_of(raw[start:])) > room:
        start += (len(raw) - start + 2) // 3
    escape = raw.rfind(b"\x1b", 0, start)
    crossed = _ESCAPE_BYTES.match(raw, escape) if escape >= 0 else None
    start = max(start, crossed.end()) if crossed else start
    return CONTINUATION.sub(b"", raw[start:])
