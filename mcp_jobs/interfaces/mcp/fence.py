"""What jobs wrote, in the texts that models read: it cannot be taken for words of this server.

One line stands behind its label. More lines stand between two marks, as in a here-document of the
shell: the mark is made of the text itself and is nowhere in it, so that no job can write its end.
"""

from __future__ import annotations

from hashlib import sha256
from itertools import count
from typing import Final

from mcp_jobs.domain import display

_MARK_CHARS: Final = 6


def told(label: str, text: str) -> str:
    """Return text with its label: in the same line, or between marks when it has several."""
    shown = display.lines(text.strip("\n"))
    return fenced(label, text) if "\n" in shown else f"{label}: {shown}"


def fenced(label: str, text: str) -> str:
    """Return text of any length between marks, with its label before them."""
    shown = display.lines(text).removesuffix("\n")
    mark = mark_for(shown)
    return f"{label} <<{mark}\n{shown}\n{mark}"


def mark_for(text: str) -> str:
    """Return a short mark that does not occur in a text, the same for the same text."""
    searched, data = text.lower(), text.encode("utf-8", "surrogatepass")
    tried = (sha256(b"%d " % number + data).hexdigest()[:_MARK_CHARS] for number in count())
    return next(mark for mark in tried if mark not in searched)
