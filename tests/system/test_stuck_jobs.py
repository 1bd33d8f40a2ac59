"""What is told to end ends within a bound, also where a process sleeps in the kernel or is stopped."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING

from mcp_jobs.launcher import layout
from tests.support import Place, alive, python, until
from tests.system.station import all_gone, identity_of, pids_in, station

if TYPE_CHECKING:
    from collections.abc import Mapping

CANCELLED = ("cancelled", "cancelled_by_user")

# posix_spawn(3) is a vfork: the parent sleeps, and no signal but SIGKILL wakes it, until its child
# executes a program; the child opens a FIFO first, which nobody ever writes to.
ASLEEP = python(
    "import os\n"
    'os.mkfifo("never")\n'
    'open("pids", "w").write(f"{os.getpid()}\\n")\n'
    'print("x" * 100_000, flush=True)\n'
    'opened = [(os.POSIX_SPAWN_OPEN, 0, "never", os.O_RDONLY, 0)]\n'
    'os.posix_spawn("/bin/true", ["true"], {}, file_actions=opened)\n'
)


def state_of(pid: int) -> str:
    """Return the letter that ps(1) shows for a process."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return "X"
    return stat.rpartition(b")")[2].split()[0].decode()


async def _asleep(place: Place) -> int:
    (pid,) = await pids_in(place.project / "pids")
    await until(lambda: state_of(pid) == "D")
    return pid


# -- asleep in the kernel ------------------------------------------------------------------------


async def test_a_process_that_sleeps_in_the_kernel_is_cancelled(place: Place) -> None:
    async with station(place) as jobs:
        job_id = await jobs.start(ASLEEP)
        pid = await _asleep(place)
        await jobs.cancel(job_id, grace_seconds=0.2)
        job = await jobs.ended(job_id)

    assert (job["status"], job["reason"]) == CANCELLED
    assert job["output"]["bytes_total"] == 100_001
    assert not alive(pid)


async def test_a_process_that_sleeps_in_the_kernel_ends_at_its_time_limit(place: Place) -> None:
    async with station(place) as jobs:
        job_id = await jobs.start(ASLEEP, timeout_seconds=1)
        await _asleep(place)
        job = await jobs.ended(job_id)

    assert (job["status"], job["reason"]) == ("failed", "timeout")
