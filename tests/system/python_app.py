"""An application with Python jobs, as its developer would write it; the tests serve it."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

from mcp_jobs import JobContext, Jobs, Retry, RetryableError

jobs = Jobs("tests")


def note(name: str, text: str) -> None:
    """Append to a file in the job's directory."""
    with Path(name).open("a") as file:
        file.write(text)


class Size(StrEnum):
    SMALL = "small"
    LARGE = "large"


class Region(BaseModel):
    """What `region` asks for."""

    region: Annotated[str, Field(min_length=2, description="Where to")]
    size: Size = Size.SMALL


@dataclass
class Total:
    count: int
    sum: float


@jobs.job(timeout=30)
def total(numbers: list[float], ctx: JobContext, scale: float = 1.0) -> Total:
    """Add numbers.

    This is not part of the description.
    """
    for done, number in enumerate(numbers, 1):
        ctx.progress(done, len(numbers), f"added {number}")
    ctx.log("all added")
    return Total(len(numbers), scale * sum(numbers))


@jobs.job(description="Sleep without holding up anything.", retry_on_interrupt=True)
async def doze(ctx: JobContext, seconds: float = 0.01) -> str:
    await asyncio.sleep(seconds)
    return f"attempt {ctx.attempt} of {ctx.job_id}"


@jobs.job(name="broken-job", retries=3)
def broken() -> None:
    note("tries", "x")
    raise ValueError("it cannot work: ünlucky")


@jobs.job(retries=2)
def flaky(fail: int, after: float | None = None) -> int:
    """Fail so many times, then succeed."""
    tries = Path("tries")
    note("tries", "x")
    if tries.stat().st_size <= fail:
        raise Retry("not yet", after=after) if after is not None else RetryableError("not yet")
    return tries.stat().st_size


@jobs.job()
def region(ctx: JobContext) -> str:
    """Ask for a region, and say that it began and went on."""
    note("began", f"{ctx.attempt}\n")
    answer = ctx.ask("Which region?", Region, key="region")
    return f"{answer.region}/{answer.size.value}"


@jobs.job(retries=1)
async def asks_and_fails(ctx: JobContext) -> list[str]:
    """Ask, fail once, ask the same again."""
    sure = await ctx.ask_async("Are you sure?")
    if ctx.attempt == 1:
        raise RetryableError("after the answer")
    more = await ctx.ask_async("Really?")
    return [f"sure {sure}", f"really {more}"]


@jobs.job()
def until_cancelled(ctx: JobContext) -> str:
    """Run until told to stop, and then clean up."""
    Path("pid").write_text(str(os.getpid()))
    ctx.progress(message="running")
    while not ctx.cancelled:
        time.sleep(0.01)
    ctx.log("cleaning up")
    return "cleaned up"


@jobs.job()
def held(release: str) -> dict[str, int]:
    """Wait for a file, and return a result that nobody could guess."""
    Path("pid").write_text(str(os.getpid()))
    while not Path(release).exists():
        time.sleep(0.01)
    return {"pid": os.getpid()}


@jobs.job()
def leave(code: int, how: str = "exit") -> None:
    """End the process in some way."""
    if how == "os":
        os._exit(code)
    if how == "signal":
        os.kill(os.getpid(), code)
    sys.exit(code)


@jobs.job()
def too_much() -> str:
    return "x" * (1 << 20)


@jobs.job()
def keep(text: str, ctx: JobContext) -> str:
    """Write a file that stays."""
    path = ctx.workdir / "notes.txt"
    path.write_text(text)
    return str(path)


@jobs.job(confirm="Deploy to production?")
def deploy(target: str) -> str:
    note("deployed", target)
    return f"deployed {target}"


@jobs.job()
def imported() -> list[str]:
    """Tell which heavy packages this process has loaded."""
    return sorted({"mcp", "mcp_types", "anyio", "aiosqlite", "pydantic_settings"} & {*sys.modules})


@jobs.job(env=["DB_PASSWORD"])
def leaks(secret: str) -> str:
    raise RuntimeError(f"cannot log in with {secret}")


if __name__ == "__main__":
    jobs.run()
