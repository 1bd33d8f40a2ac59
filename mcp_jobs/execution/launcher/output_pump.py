"""Move the job's merged output from its pipe through the masker into the spool."""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import selectors
import time

from mcp_jobs.execution.launcher.mask import Masker, forms_of
from mcp_jobs.execution.launcher.spool import Spool

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_FIRST_CHUNK_BYTES = 1 << 13
_CHUNK_BYTES = 1 << 18
_PIPE_BYTES = 1 << 20
_READS_PER_TURN = 16
_HOLD_S = 0.2
_DRAIN_S = 1.0
_F_SETPIPE_SZ = 1031


class OutputPump:
    """The reading end of the job's stdout and stderr.

    A tail that could be the start of a secret is held back for at most 200 ms
    (`flush_due_s`, monotonic seconds, None while nothing is held).
    """

    def __init__(self, directory: str, *, cap_bytes: int, secrets: Iterable[str]) -> None:
        self.spool = Spool(directory, cap_bytes)
        self.start = self.spool.bytes_total
        self.last_output_s = time.monotonic()
        self.flush_due_s: float | None = None
        self._masker = Masker(forms_of(s.encode("utf-8", "surrogateescape") for s in secrets))
        # Small at first: most jobs print little, and a runner's pages are not shared.
        self._buffer = bytearray(_FIRST_CHUNK_BYTES)
        self._read_fd, self.write_fd = _pipe()
        self._open = True

    def close_write_end(self) -> None:
        """Leave writing to the job alone, so that its end can be seen."""
        os.close(self.write_fd)

    def register(self, selector: selectors.BaseSelector) -> None:
        """Watch for output with `selector`."""
        selector.register(self._read_fd, selectors.EVENT_READ, "output")

    def on_ready(
        self, ready: Sequence[tuple[selectors.SelectorKey, int]], selector: selectors.BaseSelector
    ) -> None:
        """Take what a `select` reported; an overdue hold is written out as well."""
        if any(key.data == "output" for key, _ in ready):
            self._read_some()
            if not self._open:
                # Closed by the job, which may well go on without any output.
                selector.unregister(self._read_fd)
        self._flush_if_due()

    def read_for(self, seconds: float) -> None:
        """Read what comes within `seconds`; at the end of the stream, just wait."""
        poller = select.poll()
        if self._open:
            poller.register(self._read_fd, select.POLLIN)
        if poller.poll(max(1, seconds * 1000)) and self._open:
            self._read_some()
        self._flush_if_due()

    def drain(self) -> None:
        """Read what is left after the main process ended, for at most one second.

        The bound is for background processes that still hold the pipe.
        """
        deadline_s = time.monotonic() + _DRAIN_S
        while self._open and time.monotonic() < deadline_s:
            if not self._read_some() and self._open:
                self.read_for(deadline_s - time.monotonic())

    @property
    def printed_bytes(self) -> int:
        """How much this attempt has printed so far."""
        return self.spool.bytes_total - self.start

    @property
    def open(self) -> bool:
        """Whether somebody may still write."""
        return self._open

    def skip(self, wakeup_fd: int) -> None:
        """Wait for output or for a wake-up, and drop what came. For after `finish`."""
        poller = select.poll()
        poller.register(wakeup_fd, select.POLLIN)
        if self._open:
            poller.register(self._read_fd, select.POLLIN)
        poller.poll()
        with contextlib.suppress(BlockingIOError):
            while self._open:
                self._open = os.readv(self._read_fd, [self._buffer]) > 0

    def close(self) -> None:
        """Stop reading for good."""
        os.close(self._read_fd)

    def finish(self) -> None:
        """Write out everything that is held. Calling it again does nothing."""
        while self._open and self._read_some():
            pass
        self._flush()
        self.spool.close()

    def _read_some(self) -> bool:
        """Take what is there, up to a bound; False when there was nothing."""
        for turn in range(_READS_PER_TURN):
            try:
                count = os.readv(self._read_fd, [self._buffer])
            except BlockingIOError:
                return turn > 0
            if count == 0:
                self._open = False
                return turn > 0
            self.last_output_s = time.monotonic()
            self._keep(memoryview(self._buffer)[:count])
            if count == len(self._buffer) < _CHUNK_BYTES:
                self._buffer = bytearray(_CHUNK_BYTES)
        return True

    def _keep(self, data: memoryview) -> None:
        self.spool.write(self._masker.feed(data))
        self.flush_due_s = self.last_output_s + _HOLD_S if self._masker.held else None

    def _flush_if_due(self) -> None:
        if self.flush_due_s is not None and time.monotonic() >= self.flush_due_s:
            self._flush()

    def _flush(self) -> None:
        self.flush_due_s = None
        if self._masker.held:
            self.spool.write(self._masker.flush())


def empty(fd: int) -> None:
    """Take what is in a pipe that only wakes its reader."""
    with contextlib.suppress(BlockingIOError):
        while os.read(fd, 4096):
            pass


def _pipe() -> tuple[int, int]:
    read_fd, write_fd = os.pipe()
    os.set_blocking(read_fd, False)
    # A larger pipe saves wake-ups; over the user's pipe quota the default is kept.
    with contextlib.suppress(OSError):
        fcntl.fcntl(write_fd, _F_SETPIPE_SZ, _PIPE_BYTES)
    return read_fd, write_fd
