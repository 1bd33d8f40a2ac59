"""The gates in the SQLite file: what holds up waiting jobs, and who holds what."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mcp_jobs.domain.gates import Lock, Obstacles, Pause
from mcp_jobs.store.sqlite import connection as sqlite
from mcp_jobs.store.sqlite import rows
from mcp_jobs.store.sqlite.queries import queries

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import aiosqlite

    from mcp_jobs.domain.gates import PauseKind

_PAUSE = tuple(Pause.__slots__)


class SqliteGates:
    """Implements `Gates` on the store's connections."""

    def __init__(
        self,
        file: sqlite.DatabaseFile,
        writer: aiosqlite.Connection,
        reader: aiosqlite.Connection,
    ) -> None:
        self._file = file
        self._writer = writer
        self._reader = reader

    async def pause(self, pause: Pause) -> bool:
        return bool(await self._write("pause", **{name: getattr(pause, name) for name in _PAUSE}))

    async def resume(self, kind: PauseKind, name: str) -> Pause | None:
        found = await self._write("resume", kind=kind, name=name)
        return _pause_from(found[0]) if found else None

    async def pauses(self) -> Sequence[Pause]:
        return [_pause_from(row) for row in await self._read("pauses")]

    async def set_capacity(self, name: str, capacity: int, *, declared: bool) -> bool:
        values = {"name": name, "capacity": capacity, "declared": declared}
        return bool(await self._write("set_capacity", **values))

    async def locks(self) -> Sequence[Lock]:
        return [
            Lock(
                name=row["name"],
                capacity=row["capacity"],
                holders=rows.names(row["holders"]),
                waiting=row["waiting"],
            )
            for row in await self._read("locks")
        ]

    async def obstacles(self, job_ids: Sequence[str]) -> Mapping[str, Obstacles]:
        held = {(each.kind, each.name): each for each in await self.pauses()}
        return {
            row["id"]: Obstacles(
                taken_locks=rows.names(row["taken_locks"]),
                holders=rows.names(row["holders"]),
                open_parents=rows.names(row["open_parents"]),
                pauses=tuple(held[key] for key in _held_by(row) if key in held),
            )
            for row in await self._read("obstacles", ids=json.dumps(list(job_ids)))
        }

    async def _write(self, query: str, **values: Any) -> Sequence[sqlite.Row]:
        self._file.check()
        return await sqlite.run(self._writer, self._file, queries()[query], values)

    async def _read(self, query: str, **values: Any) -> Sequence[sqlite.Row]:
        return await sqlite.run(self._reader, self._file, queries()[query], values)


def _held_by(row: sqlite.Row) -> list[tuple[str, str]]:
    """Return the pauses, by kind and name, that would hold up a job."""
    return [("all", ""), ("type", row["type"]), *(("lock", n) for n in rows.names(row["locks"]))]


def _pause_from(row: sqlite.Row) -> Pause:
    return Pause(**{name: row[name] for name in _PAUSE})
