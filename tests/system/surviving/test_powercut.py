"""A few power cuts and snapshots under load: what was accepted is there, and nothing runs twice."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROUNDS = 4
BOUND_S = 400
NO_DISKS = 2


def test_homes_whose_disk_was_copied_under_load_keep_true_books() -> None:
    if sys.platform != "linux" or os.getuid() != 0:
        pytest.skip("loop devices and mounts need Linux and root")
    seed = int.from_bytes(os.urandom(4))
    command = [sys.executable, "-m", "tests.chaos.powercut", f"--rounds={ROUNDS}", f"--seed={seed}"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=BOUND_S
    )
    if done.returncode == NO_DISKS:
        pytest.skip(f"this system has no disk for the test: {done.stdout}")
    assert done.returncode == 0, f"seed {seed}\n{done.stdout}\n{done.stderr}"
    assert f"rounds {ROUNDS}:" in done.stdout
