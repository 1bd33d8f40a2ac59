"""A `Backend` in memory: it hears of nothing, and asks again and again."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import anyio

from mcp_jobs.domain.errors import StoreError

if TYPE_CHECKING:
    from anyio.abc import TaskGroup

    from mcp_jobs.engine.supervision import Supervision
    from mcp_jobs.execution.base import Executor, Members
    from mcp_jobs.settings import Settings
    from mcp_jobs.store import Store

logger = logging.getLogger(__name__)

_AGAIN_S = 0.01


class MemoryBackend:
    """Takes due jobs one after the other, a hundred times a second."""

    def __init__(
        self,
        *,
        members: Members,
        executor: Executor,
        store: Store,
        supervision: Supervision,
        settings: Settings,
        **others: Any,
    ) -> None:
        self._members = members
        self._executor = executor
        self._store = store
        self._supervision = supervision
        self._settings = settings
        self._clock = others["clock"]

    async def run(self) -> None:
        async with anyio.create_task_group() as tasks:
            while True:
                try:
                    with anyio.CancelScope(shield=True):
                        await self._take_all(tasks)
                except StoreError:
                    logger.warning("the queue cannot be read")
                    self._supervision.doubt()
                await anyio.sleep(_AGAIN_S)

    async def _take_all(self, tasks: TaskGroup) -> None:
        place = {"locality": self._executor.locality, "incarnation": self._executor.here}
        capacity = self._settings.capacity
        while claimed := await self._store.claim(
            claimer=self._members.own_id, capacity=capacity, now_ms=self._clock.now_ms(), **place
        ):
            self._supervision.start(tasks, claimed.job)

    def wake(self) -> None:
        """It wakes soon enough."""

    async def drained(self) -> None:
        while await self._left():  # noqa: ASYNC110 - it hears of nothing
            await anyio.sleep(_AGAIN_S)

    async def _left(self) -> bool:
        left = await self._store.unfinished(self._executor.locality)
        return bool(self._supervision or left)
