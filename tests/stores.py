"""Stores and records for the tests of the store and of what stands on it.

Another implementation of `Store` joins the conformance suite by a line in `STORES`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.domain.ids import new_id
from mcp_jobs.domain.models import Job, NewJob, Outcome, Progress, Question
from mcp_jobs.domain.policy import DEFAULT
from mcp_jobs.domain.states import TERMINAL, Reason, Status
from tests.store.opening import STORE_OF_A_HOME as STORE_OF_A_HOME  # noqa: PLC0414 - for all others
from tests.store.opening import open_store as open_store  # noqa: PLC0414 - for all others
from tests.store.opening import sqlite_store as sqlite_store  # noqa: PLC0414 - for all others

if TYPE_CHECKING:
    from mcp_jobs.store import Change, Store

NOW: Final = 1_790_000_000_000
OWNER: Final = "local"
HERE: Final = "machine-a"

Factory = Callable[[Path], Awaitable["Store"]]
"""Opens the store that belongs to a directory; twice the same directory is the same store."""


async def _sqlite(directory: Path) -> Store:
    return await open_store(directory / "jobs.db")


STORES: Final[Mapping[str, Factory]] = {"sqlite": _sqlite}


def new_job(**given: Any) -> NewJob:
    """Return what a caller asks for, due at once; any field may be given."""
    created_at_ms = given.get("created_at_ms", NOW)
    fields: dict[str, Any] = {
        "id": new_id(created_at_ms),
        "owner": OWNER,
        "locality": HERE,
        "type": "shell",
        "params": {"command": "true"},
        "title": "a job",
        "cwd": "/work",
        "created_at_ms": created_at_ms,
        "run_at_ms": created_at_ms,
        "max_attempts": 1,
        "timeout_s": None,
        "idle_timeout_s": None,
        "retry_on_interrupt": False,
        "idempotency_key": None,
        "fingerprint": "same",
    }
    return NewJob(**{**fields, **given})


def running(**given: Any) -> Job:
    """Return the row of a job in its first attempt, of no store; any field may be given."""
    fields: dict[str, Any] = {
        **dict.fromkeys(Job.__slots__),
        "id": "a",
        "owner": OWNER,
        "locality": HERE,
        "type": "shell",
        "params": {},
        "title": "t",
        "cwd": "/",
        "status": Status.RUNNING,
        "attempt": 1,
        "max_attempts": 1,
        "interrupts": 0,
        "created_at_ms": NOW,
        "run_at_ms": NOW,
        "retry_on_interrupt": False,
        "claim_token": 1,
        "launch_token": 1,
        "claimed_by": "server-1",
        "fingerprint": "f",
        "policy": DEFAULT,
    }
    return Job(**{**fields, **given})


def ending(status: Status, reason: Reason | None = None, **given: Any) -> Outcome:
    """Return an outcome with a reason that fits, due again at once if it is a retry."""
    reasons = {
        Status.FAILED: Reason.EXIT_CODE,
        Status.RETRYING: Reason.EXIT_CODE,
        Status.CANCELLED: Reason.CANCELLED_BY_USER,
    }
    fields: dict[str, Any] = {
        "status": status,
        "reason": reason or reasons.get(status),
        "exit_code": 0 if status is Status.COMPLETED else 1,
        "error": None if status is Status.COMPLETED else "It went wrong.",
        "result": None,
        "started_at_ms": None,
        "finished_at_ms": NOW + 1000,
        "output_start": 0,
        "cpu_s": 0.5,
        "memory_peak_bytes": 4096,
        "run_at_ms": NOW if status is Status.RETRYING else None,
    }
    return Outcome(**{**fields, **given})


def progress(percent: float, **given: Any) -> Progress:
    """Return a progress of so many percent."""
    fields: dict[str, Any] = {
        "current": percent,
        "total": 100.0,
        "percent": percent,
        "message": None,
        "updated_at_ms": NOW,
    }
    return Progress(**{**fields, **given})


def question(job_id: str, key: str = "region", **given: Any) -> Question:
    """Return a question that a job asks."""
    fields: dict[str, Any] = {
        "message": "Which region?",
        "schema": {"type": "object", "properties": {"region": {"type": "string"}}},
        "asked_at_ms": NOW,
    }
    return Question(job_id=job_id, key=key, **{**fields, **given})


async def created(store: Store, **given: Any) -> Job:
    """Store a new job."""
    accepted = await store.create(new_job(**given))
    assert not accepted.existing
    return accepted.job


async def claim(store: Store, **given: Any) -> Job | None:
    """Claim the next due job, with room for many."""
    asked: dict[str, Any] = {
        "claimer": "server-1",
        "locality": HERE,
        "incarnation": "home boot",
        "capacity": 1000,
        "now_ms": NOW,
    }
    found = await store.claim(**{**asked, **given})
    return None if found is None else found.job


async def claimed(store: Store, **given: Any) -> Job:
    """Claim the next due job, which must exist."""
    job = await claim(store, **given)
    assert job is not None
    return job


async def next_due_ms(store: Store, locality: str = HERE) -> int | None:
    """Return when the first job is due that waits in a locality, in the past or in the future."""
    due = await store.due(locality, now_ms=NOW)
    return due.next_ms if due.since_ms is None else due.since_ms


async def in_state(store: Store, status: Status, **given: Any) -> Job:
    """Store a job and bring it to a state. No other job may be due."""
    job = await created(store, **given)
    if status is Status.PENDING:
        return job
    job = await claimed(store)
    if status is Status.RUNNING:
        return job
    if status is Status.INPUT_REQUIRED:
        assert await store.ask(job, question(job.id)) is not None
        asking = await store.find(job.id)
        assert asking is not None
        return asking
    outcome = ending(status)
    if status in TERMINAL or status is Status.RETRYING:
        settled = await store.settle(job, outcome)
        assert settled is not None
        return settled
    raise AssertionError(f"no way to {status}")


async def all_changes(store: Store, after: int = 0) -> list[Change]:
    """Return every stored change, read in small steps as the feed does."""
    found: list[Change] = []
    while some := await store.changes_after(after, limit=3):
        found += some
        after = some[-1].seq
    return found
