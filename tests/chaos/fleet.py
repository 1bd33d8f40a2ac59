"""The processes of a campaign, and their violent ends."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.chaos.host import Gone, Host, environment, send
from tests.support import until

if TYPE_CHECKING:
    import random
    from collections.abc import Coroutine, Iterator

    from tests.support import Place

_LAUNCHER = b"mcp_jobs.execution.launcher.fork_server"
_LEAVE_BOUND_S = 30.0
_LONG_STOP_S = 17.0
"""More than a lease."""


class Fleet:
    """Servers, workers, and what they started."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.hosts: list[Host] = []
        self.workers: list[asyncio.subprocess.Process] = []
        self.kills: Counter[str] = Counter()
        self.runner_kills: Counter[str] = Counter()
        """How often a runner of each job was killed."""
        self.launcher_killed_s = 0.0
        self.crashes: list[str] = []
        self._starts = 0
        self._coming = 0
        """How many servers and workers are being started."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._killed_workers: set[int] = set()

    # -- starting --------------------------------------------------------------------------------

    def spawn_host(self, after_s: float = 0.0) -> None:
        """Start a server in the background."""
        self._coming += 1
        self.background(self._run_host(after_s))

    def spawn_worker(self, after_s: float = 0.0) -> None:
        """Start a worker in the background."""
        self._coming += 1
        self.background(self._run_worker(after_s))

    def fill(self, hosts: int, workers: int) -> None:
        """Start what is missing."""
        for _ in range(hosts - len(self.hosts)):
            self.spawn_host()
        for _ in range(workers - len(self.workers)):
            self.spawn_worker()

    async def any_host(self, chance: random.Random) -> Host:
        """Return a server that answers, as soon as there is one."""
        while True:
            ready = [host for host in self.hosts if host.ready and not host.paused]
            if ready:
                return chance.choice(ready)
            await asyncio.sleep(0.01)

    async def _run_host(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._starts += 1
        name = f"stderr-server-{self._starts}"
        host = await Host.start(self.place, name)
        self.hosts.append(host)
        self._coming -= 1
        with contextlib.suppress(Gone):
            try:
                await host.shake_hands()
            except TimeoutError:
                self.crashes.append(f"{name} did not answer its handshake")
                host.process.kill()
        await host.wait()
        self.hosts.remove(host)
        self._look_into(host.stderr, host.process, host.expected_to_die)

    async def _run_worker(self, after_s: float) -> None:
        await asyncio.sleep(after_s)
        self._starts += 1
        stderr = self.place.root / f"stderr-worker-{self._starts}"
        with stderr.open("wb") as file:
            worker = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", "mcp_jobs", "worker"),
                stdin=asyncio.subprocess.DEVNULL,
                stderr=file,
                cwd=self.place.project,
                env=environment(self.place),
            )
        self.workers.append(worker)
        self._coming -= 1
        await worker.wait()
        self.workers.remove(worker)
        self._look_into(stderr, worker, worker.pid in self._killed_workers)

    def _look_into(self, log: Path, process: asyncio.subprocess.Process, expected: bool) -> None:
        text = log.read_text("utf-8", "replace")
        if not expected:
            self.crashes.append(f"{log.name} ended by itself ({process.returncode}): {text}")
        elif "Traceback" in text:
            self.crashes.append(f"{log.name}: {text}")
        log.unlink()

    # -- killing ---------------------------------------------------------------------------------

    def kill_host(self, chance: random.Random) -> None:
        """Kill a server and start another one a little later."""
        if self.hosts:
            chance.choice(self.hosts).kill()
            self.kills["server"] += 1
            self.spawn_host(chance.uniform(0, 0.6))

    def kill_worker(self, chance: random.Random) -> None:
        """Kill a worker and start another one a little later."""
        if self.workers:
            self._kill_worker(chance.choice(self.workers))
            self.spawn_worker(chance.uniform(0, 0.6))

    def pause_host(self, chance: random.Random) -> None:
        """Stop a server for a moment, and now and then for longer than its lease."""
        if self.hosts:
            long = chance.random() < 0.02 and len(self.hosts) > 1
            pause_s = _LONG_STOP_S if long else chance.uniform(0.05, 0.6)
            self.background(self._pause(chance.choice(self.hosts), pause_s))
            self.kills["long stop" if long else "stop"] += 1

    def kill_launcher(self) -> None:
        """Kill the launcher alone."""
        for pid in self.launchers():
            os.kill(pid, signal.SIGKILL)
            self.kills["launcher"] += 1
            self.launcher_killed_s = asyncio.get_running_loop().time()

    def kill_runner(self, chance: random.Random) -> None:
        """Kill a runner and remember whose it was."""
        runners = self.runners()
        if not runners:
            return
        pid, job_id = chance.choice(sorted(runners.items()))
        try:
            fd = os.pidfd_open(pid)
        except ProcessLookupError:
            return
        try:
            if self.runners().get(pid) == job_id:
                signal.pidfd_send_signal(fd, signal.SIGKILL)
                self.runner_kills[job_id] += 1
                self.kills["runner"] += 1
        except ProcessLookupError:
            pass
        finally:
            os.close(fd)

    async def kill_all(self, *, launcher: bool) -> None:
        """Kill every server and worker at once; nobody starts anything in between."""
        # One that is just being started would survive.
        await until(lambda: not self._coming)
        victims = list(self.hosts)
        if launcher:
            for host in victims:
                host.kill(signal.SIGSTOP)
            for worker in self.workers:
                send(worker, signal.SIGSTOP)
            self.kill_launcher()
        for host in victims:
            host.kill()
        self.kills["server"] += len(victims)
        for worker in list(self.workers):
            self._kill_worker(worker)
        await until(lambda: not self.hosts and not self.workers)

    def kill_drain(self) -> None:
        """Kill the worker that the launcher has started."""
        for pid in self.place.processes():
            if b"--drain" in _read(pid, "cmdline"):
                os.kill(pid, signal.SIGKILL)
                self.kills["drain worker"] += 1

    async def leave(self) -> None:
        """End everything politely."""
        for worker in self.workers:
            self._killed_workers.add(worker.pid)
            send(worker, signal.SIGTERM)
        await asyncio.gather(*map(self._dismiss, list(self.hosts)))
        await asyncio.gather(*self._tasks)

    async def _dismiss(self, host: Host) -> None:
        try:
            await asyncio.wait_for(host.leave(), _LEAVE_BOUND_S)
        except TimeoutError:
            self.crashes.append(f"{host.stderr.name} did not end when its stdin was closed")
            host.kill()
            await host.wait()

    async def kill_everything(self) -> None:
        """Kill every process of the place, until none is left."""
        for task in self._tasks:
            task.cancel()
        while left := self.place.processes():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.05)
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _kill_worker(self, worker: asyncio.subprocess.Process) -> None:
        self._killed_workers.add(worker.pid)
        send(worker, signal.SIGKILL)
        self.kills["worker"] += 1

    async def _pause(self, host: Host, pause_s: float) -> None:
        host.paused = pause_s >= _LONG_STOP_S
        host.kill(signal.SIGSTOP)
        await asyncio.sleep(pause_s)
        host.kill(signal.SIGCONT)
        host.paused = False

    def background(self, work: Coroutine[Any, Any, None]) -> None:
        """Do something that ends by itself, beside everything else."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    # -- looking ---------------------------------------------------------------------------------

    def runners(self) -> dict[int, str]:
        """Return the runners that can be told apart, and whose they are."""
        found = {pid: job_id for pid in self._detached() if (job_id := self._job_of(pid))}
        # A job's process is a copy of its runner until it executes the program.
        return {pid: job_id for pid, job_id in found.items() if found.get(_parent(pid)) != job_id}

    def launchers(self) -> list[int]:
        """Return the launcher of this home, or those that are just coming and going."""
        holders = {
            pid for pid in self._detached() if any(p.endswith(".lock") for p in _open_files(pid))
        }
        # A runner is a copy of the launcher for a moment.
        return [pid for pid in holders if _parent(pid) not in holders and self._job_of(pid) is None]

    def _detached(self) -> Iterator[int]:
        return (pid for pid in self.place.processes() if _LAUNCHER in _read(pid, "cmdline"))

    def _job_of(self, pid: int) -> str | None:
        jobs = re.escape(str(self.place.home / "jobs"))
        for path in _open_files(pid):
            match = re.match(rf"{jobs}/([0-9a-z]+)/", path)
            if match:
                return match[1]
        return None


def _read(pid: int, name: str) -> bytes:
    try:
        return Path(f"/proc/{pid}/{name}").read_bytes()
    except OSError:
        return b""


def _open_files(pid: int) -> list[str]:
    found = []
    try:
        for name in os.listdir(f"/proc/{pid}/fd"):
            found.append(os.readlink(f"/proc/{pid}/fd/{name}"))
    except OSError:
        pass
    return found


def _parent(pid: int) -> int:
    fields = _read(pid, "stat").rpartition(b")")[2].split()
    return int(fields[1]) if fields else 0
