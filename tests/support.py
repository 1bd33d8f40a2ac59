"""Shared by the tests: a private home, real clients, programs that jobs run, a leak check."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters

from mcp_jobs.job_types.catalogue import FILE_NAMES
from mcp_jobs.job_types.trust_marks import Trust
from mcp_jobs.settings import Settings
from tests import prepared

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from mcp_types import CallToolResult

MODERN = "2026-07-28"
LEGACY = "legacy"
ERAS = (LEGACY, MODERN)
BOUND_S = 20.0
"""No event that a test waits for takes longer, also on a busy machine."""


@dataclass(frozen=True)
class Place:
    """Where one test's servers, launcher and jobs live."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / "home"

    @property
    def project(self) -> Path:
        return self.root / "project"

    def environment(self, **more: str) -> dict[str, str]:
        return {
            "MCP_JOBS_HOME": str(self.home),
            "MCP_JOBS_LAUNCHER_IDLE_SECONDS": "0.2",
            "MCP_JOBS_RETRY_BASE_SECONDS": "0.05",
            "XDG_CONFIG_HOME": str(self.root / "config"),
            "XDG_RUNTIME_DIR": str(self.root / "run"),
            "XDG_STATE_HOME": str(self.root / "state"),
            **more,
        }

    def trust(self) -> None:
        """Trust the files of job types that the project has, as a person does."""
        kept = Trust(self.root / "state" / "mcp-jobs" / "trusted")
        for path in (self.project / name for name in FILE_NAMES):
            if path.exists():
                kept.add(str(path), path.read_bytes())

    def declare(self, text: str, name: str = "jobs.yaml") -> Path:
        """Write a file of job types into the project, and trust it."""
        path = self.project / name
        path.write_text(text, "utf-8")
        self.trust()
        return path

    def settings(self, **more: Any) -> Settings:
        return Settings(home=self.home, launcher_idle_seconds=0.2, retry_base_seconds=0.05, **more)

    def processes(self) -> list[int]:
        """Every process that belongs to this test: its launchers, runners, servers and jobs."""
        marker = os.fsencode(self.root)
        return [pid for pid in _pids() if pid != os.getpid() and _mentions(pid, marker)]


def make_place() -> Place:
    """Make a short, private place: Unix socket paths are limited to about 100 bytes."""
    place = Place(Path(tempfile.mkdtemp(prefix="mj-", dir="/tmp")))
    for directory in (place.home, place.project, place.root / "run"):
        directory.mkdir(mode=0o700)
    return place


def dispose(place: Place) -> list[str]:
    """Remove a place; returns what was still running there (and kills it)."""
    wait_until(lambda: not place.processes(), bound_s=10.0, strict=False)
    left = [f"{pid}: {_command(pid)}" for pid in place.processes()]
    for pid in place.processes():
        os.kill(pid, signal.SIGKILL)
    shutil.rmtree(place.root, ignore_errors=True)
    return left


def wait_until(
    condition: Callable[[], object], *, bound_s: float = BOUND_S, strict: bool = True
) -> None:
    """Return as soon as `condition` holds; fail when it does not within the bound."""
    deadline = time.monotonic() + bound_s
    while not condition():
        if time.monotonic() > deadline:
            if strict:
                raise AssertionError(f"not within {bound_s} s: {condition}")
            return
        time.sleep(0.01)


async def until(condition: Callable[[], object], *, bound_s: float = BOUND_S) -> None:
    """Like `wait_until`, for async tests."""
    with anyio.fail_after(bound_s):
        while not condition():  # noqa: ASYNC110 - what another process does gives no event
            await anyio.sleep(0.01)


@asynccontextmanager
async def open_client(place: Place, mode: str = MODERN, **options: Any) -> AsyncIterator[Client]:
    """Start `mcp-jobs` over stdio with a real client.

    `env` adds to its environment, `cwd` is another project. With `args`, the arguments of an
    interpreter, the client starts its server as a host does; without, one that is prepared.
    """
    parameters = StdioServerParameters(
        command=sys.executable,
        args=options.pop("args", None) or prepared.stand_in_arguments(),
        env=place.environment(**{"PYTHONPATH": str(_project()), **options.pop("env", {})}),
        cwd=options.pop("cwd", place.project),
    )
    async with Client(parameters, mode=mode, **options) as client:
        yield client


def job_of(result: CallToolResult) -> dict[str, Any]:
    """Return the object of a reply that no fault has kept from having one."""
    shown: Any = result.structured_content
    assert isinstance(shown, dict), result.content
    return shown


def error_of(result: CallToolResult) -> str:
    """Return the text of a tool error."""
    assert result.is_error, result.structured_content
    (block,) = result.content
    assert block.type == "text"
    assert "Traceback" not in block.text
    return block.text


async def start(client: Client, command: str, **arguments: Any) -> dict[str, Any]:
    """Start a shell job."""
    call = {"params": {"command": command}, **arguments}
    return job_of(await client.call_tool("start_job", call))


async def ended(client: Client, job_id: str, **arguments: Any) -> dict[str, Any]:
    """Wait for the end of a job and return it."""
    with anyio.fail_after(60):
        while True:
            call = {"job_id": job_id, "wait_seconds": 20, **arguments}
            job = job_of(await client.call_tool("check_job", call))
            if job["finished_at"]:
                return job


async def run(client: Client, command: str, **arguments: Any) -> dict[str, Any]:
    """Start a shell job and wait for its end."""
    job = await start(client, command, **arguments)
    return await ended(client, job["job_id"])


def python(code: str) -> str:
    """Return a command line that runs `code` with this interpreter."""
    quoted = code.replace("'", "'\"'\"'")
    return f"exec {sys.executable} -c '{quoted}'"


@dataclass
class Inbox:
    """Collects what a server pushes; pass it as `message_handler`."""

    messages: list[Any] = field(default_factory=list)

    async def __call__(self, message: Any) -> None:
        self.messages.append(message)

    def updated(self) -> list[str]:
        """URIs of the resource updates so far."""
        return [
            str(m.params.uri)
            for m in self.messages
            if getattr(m, "method", "") == "notifications/resources/updated"
        ]


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        state = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[0]
    except OSError:
        return False
    return state not in (b"Z", b"X")


def _project() -> Path:
    return Path(__file__).resolve().parent.parent


def _pids() -> Iterator[int]:
    return (int(name) for name in os.listdir("/proc") if name.isdigit())


def _mentions(pid: int, marker: bytes) -> bool:
    if not alive(pid):
        return False
    for name in ("cmdline", "environ"):
        try:
            if marker in Path(f"/proc/{pid}/{name}").read_bytes():
                return True
        except OSError:
            continue
    try:
        # What was forked and not started shows no more than where it works.
        return os.readlink(f"/proc/{pid}/cwd".encode()).startswith(marker)
    except OSError:
        return False


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
    except OSError:
        return "(gone)"
