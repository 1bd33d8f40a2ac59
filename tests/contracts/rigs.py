"""How a test makes things happen in an executor: one rig for each implementation.

Another implementation joins the suite by a rig and a line in `RIGS`.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Final, Protocol

import anyio

from mcp_jobs.domain.events import InProcessBus
from mcp_jobs.domain.models import Launch
from mcp_jobs.execution.launcher import layout
from tests.contracts.memory_executor import MemoryExecutor
from tests.executors import local_executor_of
from tests.support import Place, until
from tests.system.station import identity_of, release

if TYPE_CHECKING:
    from mcp_jobs.domain.events import Bus
    from mcp_jobs.execution.base import Executor
    from tests.contracts.work import Work


class Rig(Protocol):
    """An executor under test, and the hand of fate."""

    bus: Bus

    @property
    def executor(self) -> Executor:
        """Return what is tested."""
        ...

    def launch(self, job_id: str, work: Work) -> Launch:
        """Return what makes an attempt do this work. It is what the store keeps of the job."""
        ...

    async def release(self, job_id: str) -> None:
        """Let an attempt go on that waits, or that will."""
        ...

    async def lose(self, job_id: str) -> None:
        """Kill whoever watches over an attempt that runs, and nobody else."""
        ...

    async def lose_traces(self, job_id: str) -> None:
        """The same, and nothing is left that tells that the attempt has begun."""
        ...

    async def freeze(self, job_id: str) -> None:
        """Let whoever watches over an attempt stand still."""
        ...


class MemoryRig:
    """The executor in memory."""

    def __init__(self, executor: MemoryExecutor, bus: Bus) -> None:
        self.executor = executor
        self.bus = bus

    def launch(self, job_id: str, work: Work) -> Launch:
        return _launch("work", json.dumps(asdict(work)))

    async def release(self, job_id: str) -> None:
        self.executor.jobs[job_id].released.set()

    async def lose(self, job_id: str) -> None:
        run = self.executor.jobs[job_id].newest
        assert run is not None
        run.watched = False
        run.tell()

    async def lose_traces(self, job_id: str) -> None:
        await self.lose(job_id)
        run = self.executor.jobs[job_id].newest
        assert run is not None
        run.remembered = False

    async def freeze(self, job_id: str) -> None:
        self.executor.jobs[job_id].frozen = True


class LocalRig:
    """The executor of this machine, with a launcher and processes."""

    def __init__(self, place: Place) -> None:
        self.bus: Bus = InProcessBus()
        self._place = place
        self._launches: dict[str, Launch] = {}
        self.executor = local_executor_of(place.settings(), self._launch_of, self.bus)

    async def _launch_of(self, job_id: str) -> Launch | None:
        return self._launches.get(job_id)

    def launch(self, job_id: str, work: Work) -> Launch:
        script = _script(work, self._gate(job_id) if work.waits else None)
        # Only a function may ask; its process finds its directory behind its command.
        call = None if work.asks is None else {"function": "none"}
        self._launches[job_id] = _launch("/bin/sh", "-c", script, call=call)
        return self._launches[job_id]

    def _gate(self, job_id: str) -> Path:
        gate = self._place.project / job_id
        if not gate.exists():
            os.mkfifo(gate)
        return gate

    async def release(self, job_id: str) -> None:
        await release(self._gate(job_id))

    async def lose(self, job_id: str) -> None:
        os.kill(await self._runner(job_id), signal.SIGKILL)
        await until(lambda: not self.executor.is_watched(job_id))

    async def lose_traces(self, job_id: str) -> None:
        await self.lose(job_id)
        (self._directory(job_id) / layout.ALIVE).unlink()

    async def freeze(self, job_id: str) -> None:
        pid = await self._runner(job_id)
        os.kill(pid, signal.SIGSTOP)
        stat = Path(f"/proc/{pid}/stat")
        await until(lambda: stat.read_bytes().rpartition(b")")[2].split()[0] == b"T")

    async def _runner(self, job_id: str) -> int:
        return int((await identity_of(self._directory(job_id)))["pid"])

    def _directory(self, job_id: str) -> Path:
        return self._place.home / "jobs" / job_id


def _launch(*argv: str, call: dict[str, str] | None = None) -> Launch:
    return Launch(
        argv=argv,
        cwd="/",
        umask=0o022,
        environ={"PATH": os.defpath},
        secrets=(),
        rlimit_nofile=None,
        call=call,
    )


def _script(work: Work, gate: Path | None) -> str:
    """Return a shell's script that does the work."""
    lines = ["trap '' TERM"] if work.stubborn else []
    if work.prints:
        lines.append(f"printf %s {shlex.quote(work.prints)}")
    if work.percent is not None:
        told = json.dumps({"current": work.percent, "total": 100})
        lines.append(f'echo {shlex.quote(told)} >> "$MCP_JOBS_PROGRESS"')
    if work.asks is not None:
        schema = {"type": "object", "properties": {"name": {"type": "string"}}}
        asked = json.dumps({"key": work.asks, "message": "Which name?", "schema": schema})
        name = layout.question_name(work.asks)
        lines += [
            f'asked="$0/{layout.QUESTIONS}" answer="$0/{layout.ANSWERS}/{name}"',
            'mkdir -p "$asked"',
            f'echo {shlex.quote(asked)} > "$asked/.new"; mv "$asked/.new" "$asked/{name}"',
            'until [ -e "$answer" ]; do sleep 0.02; done; cat "$answer"',
        ]
    if gate is not None:
        lines.append(f"read line < {shlex.quote(str(gate))}")
    return "\n".join([*lines, f"exit {work.code}"])


@asynccontextmanager
async def memory_rig(_place: Place) -> AsyncIterator[Rig]:
    """Run an executor in memory until the context ends, and all that runs in it."""
    bus = InProcessBus()
    async with anyio.create_task_group() as tasks:
        yield MemoryRig(MemoryExecutor(tasks, bus, {}), bus)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def local_rig(place: Place) -> AsyncIterator[Rig]:
    """Run the executor of this machine until the context ends. The place sees to its processes."""
    rig = LocalRig(place)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rig.executor.run)
        yield rig
        tasks.cancel_scope.cancel()


RigOf = Callable[[Place], AbstractAsyncContextManager[Rig]]
RIGS: Final[dict[str, RigOf]] = {"memory": memory_rig, "local": local_rig}
