"""What others wrote, shown so that no screen, reader or model obeys a character of it.

Titles, errors, messages and warnings come from callers, projects and jobs. A control character in
one may move the cursor, reverse the text or begin a line that looks like ours, so each is written
out by its number instead. The joiners of emoji and of some scripts stay: they move nothing.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final

_INVISIBLE: Final = (
    "\x7f-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000110bd\U000110cd\U00013430-\U0001343f\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0001-\U000e007f"
)
"""Delete and C1, soft hyphen, directions, zero widths, ends of lines, halves of pairs, tags."""

_IN_LINE: Final = re.compile(f"[\\x00-\\x1f{_INVISIBLE}]")
_IN_LINES: Final = re.compile(f"[\\x00-\\x08\\x0b-\\x1f{_INVISIBLE}]")
_LAST_OF_BMP: Final = 0xFFFF


def line(text: str) -> str:
    """Return text in one line; what a screen would obey is written out by its number."""
    return text if text.isascii() and text.isprintable() else _IN_LINE.sub(_written_out, text)


def lines(text: str) -> str:
    """Return text with its line ends and tabs; what else a screen would obey is written out."""
    return _IN_LINES.sub(_written_out, text)


def blanked(text: str) -> str:
    """Return a line of output, with a blank for each character that a screen would obey."""
    return _IN_LINE.sub(" ", text)


def json_line(value: Any) -> str:
    """Return a value as one line of JSON that means the same and shows every character of it."""
    return _IN_LINE.sub(_in_json, json.dumps(value, ensure_ascii=False))


def _written_out(found: re.Match[str]) -> str:
    point = ord(found.group())
    return f"\\u{point:04x}" if point <= _LAST_OF_BMP else f"\\U{point:08x}"


def _in_json(found: re.Match[str]) -> str:
    # JSON has a pair of surrogates for what lies beyond.
    return json.dumps(found.group())[1:-1]
