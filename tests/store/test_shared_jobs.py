"""Jobs that any worker of the store may run, wherever it is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mcp_jobs.domain.models import Outcome
from mcp_jobs.domain.states import Reason, Status
from tests.stores import HERE, NOW, claim, created, next_due_ms

if TYPE_CHECKING:
    from mcp_jobs.store import Store

THERE = "machine-b"


async def test_a_shared_job_is_claimed_anywhere_and_is_then_of_that_place(store: Store) -> None:
    job = await created(store, shared=True)
    assert await store.unfinished(THERE) == 1
    assert await next_due_ms(store, THERE) == NOW

    taken = await claim(store, locality=THERE)

    assert taken is not None
    assert (taken.id, taken.locality, taken.shared) == (job.id, THERE, True)
    assert (await store.unfinished(THERE), await store.unfinished(HERE)) == (1, 0)


async def test_a_shared_job_that_is_tried_again_may_go_to_another_place(store: Store) -> None:
    await created(store, shared=True, max_attempts=2)
    first = await claim(store, locality=THERE)
    assert first is not None
    outcome = Outcome(
        status=Status.RETRYING, reason=Reason.EXIT_CODE, exit_code=1, error="x", result=None,
        started_at_ms=NOW, finished_at_ms=NOW, output_start=0, cpu_s=None, memory_peak_bytes=None,
        run_at_ms=NOW,
    )  # fmt: skip
    assert await store.settle(first, outcome) is not None

    second = await claim(store, locality=HERE)

    assert second is not None
    assert (second.id, second.attempt, second.locality) == (first.id, 2, HERE)


async def test_a_job_that_is_not_shared_waits_for_its_place(store: Store) -> None:
    await created(store)
    assert await claim(store, locality=THERE) is None
    assert await store.unfinished(THERE) == 0
    assert await next_due_ms(store, THERE) is None
