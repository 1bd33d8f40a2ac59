"""Look for work again and again: when woken, when it is due, and now and then unasked."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import anyio

from mcp_jobs.domain.errors import HomeGoneError, StoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

logger = logging.getLogger(__name__)


class Rounds:
    """The rhythm of one loop over what is `wanted`, for messages; it naps at most `longest_s`.

    A call while it looks is answered by another look, at once. With `gather_s` it waits that long
    after a call, so that a burst of them is one.
    """

    def __init__(self, wanted: str, *, longest_s: float, gather_s: float = 0.0) -> None:
        self._wanted = wanted
        self._longest_s = longest_s
        self._gather_s = gather_s
        self._woken = anyio.Event()

    def wake(self) -> None:
        """Look now."""
        self._woken.set()

    async def run(self, look: Callable[[bool], Awaitable[float | None]]) -> None:
        """Look until cancelled. A store out of order may be whole again after the longest nap.

        `look` does what there is to do, and returns after how many seconds there is more; None
        where it cannot know. It is given whether nobody has called for it, or whether the look
        before has failed: then it should trust nothing that it knew.
        """
        unasked = True
        while True:
            self._woken = anyio.Event()
            try:
                nap_s = await look(unasked)
            except HomeGoneError:
                # Said elsewhere, once, by who ends this process.
                await anyio.sleep_forever()
                return
            except StoreError as error:
                logger.warning("cannot look for %s: %s", self._wanted, error)
                await self._nap(None)
                unasked = True
            else:
                unasked = await self._nap(nap_s)

    async def _nap(self, nap_s: float | None) -> bool:
        """Sleep until woken or until the time is over; says whether it was slept through."""
        bound_s = self._longest_s if nap_s is None else min(nap_s, self._longest_s)
        with anyio.move_on_after(bound_s) as nap:
            await self._woken.wait()
            await anyio.sleep(self._gather_s)
        return nap.cancelled_caught
