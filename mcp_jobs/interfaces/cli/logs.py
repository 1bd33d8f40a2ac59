"""`logs`: what a job printed, and what it prints."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated, Final

import anyio
import anyio.to_thread
import typer

from mcp_jobs import output
from mcp_jobs.domain.errors import InvalidInputError
from mcp_jobs.interfaces.cli import screen, session
from mcp_jobs.interfaces.cli.exits import WrongOptionError
from mcp_jobs.interfaces.cli.options import JobPart, Json
from mcp_jobs.output import byte_ranges, output_object

if TYPE_CHECKING:
    from mcp_jobs.output import OutputSource

_LOOK_S: Final = 0.1
_CHUNK_BYTES: Final = 1 << 18
_WHOLE_BYTES: Final = 1 << 28
_ALL_LINES: Final = 1 << 40


def logs(
    job: JobPart,
    *,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Follow the output until the job has ended.")
    ] = False,
    tail: Annotated[
        int | None, typer.Option("--tail", "-n", min=0, help="Only this many of the last lines.")
    ] = None,
    grep: Annotated[
        str | None,
        typer.Option(metavar="PATTERN", help="Only lines that match a regular expression."),
    ] = None,
    raw_bytes: Annotated[
        bool, typer.Option("--raw", help="The bytes as they are on the disk, colours and all.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Print the output of a job: without options, all of it that was kept."""
    if raw_bytes and (grep is not None or as_json):
        raise WrongOptionError("--raw shows bytes; it can be combined only with --tail and -f.")
    if as_json and follow:
        raise WrongOptionError("--json prints one object; it cannot be combined with -f.")
    session.run(_logs, job, follow, tail, grep, raw_bytes, as_json)


async def _logs(  # noqa: PLR0917 - the options of the command, in their order
    part: str, follow: bool, tail: int | None, grep: str | None, raw_bytes: bool, as_json: bool
) -> None:
    async with session.open_session(reading=True) as opened:
        job = await opened.job_of(part)
        source = opened.output_of(job.id)
        try:
            if as_json:
                shown = await _slice(source, tail, grep)
                screen.write_json({"job_id": job.id, **output_object(shown)})
                return
            reader = _reader(source, tail, grep, raw_bytes)
            cursor = await reader.begin()
            if not follow:
                return
            if not job.ended:
                await opened.ensure_worker()
            while not job.ended:
                await anyio.sleep(_LOOK_S)
                job = await opened.core.service.find(session.OWNER, job.id)
                # Read after the look: what is printed before the end is not missed.
                cursor = await reader.go_on(cursor)
        except (output.BadPattern, output.PatternTimeout) as error:
            raise WrongOptionError(str(error)) from None
        except output.Unreadable as error:
            raise InvalidInputError(str(error)) from None


async def _slice(source: OutputSource, tail: int | None, grep: str | None) -> output.OutputSlice:
    lines = _ALL_LINES if tail is None else tail
    if grep is not None:
        return await output.grep(
            source, pattern=grep, lines=lines, limit_bytes=_WHOLE_BYTES, timeout_s=60
        )
    return await output.tail(source, lines=lines, limit_bytes=_WHOLE_BYTES)


def _reader(source: OutputSource, tail: int | None, grep: str | None, raw_bytes: bool) -> _Reader:
    if raw_bytes:
        return _Raw(source, tail)
    return _Text(source, tail) if grep is None else _Matches(source, tail, grep)


class _Reader:
    """Writes an output, and what comes after a cursor."""

    def __init__(self, source: OutputSource, tail: int | None) -> None:
        self._source = source
        self._tail = tail

    async def begin(self) -> int:
        raise NotImplementedError

    async def go_on(self, cursor: int) -> int:
        raise NotImplementedError


class _Text(_Reader):
    async def begin(self) -> int:
        if self._tail is None:
            return await self.go_on(0)
        shown = await output.tail(self._source, lines=self._tail, limit_bytes=_WHOLE_BYTES)
        return _write(shown)

    async def go_on(self, cursor: int) -> int:
        while True:
            shown = await output.after(self._source, cursor=cursor, limit_bytes=_CHUNK_BYTES)
            cursor, before = _write(shown), cursor
            if cursor in (before, shown.bytes_total):
                return cursor


class _Matches(_Reader):
    def __init__(self, source: OutputSource, tail: int | None, pattern: str) -> None:
        super().__init__(source, tail)
        self._pattern = pattern

    async def begin(self) -> int:
        return _write(await _slice(self._source, self._tail, self._pattern))

    async def go_on(self, cursor: int) -> int:
        found = await output.grep(
            self._source,
            pattern=self._pattern,
            lines=_ALL_LINES,
            after=cursor,
            limit_bytes=_WHOLE_BYTES,
        )
        return _write(found)


class _Raw(_Reader):
    async def begin(self) -> int:
        start = 0
        if self._tail is not None:
            start = await anyio.to_thread.run_sync(byte_ranges.tail_start, self._source, self._tail)
        return await self.go_on(start)

    async def go_on(self, cursor: int) -> int:
        while True:
            piece = await anyio.to_thread.run_sync(
                byte_ranges.read_raw, self._source, cursor, _CHUNK_BYTES
            )
            if piece.lost_bytes:
                screen.note(f"{piece.lost_bytes} bytes were dropped here by the output cap.")
            sys.stdout.buffer.write(piece.data)
            sys.stdout.buffer.flush()
            if not piece.data:
                return cursor
            cursor = piece.next_cursor


def _write(shown: output.OutputSlice) -> int:
    """Write the text as it is: control characters were folded away when it was read."""
    sys.stdout.write(shown.text)
    sys.stdout.flush()
    return shown.next_cursor
