"""The gates in the SQLite file: what holds up waiting jobs, and who holds what."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from mcp_jobs.domain.gates import Lock, Obstacles, Pause
from mcp_jobs.store.sqlite import connection as sqlite
from mcp_jobs.store.sqlite import rows
from mcp_jobs.store.sqlite.queries import queries

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    import aiosqlite

    from mcp_jobs.domain.gates import PauseKind

    GlanceAt = Callable[[str, Mapping[str, Any]], Awaitable[Sequence[sqlite.Row]]]

_PAUSE = tuple(Pause.__slots__)
_FEW = 20
"""What holds up so many jobs is read in less time than another thread takes."""


class SqliteGates:
    """Implements `Gates` on the store's connections."""

    def __init__(
        self,
        file: sqlite.DatabaseFile,
        writer: aiosqlite.Connection,
        reader: aiosqlite.Connection,
        glance_at: GlanceAt,
    ) -> None:
        self._file = file
        self._writer = writer
        self._reader = reader
        self._glance_at = glance_at

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
        read = self._look_up if len(job_ids) <= _FEW else self._read
        values = {"ids": json.dumps(list(job_ids))}
        return {
            row["id"]: Obstacles(
                attempt=row["attempt"],
                running=row["running"],
                taken_locks=rows.names(row["taken_locks"]),
                holders=rows.names(row["holders"]),
                open_parents=rows.names(row["open_parents"]),
                pauses=_pauses_from(row["pauses"]),
            )
            for row in await read("obstacles", **values)
        }

    async def ready_before(self, job_id: str, *, now_ms: int, most: int) -> int:
        values = {"id": job_id, "now_ms": now_ms, "most": most}
        return int((await self._read("ready_before", **values))[0]["total"])

    async def _write(self, query: str, **values: Any) -> Sequence[sqlite.Row]:
        self._file.check()
        return await sqlite.run(self._writer, self._file, queries()[query], values)

    async def _look_up(self, query: str, **values: Any) -> Sequence[sqlite.Row]:
        return await self._glance_at(queries()[query], values)

    async def _read(self, query: str, **values: Any) -> Sequence[sqlite.Row]:
        return await sqlite.run(self._reader, self._file, queries()[query], values)


def _pauses_from(stored: str) -> tuple[Pause, ...]:
    found = [Pause(**each) for each in json.loads(stored)]
    return tuple(sorted(found, key=lambda each: (each.kind, each.name)))


def _pause_from(row: sqlite.Row) -> Pause:
    return Pause(**{name: row[name] for name in _PAUSE})
