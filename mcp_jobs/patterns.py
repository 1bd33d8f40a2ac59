"""Regular expressions of job types, with a limit on the time that they may take."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import regex

logger = logging.getLogger(__name__)

PATTERN_CHARS: Final = 1000

_TEXT_TIMEOUT_S: Final = 2.0
_LINE_TIMEOUT_S: Final = 0.05


class BadPatternError(ValueError):
    """The text is not a regular expression; the message says where."""


def compiled(pattern: str, *, lines: bool = False) -> regex.Pattern[str]:
    """Return the compiled pattern; with `lines`, ^ and $ mean every line's. `BadPatternError`."""
    import regex  # noqa: PLC0415 - few jobs need it, and it is large

    try:
        return regex.compile(pattern, regex.MULTILINE if lines else 0)
    except (regex.error, ValueError, OverflowError, RecursionError) as error:
        raise BadPatternError(str(error)) from None


def matches(pattern: str, text: str) -> bool:
    """Say whether a text of lines has a match; one that takes too long to find counts as none."""
    try:
        made = compiled(pattern, lines=True)
        return made.search(text, timeout=_TEXT_TIMEOUT_S) is not None
    except (BadPatternError, TimeoutError) as error:
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
            found = made.search(line, timeout=_LINE_TIMEOUT_S)
        except TimeoutError:
            tired = True
            logger.warning("the progress pattern %r takes too long and is given up", pattern)
            return None
        if found is None:
            return None
        unnamed = {str(i + 1): text for i, text in enumerate(found.groups())}
        return {**unnamed, **found.groupdict()}

    return search
