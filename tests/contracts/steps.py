"""What the tests of executors do again and again. Every wait has a bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio

from mcp_jobs.domain.clock import SystemClock
from mcp_jobs.domain.ids import new_id
from mcp_jobs.execution.base import Ended, Lost, Orphaned, Unstarted
from mcp_jobs.output.view import OutputView
from tests.contracts.work import Work, claim_of
from tests.support import BOUND_S

if TYPE_CHECKING:
    from mcp_jobs.domain.models import Job
    from mcp_jobs.execution.base import Attempt, Found, Update
    from tests.contracts.rigs import Rig


def prepared(rig: Rig, work: Work | None = None, **given: Any) -> Job:
    """Prepare a job and return the first claim of it."""
    job_id = new_id(SystemClock().now_ms())
    rig.executor.prepare(job_id, rig.launch(job_id, work or Work()))
    return claim_of(rig.executor, job_id, **given)


async def started(rig: Rig, claim: Job) -> Attempt:
    """Start a claimed attempt, which must not be refused."""
    with anyio.fail_after(BOUND_S):
        attempt = await rig.executor.start(claim)
    assert attempt is not None
    return attempt


async def attached(rig: Rig, claim: Job) -> Attempt:
    """Attach to an attempt that must be there."""
    return attempt_in(await rig.executor.attach(claim))


def attempt_in(found: Found) -> Attempt:
    """Return what was found, which must be an attempt."""
    assert not isinstance(found, Unstarted | Orphaned | Lost), found
    return found


async def end_of(attempt: Attempt) -> Ended | Lost | None:
    """Follow an attempt to its end, as the engine does."""
    with anyio.fail_after(BOUND_S):
        async for _ in attempt:
            pass
        end = await attempt.ended()
        if isinstance(end, Ended):
            await attempt.left()
    attempt.close()
    return end


async def ended(attempt: Attempt) -> Ended:
    """Follow an attempt to its end, of which there must be a record."""
    end = await end_of(attempt)
    assert isinstance(end, Ended)
    return end


async def run(rig: Rig, claim: Job) -> Ended:
    """Run a claimed attempt from its start to its end."""
    return await ended(await started(rig, claim))


async def update(attempt: Attempt) -> Update:
    """Return the next update."""
    with anyio.fail_after(BOUND_S):
        return await anext(aiter(attempt))


def printed(rig: Rig, job_id: str) -> bytes:
    """Return everything that is kept of an output."""
    view = OutputView(rig.executor.output(job_id))
    return b"".join(view.read(first, last) for first, last in view.runs)


async def has_printed(rig: Rig, job_id: str, text: bytes) -> None:
    """Return as soon as a text is in the output."""
    with anyio.fail_after(BOUND_S):
        while text not in printed(rig, job_id):  # noqa: ASYNC110 - outputs give no event
            await anyio.sleep(0.01)
