"""A real MCP client uses mcp-jobs, in a home of its own: `make demo`. Takes about 15 seconds.

Exit code 0 says that everything which is promised here was seen to happen.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters

PROJECT = Path(__file__).resolve().parent / "sample_project"
PARAMS = {"command": f"'{sys.executable}' -m pytest"}
ENV = {"PYTHONDONTWRITEBYTECODE": "1"}
FAILING = {
    "tests/test_prices.py::test_a_discount_rounds_to_the_nearest_cent",
    "tests/test_shipping.py::test_an_order_of_exactly_the_limit_is_sent_for_free",
}
PROMISES = ["the id at once", "progress", "updates", "the end, pushed", "the failing tests"]
PROMISES += ["a job that outlives its server", "nothing left behind"]
TTY = sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
COLOURED = TTY and not os.environ.get("NO_COLOR")
BOLD, DIM, RED, GREEN, RESET = (f"\x1b[{n}m" if COLOURED else "" for n in (1, 2, 31, 32, 0))
FULL, EMPTY = "█░" if TTY else "#."


def title(text: str) -> None:
    print(f"\n{BOLD}{text}{RESET}", flush=True)


def say(text: str, note: str = "") -> None:
    print(f"  {text}" + (f"  {DIM}({note}){RESET}" if note else ""), flush=True)


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    if result.is_error or result.structured_content is None:
        raise RuntimeError(f"{tool}: {result.content}")
    return dict(result.structured_content)


async def read(client: Client, uri: str) -> dict[str, Any]:
    (contents,) = (await client.read_resource(uri)).contents
    return dict(json.loads(getattr(contents, "text", "")))


class Demo:
    """A temporary home for the servers, and what has been seen of the promises."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="mcp-jobs-"))
        self.pid_file = self.root / "server.pid"
        self.missing = list(PROMISES)

    def seen(self, what: str, when: object = True) -> None:
        if when and what in self.missing:
            self.missing.remove(what)

    @asynccontextmanager
    async def server(self, mode: str, **options: Any) -> AsyncIterator[Client]:
        """Start `mcp-jobs` as a host does. The shell in front notes the server's pid."""
        note_pid = 'echo $$ >"$0"; exec "$@"'
        parameters = StdioServerParameters(
            command="/bin/sh",
            args=["-c", note_pid, str(self.pid_file), sys.executable, "-P", "-m", "mcp_jobs"],
            env={
                "MCP_JOBS_HOME": str(self.root / "home"),
                "MCP_JOBS_LAUNCHER_IDLE_SECONDS": "0.2",
                "XDG_RUNTIME_DIR": str(self.root),
            },
            cwd=PROJECT.parent.parent,
        )
        async with Client(parameters, mode=mode, **options) as client:
            tools = (await client.list_tools()).tools
            say(f"mcp-jobs serves {', '.join(tool.name for tool in tools)}")
            yield client

    async def start(self, client: Client) -> dict[str, Any]:
        began_s = time.monotonic()
        job = await call(client, "start_job", params=PARAMS, cwd=str(PROJECT), env=ENV)
        say(f"start_job -> {job['job_id']}", f"in {(time.monotonic() - began_s) * 1000:.0f} ms")
        self.seen("the id at once", job["finished_at"] is None)
        return job

    async def wait(self, client: Client, job_id: str) -> None:
        """Wait in one call, and draw a bar of what the server notifies meanwhile."""
        last = ""

        async def show(progress: float, total: float | None, message: str | None) -> None:
            nonlocal last
            if total and message and message != last:
                last, cells = message, round(20 * progress / total)
                say(f"progress  {FULL * cells}{EMPTY * (20 - cells)}  {message}")
                self.seen("progress", progress < total)

        waiting = {"job_id": job_id, "wait_seconds": 50}
        await client.call_tool("check_job", waiting, progress_callback=show)

    async def listen(self, client: Client, uri: str) -> None:
        """Hear of every change of the job, up to its end, without asking."""
        updates = 0
        async with client.listen(resource_subscriptions=[uri]) as subscription:
            # An update says "look again", so the first look is one's own.
            while not (await read(client, uri))["finished_at"]:
                await anext(subscription)
                updates += 1
        self.seen("the end, pushed", updates)
        self.seen("updates", updates > 1)
        say("pushed    the job has ended", f"the last of {updates} updates")

    def show_result(self, job: dict[str, Any]) -> None:
        tests, spent = job["result"]["tests"], f"{job['duration_seconds']:.1f} s"
        counted = f"{GREEN}{tests['passed']} passed{RESET}, {RED}{tests['failed']} failed{RESET}"
        say(f"{job['status']} ({job['reason']}) after {spent}: {counted}")
        for name in tests["failed_names"]:
            say(f"{RED}FAILED{RESET} {name}")
        self.seen("the failing tests", set(tests["failed_names"]) == FAILING)

    async def go_on_meanwhile(self) -> None:
        title("1. An agent starts a test suite in the background (protocol 2026-07-28)")
        async with self.server("2026-07-28") as client:
            job = await self.start(client)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self.listen, client, job["uri"])
                tasks.start_soon(self.wait, client, job["job_id"])
                lines = sum(len(p.read_text("utf-8").splitlines()) for p in PROJECT.rglob("*.py"))
                counts = (await call(client, "list_jobs"))["counts"]
                say(f"meanwhile {lines} lines of code are read", f"running: {counts['running']}")
            title("2. It reads the result")
            done = await call(client, "check_job", job_id=job["job_id"], tail_lines=9)
            self.show_result(done)
            for line in done["output"]["text"].splitlines():
                print(f"  {DIM}| {line}{RESET}")

    async def kill_the_server(self) -> None:
        title("3. The server is killed in the middle (protocol 2025-11-25)")
        changed = anyio.Event()

        async def on_message(message: Any) -> None:
            if getattr(message, "method", "") == "notifications/resources/updated":
                changed.set()

        async with self.server("legacy", message_handler=on_message) as client:
            job = await self.start(client)
            await client.session.subscribe_resource(job["uri"])
            while ((await read(client, job["uri"]))["progress"] or {"percent": 0})["percent"] < 25:
                await changed.wait()
                changed = anyio.Event()
            os.kill(int(self.pid_file.read_text()), signal.SIGKILL)
            say("kill -9   the server is gone, the job is not")
        async with self.server("legacy") as client:
            found = (await call(client, "list_jobs", limit=1))["jobs"][0]
            say(f"found     {found['job_id']} {found['status']}")
            done = await call(client, "check_job", job_id=job["job_id"], wait_seconds=50)
        self.show_result(done)
        outlived = (found["job_id"], found["status"]) == (job["job_id"], "running")
        self.seen("a job that outlives its server", outlived and done["attempt"] == 1)

    async def play(self) -> None:
        with anyio.fail_after(60):
            await self.go_on_meanwhile()
            await self.kill_the_server()

    def leave(self) -> None:
        """Wait until the launcher has followed its last job, then remove the home."""
        deadline_s = time.monotonic() + 20
        while (sockets := list(self.root.glob("*/*.sock"))) and time.monotonic() < deadline_s:
            time.sleep(0.05)
        self.seen("nothing left behind", not sockets)
        shutil.rmtree(self.root, ignore_errors=True)


def main() -> int:
    # The second act speaks the older protocol on purpose.
    warnings.filterwarnings("ignore", message="resources/subscribe is removed")
    demo = Demo()
    try:
        anyio.run(demo.play)
    finally:
        demo.leave()
    title(f"NOT seen: {', '.join(demo.missing)}" if demo.missing else "Everything was seen.")
    return 1 if demo.missing else 0


if __name__ == "__main__":
    sys.exit(main())
