"""Rounds of work and murder, each followed by an audit."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from mcp_jobs.domain.job_object import attempt_objects, job_object
from mcp_jobs.domain.models import JobFilter
from mcp_jobs.execution.host import prepare_home
from mcp_jobs.execution.incarnation import identify
from mcp_jobs.execution.job_directory import locality
from mcp_jobs.execution.launcher.process_tree import HOME_ID_VARIABLE, JOB_ID_VARIABLE
from mcp_jobs.execution.spool_reader import SpoolFiles
from mcp_jobs.output.view import OutputView
from mcp_jobs.service.assembly import LOCAL_OWNER
from mcp_jobs.store import Store
from tests.chaos import books
from tests.chaos.fleet import Fleet
from tests.chaos.host import Gone, Refused
from tests.chaos.ledger import Ledger
from tests.chaos.mischief import Mischief
from tests.chaos.orders import Order, draw
from tests.stores import open_store
from tests.support import _mentions, _pids, until

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mcp_jobs.domain.models import Job
    from tests.support import Place

_CLIENTS = 4
_LOCKED = "keeps the job database"
"""Of what a call is told that a locked database holds up."""

_SETTLE_BOUND_S = 60.0
_ATTACH_S = 2.0
"""How long a server may take to tell a new launcher that it is there."""


@dataclass
class Findings:
    """What a campaign counts."""

    outcomes: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    rounds: int = 0
    jobs: int = 0


class Campaign:
    """One home, many rounds. `jobs` is how many are ordered in each round."""

    def __init__(self, place: Place, store: Store, *, seed: int, jobs: int) -> None:
        self.findings = Findings()
        self.fleet = Fleet(place)
        self._mischief = Mischief(self.fleet)
        self._place = place
        self._store = store
        self._jobs = jobs
        self._chance = random.Random(seed)
        self._ledger = Ledger(place.root / "ledger")
        self._orders: dict[str, Order] = {}
        self._audited: set[str] = set()
        self._locality = locality()

    @classmethod
    async def open(cls, place: Place, *, seed: int, jobs: int) -> Campaign:
        """Prepare a home. `close` it at the end."""
        settings = place.settings()
        prepare_home(settings)
        store = await open_store(settings.database)
        return cls(place, store, seed=seed, jobs=jobs)

    async def close(self) -> None:
        """End everything politely."""
        await self.fleet.leave()
        self.findings.violations += self.fleet.crashes
        await self._store.close()

    async def abandon(self) -> None:
        """End everything at once, and leave the home as it is."""
        await self.fleet.kill_everything()
        await self._store.close()

    async def round(self) -> None:
        """Order jobs, kill processes, wait for calm, check the books."""
        number = self.findings.rounds = self.findings.rounds + 1
        chance = random.Random(self._chance.random())
        self.fleet.fill(hosts=chance.choice((2, 2, 3)), workers=chance.choice((1, 1, 2)))
        orders = [
            draw(
                chance,
                f"r{number}-{index}",
                ledger=self._ledger.path,
                project=self._place.project,
                home=self._place.home,
            )
            for index in range(self._jobs)
        ]
        self._orders.update({order.title: order for order in orders})
        everybody_dies = chance.random() < 0.2
        work = [
            self._client(random.Random(chance.random()), orders[first::_CLIENTS])
            for first in range(_CLIENTS)
        ]
        await asyncio.gather(*work, self._murders(random.Random(chance.random())))
        if everybody_dies:
            await self._kill_everybody(chance)
        await self._settled(hosts=not everybody_dies)
        await self._audit(orders)

    # -- clients ---------------------------------------------------------------------------------

    async def _client(self, chance: random.Random, orders: Sequence[Order]) -> None:
        async with asyncio.TaskGroup() as cancels:
            for order in orders:
                await asyncio.sleep(chance.uniform(0, 0.35))
                await self._start(chance, order)
                if order.cancel_after_s is not None and order.job_id is not None:
                    cancels.create_task(self._cancel(chance, order))

    async def _start(self, chance: random.Random, order: Order) -> None:
        """Start a job; with an idempotency key, until there is an answer."""
        while True:
            host = await self.fleet.any_host(chance)
            try:
                answer = await host.call("start_job", order.request)
            except Gone:
                order.notes.append(f"no answer from {host.process.pid}")
                if order.key is None:
                    return
                continue
            except Refused as refusal:
                if _LOCKED in str(refusal):
                    # Whoever is told so may take it at its word: it is not stored later.
                    order.refused = not any(note.startswith("no answer") for note in order.notes)
                    order.notes.append(f"refused by {host.process.pid}")
                    return
                self._violation(f"{order.title} was refused: {refusal}")
                return
            order.job_id = answer["job_id"]
            order.notes.append(f"accepted by {host.process.pid}")
            return

    async def _cancel(self, chance: random.Random, order: Order) -> None:
        await asyncio.sleep(order.cancel_after_s or 0)
        grace_s = chance.choice((0, 0.2))
        while True:
            host = await self.fleet.any_host(chance)
            order.cancel_sent = True
            try:
                answer = await host.call(
                    "cancel_job", {"job_id": order.job_id, "grace_seconds": grace_s}
                )
            except Gone:
                continue
            except Refused as refusal:
                if _LOCKED in str(refusal):
                    continue
                self._violation(f"the cancel of {order.title} was refused: {refusal}")
                return
            order.notes.append(f"cancel answered: {answer['status']}")
            order.seen_cancelled = answer["status"] == "cancelled"
            return

    # -- murders ---------------------------------------------------------------------------------

    async def _murders(self, chance: random.Random) -> None:
        deeds: list[Callable[[], None]] = [
            lambda: self.fleet.kill_host(chance),
            lambda: self.fleet.kill_worker(chance),
            lambda: self.fleet.pause_host(chance),
            self.fleet.kill_launcher,
            lambda: self.fleet.kill_runner(chance),
            *(partial(deed, chance) for deed in self._mischief.deeds),
        ]
        for _ in range(chance.randint(2, 5)):
            await asyncio.sleep(chance.expovariate(4))
            chance.choices(deeds, (6, 4, 4, 4, 12, *self._mischief.WEIGHTS))[0]()

    async def _kill_everybody(self, chance: random.Random) -> None:
        """Leave the queue to the worker that the launcher starts, or to the next server."""
        launcher = chance.random() < 0.3
        await asyncio.sleep(chance.uniform(0, 0.3))
        now_s = asyncio.get_running_loop().time()
        unknown = now_s - self.fleet.launcher_killed_s < _ATTACH_S
        await self.fleet.kill_all(launcher=launcher)
        self.fleet.kills["everybody"] += 1
        if launcher or unknown:
            # Nobody can know that there is work left.
            self.fleet.spawn_host()
        elif chance.random() < 0.3:
            await asyncio.sleep(chance.uniform(0.2, 1.5))
            self.fleet.kill_drain()

    async def _settled(self, *, hosts: bool) -> None:
        if hosts:
            self.fleet.fill(hosts=1, workers=0)
        deadline_s = time.monotonic() + _SETTLE_BOUND_S
        while left := await self._store.unfinished(self._locality):
            if time.monotonic() > deadline_s:
                self._violation(f"{left} jobs have not ended within {_SETTLE_BOUND_S} s")
                return
            await asyncio.sleep(0.02)

    # -- audit -----------------------------------------------------------------------------------

    async def _audit(self, orders: Sequence[Order]) -> None:
        jobs = await self._new_jobs()
        self._ledger.read()
        by_title = {job.title: job for job in jobs}
        self._no_process_left([job.id for job in jobs])
        await self._no_runner_left(jobs)
        for job in jobs:
            order = self._orders.get(job.title)
            if order is None:
                self._violation("a job that nobody ordered", await self._shown(job))
            elif order.refused:
                self._violation(f"{order.title} was refused and is there", await self._shown(job))
            elif order.job_id not in (None, job.id):
                self._violation(f"two jobs for {order.title}", await self._shown(job))
            else:
                await self._audit_job(order, job)
        for order in orders:
            if order.job_id is not None and order.title not in by_title:
                self._violation(f"the accepted job {order.job_id} is not in the store")
        for line in self.fleet.crashes:
            self._violation(line)
        self.fleet.crashes.clear()

    async def _audit_job(self, order: Order, job: Job) -> None:
        self._audited.add(job.id)
        self.findings.jobs += 1
        self.findings.outcomes[f"{job.status} {job.reason or ''}".strip()] += 1
        entry = books.Entry(
            order=order,
            job=job,
            attempts=await self._store.attempts(job.id),
            account=self._ledger.of(job.id),
            runner_kills=self.fleet.runner_kills[job.id],
            output=self._output(job.id),
        )
        for fault in books.faults(entry):
            self._violation(f"{order.kind} {order.title}: {fault}", await self._shown(job))

    async def audit_again(self) -> None:
        """Hold that no job of any round has changed or run since it was audited."""
        before = Counter({job_id: len(a.lines) for job_id, a in self._ledger.accounts.items()})
        self._ledger.read()
        for job_id, account in self._ledger.accounts.items():
            if len(account.lines) != before[job_id]:
                self._violation(f"job {job_id} wrote again after its end: {account.lines}")
        self._no_process_left(list(self._audited))

    async def _new_jobs(self) -> list[Job]:
        found: list[Job] = []
        cursor = None
        while True:
            page = await self._store.list(LOCAL_OWNER, JobFilter(), limit=100, cursor=cursor)
            fresh = [job for job in page.jobs if job.id not in self._audited]
            found += fresh
            cursor = page.next_cursor
            if cursor is None or not fresh:
                return found

    def _no_process_left(self, job_ids: Sequence[str]) -> None:
        ours = set(job_ids)
        marker = JOB_ID_VARIABLE.encode() + b"="
        for pid in _pids():
            if _mentions(pid, marker):
                # A copy of the home has jobs of the same ids, and processes of its own.
                job_id = _job_id_of(pid, identify(self._place.home).home_id)
                if job_id in ours:
                    self._violation(f"process {pid} of job {job_id} is left")

    async def _no_runner_left(self, jobs: Sequence[Job]) -> None:
        ours = {job.id for job in jobs}
        try:
            await until(lambda: not ours & set(self.fleet.runners().values()))
        except TimeoutError:
            left = ours & set(self.fleet.runners().values())
            self._violation(f"the runners of {left} are left")

    def _output(self, job_id: str) -> str:
        view = OutputView(SpoolFiles(str(self._place.home / "jobs" / job_id / "output")))
        data = b"".join(view.read(first, last) for first, last in view.runs)
        return data.decode("utf-8", "replace")

    async def _shown(self, job: Job) -> str:
        order = self._orders.get(job.title)
        directory = self._place.home / "jobs" / job.id
        shown = {
            "job": job_object(job, now_ms=0),
            "claim_token": job.claim_token,
            "launch_token": job.launch_token,
            "claimed_by": job.claimed_by,
            "attempts": attempt_objects(await self._store.attempts(job.id)),
            "ledger": self._ledger.of(job.id).lines,
            "runner_kills": self.fleet.runner_kills[job.id],
            "order": order and [order.kind, order.cancel_sent, *order.notes],
            "files": sorted(path.name for path in directory.iterdir()) if directory.exists() else 0,
        }
        return json.dumps(shown, indent=1)

    def _violation(self, text: str, details: str = "") -> None:
        violation = f"round {self.findings.rounds}: {text}\n{details}"
        self.findings.violations.append(violation)
        # At once: a campaign that hangs must not take it along.
        sys.stderr.write(f"{violation}\n")
        sys.stderr.flush()


def _job_id_of(pid: int, home_id: str) -> str | None:
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return None
    if f"{HOME_ID_VARIABLE}={home_id}".encode() not in variables:
        return None
    marker = JOB_ID_VARIABLE.encode() + b"="
    return next((v[len(marker) :].decode() for v in variables if v.startswith(marker)), None)
