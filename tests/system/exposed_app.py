"""A Python job whose tool asks the user for what a call leaves out."""

from __future__ import annotations

from mcp_jobs import Jobs

jobs = Jobs("exposed")


@jobs.job(expose=True, tasks="never", ask_for=("name",))
def greet_whom(name: str) -> str:
    """Greet whoever the user says."""
    return f"Hello, {name}!"
