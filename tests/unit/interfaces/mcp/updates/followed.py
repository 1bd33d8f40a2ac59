"""Targets of which each exists, and a count of those that are followed."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence


class Followed:
    """Stands in for `Targets`; `meanwhile` is what happens while somebody waits for them."""

    def __init__(self) -> None:
        self.count = 0
        self.meanwhile: dict[str, Callable[[], Awaitable[None]]] = {}

    async def fault(self, owner: str, uri: str) -> str | None:
        del owner, uri
        await self._wait("fault")
        return None

    async def watching(self, owner: str, uris: Sequence[str]) -> ExitStack:
        del owner
        await self._wait("watching")
        stack = ExitStack()
        for _ in uris:
            self.count += 1
            stack.callback(self._end)
        return stack

    async def _wait(self, where: str) -> None:
        if where in self.meanwhile:
            await self.meanwhile.pop(where)()

    def _end(self) -> None:
        self.count -= 1
