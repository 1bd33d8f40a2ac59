"""The outbox in the SQLite file: messages about ended jobs and the attempts to deliver them."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING

from mcp_jobs.domain.models import Delivery, OutboxMessage
from mcp_jobs.store.base import DELIVERIES_OF_OWNER
from mcp_jobs.store.sqlite import connection as sqlite

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp_jobs.store.sqlite.statements import Statements

_MESSAGE = ("id", "job_id", "url", "status", "created_at_ms", "attempt", "next_attempt_at_ms")
_DELIVERY = tuple(Delivery.__slots__)
_STORED = _DELIVERY[1:]


class SqliteOutbox:
    """Implements `Outbox` on the store's connections."""

    def __init__(self, statements: Statements) -> None:
        self._sql = statements

    async def claim(self, *, claimer: str, now_ms: int) -> OutboxMessage | None:
        found = await self._sql.write(
            "claim_delivery", claimer=claimer, now_ms=now_ms, most=DELIVERIES_OF_OWNER
        )
        return _message_from(found[0]) if found else None

    async def record(self, message: OutboxMessage, delivery: Delivery, *, claimer: str) -> bool:
        values = {name: getattr(delivery, name) for name in _STORED}
        found = await self._sql.write(
            "record_delivery", id=message.id, number=delivery.number, claimer=claimer, **values
        )
        return bool(found)

    async def release(self, claimer: str) -> int:
        return len(await self._sql.write("release_deliveries", claimer=claimer))

    async def give_back(self, message: OutboxMessage, *, claimer: str) -> None:
        await self._sql.write(
            "release_delivery", id=message.id, attempt=message.attempt, claimer=claimer
        )

    async def claimers(self) -> Sequence[str]:
        return [row["claimed_by"] for row in await self._sql.read("delivery_claimers")]

    async def next_due_ms(self) -> int | None:
        due = (await self._sql.read("next_delivery", most=DELIVERIES_OF_OWNER))[0]["due_ms"]
        return None if due is None else int(due)

    async def due_before(self, before_ms: int) -> int:
        return int((await self._sql.read("deliveries_before", before_ms=before_ms))[0]["total"])

    async def pending(self) -> int:
        return int((await self._sql.read("pending_deliveries"))[0]["total"])

    async def of_job(self, job_id: str) -> Sequence[OutboxMessage]:
        attempts = await self._sql.read("deliveries_of", job_id=job_id)
        by_message = {
            message_id: tuple(Delivery(**{name: row[name] for name in _DELIVERY}) for row in rows)
            for message_id, rows in groupby(attempts, key=lambda row: str(row["message_id"]))
        }
        return [
            _message_from(row, by_message.get(row["id"], ()))
            for row in await self._sql.read("messages_of", job_id=job_id)
        ]


def _message_from(row: sqlite.Row, deliveries: tuple[Delivery, ...] = ()) -> OutboxMessage:
    return OutboxMessage(**{name: row[name] for name in _MESSAGE}, deliveries=deliveries)
