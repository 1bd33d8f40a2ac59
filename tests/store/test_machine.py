"""Any sequence of operations leaves a `Store` as a simple model says, with every change logged."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    rule,
)

from mcp_jobs.domain.errors import KeyConflictError
from mcp_jobs.domain.models import Answer, Job, JobFilter
from mcp_jobs.domain.states import TERMINAL, Reason, Status
from tests.stores import HERE, NOW, STORES, ending, new_job, next_due_ms, progress, question

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from mcp_jobs.store import Change, Store

T = TypeVar("T")

OWNERS = ("ann", "bob")
CLAIMERS = ("server-1", "server-2")
WAITING = (Status.PENDING, Status.RETRYING)
LIVE = (Status.RUNNING, Status.INPUT_REQUIRED)
KEYS = ("region", "size")
ENDINGS = (Status.COMPLETED, Status.FAILED, Status.CANCELLED, Status.RETRYING)


@dataclass
class Known:
    """What the model knows of a job."""

    id: str
    owner: str
    number: int
    run_at_ms: int
    key: str | None
    fingerprint: str
    status: Status = Status.PENDING
    attempt: int = 0
    interrupts: int = 0
    token: int = 0
    launch_token: int = 0
    claimed_by: str | None = None
    cancel_requested: bool = False
    percent: float | None = None
    finished_at_ms: int | None = None
    reasons: list[Reason | None] = field(default_factory=list)
    asked: set[str] = field(default_factory=set)
    """Keys without an answer."""
    answers: dict[str, Answer] = field(default_factory=dict)

    @property
    def unconfirmed(self) -> bool:
        return self.status is Status.INPUT_REQUIRED and self.claimed_by is None

    @property
    def place(self) -> tuple[int, int]:
        return self.run_at_ms, self.number


class StoreMachine(RuleBasedStateMachine):
    """Drives a real store and a model of it side by side."""

    jobs: Bundle[str] = Bundle("jobs")
    claims: Bundle[Job] = Bundle("claims")
    """Jobs as they were right after a claim or an adoption: also those long lost."""

    @initialize(name=st.sampled_from(sorted(STORES)))
    def open(self, name: str) -> None:
        self.runner = asyncio.Runner()
        self.directory = tempfile.TemporaryDirectory(prefix="mj-")
        self.store: Store = self.run(STORES[name](Path(self.directory.name)))
        self.known: dict[str, Known] = {}
        self.log: list[tuple[str, str, Status, bool]] = []
        self.read: list[Change] = []
        self.accepted = 0
        self.served: list[str] = []
        """Owners in the order in which they got slots."""
        self.now_ms = NOW

    def teardown(self) -> None:
        if hasattr(self, "runner"):
            self.run(self.store.close())
            self.runner.close()
            self.directory.cleanup()

    def run(self, step: Awaitable[T]) -> T:
        async def take() -> T:
            return await step

        return self.runner.run(take())

    def changed(self, known: Known, *, created: bool = False) -> None:
        self.log.append((known.id, known.owner, known.status, created))

    # -- operations ------------------------------------------------------------------------------

    @rule(ms=st.integers(1, 50))
    def time_passes(self, ms: int) -> None:
        self.now_ms += ms

    @rule(
        target=jobs,
        owner=st.sampled_from(OWNERS),
        delay_ms=st.sampled_from([0, 0, 0, 30, 80]),
        key=st.sampled_from([None, None, "k1", "k2"]),
        fingerprint=st.sampled_from(["f1", "f1", "f2"]),
        confirm=st.sampled_from([None, None, "Really?"]),
    )
    def create(
        self, owner: str, delay_ms: int, key: str | None, fingerprint: str, confirm: str | None
    ) -> Any:
        asked = new_job(
            owner=owner,
            created_at_ms=self.now_ms,
            run_at_ms=self.now_ms + delay_ms,
            idempotency_key=key,
            fingerprint=fingerprint,
            confirm=confirm,
        )
        met = [k for k in self.known.values() if key and (k.owner, k.key) == (owner, key)]
        try:
            accepted = self.run(self.store.create(asked))
        except KeyConflictError:
            assert [k.fingerprint for k in met] not in ([], [fingerprint])
            return multiple()
        job = accepted.job
        assert accepted.existing == bool(met)
        if accepted.existing:
            assert (job.id, job.fingerprint) == (met[0].id, met[0].fingerprint)
            return multiple()
        self.accepted += 1
        before = [k for k in self.known.values() if k.owner == owner and k.status in WAITING]
        earlier = [k for k in before if k.run_at_ms <= asked.run_at_ms]
        assert accepted.queue_position == 1 + len(earlier)
        known = Known(job.id, owner, self.accepted, asked.run_at_ms, key, fingerprint)
        if confirm is not None:
            known.status, known.asked = Status.INPUT_REQUIRED, {"confirm"}
        self.known[job.id] = known
        self.changed(known, created=True)
        return job.id

    @rule(target=claims, claimer=st.sampled_from(CLAIMERS), capacity=st.integers(0, 4))
    def claim(self, claimer: str, capacity: int) -> Any:
        due = [k for k in self.known.values() if k.status in WAITING and k.run_at_ms <= self.now_ms]
        running = [k for k in self.known.values() if k.status is Status.RUNNING]
        found = self.run(
            self.store.claim(
                claimer=claimer,
                locality=HERE,
                incarnation="home boot",
                capacity=capacity,
                now_ms=self.now_ms,
            )
        )
        if not due or len(running) >= capacity:
            assert found is None
            return multiple()
        known = min(due, key=self.turn)
        self.served.append(known.owner)
        assert found is not None
        job = found.job
        assert job.id == known.id
        known.status, known.claimed_by, known.percent = Status.RUNNING, claimer, None
        known.attempt += 1
        known.token += 1
        known.launch_token = known.token
        self.changed(known)
        waiting = [k.run_at_ms for k in self.known.values() if k.status in WAITING]
        assert found.next_due_ms == min(waiting, default=None)
        return job

    def turn(self, known: Known) -> tuple[int, int, tuple[int, int]]:
        """Return what is compared of those who wait: the owner with fewest running, in turn."""
        mine = [k for k in self.known.values() if k.owner == known.owner]
        busy = sum(k.status is Status.RUNNING for k in mine)
        last = max((n for n, owner in enumerate(self.served, 1) if owner == known.owner), default=0)
        return busy, last, known.place

    def holds(self, claim: Job) -> Known | None:
        known = self.known.get(claim.id)
        if known and known.status in LIVE and known.token == claim.claim_token:
            return known
        return None

    @rule(target=claims, claim=claims, claimer=st.sampled_from(CLAIMERS))
    def take_over(self, claim: Job, claimer: str) -> Any:
        known = self.holds(claim)
        taken = self.run(self.store.take_over(claim, claimer=claimer))
        assert (taken is not None) == (known is not None)
        if known is None or taken is None:
            return multiple()
        known.claimed_by = claimer
        known.token += 1
        self.changed(known)
        return taken

    @rule(claim=claims, percent=st.floats(0, 100))
    def set_progress(self, claim: Job, percent: float) -> None:
        known = self.holds(claim)
        moved = self.run(self.store.set_progress(claim, progress(percent)))
        assert (moved is not None) == (known is not None)
        if known is not None:
            known.percent = percent
            self.changed(known)

    @rule(
        claim=claims,
        status=st.sampled_from(ENDINGS),
        lost=st.booleans(),
        pause_ms=st.integers(0, 40),
    )
    def settle(self, claim: Job, status: Status, lost: bool, pause_ms: int) -> None:
        known = self.holds(claim)
        again = status is Status.RETRYING
        reason = Reason.INTERRUPTED if lost and again else None
        run_at_ms = self.now_ms + pause_ms if again else None
        end = ending(status, reason, finished_at_ms=self.now_ms, run_at_ms=run_at_ms)
        settled = self.run(self.store.settle(claim, end))
        if known is None or (again and known.cancel_requested):
            assert settled is None
            return
        assert settled is not None
        known.status, known.claimed_by = status, None
        known.asked = set()
        known.reasons.append(end.reason)
        if again:
            known.run_at_ms = self.now_ms + pause_ms
            known.interrupts += lost
        else:
            known.finished_at_ms = self.now_ms
        self.changed(known)

    @rule(claim=claims, key=st.sampled_from(KEYS))
    def ask(self, claim: Job, key: str) -> None:
        known = self.holds(claim)
        asked = self.run(self.store.ask(claim, question(claim.id, key)))
        if known is None:
            assert asked is None
            return
        if key in known.asked or key in known.answers:
            assert asked is not None
            assert asked.answer == known.answers.get(key)
            return
        assert (asked is None) == known.cancel_requested
        if asked is not None:
            known.asked.add(key)
            known.status = Status.INPUT_REQUIRED
            self.changed(known)

    @rule(
        job_id=jobs,
        owner=st.sampled_from(OWNERS),
        key=st.sampled_from([*KEYS, "confirm", "confirm"]),
        action=st.sampled_from(["accept", "accept", "decline", "cancel"]),
    )
    def answer(self, job_id: str, owner: str, key: str, action: Any) -> None:
        known = self.known.get(job_id)
        given = Answer(action=action, content={"n": 1})
        job = self.run(self.store.answer(owner, job_id, key, given, now_ms=self.now_ms))
        if (
            known is None
            or known.owner != owner
            or known.status is not Status.INPUT_REQUIRED
            or known.cancel_requested
            or key not in known.asked
        ):
            assert job is None
            return
        assert job is not None
        known.asked.discard(key)
        known.answers[key] = given
        if known.unconfirmed:
            accepted = action == "accept"
            known.status = Status.PENDING if accepted else Status.CANCELLED
            known.finished_at_ms = None if accepted else self.now_ms
        elif not known.asked:
            known.status = Status.RUNNING
        self.changed(known)

    @rule(job_id=jobs, owner=st.sampled_from(OWNERS))
    def cancel(self, job_id: str, owner: str) -> None:
        known = self.known.get(job_id)
        job = self.run(self.store.request_cancel(owner, job_id, now_ms=self.now_ms))
        if known is None or known.owner != owner:
            assert job is None
            return
        assert job is not None
        if known.status in WAITING or known.unconfirmed:
            known.status, known.finished_at_ms = Status.CANCELLED, self.now_ms
        elif known.status in TERMINAL or known.cancel_requested:
            return
        known.cancel_requested = True
        self.changed(known)

    @rule(age_ms=st.integers(0, 60))
    def forget_old(self, age_ms: int) -> None:
        before_ms = self.now_ms - age_ms
        old = {k.id for k in self.known.values() if (k.finished_at_ms or NOW * 2) < before_ms}
        removed = self.run(self.store.remove_old(before_ms=before_ms, keep=1000, limit=1000))
        assert set(removed) == old
        for known_id in removed:
            del self.known[known_id]

    # -- what must hold at every moment ----------------------------------------------------------

    @invariant()
    def every_job_is_as_the_model_says(self) -> None:
        for owner in OWNERS:
            page = self.run(self.store.list(owner, JobFilter(), limit=1000, cursor=None))
            assert {job.id for job in page.jobs} == {
                k.id for k in self.known.values() if k.owner == owner
            }
            for job in page.jobs:
                self.same(job, self.known[job.id])

    def same(self, job: Job, known: Known) -> None:
        assert (job.status, job.owner) == (known.status, known.owner)
        assert (job.attempt, job.interrupts) == (known.attempt, known.interrupts)
        assert (job.claim_token, job.launch_token) == (known.token, known.launch_token)
        assert job.claimed_by == known.claimed_by
        assert job.finished_at_ms == known.finished_at_ms
        assert (job.cancel_requested_at_ms is not None) == known.cancel_requested
        assert (job.progress and job.progress.percent) == known.percent
        asked = self.run(self.store.questions(job.id))
        assert {q.key: q.answer for q in asked if q.answer} == known.answers
        if not job.ended:
            assert {q.key for q in asked if not q.answer} == known.asked
            assert bool(known.asked) == (job.status is Status.INPUT_REQUIRED)
        attempts = self.run(self.store.attempts(job.id))
        assert [a.reason for a in attempts] == known.reasons
        assert [a.number for a in attempts] == list(range(1, len(attempts) + 1))

    @invariant()
    def counts_are_those_of_the_jobs(self) -> None:
        for owner in OWNERS:
            states = [k.status for k in self.known.values() if k.owner == owner]
            counted = {status: states.count(status) for status in set(states)}
            assert self.run(self.store.counts(owner)) == counted
        waiting = [k for k in self.known.values() if k.status not in TERMINAL and not k.unconfirmed]
        assert self.run(self.store.unfinished(HERE)) == len(waiting)
        live = {k.id for k in self.known.values() if k.status in LIVE and not k.unconfirmed}
        assert {job.id for job in self.run(self.store.running())} == live

    @invariant()
    def places_are_those_in_the_queue(self) -> None:
        queue = sorted(
            (k for k in self.known.values() if k.status in WAITING), key=lambda k: k.place
        )
        for owner in OWNERS:
            mine = [k.id for k in queue if k.owner == owner]
            assert [self.run(self.store.queue_position(i)) for i in mine] == list(
                range(1, len(mine) + 1)
            )
        due = self.run(next_due_ms(self.store, HERE))
        assert due == (queue[0].run_at_ms if queue else None)

    @invariant()
    def the_log_has_each_change_exactly_once_and_in_order(self) -> None:
        after = self.read[-1].seq if self.read else 0
        self.read += self.run(self.store.changes_after(after, limit=1000))
        assert [(c.job_id, c.owner, c.status, c.created) for c in self.read] == self.log
        assert self.run(self.store.last_change()) == (self.read[-1].seq if self.read else 0)


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=30,
    stateful_step_count=30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
