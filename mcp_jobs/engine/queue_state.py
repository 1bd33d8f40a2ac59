"""What is known of the queue between two looks at it. Pure.

A claim is a write, and each end of a job is told twice: by its supervisor, and later by the change
feed. So the store is asked only where that may bring a job.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mcp_jobs.domain.states import Status

if TYPE_CHECKING:
    from mcp_jobs.domain.events import JobChanged
    from mcp_jobs.store.base import Claimed, Due

_FREED_KEPT: Final = 1000


class QueueState:
    """Whether a claim may bring a job, and when the next one may."""

    def __init__(self) -> None:
        self._unknown = True
        """Something may be due that is not known here."""
        self._next_due_ms: int | None = None
        self._held_up = False
        """Something was due when it was last looked, and could not begin."""
        self._full = False
        """No slot was free when it was last looked for one, and no end was heard of since."""
        self._freed: set[str] = set()
        """Jobs whose slot was used again before the feed told of their end."""

    def distrust(self) -> None:
        """Know nothing: there may be due jobs and free slots."""
        self._unknown, self._full = True, False

    def hear(self, event: JobChanged) -> bool:
        """Take in what happened to a job; says whether to look at the queue now."""
        waits = event.created or event.status in (Status.PENDING, Status.RETRYING)
        # It may be due, now or at a time that is not known here.
        self._unknown = self._unknown or waits
        if self._frees_slot(event):
            self._full = False
            return True
        return waits and not self._full

    def _frees_slot(self, event: JobChanged) -> bool:
        if event.ended and event.job_id in self._freed:
            self._freed.discard(event.job_id)
            return False
        return event.ended or event.status in (Status.INPUT_REQUIRED, Status.RETRYING)

    def note_freed(self, job_id: str) -> None:
        """Know of a free slot before the feed tells of the end of a job."""
        if len(self._freed) >= _FREED_KEPT:
            # Ends of which the feed had told already. To forget the others costs a claim in vain.
            self._freed.clear()
        self._freed.add(job_id)
        self._full = False

    # -- a look at the queue ---------------------------------------------------------------------

    def begin(self) -> None:
        """Begin to look: whoever called for it may know of a slot or a lock that is free again."""
        self._full = False
        self._unknown = self._unknown or self._held_up

    def may_give(self, now_ms: int) -> bool:
        """Say whether a claim may bring a job; what is heard while it is tried counts anew."""
        may = not self._full and (self._unknown or self._is_due(now_ms))
        if may:
            self._unknown = False
        return may

    def gave(self, claimed: Claimed, *, capacity: int) -> None:
        """Take in a claim that brought a job."""
        self._freed.discard(claimed.job.id)
        self._next_due_ms = claimed.next_due_ms
        self._full = claimed.running >= capacity

    def gave_nothing(self, due: Due, *, capacity: int) -> None:
        """Take in a claim that brought none, and what waits."""
        self._next_due_ms = due.next_ms
        self._held_up = due.since_ms is not None
        self._full = self._held_up and due.running >= capacity

    def due_in_s(self, now_ms: int) -> float | None:
        """Return after which time a claim may bring a job; None when only an event can tell."""
        if self._full or self._next_due_ms is None:
            return None
        return max((self._next_due_ms - now_ms) / 1000, 0.0)

    def _is_due(self, now_ms: int) -> bool:
        return self._next_due_ms is not None and self._next_due_ms <= now_ms
