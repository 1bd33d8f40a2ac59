"""A server's core in the test's own process, servers that can be killed, and small programs."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import anyio.to_thread

from mcp_jobs.execution.incarnation import identify
from mcp_jobs.execution.launcher import layout
from mcp_jobs.execution.launcher.fork_server import PROTOCOL_VERSION
from mcp_jobs.execution.launcher.identity import pid_namespace
from mcp_jobs.execution.spool_reader import SpoolFiles
from mcp_jobs.output.view import OutputView
from mcp_jobs.service.assembly import LOCAL_OWNER, Core, open_core
from mcp_jobs.service.requests import CancelJob, CheckJob, StartJob
from tests import prepared
from tests.support import Place, alive, until, wait_until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parents[2]
Shown = dict[str, Any]

_SERVER = """
import json, sys
import anyio
from mcp_jobs.service.assembly import LOCAL_OWNER, open_core
from mcp_jobs.service.requests import StartJob
from mcp_jobs.settings import Settings

async def main():
    async with open_core(Settings()) as core:
        for request in json.loads(sys.argv[1]):
            job = await core.service.start(LOCAL_OWNER, StartJob(**request))
            print(job["job_id"], flush=True)
        print("ready", flush=True)
        await anyio.sleep_forever()

anyio.run(main)
"""


@dataclass
class Station:
    """Shell jobs through `core.service`, without a protocol in between."""

    place: Place
    core: Core

    async def ask(self, command: str, **arguments: Any) -> Shown:
        """Start a job and return the whole reply."""
        request = shell(self.place, command, **arguments)
        return await self.core.service.start(LOCAL_OWNER, StartJob(**request))

    async def start(self, command: str, **arguments: Any) -> str:
        """Start a job and return its id."""
        return str((await self.ask(command, **arguments))["job_id"])

    async def check(self, job_id: str, **arguments: Any) -> Shown:
        request = CheckJob(job_id=job_id, **arguments)
        return await self.core.service.check(LOCAL_OWNER, request)

    async def ended(self, job_id: str, **arguments: Any) -> Shown:
        """Wait for the end of a job and return it."""
        with anyio.fail_after(40):
            while True:
                job = await self.check(job_id, wait_seconds=40, **arguments)
                if job["finished_at"]:
                    return job

    async def run(self, command: str, **arguments: Any) -> Shown:
        """Start a job and wait for its end."""
        return await self.ended(await self.start(command, **arguments))

    async def cancel(self, job_id: str, grace_seconds: float = 5) -> Shown:
        request = CancelJob(job_id=job_id, grace_seconds=grace_seconds)
        return await self.core.service.cancel(LOCAL_OWNER, request)

    async def reaches(self, job_id: str, status: str) -> Shown:
        """Return the job as soon as it is seen in `status`."""
        return await self.seen(job_id, lambda job: job["status"] == status)

    async def seen(self, job_id: str, condition: Callable[[Shown], object]) -> Shown:
        """Return the job as soon as `condition` holds for it."""
        with anyio.fail_after(20):
            while True:
                job = await self.check(job_id)
                if condition(job):
                    return job
                await anyio.sleep(0.01)

    def directory(self, job_id: str) -> Path:
        return self.place.home / "jobs" / job_id

    def raw(self, job_id: str) -> bytes:
        """Return everything that is kept of a job's output."""
        view = OutputView(SpoolFiles(self.directory(job_id) / "output"))
        return b"".join(view.read(first, last) for first, last in view.runs)


@asynccontextmanager
async def station(place: Place, **settings: Any) -> AsyncIterator[Station]:
    """Open the home in this process, as a server does."""
    async with open_core(place.settings().model_copy(update=settings)) as core:
        yield Station(place, core)


def shell(place: Place, command: str, **arguments: Any) -> Shown:
    """Return the arguments of `start_job` for a command in the project."""
    return {"params": {"command": command}, "cwd": str(place.project), **arguments}


@dataclass
class Server:
    """A server in a process of its own that has accepted some jobs."""

    process: prepared.Process | subprocess.Popen[bytes]
    job_ids: list[str]

    def kill(self) -> None:
        """End it as a host does that has no patience."""
        self.process.kill()
        self.process.wait()


