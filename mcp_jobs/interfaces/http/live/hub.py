"""Carries changes of jobs to those who listen. Each change is read once, whoever many listen.

A listener has a queue of a bounded length. Whoever does not keep up is dropped with a reason and
may come back with the id of the last event that it saw: the store knows what it missed.
"""

from __future__ import annotations

import json
import logging
from collections import deque
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import anyio
import anyio.lowlevel

from mcp_jobs.domain.errors import StoreError
from mcp_jobs.domain.events import JobChanged
from mcp_jobs.domain.states import TERMINAL

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mcp_jobs.domain.events import Bus, Event
    from mcp_jobs.interfaces.http.live.event_ids import Cursors
    from mcp_jobs.service.job_service import JobService
    from mcp_jobs.store import Change

logger = logging.getLogger(__name__)

QUEUE_LENGTH: Final = 1000
TOO_SLOW: Final = "You read too slowly. Come back with the id of the last event that you saw."
GOING_DOWN: Final = (
    "The server is shutting down. Come back with the id of the last event that you saw."
)

_COME_BACK: Final = "The server cannot read its store now. Come back later."
_SLICE: Final = 100
_REMEMBERED: Final = 4096
_GATHER_S: Final = 0.01
"""A burst of changes of one job is read from the store once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One event as it goes out. `data` is JSON."""

    name: str
    data: str
    id: str | None = None
    seq: int = 0
    last: bool = False
    """The job has ended; nothing follows about it."""


class Listener:
    """One who listens, and what waits for him."""

    def __init__(self, owner: str, job_id: str | None) -> None:
        self.owner = owner
        self.job_id = job_id
        """None: all jobs of the owner."""
        self.dropped: str | None = None
        """Why nothing more will come."""
        self.gone = anyio.Event()
        self._queue: deque[Frame] = deque()
        self._filled = anyio.Event()

    def offer(self, frame: Frame) -> bool:
        """Put a frame into the queue; False when the listener had to be dropped."""
        if self.dropped is not None:
            return False
        if len(self._queue) >= QUEUE_LENGTH:
            self.drop(TOO_SLOW)
            return False
        self._queue.append(frame)
        self._filled.set()
        return True

    def drop(self, reason: str) -> None:
        """Let nothing more come."""
        if self.dropped is None:
            self.dropped = reason
            self._queue.clear()
            self._filled.set()
            self.gone.set()

    async def next(self, within_s: float) -> Frame | None:
        """Return the next frame; None when none came in time, or when dropped."""
        if not self._queue and self.dropped is None:
            self._filled = anyio.Event()
            with anyio.move_on_after(within_s):
                await self._filled.wait()
        return self._queue.popleft() if self._queue else None


