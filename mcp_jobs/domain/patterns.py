"""Regular expressions of others over text of others: what they may contain, and for how long.

The syntax is Python's, without what can take time or memory without bound before any limit on the
search holds: recursion, approximate matching, named lists, conditions, and counts within counts
that the compiler writes out.
"""

from __future__ import annotations

import logging
import re
from functools import cache
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import regex

logger = logging.getLogger(__name__)

PATTERN_CHARS: Final = 1000

LINE_CHARS: Final = 4096
"""So much of a line is searched where not all of the line is to be shown."""

_TEXT_TIMEOUT_S: Final = 2.0
_DIGITS: Final = 8
_REPEATS: Final = 20_000
"""Counted repeats are written out when a pattern is compiled: so many parts take some 10 ms."""
_LINE_TIMEOUT_S: Final = 0.05


class BadPatternError(ValueError):
    """The text is not a regular expression; the message says where."""


class RefusedPatternError(BadPatternError):
    """The pattern could take any time or memory; the message says which part of it, and why."""


_PARTS: Final = (
    r"\\(?P<property>[pPNx])\{[^}]*\}|\\(?P<escaped>.)"
    r"|(?P<set>\[\^?\]?(?:\[:[^\]:]*:\]|\\.|[^\]\\])*\])"
    r"|(?P<comment>\(\?#[^)]*\))|(?P<flags>\(\?[imsau]*(?:-[ims]+)?\))"
    r"|(?P<group>\((?:\?(?:[imsau]*(?:-[ims]+)?:|<?[=!]|>|P?<[A-Za-z_]\w*>)|(?![?*])))"
    r"|(?P<named>\(\?P=\w+\))|(?P<refused>\([?*])|(?P<end>\))"
    r"|\{(?P<least>[0-9]*)(?P<comma>,?)(?P<most>[0-9]*)\}"
    r"|(?P<approximate>\{\s*(?:\d+\s*<?=?\s*)?[idse]\s*(?:[<,+:\d].*?)?\})|(?P<other>.)"
)


@cache
def _parts() -> re.Pattern[str]:
    # Compiled when it is needed: a server starts the sooner.
    return re.compile(_PARTS, re.DOTALL)


def check(pattern: str) -> None:
    """Refuse, before it is compiled, a pattern that could take any time or memory."""
    if len(pattern) > PATTERN_CHARS:
        raise RefusedPatternError(
            f"it has {len(pattern)} characters, and at most {PATTERN_CHARS} are allowed"
        )
    sizes, last = [0], 0
    for token in _parts().finditer(pattern):
        kind, text = token.lastgroup, token.group()
        if kind in ("refused", "approximate") or text.startswith("\\L"):
            part = pattern[token.start() : token.start() + 8]
            raise RefusedPatternError(
                f"{part!r} begins something that can take any time or memory (recursion, "
                "conditions, verbs, named lists, approximate matching)"
            )
        if kind == "group":
            sizes.append(0)
            last = 0
        elif kind == "end" and len(sizes) > 1:
            last = sizes.pop()
            sizes[-1] += last
        elif kind in ("least", "comma", "most"):
            times = max(_count(token["least"]), _count(token["most"]), 1)
            sizes[-1] += last * (times - 1)
            last *= times
        elif kind not in ("comment", "flags"):
            last = 1
            sizes[-1] += last
        if sizes[-1] > _REPEATS:
            raise RefusedPatternError(
                f"its counted repeats come to more than {_REPEATS} parts; give smaller counts, or "
                "* and + in their place"
            )


def _count(digits: str) -> int:
    return int(digits or 0) if len(digits) < _DIGITS else _REPEATS + 1


def compiled(pattern: str, *, lines: bool = False) -> regex.Pattern[str]:
    """Return the compiled pattern; with `lines`, ^ and $ mean every line's. `BadPatternError`."""
    import regex  # noqa: PLC0415 - few jobs need it, and it is large

    check(pattern)
    try:
        return regex.compile(pattern, regex.MULTILINE if lines else 0)
    except (regex.error, ValueError, OverflowError, RecursionError) as error:
        raise BadPatternError(str(error)) from None


def matches(pattern: str, text: str) -> bool:
    """Say whether a text of lines has a match; one that takes too long to find counts as none."""
    try:
        made = compiled(pattern, lines=True)
        text = "\n".join(line[:LINE_CHARS] for line in text.split("\n"))
        return made.search(text, timeout=_TEXT_TIMEOUT_S) is not None
    except (BadPatternError, TimeoutError, MemoryError) as error:
        logger.warning("the pattern %r was not searched to the end: %s", pattern, error)
        return False


def searcher(pattern: str) -> Callable[[str], Mapping[str, str | None] | None]:
    """Return a search in single lines that gives the groups, also the unnamed ones by number.

    A pattern that once takes too long is not searched any more.
    """
    made = compiled(pattern)
    tired = False

    def search(line: str) -> Mapping[str, str | None] | None:
        nonlocal tired
        if tired:
            return None
        try:
            found = made.search(line[:LINE_CHARS], timeout=_LINE_TIMEOUT_S)
        except (TimeoutError, MemoryError):
            tired = True
            logger.warning("the progress pattern %r takes too long and is given up", pattern)
            return None
        if found is None:
            return None
        unnamed = {str(i + 1): text for i, text in enumerate(found.groups())}
        return {**unnamed, **found.groupdict()}

    return search
