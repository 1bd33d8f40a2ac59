"""The check of a pattern is itself bounded."""

from __future__ import annotations

import subprocess
import sys

import pytest


@pytest.mark.parametrize("unit", ["(", "[", "[[:", "{e", "\\", "(?", "[^]", "{1,", "(?P<"])
def test_the_check_itself_takes_no_time(unit: str) -> None:
    code = "import sys; from mcp_jobs.domain import patterns\ntry: patterns.check(sys.argv[1])\n"
    code += "except patterns.RefusedPatternError: pass"
    pattern = (unit * 1000)[:1000]

    subprocess.run([sys.executable, "-c", code, pattern], check=True, timeout=30)