class Hub:
    """One for each server process."""

    def __init__(self, *, service: JobService, bus: Bus, cursors: Cursors) -> None:
        self._service = service
        self._bus = bus
        self._cursors = cursors
        self._listeners: dict[tuple[str, str | None], set[Listener]] = {}
        self._changes: list[JobChanged] = []
        self._changed = anyio.Event()
        self._closed: str | None = None
        self._making = anyio.Lock()
        self._made: dict[int, Frame] = {}
        """The newest frames by the number of their change, which belongs to one owner only."""
        self.dropped_total = 0

    async def run(self) -> None:
        """Carry until cancelled."""
        unsubscribe = self._bus.subscribe(self._on_event)
        try:
            while True:
                await self._changed.wait()
                await anyio.sleep(_GATHER_S)
                self._changed = anyio.Event()
                await self._carry()
        finally:
            unsubscribe()

    @contextmanager
    def joined(self, owner: str, job_id: str | None) -> Iterator[Listener]:
        """Listen as long as the context lasts."""
        listener = Listener(owner, job_id)
        place = (owner, job_id)
        self._listeners.setdefault(place, set()).add(listener)
        if self._closed is not None:
            listener.drop(self._closed)
        try:
            yield listener
        finally:
            others = self._listeners[place]
            others.discard(listener)
            if not others:
                del self._listeners[place]

    def count(self) -> int:
        """Return how many listen."""
        return sum(len(some) for some in self._listeners.values())

    def close(self, reason: str) -> None:
        """Drop everybody, also those who come later."""
        self._closed = reason
        for some in self._listeners.values():
            for listener in some:
                listener.drop(reason)

    async def frames(self, owner: str, changes: Sequence[JobChanged | Change]) -> list[Frame]:
        """Return the events that some changes of jobs of one owner are.

        Of changes that leave a job in its state, progress mostly, only the last one of a row is
        told; a change of state always is.
        """
        shown: dict[str, object] = {}
        found: list[Frame] = []
        # One at a time: after a restart hundreds come back at once and ask for the same.
        async with self._making:
            for change in _told(changes):
                frame = self._made.get(change.seq)
                if frame is None:
                    if change.job_id not in shown:
                        shown[change.job_id] = await self._service.glance(owner, change.job_id)
                    frame = self._make(owner, change, shown[change.job_id])
                found.append(frame)
        return found

    def _make(self, owner: str, change: JobChanged | Change, job: object) -> Frame:
        ended = change.status in TERMINAL
        data = {"job_id": change.job_id, "status": str(change.status), "job": job}
        frame = self._made[change.seq] = Frame(
            name="job.ended" if ended else "job.created" if change.created else "job.changed",
            data=json.dumps(data),
            id=self._cursors.text(owner, change.seq),
            seq=change.seq,
            last=ended,
        )
        if len(self._made) > _REMEMBERED:
            del self._made[next(iter(self._made))]
        return frame

    # -- what happens ----------------------------------------------------------------------------

    def _on_event(self, event: Event) -> None:
        if isinstance(event, JobChanged) and any(
            place in self._listeners for place in _places(event)
        ):
            self._changes.append(event)
            self._changed.set()

    async def _carry(self) -> None:
        changes, self._changes = self._changes, []
        by_owner: dict[str, list[JobChanged]] = {}
        for change in changes:
            by_owner.setdefault(change.owner, []).append(change)
        for owner, some in by_owner.items():
            try:
                frames = await self.frames(owner, some)
            except StoreError as error:
                # They come back with the last id that they saw, when the store works again.
                logger.warning("changes cannot be told: %s", error)
                self._drop_owner(owner, _COME_BACK)
                continue
            except Exception:  # one job that cannot be shown must not silence the others
                logger.exception("changes cannot be told")
                self._drop_owner(owner, _COME_BACK)
                continue
            await self._give(owner, some, frames)

    async def _give(
        self, owner: str, changes: Sequence[JobChanged], frames: Sequence[Frame]
    ) -> None:
        jobs = {change.seq: change.job_id for change in changes}
        for number, frame in enumerate(frames):
            if number % _SLICE == 0:
                # A burst must not fill a queue before its reader had a chance.
                await anyio.lowlevel.checkpoint()
            for place in ((owner, None), (owner, jobs[frame.seq])):
                for listener in tuple(self._listeners.get(place, ())):
                    if listener.dropped is None and not listener.offer(frame):
                        self.dropped_total += 1

    def _drop_owner(self, owner: str, reason: str) -> None:
        for (name, _), some in self._listeners.items():
            if name == owner:
                for listener in some:
                    listener.drop(reason)


def _places(change: JobChanged) -> tuple[tuple[str, str | None], ...]:
    return (change.owner, None), (change.owner, change.job_id)


def _told(
    changes: Sequence[JobChanged | Change],
) -> list[JobChanged | Change]:
    """Leave out changes of no job, and those followed by one of the same job in the same state."""
    told: list[JobChanged | Change] = []
    following: dict[str, tuple[object, bool]] = {}
    for change in reversed(changes):
        state = (change.status, change.created)
        if change.status is not None and following.get(change.job_id) != state:
            told.append(change)
        following[change.job_id] = state
    told.reverse()
    return told
