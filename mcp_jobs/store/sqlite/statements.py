"""The named statements of one database file, run on the connections that it has now."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import anyio.lowlevel

from mcp_jobs.store.sqlite import connection as sqlite
from mcp_jobs.store.sqlite.queries import queries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import aiosqlite


FEW: Final = 20
"""So many jobs are read in less time than another thread takes."""


class Statements:
    """What every part of the store runs; a store that opens its file again says so here alone."""

    def __init__(
        self,
        file: sqlite.DatabaseFile,
        writer: aiosqlite.Connection,
        reader: aiosqlite.Connection,
        glance: sqlite.Glance,
    ) -> None:
        self.file = file
        self.writer = writer
        self.reader = reader
        self.glance = glance

    async def write(self, query: str, **values: Any) -> Sequence[sqlite.Row]:
        """Run a statement that may change something."""
        self.file.check()
        return await sqlite.run(self.writer, self.file, queries()[query], values)

    async def read(self, query: str, **values: Any) -> Sequence[sqlite.Row]:
        """Run a statement that reads, in the thread of the reader."""
        return await self.read_sql(queries()[query], values)

    async def look_up(self, query: str, **values: Any) -> Sequence[sqlite.Row]:
        """Read a few rows that an index leads to, as `look_up_sql`."""
        return await self.look_up_sql(queries()[query], values)

    async def look_up_sql(self, sql: str, values: Mapping[str, Any]) -> Sequence[sqlite.Row]:
        """Read a few rows that an index leads to, which takes less time than another thread."""
        # Whoever asks again and again must not keep the others from their turn.
        await anyio.lowlevel.checkpoint()
        self.file.check_told()
        found = self.glance.rows(sql, values)
        return await self.read_sql(sql, values) if found is None else found

    async def read_sql(self, sql: str, values: Mapping[str, Any]) -> Sequence[sqlite.Row]:
        """Read by a statement that was put together, in the thread of the reader."""
        return await sqlite.run(self.reader, self.file, sql, values)
