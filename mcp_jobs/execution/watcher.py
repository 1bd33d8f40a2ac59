"""Follow running jobs through the files that they write: output, progress, end.

One ticker serves all jobs, so that a thousand of them do not mean a thousand timers. It looks four
times a second, and less often when a look takes long.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections import deque
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import anyio.to_thread

from mcp_jobs.domain.errors import in_words
from mcp_jobs.domain.events import JobChanged, OutputGrew
from mcp_jobs.domain.patterns import searcher
from mcp_jobs.execution.job_directory import read_output_start, runner_alive
from mcp_jobs.execution.launcher import layout
from mcp_jobs.execution.launcher.files import open_file
from mcp_jobs.execution.launcher.mask import mask_text
from mcp_jobs.execution.launcher.spool import newest_segment
from mcp_jobs.execution.python_files import read_questions
from mcp_jobs.execution.spool_reader import SpoolFiles
from mcp_jobs.output import progress
from mcp_jobs.output.source import Unreadable
from mcp_jobs.output.view import OutputView

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mcp_jobs.domain.clock import Clock
    from mcp_jobs.domain.events import Bus, Event
    from mcp_jobs.output.source import OutputSource

logger = logging.getLogger(__name__)

TICK_S: Final = 0.25
_SHARE: Final = 10
"""A look may use one part in this many of the time."""

_READ_LIMIT_BYTES: Final = 1 << 16
_LISTINGS: Final = 5
_THOROUGH_EVERY: Final = 8
_FEW: Final = 64
_QUESTIONS: Final = 1000
"""The most that one attempt may ask; what it asks beyond is not taken."""

Mark: TypeAlias = tuple[int, ...]


class Watch:
    """One running job as its files show it. `look` blocks and runs in a worker thread."""

    def __init__(
        self, job_id: str, job_dir: Path, *, track: bool, probe: bool, pattern: str | None = None
    ) -> None:
        self.job_id = job_id
        self.changed = anyio.Event()
        self._dir = job_dir
        self._output = str(job_dir / layout.OUTPUT)
        self._source = SpoolFiles(self._output)
        self._track = track
        self._probe = probe
        self._pattern = pattern
        self._secrets: tuple[bytes, ...] | None = None
        self._told_secrets = False
        self._unread = False
        """There is something to read that cannot be shown without knowing the secrets."""
        self._progress_offset = 0
        self._begun = False
        self._output_offset = 0
        if not track:
            self._begin()
        self._looking = threading.Lock()
        self._progress_path = str(job_dir / layout.PROGRESS)
        self._newest = ""
        self._questions_path = str(job_dir / layout.QUESTIONS)
        self._may_ask = False
        self._marks: tuple[Mark, ...] = ()
        self._looks = 0
        self.grew = False
        self._news: deque[progress.Progress] = deque(maxlen=1)
        """The newest progress that nobody has taken. No lock: the event loop waits for none."""
        self.alive = True
        self.questions: Mapping[str, Mapping[str, Any]] = {}
        """What the job asks, has no answer to, and is not in `stored`; by file name."""
        self.stored: set[str] = set()

    def _begin(self) -> None:
        """Find out where to begin. Most short jobs have ended before there is need to."""
        if not self._track:
            self._output_offset = _bytes_total(self._source, 0)
            self._begun = True
            return
        self._parser = progress.ProgressFileParser()
        self._recogniser: progress.Recogniser = (
            progress.OutputRecogniser()
            if self._pattern is None
            else progress.PatternRecogniser(searcher(self._pattern))
        )
        self._tracker = progress.ProgressTracker()
        # Progress is read from where the attempt began, also by whoever adopts it later.
        self._output_offset = read_output_start(self._dir)
        # Only Python jobs ask, and a look costs what its stats cost.
        self._may_ask = os.path.lexists(self._dir / layout.CALL)
        # Last: after an error the next look begins anew.
        self._begun = True

    def look(self, now_s: float) -> None:
        """See what changed since the last look: `grew`, `progress`, `alive`."""
        # The ticker may be looking when the end of the job asks for a last look.
        with self._looking:
            self._look(now_s)

    def _look(self, now_s: float) -> None:
        if not self._begun:
            self._begin()
        # The lock first: what a runner wrote before it left must be read after that is known.
        self.alive = not self._probe or runner_alive(self._dir)
        self.grew = False
        if not self._looks_different():
            return
        if self._may_ask:
            self._read_questions()
        total = _bytes_total(self._source, self._output_offset)
        self.grew = total > self._output_offset
        if self._track:
            self._recognise(total, now_s)
            self._read_progress_file(now_s)
        self._output_offset = total

    def _read_questions(self) -> None:
        if self._secrets is None:
            self._unread = self._unread or bool(layout.unanswered(str(self._dir)))
            return
        asked = read_questions(self._dir, self._secrets)
        new = {name: q for name, q in asked.items() if name not in self.stored}
        self.questions = new if len(self.stored) < _QUESTIONS else {}

    def _looks_different(self) -> bool:
        """Say whether anything may have been written; cheaper than to list and to open.

        A segment grows in size, and a new one changes the time of its directory. Two changes
        within one tick of the file system's clock look alike, so now and then it says yes unasked.
        """
        marks = self._marks_now()
        self._looks += 1
        waits = self.questions or self._may_read()
        if marks == self._marks and not waits and self._looks % _THOROUGH_EVERY:
            return False
        if self._secrets is not None:
            self._unread = False
        self._newest = newest_segment(self._output)
        self._marks = (marks[0], _mark(self._newest), *marks[2:])
        return True

    def _marks_now(self) -> tuple[Mark, ...]:
        return (
            _mark(self._output),
            _mark(self._newest),
            _mark(self._progress_path),
            _mark(self._questions_path) if self._may_ask else (),
        )

    def may_differ(self) -> bool:
        """Say, without reading anything, whether a look may show something new."""
        if self._probe or self.questions or not self._begun or self._may_read():
            return True
        if (self._looks + 1) % _THOROUGH_EVERY == 0 or self._marks_now() != self._marks:
            return True
        self._looks += 1
        return False

    def wake(self) -> None:
        """Make whoever waits for `changed` look again."""
        self.changed.set()

    def may_have_grown(self) -> bool:
        """Say, without reading anything, whether another look can show more."""
        if not self._begun:
            return any(os.path.lexists(path) for path in (self._progress_path, self._output))
        size = (_mark(self._progress_path) or (0,))[0]
        if size > self._progress_offset:
            return True
        return _bytes_total(self._source, self._output_offset) > self._output_offset

    def take_progress(self) -> progress.Progress | None:
        """Return the newest progress that nobody has taken yet."""
        try:
            return self._news.pop()
        except IndexError:
            return None

    @property
    def has_progress(self) -> bool:
        """Whether there is progress that nobody has taken yet."""
        return bool(self._news)

    def _take_in(self, snapshot: progress.Progress | None) -> None:
        if snapshot is not None:
            self._news.append(snapshot)

    def last_look(self, now_s: float) -> None:
        """Look once more, at everything, after the end."""
        with self._looking:
            self._marks = ()
            self._look(now_s)

    def _recognise(self, total: int, now_s: float) -> None:
        if not self.grew:
            return
        start = self._output_offset
        if total - start > 2 * _READ_LIMIT_BYTES:
            # The beginning says how much there is to do, the end how much is done.
            self._recognise_part(start, start + _READ_LIMIT_BYTES, now_s)
            self._recogniser.gap()
            start = total - _READ_LIMIT_BYTES
        self._recognise_part(start, total, now_s)

    def _recognise_part(self, start: int, end: int, now_s: float) -> None:
        try:
            data = OutputView(self._source).read(start, end)
        except (FileNotFoundError, Unreadable):
            # Dropped by the cap between two looks, or spoiled by the job.
            self._recogniser.gap()
            return
        reading = self._recogniser.feed(data)
        if reading is not None:
            self._take_in(self._tracker.update(reading, now_s=now_s))

    def _read_progress_file(self, now_s: float) -> None:
        try:
            fd = open_file(self._progress_path)
        except OSError:
            return
        try:
            size = os.fstat(fd).st_size
            start = max(self._progress_offset, size - _READ_LIMIT_BYTES)
            data = os.pread(fd, max(0, size - start), start)
        finally:
            os.close(fd)
        if self._secrets is None:
            # Nobody has said yet what must not be shown; or can say it any more.
            self._unread = self._unread or bool(data)
            return
        if start > self._progress_offset:
            # Only the newest lines count; the first of them may be half a line.
            data = b"\n" + data.partition(b"\n")[2]
        reading = self._parser.feed(data) if data else None
        if reading is not None:
            if reading.message is not None:
                reading = replace(reading, message=self._masked(reading.message))
            self._take_in(self._tracker.update(reading, now_s=now_s, explicit=True))
        # Only now: until the reading is kept, `may_have_grown` must ask for another look.
        self._progress_offset = size

    @property
    def wants_secrets(self) -> bool:
        """Whether there is something to read for which it must be told what not to show."""
        return self._unread and not self._told_secrets

    def tell_secrets(self, secrets: tuple[bytes, ...] | None) -> None:
        """Say which values must not be shown; None when they are forgotten.

        What waited for that is read at the next look.
        """
        self._secrets, self._told_secrets = secrets, True

    def _may_read(self) -> bool:
        return self._unread and self._secrets is not None

    def _masked(self, text: str) -> str:
        return mask_text(text, self._secrets or ())


class Follower:
    """Looks at every watched job and publishes `OutputGrew`."""

    def __init__(self, *, jobs_dir: Path, bus: Bus, clock: Clock) -> None:
        self._jobs_dir = jobs_dir
        self._bus = bus
        self._clock = clock
        self._watches: set[Watch] = set()
        self._work = anyio.Event()

    @contextmanager
    def watch(
        self, job_id: str, *, track: bool = False, probe: bool = False, pattern: str | None = None
    ) -> Iterator[Watch]:
        """Follow one job as long as the context lasts.

        `track` reads its progress, of which `pattern` tells in the output; `probe` sees whether its
        runner lives.
        """
        watch = Watch(job_id, self._jobs_dir / job_id, track=track, probe=probe, pattern=pattern)
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
            found = watch.has_progress or watch.questions or watch.wants_secrets
            if found or not watch.alive:
                watch.changed.set()


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


def _bytes_total(source: OutputSource, known: int) -> int:
    """Return how much there is; while segments are being dropped under our eyes, what is known."""
    for _ in range(_LISTINGS):
        with contextlib.suppress(FileNotFoundError):
            try:
                return OutputView(source).bytes_total
            except Unreadable:
                return 0
    return known
