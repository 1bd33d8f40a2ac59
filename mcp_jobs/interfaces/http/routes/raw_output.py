"""Output as bytes, whole or in ranges of its offsets."""

from __future__ import annotations

import contextlib
import re
from typing import TYPE_CHECKING, Final

import anyio.to_thread
from starlette.responses import Response, StreamingResponse

from mcp_jobs import output
from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.interfaces.http.problem_details import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp_jobs.output import Kept, OutputSource

_CHUNK_BYTES: Final = 1 << 18
_RANGE: Final = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_MEDIA_TYPE: Final = "text/plain; charset=utf-8"


async def raw_response(source: OutputSource, asked: str | None) -> Response:
    """Answer a request for bytes; `asked` is its Range header.

    A range is that of the offsets in the output, as cursors are. Without one, everything that is
    kept comes, and a line says where bytes were dropped.
    """
    try:
        kept = await anyio.to_thread.run_sync(output.kept_bytes, source)
    except output.Unreadable as error:
        raise InvalidInputError(str(error)) from error
    wanted = None if asked is None else _range(asked, kept.bytes_total)
    if wanted is None:
        return StreamingResponse(
            _everything(source, kept), media_type=_MEDIA_TYPE, headers={"accept-ranges": "bytes"}
        )
    start, end = wanted
    headers = {"content-range": f"bytes */{kept.bytes_total}"}
    if start >= kept.bytes_total:
        detail = f"The output has {kept.bytes_total} bytes."
        return Problem(416, "range", detail, headers=headers)
    if not kept.holds(start, end):
        runs = ", ".join(f"{first}-{last - 1}" for first, last in kept.runs)
        return Problem(416, "range", f"A part of it was dropped. Kept are {runs}.", headers=headers)
    return StreamingResponse(
        _bytes(source, start, end),
        status_code=206,
        media_type=_MEDIA_TYPE,
        headers={
            "accept-ranges": "bytes",
            "content-range": f"bytes {start}-{end - 1}/{kept.bytes_total}",
        },
    )


def _range(header: str, total: int) -> tuple[int, int] | None:
    """Return the offsets from and to; None for what is to be ignored (RFC 9110, 14.2)."""
    found = _RANGE.fullmatch(header.replace(" ", ""))
    if found is None or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        count = int(last)
        return (max(0, total - count), total) if count else (total, total)
    if not last:
        return int(first), total
    if int(last) < int(first):
        return None
    return int(first), min(int(last) + 1, total)


async def _everything(source: OutputSource, kept: Kept) -> AsyncIterator[bytes]:
    at = 0
    for first, last in kept.runs:
        if first > at:
            yield f"\n[{first - at} bytes were dropped here]\n".encode()
        async for part in _bytes(source, first, last):
            yield part
        at = last


async def _bytes(source: OutputSource, start: int, end: int) -> AsyncIterator[bytes]:
    while start < end:
        part = b""
        with contextlib.suppress(output.Unreadable):
            part = await anyio.to_thread.run_sync(
                output.read_bytes, source, start, min(end, start + _CHUNK_BYTES)
            )
        if not part:
            # Dropped while it was read.
            return
        yield part
        start += len(part)
