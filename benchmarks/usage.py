"""Memory and processor time of other processes, as Linux counts them."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

_CPUCLOCK_SCHED = 2


@dataclass(frozen=True, kw_only=True)
class Memory:
    """In MiB. `pss` shares out the pages that several processes have in common."""

    rss: float
    pss: float
    private: float


def memory(pid: int) -> Memory:
    """Return what a process holds now."""
    kib: dict[str, int] = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text("ascii").splitlines()[1:]:
        name, value, *_ = line.split()
        kib[name.rstrip(":")] = int(value)
    return Memory(
        rss=kib["Rss"] / 1024,
        pss=kib["Pss"] / 1024,
        private=(kib["Private_Clean"] + kib["Private_Dirty"]) / 1024,
    )


def cpu_s(pid: int) -> float:
    """Return the processor time of a process so far, of all its threads, also ended ones.

    The id of another process's clock is what clock_getcpuclockid(3) makes; it counts nanoseconds.
    """
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)


def cpu_percent(pid: int, seconds: float) -> float:
    """Return the share of one core that a process uses while this sleeps."""
    before_s, began_s = cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    return 100 * (cpu_s(pid) - before_s) / (time.monotonic() - began_s)
