"""The masker is imported by every runner, and loads next to nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize("module", ["mask", "spool"])
def test_importing_loads_nothing_heavy(module: str) -> None:
    program = (
        "import sys\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        f"import mcp_jobs.execution.launcher.{module}\n"
        "print(*{'dataclasses', 'typing', 're', 'threading', 'anyio'} & set(sys.modules))\n"
    )
    command = [sys.executable, "-I", "-S", "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    assert ran.stdout.split() == []
