"""A quick test that starts a process would be found out."""

from __future__ import annotations

import os
import subprocess
import sys

from tests.spawning import processes_started


def test_every_way_to_start_a_process_is_noticed() -> None:
    with processes_started() as started:
        sys.audit("subprocess.Popen", "true", ["true"], None, None)
        sys.audit("os.fork")
        sys.audit("os.posix_spawn", "true", ["true"], {})
    assert [what.split()[0] for what in started] == [
        "subprocess.Popen",
        "os.fork",
        "os.posix_spawn",
    ]


def test_a_real_start_raises_these_events() -> None:
    """With a program that does not exist, so that nothing is left to wait for."""
    with processes_started() as started:
        for start in (_popen, _spawn):
            try:
                start()
            except FileNotFoundError:
                continue
            raise AssertionError("there is no such program")
    assert [what.split()[0] for what in started] == ["subprocess.Popen", "os.posix_spawn"]


def _popen() -> None:
    subprocess.Popen(["/no/such/program"])


def _spawn() -> None:
    os.posix_spawn("/no/such/program", ["program"], {})
