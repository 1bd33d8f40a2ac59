"""Cut the power at random moments: `python -m tests.chaos.powercut --rounds 50`.

A home lies on an ext4 in a file. While servers accept, run and end jobs, the file is copied as of
one moment. In one half of the rounds everything is stopped before and killed after that, and the
copy is mounted in its place in another boot: a power cut. In the other half the original lives on
and the copy is mounted beside it: a snapshot. A real server then opens the copy, and the books are
checked.
Exit status 1 on a violation, 2 where this system has no such disks.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import random
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from mcp_jobs.service.assembly import LOCAL_OWNER
from tests.chaos.__main__ import say
from tests.chaos.disk import Boot, Disk, NoDisks
from tests.chaos.host import Gone, Host, Refused
from tests.stores import open_store
from tests.support import Place, alive, make_place

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

    from mcp_jobs.domain.models import Job

_SETTLE_BOUND_S = 90.0
_LOOK_S = 0.1
_PROJECT = "project"

_COMMAND = """
printf 'start %s %s %s\\n' $MCP_JOBS_JOB_ID $$ $MCP_JOBS_PROGRESS >> {ledger}
sleep {pause_s}
printf 'end %s %s %s\\n' $MCP_JOBS_JOB_ID {code} $MCP_JOBS_PROGRESS >> {ledger}
exit {code}
"""


@dataclass(frozen=True)
class DiskPlace(Place):
    """A place whose home lies on a disk of its own."""

    disk: str = "disk"

    @property
    def home(self) -> Path:
        return self.root / self.disk / "home"


@dataclass
class Told:
    """What a client knows of a job that was accepted."""

    job_id: str
    repeatable: bool
    code: int


@dataclass
class Line:
    """One line that a job wrote, outside of every disk."""

    what: str
    job_id: str
    value: int
    disk: str


@dataclass
class Findings:
    """What the rounds came to."""

    outcomes: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    rounds: Counter[str] = field(default_factory=Counter)
    jobs: int = 0


class Rounds:
    """One home that loses its power again and again."""

    def __init__(self, place: DiskPlace, chance: random.Random) -> None:
        self.findings = Findings()
        self._place = place
        self._chance = chance
        self._ledger = place.root / "ledger"
        self._ledger.touch()
        self._boot = Boot(place.root)
        self._boot.check()
        self._disk = Disk.new(place.root / "image-0", place.home.parent)
        self._copy: Disk | None = None
        self._told: list[Told] = []
        self._hosts: list[Host] = []
        self._names = 0

    async def round(self, number: int) -> None:
        """Let clients start jobs, copy the disk in the middle, check what the copy becomes."""
        cut = number % 2 == 1
        await self._fill(self._place, 2)
        self._told.clear()
        load = asyncio.create_task(self._load())
        await asyncio.sleep(self._chance.choice((0.1, 1, 6)) * self._chance.uniform(0.2, 1.2))
        self.findings.rounds["power cut" if cut else "snapshot"] += 1
        if cut:
            await self._cut(load, number)
        else:
            await self._snapshot(load, number)
        self.findings.jobs += len(self._told)

    async def close(self) -> None:
        """End everything and give the devices back."""
        await self._kill(self._place.root)
        if self._copy is not None:
            self._copy.close()
        self._disk.close()

    # -- a power cut -----------------------------------------------------------------------------

    async def _cut(self, load: asyncio.Task[None], number: int) -> None:
        # Everybody stands still first, so that nothing is done after the moment of the copy.
        _stop(self._place)
        image = self._place.root / f"image-{number}"
        self._disk.copy(image)
        before = list(self._lines())
        told = list(self._told)
        await self._kill(self._place.root)
        load.cancel()
        await asyncio.gather(load, return_exceptions=True)
        self._disk.close()
        self._disk.image.unlink()
        for left in (self._place.root / "run").iterdir():
            shutil.rmtree(left)
        self._boot = Boot(self._place.root)
        self._disk = Disk(image, self._place.home.parent).mount()
        await self._audit(self._place, told, before)

    async def _kill(self, root: Path) -> None:
        place = Place(root)
        while left := [pid for pid in place.processes() if _outside(pid)]:
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            await asyncio.sleep(0.02)
        for host in self._hosts:
            await host.wait()
        self._hosts.clear()

    # -- a snapshot ------------------------------------------------------------------------------

    async def _snapshot(self, load: asyncio.Task[None], number: int) -> None:
        before, told = list(self._lines()), list(self._told)
        copy = DiskPlace(self._place.root, disk=f"copy-{number}")
        image = self._place.root / f"copy-image-{number}"
        await asyncio.to_thread(self._disk.copy, image)
        self._copy = Disk(image, copy.home.parent).mount()
        await self._audit(copy, told, before)
        await self._leave(copy)
        self._copy.close()
        self._copy = None
        image.unlink()
        await load
        await self._audit_original()

    async def _leave(self, copy: DiskPlace) -> None:
        for host in [host for host in self._hosts if host.stderr.name.startswith(copy.disk)]:
            await host.leave()
            self._hosts.remove(host)
        mark = os.fsencode(copy.home)
        deadline_s = time.monotonic() + _SETTLE_BOUND_S
        while left := [pid for pid in copy.processes() if _mentions_home(pid, mark)]:
            if time.monotonic() > deadline_s:
                self._violation(f"processes of the copy are left: {left}")
                return
            await asyncio.sleep(_LOOK_S)

    async def _audit_original(self) -> None:
        """The copy must have left the original's jobs alone."""
        jobs = await self._settled(self._place, [told.job_id for told in self._told])
        for told in self._told:
            job = jobs.get(told.job_id)
            if job is None or job.reason not in (None, "exit_code") or job.exit_code != told.code:
                self._violation(f"original {told.job_id}: {_end(job)} instead of {told.code}")

    # -- the load --------------------------------------------------------------------------------

    async def _load(self) -> None:
        async def client(host: Host, chance: random.Random) -> None:
            for _ in range(chance.randint(10, 40)):
                with contextlib.suppress(Gone, Refused):
                    await self._start(host, chance)
                await asyncio.sleep(chance.expovariate(12))

        await asyncio.gather(
            *(client(host, random.Random(self._chance.random())) for host in self._hosts)
        )

    async def _start(self, host: Host, chance: random.Random) -> None:
        code = chance.choice((0, 0, 0, 3))
        repeatable = chance.random() < 0.2
        command = _COMMAND.format(
            ledger=self._ledger, pause_s=chance.choice((0, 0.05, 0.3, 1.5)), code=code
        )
        answer = await host.call(
            "start_job",
            {
                "params": {"command": command},
                "cwd": str(self._place.project),
                "retry_on_interrupt": repeatable,
            },
        )
        self._told.append(Told(answer["job_id"], repeatable, code))

    async def _fill(self, place: DiskPlace, count: int) -> None:
        mine = [host for host in self._hosts if host.stderr.name.startswith(place.disk)]
        for _ in range(count - len(mine)):
            self._names += 1
            name = f"{place.disk}-{self._names}"
            host = await Host.start(place, name, prefix=self._boot.prefix)
            self._hosts.append(host)
            try:
                await host.shake_hands()
            except Gone:
                said = host.stderr.read_text("utf-8", "replace")
                raise Gone(f"the server {name} did not start: {said}") from None

    # -- the books -------------------------------------------------------------------------------

    async def _audit(self, place: DiskPlace, told: Sequence[Told], before: Sequence[Line]) -> None:
        """Open a disk as it was at one moment, and hold its jobs against what was known then."""
        place.home.mkdir(mode=0o700, exist_ok=True)
        await self._fill(place, 1)
        jobs = await self._settled(place, [each.job_id for each in told])
        lines = list(self._lines())[len(before) :]
        for each in told:
            job = jobs.get(each.job_id)
            self.findings.outcomes[_end(job)] += 1
            earlier = [line for line in before if line.job_id == each.job_id]
            later = [
                line for line in lines if line.job_id == each.job_id and line.disk == place.disk
            ]
            # The original may have ended it between the first look and the moment of the copy.
            ends = {
                line.value
                for line in self._lines()
                if line.what == "end" and line.job_id == each.job_id
            }
            for fault in _faults(each, job, earlier, later, ends):
                notes = "; ".join(
                    f"{line.what} {line.value} {line.disk}" for line in earlier + later
                )
                self._violation(f"{place.disk} {each.job_id} {_end(job)}: {fault} ({notes})")

    async def _settled(self, place: DiskPlace, ids: Sequence[str]) -> dict[str, Job]:
        """Return jobs when all have ended, or the time for that is over."""
        store = await open_store(place.settings().database)
        try:
            deadline_s = time.monotonic() + _SETTLE_BOUND_S
            while True:
                found = {job_id: await store.get(LOCAL_OWNER, job_id) for job_id in ids}
                jobs = {job_id: job for job_id, job in found.items() if job is not None}
                if all(job.ended for job in jobs.values()) or time.monotonic() > deadline_s:
                    return jobs
                await asyncio.sleep(_LOOK_S)
        finally:
            await store.close()

    def _lines(self) -> Iterator[Line]:
        for text in self._ledger.read_text().splitlines():
            what, job_id, value, progress = text.split()
            disk = progress.removeprefix(f"{self._place.root}/").partition("/")[0]
            yield Line(what, job_id, int(value), disk)

    def _violation(self, text: str) -> None:
        self.findings.violations.append(text)


