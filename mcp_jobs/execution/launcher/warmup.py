"""A runner's life, gone through once in the launcher before it forks the first one.

What an interpreter finds out as it runs (method caches, the addresses of library functions, which
kinds of operands an instruction meets) lies in memory that forks share. A runner that had to find
it out for itself would copy the pages for it: that was a tenth of the cost of a short job.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket

from mcp_jobs.execution.launcher import layout
from mcp_jobs.execution.launcher.identity import ON_LINUX
from mcp_jobs.execution.launcher.runner import CAUGHT, Runner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_LAUNCH = {
    "argv": ["/bin/sh", "-c", ":"],
    "cwd": "/",
    "umask": 0o77,
    "environ": {"PATH": os.defpath},
    "secrets": [],
    "rlimit_nofile": None,
    "takes_directory": False,
}
_TIMES = 2
"""The second time goes the ways that the first has opened."""


def warm_up(directory: str) -> None:
    """Run a job that does nothing, in this process and in `directory`, which is made and removed.

    Whatever goes wrong costs speed only. Signals and descriptors are afterwards as before.
    """
    if not ON_LINUX:
        # It would ask ps for every process, several times, before the first job could start.
        return
    with contextlib.suppress(Exception):
        _remove(directory)
        for _ in range(_TIMES):
            os.mkdir(directory, layout.PRIVATE_DIR)
            try:
                layout.write_json(os.path.join(directory, layout.ENV), _LAUNCH)
                _run(directory)
            finally:
                _remove(directory)


def _run(directory: str) -> None:
    caught = {number: signal.getsignal(number) for number in CAUGHT}
    ours, its = socket.socketpair()
    runner = Runner(_request(directory), its)
    try:
        runner.run()
    finally:
        runner.close()
        for number, action in caught.items():
            signal.signal(number, action)
        its.close()
        ours.close()


def _request(directory: str) -> dict[str, Any]:
    return {
        "job_id": "warm-up",
        "home_id": "warm-up",
        "job_dir": directory,
        "token": 1,
        "attempt": 1,
        "timeout_s": 1.0,
        "idle_timeout_s": None,
        "grace_s": 0.0,
        "output_cap_bytes": 1 << 20,
        "output_limit_bytes": None,
        "detach": False,
    }


def _remove(directory: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(directory):
            os.unlink(os.path.join(directory, name))
        os.rmdir(directory)
