"""The gates in the SQLite file: what holds up waiting jobs, and who holds what."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from mcp_jobs.domain.gates import Lock, Obstacles, Pause
from mcp_jobs.store.sqlite import connection as sqlite
from mcp_jobs.store.sqlite import rows
from mcp_jobs.store.sqlite.statements import FEW

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mcp_jobs.domain.gates import PauseKind
    from mcp_jobs.store.sqlite.statements import Statements

_PAUSE = tuple(Pause.__slots__)


class SqliteGates:
    """Implements `Gates` on the store's connections."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def pause(self, pause: Pause) -> bool:
        return bool(
            await self._sql.write("pause", **{name: getattr(pause, name) for name in _PAUSE})
        )

    async def resume(self, kind: PauseKind, name: str) -> Pause | None:
        found = await self._sql.write("resume", kind=kind, name=name)
        return _pause_from(found[0]) if found else None

    async def pauses(self) -> Sequence[Pause]:
        return [_pause_from(row) for row in await self._sql.read("pauses")]

    async def set_capacity(self, name: str, capacity: int, *, declared: bool) -> bool:
        values = {"name": name, "capacity": capacity, "declared": declared}
        return bool(await self._sql.write("set_capacity", **values))

    async def locks(self) -> Sequence[Lock]:
        return [
            Lock(
                name=row["name"],
                capacity=row["capacity"],
                holders=rows.names(row["holders"]),
                waiting=row["waiting"],
            )
            for row in await self._sql.read("locks")
        ]

    async def obstacles(self, job_ids: Sequence[str]) -> Mapping[str, Obstacles]:
        read = self._sql.look_up if len(job_ids) <= FEW else self._sql.read
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
        return int((await self._sql.read("ready_before", **values))[0]["total"])


def _pauses_from(stored: str) -> tuple[Pause, ...]:
    found = [Pause(**each) for each in json.loads(stored)]
    return tuple(sorted(found, key=lambda each: (each.kind, each.name)))


def _pause_from(row: sqlite.Row) -> Pause:
    return Pause(**{name: row[name] for name in _PAUSE})
