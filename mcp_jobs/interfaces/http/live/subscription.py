"""One subscription: what came before, what comes now, and the end; over SSE and WebSocket alike."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Final

from mcp_jobs.interfaces.http.live.hub import Frame
from mcp_jobs.interfaces.http.opened import LEFT
from mcp_jobs.service.requests import ListJobs
from mcp_jobs.service.shares import Share

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from mcp_jobs.interfaces.http.live.event_ids import Cursors
    from mcp_jobs.interfaces.http.live.hub import Hub
    from mcp_jobs.interfaces.http.opened import Stay
    from mcp_jobs.service.job_service import JobService
    from mcp_jobs.store import Change, Store

HEARTBEAT_S: Final = 15.0
SNAPSHOT: Final = "snapshot"
RESET: Final = "reset"
DROPPED: Final = "dropped"
HEARTBEAT: Final = Frame(name="", data="")

_PAGE: Final = 1000
_NEWEST: Final = 100
_UNKNOWN_PLACE: Final = (
    "The log of changes does not reach back to that id any more, or never had it. The snapshot "
    "that follows is how things are now."
)


SUBSCRIPTIONS_OF_OWNER: Final = 2000
"""Over all of his WebSockets."""


class Live:
    """Makes subscriptions."""

    def __init__(self, *, hub: Hub, service: JobService, store: Store, cursors: Cursors) -> None:
        self._hub = hub
        self._service = service
        self._store = store
        self._cursors = cursors
        self.share = Share(SUBSCRIPTIONS_OF_OWNER, "subscriptions")

    async def finished(self, owner: str, job_id: str, last_id: str) -> bool:
        """Say whether somebody who saw the event `last_id` of a job has seen its end.

        Raises `UnknownJobError`.
        """
        job = await self._service.find(owner, job_id)
        place = await self._place(owner, last_id)
        if place is None or not job.ended:
            return False
        async for _ in self._since(owner, job_id, place):
            return False
        return True

    async def frames(
        self,
        owner: str,
        job_id: str | None,
        *,
        last_id: str | None,
        stay: Stay,
    ) -> AsyncGenerator[Frame]:
        """Yield events until the job has ended, or until the listener is dropped (the last one).

        Begins with a snapshot, or after `last_id` with everything that came since. `HEARTBEAT`
        comes when there is nothing to say. Raises `UnknownJobError` before the first event.
        """
        # Joined before anything is read, so that nothing falls in between; what comes twice is
        # known by its number.
        with (
            self._hub.joined(owner, job_id) as listener,
            stay.told(lambda: listener.drop(LEFT)),
        ):
            seen = 0
            async for frame in self._beginning(owner, job_id, last_id):
                seen = max(seen, frame.seq)
                yield frame
                if frame.last and job_id is not None:
                    return
            while True:
                live = await listener.next(HEARTBEAT_S)
                if listener.dropped is not None or not stay.still_valid():
                    yield _dropped(listener.dropped or LEFT)
                    return
                if live is None:
                    yield HEARTBEAT
                elif live.seq > seen:
                    seen = live.seq
                    yield live
                    if live.last and job_id is not None:
                        return

    async def _beginning(
        self, owner: str, job_id: str | None, last_id: str | None
    ) -> AsyncGenerator[Frame]:
        if last_id is not None:
            place = await self._place(owner, last_id)
            if place is not None:
                async for frame in self._since(owner, job_id, place):
                    yield frame
                if await self._reaches(place):
                    return
            # Pruned before, or just while it was read.
            yield Frame(name=RESET, data=json.dumps({"reason": _UNKNOWN_PLACE}))
        async for frame in self._snapshot(owner, job_id):
            yield frame

    async def _place(self, owner: str, last_id: str) -> int | None:
        """Return the change that an id stands for, if everything after it is still known."""
        seq = self._cursors.seq(owner, last_id)
        if seq is None or not await self._reaches(seq):
            return None
        return seq

    async def _reaches(self, seq: int) -> bool:
        """Say whether the log still has every change after `seq`."""
        first, last = await self._store.first_change(), await self._store.last_change()
        return first - 1 <= seq <= last

    async def _since(self, owner: str, job_id: str | None, seq: int) -> AsyncGenerator[Frame]:
        last = await self._store.last_change()
        while seq < last:
            page = await self._store.changes_after(seq, limit=_PAGE)
            if not page:
                return
            seq = page[-1].seq
            mine = [change for change in page if _concerns(change, owner, job_id)]
            for frame in await self._hub.frames(owner, mine):
                yield frame

    async def _snapshot(self, owner: str, job_id: str | None) -> AsyncGenerator[Frame]:
        # The number first: what changes while the jobs are read is told again.
        seq = await self._store.last_change()
        place = self._cursors.text(owner, seq)
        if job_id is None:
            shown = await self._service.list(owner, ListJobs(limit=_NEWEST))
            yield Frame(name=SNAPSHOT, data=json.dumps(shown), id=place, seq=seq)
            return
        job = await self._service.find(owner, job_id)
        told = {
            "job_id": job_id,
            "status": job.status.value,
            "job": await self._service.glance(owner, job_id),
        }
        yield Frame(name=SNAPSHOT, data=json.dumps(told), id=place, seq=seq)
        if job.ended:
            yield Frame(name="job.ended", data=json.dumps(told), id=place, seq=seq, last=True)


def _concerns(change: Change, owner: str, job_id: str | None) -> bool:
    return change.owner == owner and job_id in (None, change.job_id)


def _dropped(reason: str) -> Frame:
    return Frame(name=DROPPED, data=json.dumps({"reason": reason}), last=True)
