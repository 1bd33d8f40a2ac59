"""What happens to the files and the machine of a campaign, besides killed processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import time
from typing import TYPE_CHECKING, Final

from tests.chaos.host import Gone, Host
from tests.support import Place

if TYPE_CHECKING:
    import random
    from pathlib import Path

    from tests.chaos.fleet import Fleet

_SETTLE_BOUND_S = 60.0
_LOCKS_S = (0.3, 1.5, 4.0)
_STOPS_S = (0.1, 0.5, 2.0)


class CopiedPlace(Place):
    """A home that was copied; everything else is the original's."""

    @property
    def home(self) -> Path:
        return self.root / "copied"


class Mischief:
    """Deeds against one home, counted like the kills of its fleet."""

    WEIGHTS: Final = (4, 4, 2, 2, 2, 2)
    """How often each of `deeds` is chosen, besides the kills."""

    def __init__(self, fleet: Fleet) -> None:
        self._fleet = fleet
        self._place = fleet.place
        self._copies = 0
        self.deeds = (
            self.remove_traces,
            self.stop_runner,
            self.stop_launcher,
            self.lock_store,
            self.remove_runtime,
            self.copy_home,
        )

    def remove_traces(self, chance: random.Random) -> None:
        """Take files of a job away while its runner lives: any, or all with the directory."""
        runners = sorted(self._fleet.runners().values())
        if not runners:
            return
        job_id = chance.choice(runners)
        directory = self._place.home / "jobs" / job_id
        name = chance.choice(("", "alive", "fence", "output", "env"))
        # As with a killed runner, its end may be lost.
        self._fleet.runner_kills[job_id] += 1
        self._fleet.kills[f"removed {name or 'directory'}"] += 1
        path = directory / name if name else directory
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()

    def stop_runner(self, chance: random.Random) -> None:
        """Stop a runner for a while, whatever its job is told meanwhile."""
        runners = sorted(self._fleet.runners())
        if runners:
            self._fleet.background(self._stop(chance.choice(runners), chance.choice(_STOPS_S)))
            self._fleet.kills["stopped runner"] += 1

    def stop_launcher(self, chance: random.Random) -> None:
        """Stop the launcher for a while."""
        for pid in self._fleet.launchers():
            self._fleet.background(self._stop(pid, chance.choice(_STOPS_S)))
            self._fleet.kills["stopped launcher"] += 1

    def lock_store(self, chance: random.Random) -> None:
        """Keep everybody from writing to the database for a while."""
        self._fleet.background(self._lock(chance.choice(_LOCKS_S)))
        self._fleet.kills["locked store"] += 1

    def remove_runtime(self, _: random.Random) -> None:
        """Take away the directory of the launcher's socket, as a logout does."""
        shutil.rmtree(self._place.root / "run" / "mcp-jobs", ignore_errors=True)
        self._fleet.kills["removed runtime directory"] += 1

    def copy_home(self, chance: random.Random) -> None:
        """Copy the home as it is, open the copy with a server, and remove it again."""
        if chance.random() < 0.5 and not self._copies:
            self._copies += 1
            self._fleet.background(self._open_copy())
            self._fleet.kills["copied home"] += 1

    async def _stop(self, pid: int, pause_s: float) -> None:
        with contextlib.suppress(ProcessLookupError):
            fd = os.pidfd_open(pid)
            try:
                signal.pidfd_send_signal(fd, signal.SIGSTOP)
                await asyncio.sleep(pause_s)
                signal.pidfd_send_signal(fd, signal.SIGCONT)
            finally:
                os.close(fd)

    async def _lock(self, pause_s: float) -> None:
        # Another thread: it may have to wait for the lock itself.
        await asyncio.to_thread(_hold, self._place.home / "jobs.db", pause_s)

    async def _open_copy(self) -> None:
        copy = CopiedPlace(self._place.root)
        shutil.rmtree(copy.home, ignore_errors=True)
        # What comes and goes meanwhile is not in it, as in any copy of a living directory.
        command = ["cp", "-a", str(self._place.home), str(copy.home)]
        await asyncio.to_thread(subprocess.run, command, capture_output=True, check=False)
        host = await Host.start(copy, "stderr-copy")
        try:
            with contextlib.suppress(Gone):
                await host.shake_hands()
                await self._settled(host)
                await host.leave()
        finally:
            host.kill()
            await host.wait()
            self._copies -= 1

    async def _settled(self, host: Host) -> None:
        async with asyncio.timeout(_SETTLE_BOUND_S):
            while True:
                counts = (await host.call("list_jobs", {"limit": 1}))["counts"]
                if not (counts["pending"] or counts["running"] or counts["retrying"]):
                    return
                await asyncio.sleep(0.1)


def _hold(path: Path, pause_s: float) -> None:
    connection = sqlite3.connect(path, isolation_level=None, timeout=10)
    try:
        with contextlib.suppress(sqlite3.OperationalError):
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(pause_s)
    finally:
        connection.close()