def _faults(
    told: Told,
    job: Job | None,
    earlier: Sequence[Line],
    later: Sequence[Line],
    ends: Collection[int],
) -> Iterator[str]:
    """Say everything that is untrue about a job of a copied disk."""
    if job is None:
        yield "a client was told that it is accepted, and it is not there"
        return
    if not job.ended:
        yield "it does not end"
        return
    began = [line for line in earlier if line.what == "start"]
    again = [line for line in later if line.what == "start"]
    if job.reason not in (None, "exit_code", "interrupted"):
        yield "this is no reason of ours"
    if len(again) > 1 and not told.repeatable:
        yield "it was started twice"
    if began and again and not told.repeatable:
        yield "it had run before, and was started again"
    if job.reason in (None, "exit_code") and told.code not in ends:
        yield "its end is not in the ledger"
    if job.reason is None and told.code:
        yield f"completed, though it ended with {told.code}"
    if job.reason == "interrupted" and told.repeatable:
        yield "it was to be repeated"
    if job.reason == "interrupted" and again:
        yield "interrupted, but nothing was killed after the copy"


def _end(job: Job | None) -> str:
    if job is None:
        return "missing"
    return f"{job.status} {job.reason}" if job.reason else str(job.status)


def _outside(pid: int) -> bool:
    """Whether a process is one of the place, and not one that we wait in."""
    return pid != os.getpid() and alive(pid)


