"""Python jobs that let their callers choose nothing, some variables, or a directory."""

from __future__ import annotations

import os
from pathlib import Path

from mcp_jobs import Jobs

jobs = Jobs("choices")
ALLOWED = Path(__file__).with_name("allowed")


def seen() -> dict[str, str | None]:
    return {"cwd": os.getcwd(), "LEVEL": os.environ.get("LEVEL")}


@jobs.job(expose=True)
def closed() -> dict[str, str | None]:
    """Let callers choose nothing."""
    return seen()


@jobs.job(env=["LEVEL"], cwd=True)
def chosen() -> dict[str, str | None]:
    """Let callers choose a variable and any directory."""
    return seen()


@jobs.job(cwd=ALLOWED)
def below() -> dict[str, str | None]:
    """Let callers choose a directory in or below one."""
    return seen()
