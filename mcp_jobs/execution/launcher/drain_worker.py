"""Start a worker when the last server is gone, so that queued jobs run all the same."""

from __future__ import annotations

import os
import signal
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Mapping
    from typing import Any, NoReturn

REFUSED = 78
"""The exit code of a worker that can do nothing for this home as it is (EX_CONFIG, sysexits(3))."""

_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 60.0
_MOST_TRIES = 20
"""With pauses that double, twelve minutes."""


class DrainKeeper:
    """Knows which connections are servers or workers, and when a worker is due.

    A worker that ends badly is started again, with pauses that double, and a bounded number of
    times. One that refuses the home is not: the next owner that comes may do better.
    """

    def __init__(self) -> None:
        self._owners: set[socket.socket] = set()
        self._released: set[socket.socket] = set()
        self._command: Mapping[str, Any] | None = None
        self._due_s: float | None = None
        self.pid: int | None = None
        """The worker, while it runs."""
        self._started_s = 0.0
        self._failures = 0
        """How many workers in a row ended badly soon after their start."""
        self._owed = False
        """An owner left without a release since the last worker was started."""

    def attached(self, owner: socket.socket, command: Mapping[str, Any] | None) -> None:
        """A server or worker lives at the other end of this connection."""
        self._owners.add(owner)
        if _is_command(command):
            self._command = command
        self._due_s = None
        if self.pid is None:
            # Not the worker itself, which may attach and end badly all the same.
            self._failures = 0

    def released(self, owner: socket.socket) -> None:
        """This one leaves nothing undone."""
        if owner in self._owners:
            self._released.add(owner)

    def left(self, connection: socket.socket) -> None:
        """A connection ended; without a release of the last owner a worker is due."""
        if connection not in self._owners:
            return
        self._owners.discard(connection)
        if connection in self._released:
            self._released.discard(connection)
        elif not self._owners:
            self._owed = True
            if self.pid is None:
                self._due_s = time.monotonic() + _FIRST_PAUSE_S

    def ended(self, pid: int, status: int) -> None:
        """A child of the launcher ended; if it was the worker, see whether it did its duty."""
        if pid != self.pid:
            return
        self.pid = None
        if status == 0 or time.monotonic() - self._started_s >= _LONGEST_PAUSE_S:
            self._failures = 0
        if os.WIFEXITED(status) and os.WEXITSTATUS(status) == REFUSED:
            self._owed = False
        elif (status or self._owed) and not self._owners:
            self._schedule()

    def forget(self) -> None:
        """Nothing is to be worked off any more; a worker leaves a home that is gone by itself."""
        self._due_s = self._command = self.pid = None

    def busy(self) -> bool:
        """Whether a worker runs or is due."""
        return self.pid is not None or self._due_s is not None

    def due_in_s(self) -> float | None:
        """Return how long to sleep until a worker is due; None when none is."""
        return None if self._due_s is None else max(0.0, self._due_s - time.monotonic())

    def start_if_due(self) -> None:
        """Start the worker when its time has come and nobody else works."""
        if self._due_s is None or time.monotonic() < self._due_s:
            return
        self._due_s = None
        if self._owners or self.pid is not None or self._command is None:
            return
        self._owed = False
        self._started_s = time.monotonic()
        try:
            self.pid = os.fork()
        except OSError:
            self._schedule()
            return
        if self.pid == 0:
            _become_worker(self._command)

    def _schedule(self) -> None:
        self._failures += 1
        if self._failures > _MOST_TRIES:
            return
        pause_s = min(_FIRST_PAUSE_S * 2 ** (self._failures - 1), _LONGEST_PAUSE_S)
        self._due_s = time.monotonic() + pause_s


def _is_command(command: object) -> bool:
    return (
        isinstance(command, dict)
        and isinstance(command.get("argv"), list)
        and bool(command["argv"])
        and isinstance(command.get("environ"), dict)
    )


def _become_worker(command: Mapping[str, Any]) -> NoReturn:
    try:
        os.setsid()
        for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
            signal.signal(number, signal.SIG_DFL)
        os.execve(command["argv"][0], command["argv"], dict(command["environ"]))
    except BaseException:  # noqa: BLE001 - the fork must end here, whatever went wrong
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)
