"""What a test wants an attempt to do, and the claim under which it does it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.stores import running

if TYPE_CHECKING:
    from mcp_jobs.domain.models import Job
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
    here = executor.here
    place = {"locality": executor.locality, "prepared_in": here, "claimed_in": here}
    return running(id=job_id, **{**place, **given})
