"""Read what a job printed: its tail, what came after a cursor, the lines that match a pattern.

A cursor is a byte offset in the masked stream. What is shown from one cursor to another is those
bytes as a terminal would leave them: decoded, without escape sequences, repaints folded. The cost
depends on what is asked for and not on the size of the output (`grep` apart).
"""

from __future__ import annotations

import contextlib
from functools import partial

from anyio import to_thread

from mcp_jobs.output.byte_ranges import Kept, kept_bytes, read_bytes
from mcp_jobs.output.excerpt import Excerpt, read_excerpt, read_failing
from mcp_jobs.output.fold import fold
from mcp_jobs.output.search import (
    MAX_PATTERN_CHARS,
    BadPattern,
    PatternTimeout,
    grep_output,
)
from mcp_jobs.output.slices import (
    LIMIT_BYTES,
    MIN_LIMIT_BYTES,
    CursorPastEnd,
    OutputSlice,
    OutputStat,
    output_object,
    read_after,
    read_recent,
    read_tail,
    stat_output,
)
from mcp_jobs.output.source import OutputSource, Unreadable

__all__ = [
    "LIMIT_BYTES",
    "MAX_PATTERN_CHARS",
    "MIN_LIMIT_BYTES",
    "BadPattern",
    "CursorPastEnd",
    "Excerpt",
    "Kept",
    "OutputSlice",
    "OutputSource",
    "OutputStat",
    "PatternTimeout",
    "Unreadable",
    "after",
    "excerpt",
    "failing",
    "fold",
    "grep",
    "grep_output",
    "kept_bytes",
    "output_object",
    "read_after",
    "read_bytes",
    "read_excerpt",
    "read_failing",
    "read_recent",
    "read_tail",
    "stat_output",
    "tail",
]


_THREAD_S = 1.0
"""How long a search may take a thread of this process, which cannot be ended."""


async def tail(source: OutputSource, *, lines: int, limit_bytes: int = LIMIT_BYTES) -> OutputSlice:
    """`read_tail` in a thread."""
    return await to_thread.run_sync(
        partial(read_tail, source, lines=lines, limit_bytes=limit_bytes)
    )


async def after(
    source: OutputSource, *, cursor: int, limit_bytes: int = LIMIT_BYTES
) -> OutputSlice:
    """`read_after` in a thread."""
    return await to_thread.run_sync(
        partial(read_after, source, cursor=cursor, limit_bytes=limit_bytes)
    )


async def grep(
    source: OutputSource,
    *,
    pattern: str,
    lines: int,
    after: int = 0,
    limit_bytes: int = LIMIT_BYTES,
    timeout_s: float = 5.0,
) -> OutputSlice:
    """`grep_output` in a thread, and what that does not find in a second, in a child process.

    When cancelled it returns as soon as nothing of it runs: a child is killed, the thread, which
    cannot be, has its second. Whoever counts searches would else let in any number of them.
    """
    search = partial(grep_output, source, pattern=pattern, lines=lines, after=after)
    with contextlib.suppress(PatternTimeout):
        return await to_thread.run_sync(
            partial(search, limit_bytes=limit_bytes, timeout_s=min(timeout_s, _THREAD_S))
        )
    from mcp_jobs.output import search_process  # noqa: PLC0415 - few searches take that long

    request = {"pattern": pattern, "lines": lines, "after": after, "limit_bytes": limit_bytes}
    return await search_process.search(source, timeout_s=timeout_s, **request)


async def excerpt(source: OutputSource, *, failed: bool, limit_bytes: int = LIMIT_BYTES) -> Excerpt:
    """`read_excerpt` in a thread."""
    return await to_thread.run_sync(
        partial(read_excerpt, source, failed=failed, limit_bytes=limit_bytes)
    )


async def failing(source: OutputSource, *, limit_bytes: int = LIMIT_BYTES) -> str:
    """`read_failing` in a thread."""
    return await to_thread.run_sync(partial(read_failing, source, limit_bytes=limit_bytes))
