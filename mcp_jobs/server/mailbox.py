"""What waits to be sent to one subscriber."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp.server.subscriptions import ServerEvent


class Mailbox:
    """The news that one subscriber has not been sent yet, in order.

    Every piece of news means "look again", so the same news waiting twice is the same as once. That
    bounds the mailbox by what was subscribed to, and a slow client costs nobody else anything.
    """

    def __init__(self, owner: str, wants: Callable[[ServerEvent], bool]) -> None:
        self.owner = owner
        self._wants = wants
        self._news: dict[ServerEvent, None] = {}
        self._filled = anyio.Event()

    def offer(self, news: ServerEvent) -> None:
        """Keep news that the subscriber wants; never blocks."""
        if self._wants(news):
            self._news[news] = None
            self._filled.set()

    async def next(self) -> ServerEvent:
        """Return the oldest news, waiting for some."""
        while not self._news:
            self._filled = anyio.Event()
            await self._filled.wait()
        news = next(iter(self._news))
        del self._news[news]
        return news
