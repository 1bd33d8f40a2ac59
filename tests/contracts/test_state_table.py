"""Every `Store` moves a job where the table of states says, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from mcp_jobs.domain.models import CONFIRM_KEY, Answer
from mcp_jobs.domain.states import TRANSITIONS, Reason, Signal, Status
from tests.stores import NOW, OWNER, claim, created, ending, in_state, question

if TYPE_CHECKING:
    from mcp_jobs.domain.models import Job
    from mcp_jobs.store import Store

YES: Final = Answer(action="accept", content={})
ENDS: Final = {
    Signal.COMPLETE: ending(Status.COMPLETED),
    Signal.FAIL: ending(Status.FAILED),
    Signal.RETRY: ending(Status.RETRYING, run_at_ms=NOW + 500),
    Signal.CANCEL: ending(Status.CANCELLED, Reason.CANCELLED_BY_USER),
}


async def _brought_to(store: Store, status: Status, signal: Signal) -> Job:
    """Return a job in a state; one that waits for a person waits for its confirmation or asks."""
    if status is Status.INPUT_REQUIRED and signal is Signal.ACCEPT:
        return await created(store, confirm="Really?")
    return await in_state(store, status)


async def _send(store: Store, job: Job, signal: Signal) -> None:
    match signal:
        case Signal.CLAIM:
            await claim(store, now_ms=NOW + 1000)
        case Signal.ASK:
            await store.ask(job, question(job.id, "another"))
        case Signal.ANSWER | Signal.ACCEPT:
            key = CONFIRM_KEY if signal is Signal.ACCEPT else "region"
            await store.answer(OWNER, job.id, key, YES, now_ms=NOW + 1000)
        case Signal.CANCEL if job.claimed_by is None:
            await store.request_cancel(OWNER, job.id, now_ms=NOW + 1000)
        case _:
            await store.settle(job, ENDS[signal])


@pytest.mark.parametrize("signal", Signal)
@pytest.mark.parametrize("status", Status)
async def test_a_signal_leads_where_the_table_says_and_else_nowhere(
    store: Store, status: Status, signal: Signal
) -> None:
    job = await _brought_to(store, status, signal)
    assert job.status is status

    await _send(store, job, signal)

    now = await store.find(job.id)
    assert now is not None
    assert now.status is TRANSITIONS.get((status, signal), status)
