"""Let the other owners and the launcher know that this process cares for jobs."""

from __future__ import annotations

import contextlib
import json
import logging
import os
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import anyio

from mcp_jobs.domain.errors import LauncherError, StoreError
from mcp_jobs.domain.events import JobChanged
from mcp_jobs.domain.limits import WEBHOOK_SOON_MS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from _typeshed import DataclassInstance

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.events import Bus, Event
    from mcp_jobs.execution.launcher_client import Drain, LauncherClient, LauncherLink
    from mcp_jobs.execution.owner_locks import Owners
    from mcp_jobs.store import Store

logger = logging.getLogger(__name__)

_AGAIN_S: Final = 1.0
_CARE_S: Final = 5.0


class Membership:
    """This process as an owner of jobs.

    While there is work it is attached to the launcher. Should it die then, the launcher starts a
    worker for what is left, so that queued jobs run without any server.
    """

    def __init__(
        self,
        *,
        members: Owners,
        store: Store,
        bus: Bus,
        launcher: LauncherClient,
        drain: Drain,
        locality: str,
        clock: Clock,
    ) -> None:
        self.members = members
        self._store = store
        self._bus = bus
        self._launcher = launcher
        self._drain = drain
        self._locality = locality
        self._clock = clock
        self._link: LauncherLink | None = None
        self._ended = False
        self._work = anyio.Event()
        self._tried = anyio.Event()

    def tell(self, faults: Sequence[DataclassInstance]) -> None:
        """Let others know which parts of this process have failed."""
        told = {"pid": os.getpid(), "faults": [asdict(fault) for fault in faults]}
        self.members.tell(json.dumps(told) if faults else "")

    def expect_work(self) -> None:
        """Something is queued or runs: be attached from now on."""
        self._work.set()

    async def care(self) -> None:
        """Return when the launcher knows of this process, or cannot be had soon."""
        self.expect_work()
        with anyio.move_on_after(_CARE_S):
            await self._tried.wait()

    async def ask_for_worker(self) -> None:
        """Have a worker started, unless others work, as soon as this process leaves or hands over.

        For commands that come and go and work on no job. Raises `LauncherError`.
        """
        if self._link is None:
            self._link = await self._launcher.attach(self._drain)

    async def hand_over(self) -> None:
        """After `ask_for_worker`: leave the jobs to others from now on."""
        link, self._link = self._link, None
        while link is not None and link.gone():
            # It left, or was killed, since then: the next one must know that there is work.
            await link.aclose()
            link = await self._launcher.attach(self._drain)
        if link is not None:
            await link.aclose()

    async def stay_attached(self) -> None:
        """Keep the launcher informed as long as the home is there."""
        await self._until_work()
        # Else the launcher of a home that was replaced would begin its work in the new one.
        while not self._store.lost():
            if self._link is not None:
                # From before a fault.
                await self._link.aclose()
            try:
                # Shielded: `leave` must know of every link, or a worker is started for nothing.
                with anyio.CancelScope(shield=True):
                    link = self._link = await self._launcher.attach(self._drain)
            except LauncherError as error:
                logger.warning("no launcher: %s", error)
                self._tried.set()
                await anyio.sleep(_AGAIN_S)
                continue
            self._tried.set()
            with contextlib.suppress(anyio.ClosedResourceError):
                await link.wait_closed()
            if self._ended:
                await anyio.sleep_forever()
            # It was killed; its runners go on, and the next one must know of us at once.
            self._tried = anyio.Event()
            await link.aclose()
            self._link = None
        self._tried.set()
        await anyio.sleep_forever()

    async def _until_work(self) -> None:
        unsubscribe = self._bus.subscribe(self._on_event)
        try:
            with contextlib.suppress(StoreError):
                if await self._work_left():
                    self.expect_work()
            await self._work.wait()
        finally:
            unsubscribe()

    def _on_event(self, event: Event) -> None:
        if isinstance(event, JobChanged) and not event.ended:
            self.expect_work()

    async def _work_left(self) -> bool:
        """Say whether jobs are left, or webhooks that must not wait for the next server."""
        if await self._store.unfinished(self._locality):
            return True
        return bool(await self._store.outbox.due_before(self._clock.now_ms() + WEBHOOK_SOON_MS))

    async def leave(self) -> None:
        """Stop being an owner. When nothing is left to do, no worker is needed either."""
        self._ended = True
        link, self._link = self._link, None
        if link is not None:
            with contextlib.suppress(StoreError):
                if not await self._work_left():
                    await link.release()
            await link.aclose()
        self.members.leave()
