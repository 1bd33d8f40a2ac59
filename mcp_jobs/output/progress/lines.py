"""Raw terminal output to plain lines, in bounded memory and independent of chunking."""

from __future__ import annotations

import re

LINE_MAX_CHARS = 500
# Enough for LINE_MAX_CHARS characters of the longest UTF-8 encoding.
_LINE_MAX_BYTES = LINE_MAX_CHARS * 4
# An incomplete escape sequence is at most this long, so no more of a chunk's end is searched.
_ESCAPE_MAX_BYTES = 600

_ESCAPE = re.compile(
    rb"\x1b(?:\[[0-?]{0,32}[ -/]{0,4}[@-~]"
    rb"|\][^\x07\x1b\r\n]{0,512}(?:\x07|\x1b\\)"
    rb"|[()*+][0-9A-Za-z]"
    rb"|[0-9=>@-Z\\-_])"
)
# Moving the cursor or wiping the line starts another paint, exactly as a carriage return does.
_REPAINT = re.compile(rb"\x1b\[(?:[0-9;]{0,16}[ABEFGHfJ]|2K)")
_UNFINISHED = re.compile(
    rb"\x1b(?:\[[0-?]{0,32}[ -/]{0,4}|\][^\x07\x1b\r\n]{0,512}\x1b?|[()*+])?\Z"
)
_NON_EMPTY_LINE = re.compile(rb"[^\n]+")


def strip_escapes(data: bytes) -> bytes:
    """Return ``data`` without ANSI escape sequences; repaints become line ends."""
    if b"\x1b" not in data:
        return data
    return _ESCAPE.sub(b"", _REPAINT.sub(b"\n", data))


class LineAssembler:
    """Cuts consecutive chunks of output into plain lines of at most LINE_MAX_CHARS.

    A line ends at a newline, a carriage return or a cursor movement. Empty lines are left
    out, colours are removed, invalid UTF-8 becomes U+FFFD, and what a line has beyond the
    limit is dropped. The lines do not depend on where the chunks were cut.
    """

    def __init__(self) -> None:
        self._escape = b""
        self._partial = b""
        self._skipping = False

    def feed(self, data: bytes) -> list[str]:
        """Take the next chunk and return the lines that it completed."""
        text = self._without_escapes(data).replace(b"\r", b"\n")
        first = text.find(b"\n")
        if first < 0:
            self._keep(text)
            return []
        self._keep(text[:first])
        lines = [self._partial] if self._partial and not self._skipping else []
        self._partial, self._skipping = b"", False
        last = text.rfind(b"\n")
        lines += _NON_EMPTY_LINE.findall(text, first + 1, last)
        self._keep(text[last + 1 :])
        return [_decode(line) for line in lines]

    @property
    def partial(self) -> str:
        """What is known of the line that has not ended yet."""
        return _decode(self._partial).rstrip("\ufffd")

    def gap(self) -> None:
        """Forget the unfinished line and skip to the next line end: bytes were missed."""
        self._escape, self._partial, self._skipping = b"", b"", True

    def _without_escapes(self, data: bytes) -> bytes:
        if self._escape:
            data, self._escape = self._escape + data, b""
        if b"\x1b" not in data:
            return data
        unfinished = _UNFINISHED.search(data, max(0, len(data) - _ESCAPE_MAX_BYTES))
        if unfinished:
            self._escape = unfinished.group()
            data = data[: unfinished.start()]
        return strip_escapes(data)

    def _keep(self, piece: bytes) -> None:
        room = _LINE_MAX_BYTES - len(self._partial)
        if room > 0 and not self._skipping:
            self._partial += piece[:room]


def _decode(line: bytes) -> str:
    return line[:_LINE_MAX_BYTES].decode("utf-8", "replace")[:LINE_MAX_CHARS]
