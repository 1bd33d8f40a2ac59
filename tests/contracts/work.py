"""What a test wants an attempt to do, and the claim under which it does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mcp_jobs.models import Job
from mcp_jobs.policy import DEFAULT
from mcp_jobs.states import Status
from tests.stores import NOW, OWNER

if TYPE_CHECKING:
    from mcp_jobs.execution.base import Executor


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What an attempt does, in this order."""

    stubborn: bool = False
    """It ends only by force."""
    prints: str = ""
    percent: int | None = None
    """How far it says that it is."""
    asks: str | None = None
    """The key of a question; the answer, as JSON, is then printed."""
    waits: bool = False
    """It waits until it is released."""
    code: int = 0


def claim_of(executor: Executor, job_id: str, **given: Any) -> Job:
    """Return the first claim of a job that was prepared here; any field may be given."""
    fields: dict[str, Any] = {
        **dict.fromkeys(Job.__slots__),
        "id": job_id,
        "owner": OWNER,
        "locality": executor.locality,
        "type": "work",
        "params": {},
        "title": "work",
        "cwd": "/",
        "status": Status.RUNNING,
        "attempt": 1,
        "max_attempts": 3,
        "interrupts": 0,
        "created_at_ms": NOW,
        "run_at_ms": NOW,
        "retry_on_interrupt": False,
        "claim_token": 1,
        "launch_token": 1,
        "claimed_by": "a-member",
        "fingerprint": "",
        "policy": DEFAULT,
        "prepared_in": executor.here,
        "claimed_in": executor.here,
    }
    return Job(**{**fields, **given})