def _mentions_home(pid: int, mark: bytes) -> bool:
    for name in ("cmdline", "environ"):
        with contextlib.suppress(OSError), open(f"/proc/{pid}/{name}", "rb") as file:
            if mark in file.read():
                return True
    return False


def _stop(place: Place) -> None:
    """Stop every process of a place, also those that are just being made."""
    quiet = 0
    while quiet < 2:
        quiet += 1
        for pid in place.processes():
            with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", "rb") as file:
                if file.read().rpartition(b")")[2].split()[0] != b"T":
                    os.kill(pid, signal.SIGSTOP)
                    quiet = 0


def main() -> int:
    """Run as many rounds as the command line asks for."""
    parser = argparse.ArgumentParser(prog="tests.chaos.powercut", description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None, help="default: a random one")
    arguments = parser.parse_args()
    seed = int.from_bytes(os.urandom(4)) if arguments.seed is None else arguments.seed
    place = DiskPlace(make_place().root)
    shutil.rmtree(place.root / "home", ignore_errors=True)
    os.environ["XDG_RUNTIME_DIR"] = str(place.root / "run")
    say(f"seed {seed}, {arguments.rounds} rounds in {place.root}")
    try:
        return asyncio.run(_rounds(place, seed, arguments.rounds))
    except NoDisks as error:
        say(f"this system has no disks for it: {error}")
        return 2
    finally:
        shutil.rmtree(place.root, ignore_errors=True)


async def _rounds(place: DiskPlace, seed: int, count: int) -> int:
    ours = asyncio.current_task()
    assert ours is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ours.cancel)
    began_s = time.monotonic()
    rounds = Rounds(place, random.Random(seed))
    findings = rounds.findings
    try:
        for number in range(1, count + 1):
            await rounds.round(number)
            if number % 10 == 0:
                say(f"round {number}: {findings.jobs} jobs, {time.monotonic() - began_s:.0f} s")
            if findings.violations:
                break
    finally:
        await rounds.close()
    say("\n".join(findings.violations))
    say(f"rounds {sum(findings.rounds.values())}: {dict(findings.rounds)}, jobs {findings.jobs}")
    say(f"outcomes: {dict(findings.outcomes)}")
    say(f"violations: {len(findings.violations)}, {time.monotonic() - began_s:.0f} s, seed {seed}")
    return 1 if findings.violations else 0


if __name__ == "__main__":
    sys.exit(main())
