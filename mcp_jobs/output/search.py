"""Search a job's output for lines that match a pattern, from the end backwards."""

from __future__ import annotations

import contextlib
import io
import re
import time
from typing import TYPE_CHECKING, TypeAlias

from mcp_jobs.domain import patterns
from mcp_jobs.output.fold import size_of, text_of
from mcp_jobs.output.slices import (
    LIMIT_BYTES,
    OutputSlice,
    check_cursor,
    check_limit,
    look,
    slice_of,
    stat_of,
)

if TYPE_CHECKING:
    import regex

    from mcp_jobs.output.source import OutputSource, Segment

Match: TypeAlias = tuple[int, str]
"""Offset of a line, and `<number>: <text>` with a newline."""

MAX_PATTERN_CHARS = patterns.PATTERN_CHARS

# Patterns that find something in a block of lines whenever they do in one of its lines alone:
# no atoms that are likely to run over a newline, no looking around, nothing possessive.
_LINE_PATTERN = re.compile(
    r"(?:\(\?i\))?(?:(?:[^\\\[\](){}*+?\n]|\\[dwsb]|\\[^\w\s]|\((?![?*])|\))(?:[*+?]\??)?)*"
)


class BadPattern(ValueError):
    """The pattern is too long or is no regular expression."""


class PatternTimeout(ValueError):
    """The search took longer than it may."""


def took_too_long(timeout_s: float) -> PatternTimeout:
    """Return the error of a search that had so much time."""
    return PatternTimeout(
        f"The search took longer than {timeout_s:g} s and was stopped. Give a simpler pattern, "
        "without nested repeats such as (a+)+, or search less with a later cursor."
    )


def grep_output(
    source: OutputSource,
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
    check_limit(limit_bytes)
    search = _Search(source, pattern, timeout_s)
    check_cursor(search.stat.bytes_total, after)
    found = search.find_last(lines, after)
    texts, whole = _last_fitting([text for _, text in found], limit_bytes)
    missed = not found or found[-1][0] < search.open_line
    end = search.open_line if missed else search.stat.bytes_total
    first = found[-len(texts)][0] if texts else end
    truncated = not whole or (len(found) < lines and search.has_loss(after))
    return slice_of(search.stat, "".join(texts), len(texts), (first, end), truncated)


def _last_fitting(texts: list[str], room: int) -> tuple[list[str], bool]:
    """Return the last texts that fit into `room` bytes, or a start of the last; and if all did."""
    for count, text in enumerate(reversed(texts)):
        if size_of(text) > room:
            cut = [text.encode()[:room].decode("utf-8", "ignore")]
            return (texts[-count:] if count else cut), False
        room -= size_of(text)
    return texts, True


class _Search:
    """A search from the end of the output backwards, until a deadline."""

    def __init__(self, source: OutputSource, pattern: str, timeout_s: float) -> None:
        self._source = source
        self._pattern, self._block_pattern = _compile(pattern)
        self._timeout_s = timeout_s
        self._deadline_s = time.monotonic() + timeout_s
        self._view, self.stat = look(source, lambda view: (view, stat_of(view)))
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
            try:
                windows = self._windows(after, bound)
                if not windows:
                    break
                while windows and len(found) < lines:
                    self._check_time()
                    blocks = self._view.lines_begun(windows[-1], after)
                    bound = windows.pop()[0]
                    while blocks and len(found) < lines:
                        found = self._find_in(*blocks.pop()) + found
            except FileNotFoundError:
                self._view = look(self._source, lambda view: view)
        return found[max(0, len(found) - lines) :]

    def _windows(self, after: int, before: int) -> list[Segment]:
        """Return the parts of the last segment that has something between the two offsets."""
        segments = [s for s in self._view.segments if s[0] < before and s[0] + s[2] > after]
        windows = self._view.windows(segments[-1]) if segments else []
        return [w for w in windows if w[0] < before and w[0] + w[2] > after]

    def _find_in(self, start: int, number: int, block: bytes) -> list[Match]:
        # A newer view may hold more than there was at the beginning.
        block = block[: max(0, self.stat.bytes_total - start)]
        if block and not block.endswith(b"\n") and start + len(block) == self.stat.bytes_total:
            self.open_line = start + block.rfind(b"\n") + 1
        text = text_of(block)
        found: list[Match] = []
        if self._block_pattern is None or self._hits(self._block_pattern, text):
            lines = zip(text.split("\n"), io.BytesIO(block), strict=False)
            for index, (line, raw) in enumerate(lines, number):
                if self._hits(self._pattern, line):
                    found.append((start, f"{index}: {line}\n"))
                start += len(raw)
        return found

    def _check_time(self) -> None:
        if time.monotonic() >= self._deadline_s:
            raise took_too_long(self._timeout_s)

    def _hits(self, pattern: regex.Pattern[str], text: str) -> bool:
        left_s = self._deadline_s - time.monotonic()
        # Of memory: the child that searches long has little of it.
        with contextlib.suppress(TimeoutError, MemoryError):
            if left_s > 0:
                return pattern.search(text, timeout=left_s, concurrent=True) is not None
        raise took_too_long(self._timeout_s)


def _compile(pattern: str) -> tuple[regex.Pattern[str], regex.Pattern[str] | None]:
    """Return the pattern for one line, and if there can be one, that for a block of lines."""
    if len(pattern) > MAX_PATTERN_CHARS:
        raise BadPattern(
            f"The pattern has {len(pattern)} characters; at most {MAX_PATTERN_CHARS} are allowed. "
            "Search for a shorter part."
        )
    try:
        single = patterns.compiled(pattern)
    except patterns.RefusedPatternError as error:
        raise BadPattern(
            f"The pattern {pattern!r} is not allowed: {error}. Allowed are classes, groups, "
            "repeats, look-around, back-references and the flags i, m, s, a and u."
        ) from error
    except patterns.BadPatternError as error:
        raise BadPattern(
            f"The pattern {pattern!r} is not a regular expression: {error}. Allowed is Python "
            "syntax; put a backslash before a special character that is meant as itself."
        ) from error
    in_lines = _LINE_PATTERN.fullmatch(pattern) is not None
    return single, patterns.compiled(pattern, lines=True) if in_lines else None
