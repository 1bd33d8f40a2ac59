"""Who a process is: pid, start time, boot and pid namespace.

A pid alone says nothing after a reboot, a reuse or from another pid namespace. Before any signal,
all four must match; the flock on `alive`, not this, says whether a runner lives.
"""

from __future__ import annotations

import os
import sys
from functools import cache

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

ON_LINUX = sys.platform.startswith("linux")

_STAT_BYTES = 4096
_START_TIME_FIELD = 19
"""Counted after the command name, from 0 (field 22 of the whole line)."""


@cache
def boot_id() -> str:
    """Return a text that differs after every boot of this machine.

    Cached, like the pid namespace: the launcher asks once, and its forks know it.
    """
    if ON_LINUX:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    # The time of the boot, unlike its session, changes when the clock is set.
    session = ask_program("/usr/sbin/sysctl", "-n", "kern.bootsessionuuid")[1].strip()
    return session or ask_program("/usr/sbin/sysctl", "-n", "kern.boottime")[1].strip()


@cache
def pid_namespace() -> str:
    """Return a text that is the same exactly for processes which see the same pids."""
    return os.readlink("/proc/self/ns/pid") if ON_LINUX else "host"


def start_time(pid: int) -> str | None:
    """Return an opaque text that stays the same for the life of `pid`; None if there is none."""
    if ON_LINUX:
        try:
            return read_stat(pid).start_time
        except (OSError, ValueError):
            return None
    return ask_program("/bin/ps", "-o", "lstart=", "-p", str(pid))[1].strip() or None


def is_here(identity: Mapping[str, Any]) -> bool:
    """Say whether the pids in the identity of a runner mean anything in this boot and namespace."""
    return (identity.get("boot_id"), identity.get("pid_namespace")) == (boot_id(), pid_namespace())


class Stat:
    """The fields of `/proc/<pid>/stat` that the process tree needs."""

    __slots__ = ("parent", "pid", "session", "start_time", "state")

    def __init__(self, *, pid: int, state: str, parent: int, session: int, start_time: str) -> None:
        self.pid = pid
        self.state = state
        self.parent = parent
        self.session = session
        self.start_time = start_time

    @property
    def dead(self) -> bool:
        """Whether only the exit status is left of the process."""
        return self.state in ("Z", "X", "x")


def read_stat(pid: int | str) -> Stat:
    """Read `/proc/<pid>/stat`; raises OSError when there is none and ValueError for a torn one."""
    # A tenth of what a file object costs, in a runner that has just been forked.
    fd = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    try:
        return parse_stat(os.read(fd, _STAT_BYTES))
    finally:
        os.close(fd)


def parse_stat(text: bytes) -> Stat:
    """Parse one line of `/proc/<pid>/stat`; raises ValueError for a torn one.

    The command name is in parentheses and may hold anything, also spaces and parentheses, so the
    fields are counted from the last `)` (proc_pid_stat(5)).
    """
    head, _, tail = text.rpartition(b")")
    fields = tail.split()
    if len(fields) <= _START_TIME_FIELD:
        raise ValueError("a torn stat line")
    return Stat(
        pid=int(head.split(b" ", 1)[0]),
        state=fields[0].decode("ascii"),
        parent=int(fields[1]),
        session=int(fields[3]),
        start_time=fields[_START_TIME_FIELD].decode("ascii"),
    )


def ask_program(*command: str) -> tuple[int, str]:
    """Return the pid that a program had, and what it printed. For systems without /proc."""
    # Imported here: it brings in `threading`, whose duties after a fork each runner would have.
    import subprocess  # noqa: PLC0415

    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        errors="surrogateescape",
    ) as program:
        return program.pid, program.communicate()[0]
