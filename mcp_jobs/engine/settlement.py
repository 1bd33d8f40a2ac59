"""What is stored at the end of an attempt: decided here, from the row and what is known of the end.

Pure. How an attempt ended says `outcomes`; whether another one follows, and what is stored when a
cancel has come in between, is decided here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mcp_jobs.domain.states import Reason, Status
from mcp_jobs.engine import outcomes

if TYPE_CHECKING:
    from mcp_jobs.domain.models import Job, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """Under which an attempt is settled, besides what its job says."""

    may_retry: bool = True
    """Another attempt could be started."""
    unreachable: bool = False
    """No order could have reached the attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """What is to be stored, in this order; the second where the first is refused by the row."""

    again: Outcome | None
    """Another attempt follows; refused where a cancel was asked for meanwhile."""
    final: Outcome
    """The job ends."""
    forgets: bool
    """The environment goes before the end is stored: nobody looks at the job afterwards. Where
    another owner might still have it tried again, it must stay."""


def plan_settlement(
    job: Job, final: Outcome, terms: Terms, *, now_ms: int, base_s: float
) -> Settlement:
    """Decide what is stored of an attempt of `job` that ended as `final` says if it is the last.

    `base_s` is the first pause before another attempt, for types that name none.
    """
    final = _by_other(job, _by_cancel(job, final, terms))
    planned = final
    if terms.may_retry:
        planned = outcomes.with_retry(job, final, now_ms=now_ms, base_s=base_s)
    again = planned if planned.status is Status.RETRYING else None
    early = final.status is not Status.COMPLETED and final.reason is not Reason.SPAWN_ERROR
    return Settlement(again=again, final=final, forgets=early and again is None)


def _by_cancel(job: Job, final: Outcome, terms: Terms) -> Outcome:
    """Tell a cancel that had to be carried out with signals, as no order could reach the runner."""
    ended = final.reason in (Reason.SIGNAL, Reason.INTERRUPTED)
    if job.cancel_requested_at_ms is None or not ended or not terms.unreachable:
        return final
    return replace(final, status=Status.CANCELLED, reason=Reason.CANCELLED_BY_USER)


def _by_other(job: Job, final: Outcome) -> Outcome:
    """Tell a cancel that no person wanted, but a later start of the same."""
    ordered = final.reason in (Reason.CANCELLED_BY_USER, Reason.SUPERSEDED)
    if not ordered or job.cancel_reason is not Reason.SUPERSEDED:
        return final
    return outcomes.superseded(job, final)
