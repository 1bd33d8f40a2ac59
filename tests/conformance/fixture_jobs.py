"""The tools that the official Tasks scenarios call, as Python job types."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from pydantic import BaseModel

from mcp_jobs import JobContext, Jobs, ProtocolError

jobs = Jobs("conformance fixture")


class Confirmation(BaseModel):
    """What confirm_delete asks."""

    confirm: bool


class Part(BaseModel):
    """What multi_input asks, twice."""

    name: str
    confirm: bool


@jobs.job(expose=True, tasks="never")
def greet(name: str) -> str:
    """Greet somebody."""
    return f"Hello, {name}!"


@jobs.job(expose=True)
def slow_compute(seconds: float, label: str = "") -> dict[str, Any]:
    """Take some seconds."""
    time.sleep(seconds)
    return {"label": label, "seconds": seconds}


@jobs.job(expose=True, tasks="required")
def failing_job() -> None:
    """Fail."""
    raise ValueError("this job always fails")


@jobs.job(expose=True)
def protocol_error_job() -> None:
    """Fail as a call."""
    raise ProtocolError("this call cannot be served")


@jobs.job(expose=True)
def confirm_delete(filename: str, context: JobContext) -> str:
    """Delete nothing, after asking."""
    answer = context.ask(f"Delete {filename}?", Confirmation)
    return f"{filename} {'deleted' if answer.confirm else 'kept'}"


@jobs.job(expose=True)
async def multi_input(context: JobContext) -> list[str]:
    """Ask two questions at once."""
    answers = await asyncio.gather(
        context.ask_async("The first part?", Part), context.ask_async("The second part?", Part)
    )
    return [answer.name for answer in answers]


@jobs.job(expose=True, tasks="required", ask_for=("name",))
def test_tool_with_task(name: str) -> str:
    """Greet whoever the user says."""
    return f"Hello, {name}!"
