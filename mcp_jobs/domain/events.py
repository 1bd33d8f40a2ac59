"""Facts about jobs, and the bus that carries them inside one process.

Nothing is published before it is stored. What other processes did is read from the store and
published on the same bus, so a subscriber sees one stream and need not know who wrote.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable

    from mcp_jobs.domain.states import Status

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class JobChanged:
    """The stored row of a job changed: created, moved, progressed or asked to cancel."""

    job_id: str
    owner: str
    status: Status
    created: bool
    ended: bool
    seq: int = field(default=0, compare=False)
    """Its place in the store's log of changes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputGrew:
    """A job printed something."""

    job_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TypesChanged:
    """Other job types can be started than before."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GatesChanged:
    """A pause or a capacity has changed: jobs that waited may begin."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SchedulesChanged:
    """A schedule of the owner is another than before, or a job that one has started has ended."""

    owner: str
    added: bool = False


Event = JobChanged | OutputGrew | TypesChanged | GatesChanged | SchedulesChanged


class Bus(Protocol):
    """Carries events to subscribers. `publish` never blocks and never raises."""

    def publish(self, event: Event) -> None: ...

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        """Call `listener` for every event from now on; returns how to stop that."""
        ...


class InProcessBus:
    """Calls each listener at once, in the order of subscription."""

    def __init__(self) -> None:
        self._listeners: dict[object, Callable[[Event], None]] = {}

    def publish(self, event: Event) -> None:
        for listener in list(self._listeners.values()):
            try:
                listener(event)
            except Exception:  # a subscriber's bug must reach neither the store nor the others
                logger.exception("an event listener failed")

    def subscribe(self, listener: Callable[[Event], None]) -> Callable[[], None]:
        key = object()
        self._listeners[key] = listener
        return lambda: self._listeners.pop(key, None) and None
