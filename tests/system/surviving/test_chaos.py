"""A short campaign: everything is killed at random, and the books still agree."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ROUNDS = 15
BOUND_S = 480


@pytest.mark.parametrize("seed", [3, None], ids=["fixed", "random"])
def test_a_campaign_of_kills_leaves_no_job_untold(seed: int | None) -> None:
    seed = int.from_bytes(os.urandom(4)) if seed is None else seed
    command = [sys.executable, "-m", "tests.chaos", f"--rounds={ROUNDS}", f"--seed={seed}"]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=BOUND_S
    )
    assert done.returncode == 0, f"seed {seed}\n{done.stdout}\n{done.stderr}"
    assert f"rounds {ROUNDS}," in done.stdout
