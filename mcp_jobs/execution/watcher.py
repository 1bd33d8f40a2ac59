"""Follow running jobs through the files that they write: output, progress, end.

One ticker serves all jobs, so that a thousand of them do not mean a thousand timers. It looks four
times a second, and less often when a look takes long.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final, TypeAlias

import anyio
import anyio.to_thread

from mcp_jobs.domain.errors import in_words
from mcp_jobs.domain.events import JobChanged, OutputGrew
from mcp_jobs.execution.launcher.spool import newest_segment
from mcp_jobs.execution.spool_reader import SpoolFiles
from mcp_jobs.output.source import Unreadable
from mcp_jobs.output.view import OutputView

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.events import Bus, Event
    from mcp_jobs.execution.attempt_reader import AttemptReader

logger = logging.getLogger(__name__)

TICK_S: Final = 0.25
_SHARE: Final = 10
"""A look may use one part in this many of the time."""

_LISTINGS: Final = 5
_THOROUGH_EVERY: Final = 8
_FEW: Final = 64

Mark: TypeAlias = tuple[int, ...]


class OutputSize:
    """How much a job has printed, and how much of that is known."""

    def __init__(self, directory: Path) -> None:
        self._directory = str(directory)
        self.source = SpoolFiles(self._directory)
        self._newest = ""
        self.known = 0

    def total(self) -> int:
        """Return how much there is; while segments are being dropped, what is known."""
        for _ in range(_LISTINGS):
            with contextlib.suppress(FileNotFoundError):
                try:
                    return OutputView(self.source).bytes_total
                except Unreadable:
                    return 0
        return self.known

    def begun(self) -> bool:
        """Say whether there is an output at all."""
        return os.path.lexists(self._directory)

    def marks(self) -> tuple[Mark, Mark]:
        """Return what changes with the output: a segment grows, a new one changes its directory."""
        return _mark(self._directory), _mark(self._newest)

    def find_newest(self) -> None:
        """Let `marks` tell from now on when the segment grows that is the newest now."""
        self._newest = newest_segment(self._directory)


class Watch:
    """One running job as its files show it. `look` blocks and runs in a worker thread.

    Without a `reader` it only sees the output grow, from now on; `alive` says whether its runner
    lives, or True where somebody else knows that.
    """

    def __init__(
        self,
        job_id: str,
        size: OutputSize,
        *,
        reader: AttemptReader | None = None,
        alive: Callable[[], bool] | None = None,
    ) -> None:
        self.job_id = job_id
        self.changed = anyio.Event()
        self.grew = False
        self.alive = True
        self._size = size
        self._reader = reader
        self._probe = alive
        self._begun = reader is None
        if reader is None:
            size.known = size.total()
        self._looking = threading.Lock()
        self._marks: tuple[Mark, ...] = ()
        self._looks = 0

    def look(self, now_s: float) -> None:
        """See what changed since the last look: `grew`, `alive`, and what the reader reads."""
        # The ticker may be looking when the end of the job asks for a last look.
        with self._looking:
            self._look(now_s)

    def last_look(self, now_s: float) -> None:
        """Look once more, at everything, after the end."""
        with self._looking:
            self._marks = ()
            self._look(now_s)

    def _look(self, now_s: float) -> None:
        if not self._begun and self._reader is not None:
            # Not before: most short jobs have ended before there is need to.
            self._size.known = self._reader.begin()
            # After an error the next look begins anew.
            self._begun = True
        # The lock first: what a runner wrote before it left must be read after that is known.
        self.alive = self._probe is None or self._probe()
        self.grew = False
        if not self._looks_different():
            return
        known, total = self._size.known, self._size.total()
        self.grew = total > known
        if self._reader is not None:
            self._reader.read(known, total, now_s)
        self._size.known = total

    def _looks_different(self) -> bool:
        """Say whether anything may have been written; cheaper than to list and to open.

        Two changes within one tick of the file system's clock look alike, so now and then it says
        yes unasked.
        """
        marks = self._marks_now()
        self._looks += 1
        if marks == self._marks and not self._waits() and self._looks % _THOROUGH_EVERY:
            return False
        self._size.find_newest()
        self._marks = (marks[0], self._size.marks()[1], *marks[2:])
        return True

    def _marks_now(self) -> tuple[Mark, ...]:
        paths: Sequence[str] = () if self._reader is None else self._reader.paths()
        return (*self._size.marks(), *map(_mark, paths))

    def _waits(self) -> bool:
        return self._reader is not None and self._reader.waits

    def may_differ(self) -> bool:
        """Say, without reading anything, whether a look may show something new."""
        if self._probe is not None or not self._begun or self._waits():
            return True
        if (self._looks + 1) % _THOROUGH_EVERY == 0 or self._marks_now() != self._marks:
            return True
        self._looks += 1
        return False

    def may_have_grown(self) -> bool:
        """Say, without reading anything, whether another look can show more."""
        if self._reader is not None and self._reader.progress.may_have_more():
            return True
        return self._size.begun() if not self._begun else self._size.total() > self._size.known

    def tell(self) -> None:
        """Have whoever waits for `changed` look if there is something to see."""
        if not self.alive or (self._reader is not None and self._reader.has_news):
            self.changed.set()

    def wake(self) -> None:
        """Make whoever waits for `changed` look again."""
        self.changed.set()


class Follower:
    """Looks at every watched job and publishes `OutputGrew`."""

    def __init__(self, *, bus: Bus, clock: Clock) -> None:
        self._bus = bus
        self._clock = clock
        self._watches: set[Watch] = set()
        self._work = anyio.Event()

    @contextmanager
    def watching(self, watch: Watch) -> Iterator[Watch]:
        """Look at a job as long as the context lasts."""
        self._watches.add(watch)
        self._work.set()
        try:
            yield watch
        finally:
            self._watches.discard(watch)

    async def run(self) -> None:
        """Tick for ever; sleeps without a timer while nothing is watched."""
        unsubscribe = self._bus.subscribe(self._on_event)
        try:
            while True:
                if not self._watches:
                    self._work = anyio.Event()
                    await self._work.wait()
                before_s = self._clock.monotonic_s()
                try:
                    await self.tick()
                except Exception:  # without threads (a fork bomb), the jobs must still be cared for
                    logger.exception("looking at the jobs failed")
                spent_s = self._clock.monotonic_s() - before_s
                await anyio.sleep(max(TICK_S, spent_s * _SHARE))
        finally:
            unsubscribe()

    def _on_event(self, event: Event) -> None:
        # Nothing grows after the end, however long somebody stays subscribed.
        if isinstance(event, JobChanged) and event.ended:
            for watch in [w for w in self._watches if w.job_id == event.job_id]:
                self._watches.discard(watch)
                # Whoever waits for its runner would not be told by another look.
                watch.alive = False
                watch.changed.set()

    async def tick(self) -> None:
        """Look at every watched job once."""
        watches = list(self._watches)
        if len(watches) <= _FEW:
            # The stats of a few take less time than the way to another thread.
            watches = [watch for watch in watches if watch.may_differ()]
        if watches:
            await anyio.to_thread.run_sync(_look_at_all, watches, self._clock.monotonic_s())
        for job_id in {watch.job_id for watch in watches if watch.grew}:
            self._bus.publish(OutputGrew(job_id=job_id))
        for watch in watches:
            watch.tell()


def _look_at_all(watches: list[Watch], now_s: float) -> None:
    for watch in watches:
        try:
            watch.look(now_s)
        except OSError as error:
            # Out of descriptors: the next look may do better.
            logger.warning("job %s cannot be looked at now: %s", watch.job_id, in_words(error))
        except Exception:  # one job's odd files must not blind the process for all the others
            logger.exception("looking at job %s failed", watch.job_id)


def _mark(path: str) -> Mark:
    try:
        info = os.stat(path, follow_symlinks=False)
    except OSError:
        return ()
    return (info.st_size, info.st_mtime_ns)
