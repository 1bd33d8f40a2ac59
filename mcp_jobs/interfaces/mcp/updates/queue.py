"""What waits to be sent to one subscriber."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import anyio
from mcp.server.subscriptions import ServerEvent


@dataclass(frozen=True, slots=True)
class TaskChanged:
    """The job behind a task changed."""

    job_id: str
    ended: bool


News = ServerEvent | TaskChanged


class UpdateQueue:
    """The news that one subscriber has not been sent yet, in order.

    Every piece of news means "look again", so the same news waiting twice is the same as once. That
    bounds the queue by what was subscribed to, and a slow client costs nobody else anything.
    """

    def __init__(self, owner: str, wants: Callable[[News], bool]) -> None:
        self.owner = owner
        self.wants = wants
        self._news: dict[News, None] = {}
        self._filled = anyio.Event()

    def offer(self, news: News) -> None:
        """Keep news that the subscriber wants; never blocks."""
        if self.wants(news):
            self._news[news] = None
            self._filled.set()

    async def next(self) -> News:
        """Return the oldest news, waiting for some."""
        while not self._news:
            self._filled = anyio.Event()
            await self._filled.wait()
        news = next(iter(self._news))
        del self._news[news]
        return news
