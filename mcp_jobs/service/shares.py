"""What one owner may have at once, so that something is left for the others."""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final

import anyio

from mcp_jobs.domain.errors import TooManyError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

WAITING_CALLS: Final = 200
"""Calls of one owner that wait for jobs at once."""

SEARCHES: Final = 2
"""Searches of one owner that run at once; the others wait for their turn."""

SEARCHES_IN_LINE: Final = 100


class Share:
    """So many at once for each owner; one more is refused."""

    def __init__(self, most: int, what: str) -> None:
        self._most = most
        self._what = what
        self._taken: dict[str, int] = {}

    def is_full(self, owner: str) -> bool:
        """Say whether one more would be refused."""
        return self._taken.get(owner, 0) >= self._most

    def refuse_full(self, owner: str) -> None:
        """Raise `TooManyError` when one more would be too many."""
        if self.is_full(owner):
            raise TooManyError(
                f"Nothing was done: {self._most} {self._what} at once are your share, and as many "
                "are open. Try again when some have ended."
            )

    @contextmanager
    def of(self, owner: str) -> Iterator[None]:
        """Hold one as long as the context lasts. Raises `TooManyError`."""
        self.refuse_full(owner)
        self._taken[owner] = self._taken.get(owner, 0) + 1
        try:
            yield
        finally:
            self._taken[owner] -= 1
            if not self._taken[owner]:
                del self._taken[owner]


class Line:
    """So many at once for each owner; others of the same owner wait for their turn."""

    def __init__(self, at_once: int, share: Share) -> None:
        self._at_once = at_once
        self._share = share
        self._limits: dict[str, anyio.Semaphore] = {}
        self._inside: dict[str, int] = {}

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Wait for a turn and hold it as long as the context lasts. Raises `TooManyError`."""
        with self._share.of(owner):
            limit = self._limits.setdefault(owner, anyio.Semaphore(self._at_once))
            self._inside[owner] = self._inside.get(owner, 0) + 1
            try:
                async with limit:
                    yield
            finally:
                self._inside[owner] -= 1
                if not self._inside[owner]:
                    del self._inside[owner], self._limits[owner]


class Shares:
    """The shares of calls in one process."""

    def __init__(self) -> None:
        self.waiting = Share(WAITING_CALLS, "calls that wait for jobs")
        self.searches = Line(SEARCHES, Share(SEARCHES_IN_LINE, "searches in output"))
