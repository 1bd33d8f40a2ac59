"""The schedules in the SQLite file."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.domain.schedules import OVERLAPS, Recurrence, Schedule
from mcp_jobs.store.sqlite import connection as sqlite
from mcp_jobs.store.sqlite import rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp_jobs.domain.models import Job
    from mcp_jobs.store.sqlite.statements import Statements
    from mcp_jobs.store.timetable import Fired

_SAME_NAME: Final = tuple(n for n in Schedule.__slots__ if n not in ("recurrence", "shared"))
_RULE: Final = ("cron", "timezone", "overlap", "catchup_s")
_GIVEN: Final = (
    *("id", "owner", "name", "type", "cwd", "project", "declared_in", "shared"),
    *("created_at_ms", "next_fire_at_ms"),
)


class SqliteSchedules:
    """Implements `Schedules` on the store's connections."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def add(self, schedule: Schedule, *, most: int) -> bool:
        return await self._write("add_schedule", **_values(schedule), most=most)

    async def declare(self, schedule: Schedule) -> bool:
        return await self._write("declare_schedule", **_values(schedule))

    async def remove(self, schedule_id: str, *, unless_paused: bool = False) -> bool:
        return await self._write("remove_schedule", id=schedule_id, unless_paused=unless_paused)

    async def find(self, schedule_id: str) -> Schedule | None:
        found = await self._schedules("schedule_by_id", id=schedule_id)
        return found[0] if found else None

    async def of(self, owner: str | None = None) -> Sequence[Schedule]:
        return await self._schedules("schedules_of", owner=owner)

    async def declared_in(self, file: str) -> Sequence[Schedule]:
        return await self._schedules("schedules_in_file", file=file)

    async def due(self, now_ms: int, *, shared: bool, limit: int) -> Sequence[Schedule]:
        values = {"now_ms": now_ms, "shared": shared, "limit": limit}
        return await self._schedules("due_schedules", **values)

    async def next_due_ms(self, after_ms: int) -> int | None:
        found = await self._sql.read("next_due_schedule", after_ms=after_ms)
        next_ms: int | None = found[0]["next_ms"]
        return next_ms

    async def advance(self, schedule: Schedule, fired: Fired) -> bool:
        values = {name: getattr(fired, name) for name in type(fired).__slots__}
        seen_ms = schedule.next_fire_at_ms
        return await self._write("advance_schedule", id=schedule.id, seen_ms=seen_ms, **values)

    async def pause(self, schedule_id: str, *, by: str, why: str | None, now_ms: int) -> bool:
        values = {"id": schedule_id, "by": by, "why": why, "now_ms": now_ms}
        return await self._write("pause_schedule", **values)

    async def resume(self, schedule_id: str, *, next_fire_at_ms: int | None) -> bool:
        values = {"id": schedule_id, "next_fire_at_ms": next_fire_at_ms}
        return await self._write("resume_schedule", **values)

    async def jobs_of(self, schedule_id: str, *, limit: int) -> Sequence[Job]:
        found = await self._sql.read("jobs_of_schedule", id=schedule_id, limit=limit)
        return [rows.job_from(row) for row in found]

    async def unfinished(self, schedule_id: str) -> Sequence[Job]:
        found = await self._sql.read("unfinished_of_schedule", id=schedule_id)
        return [rows.job_from(row) for row in found]

    async def _schedules(self, query: str, **values: Any) -> list[Schedule]:
        return [_schedule_from(row) for row in await self._sql.read(query, **values)]

    async def _write(self, query: str, **values: Any) -> bool:
        return bool(await self._sql.write(query, **values))


def _values(schedule: Schedule) -> dict[str, Any]:
    rule = schedule.recurrence
    return {
        **{name: getattr(schedule, name) for name in _GIVEN},
        **{name: getattr(rule, name) for name in _RULE},
        "params": json.dumps(dict(rule.params), sort_keys=True),
    }


def _schedule_from(row: sqlite.Row) -> Schedule:
    overlap = next((one for one in OVERLAPS if one == row["overlap"]), OVERLAPS[0])
    rule = Recurrence(
        cron=row["cron"],
        timezone=row["timezone"],
        params=rows.mapping(row["params"]),
        overlap=overlap,
        catchup_s=row["catchup_s"],
    )
    same = {name: row[name] for name in _SAME_NAME}
    return Schedule(**same, recurrence=rule, shared=bool(row["shared"]))