@contextmanager
def server(place: Place, *requests: Shown, **environ: str) -> Iterator[Server]:
    """Run a server that accepts `requests`; it is killed at the end of the context."""
    path = os.environ.get("PATH", os.defpath)
    full = place.environment(PYTHONPATH=str(ROOT), **{"PATH": path, **environ})
    with serving(place, [], full, requests) as started:
        yield started


@contextmanager
def serving(
    place: Place, command: list[str], environ: dict[str, str], requests: Sequence[Shown]
) -> Iterator[Server]:
    """Run a server until it has answered its requests; it is killed at the end.

    `command` is another program that does the same.
    """
    arguments = [json.dumps(requests)]
    with ExitStack() as opened:
        nothing = opened.enter_context(Path(os.devnull).open("rb"))
        stderr = opened.enter_context(Path("/dev/stderr").open("ab"))
        told, stdout = prepared.pipe(opened)
        process = _started(place, command, arguments, environ, (nothing, stdout, stderr))
        stdout.close()
        with process:
            try:
                lines = [told.readline().decode().strip() for _ in range(len(requests) + 1)]
                assert lines[-1] == "ready"
                yield Server(process, lines[:-1])
            finally:
                process.kill()


def _started(
    place: Place,
    command: list[str],
    arguments: list[str],
    environ: dict[str, str],
    streams: tuple[IO[bytes], IO[bytes], IO[bytes]],
) -> prepared.Process | subprocess.Popen[bytes]:
    if not command:
        return prepared.Process(
            arguments, code=_SERVER, cwd=place.project, env=environ, streams=streams
        )
    stdin, stdout, stderr = streams
    return subprocess.Popen(
        [*command, *arguments],
        env=environ,
        cwd=place.project,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
    )


def leave_nobody(place: Place, server: Server) -> None:
    """Kill a server and its launcher so that neither can start anything in its last moment."""
    server.process.send_signal(signal.SIGSTOP)
    kill_launchers(place)
    server.kill()


def socket_path(place: Place) -> Path:
    """Return where the launcher of this place listens."""
    scope = f"{identify(place.home).home_id}\0{os.getuid()}\0{pid_namespace()}"
    name = hashlib.sha256(scope.encode()).hexdigest()[:16]
    return place.root / "run" / "mcp-jobs" / f"{name}-{PROTOCOL_VERSION}.sock"


def launchers(place: Place) -> list[int]:
    """Return the launchers of this place: a runner has the same command, and a launcher above."""
    named = {pid for pid in place.processes() if _argument(pid, str(socket_path(place)))}
    return [pid for pid in named if _parent(pid) not in named]


def launcher(place: Place) -> int:
    """Return the one launcher of this place, as soon as it is there."""
    wait_until(lambda: len(launchers(place)) == 1)
    return launchers(place)[0]


def connections(place: Place) -> int:
    """How many sockets have the launcher's path: its own and one for each client, also waiting."""
    return Path("/proc/net/unix").read_text().count(str(socket_path(place)))


def kill_launchers(place: Place) -> None:
    found = launchers(place)
    for pid in found:
        os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not any(map(alive, found)))


async def identity_of(directory: Path) -> Shown:
    """Return what a job's runner wrote down about itself, as soon as it is there."""
    found: list[Shown] = []

    def known() -> bool:
        identity = layout.read_identity(str(directory))
        if identity is None or identity["job_pid"] is None:
            return False
        found.append(identity)
        return True

    await until(known)
    return found[-1]


async def gate(place: Place, name: str = "gate") -> Path:
    """Make a FIFO on which a job waits with `read line < gate`."""
    path = place.project / name
    os.mkfifo(path)
    return path


async def release(path: Path) -> None:
    """Let one job go on that waits at this gate, or that comes to it."""
    with anyio.fail_after(20):
        await anyio.to_thread.run_sync(path.write_text, "go\n", abandon_on_cancel=True)


async def pids_in(path: Path, count: int = 1) -> list[int]:
    """Return the pids that a job wrote to a file, one a line, as soon as `count` are there."""
    await until(lambda: path.exists() and path.read_text().count("\n") >= count)
    return [int(line) for line in path.read_text().split()]


async def all_gone(pids: list[int]) -> None:
    """Return when none of the processes lives."""
    await until(lambda: not any(map(alive, pids)))


def _argument(pid: int, argument: str) -> bool:
    try:
        return argument.encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False


def _parent(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
    except OSError:
        return 0
