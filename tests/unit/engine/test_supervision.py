"""Who is supervised, and who is not any more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import anyio
import pytest

from mcp_jobs.engine.supervision import Supervision
from tests.stores import running
from tests.support import until

if TYPE_CHECKING:
    from mcp_jobs.domain.models import Job
    from mcp_jobs.engine.supervisor import Supervisor


@dataclass
class Lives:
    """A supervisor whose jobs end when a test wants it, and as it wants."""

    ends: dict[int, anyio.Event] = field(default_factory=dict)
    errors: dict[int, Exception] = field(default_factory=dict)

    async def run(self, job: Job) -> None:
        await self.ends.setdefault(job.claim_token, anyio.Event()).wait()
        if job.claim_token in self.errors:
            raise self.errors[job.claim_token]

    async def adopt(self, job: Job, **_: Any) -> None:
        await self.run(job)

    def end(self, token: int) -> None:
        self.ends.setdefault(token, anyio.Event()).set()


class Still:
    """A clock that stands still until it is moved."""

    span_s = 100.0

    def now_ms(self) -> int:
        return 0

    def monotonic_s(self) -> float:
        return self.span_s


@pytest.fixture
def lives() -> Lives:
    return Lives()


@pytest.fixture
def clock() -> Still:
    return Still()


@pytest.fixture
def supervision(lives: Lives, clock: Still) -> Supervision:
    return Supervision(cast("Supervisor", lives), clock)


async def test_a_job_is_supervised_from_its_claim_to_its_end(
    supervision: Supervision, lives: Lives
) -> None:
    told: list[str] = []
    supervision.on_end(told.append)
    async with anyio.create_task_group() as tasks:
        supervision.start(tasks, running())
        assert "a" in supervision
        lives.end(1)
        await until(lambda: not supervision)
    assert told == ["a"]
    assert supervision.failed == set()


@pytest.mark.parametrize("error", [OSError(24, "no descriptors"), ValueError("odd")], ids=repr)
async def test_a_job_whose_supervision_failed_is_known_and_ends_no_other(
    supervision: Supervision, lives: Lives, error: Exception
) -> None:
    lives.errors[1] = error
    async with anyio.create_task_group() as tasks:
        supervision.start(tasks, running())
        supervision.start(tasks, running(id="b", claim_token=2))
        lives.end(1)
        await until(lambda: "a" not in supervision)
        assert supervision.failed == {"a"}
        assert "b" in supervision
        lives.end(2)


async def test_the_end_of_an_attempt_is_not_the_end_of_the_next_that_was_claimed_meanwhile(
    supervision: Supervision, lives: Lives
) -> None:
    lives.errors[1] = ValueError("after its end was stored")
    async with anyio.create_task_group() as tasks:
        supervision.start(tasks, running(claim_token=1))
        supervision.start(tasks, running(claim_token=2, attempt=2))
        ends: list[str] = []
        supervision.on_end(ends.append)
        lives.end(1)
        await until(lambda: ends)
        assert "a" in supervision
        assert supervision.failed == set()
        lives.end(2)
    assert "a" not in supervision


async def test_a_job_that_nobody_lets_end_is_not_supervised_after_a_cancel(
    supervision: Supervision,
) -> None:
    async with anyio.create_task_group() as tasks:
        supervision.adopt(tasks, running(), startable=True)
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert not supervision


async def test_a_job_is_looked_at_a_while_after_its_limit_and_again_after_a_while(
    supervision: Supervision, clock: Still
) -> None:
    async with anyio.create_task_group() as tasks:
        supervision.start(tasks, running(timeout_s=10.0, idle_timeout_s=3.0))
        supervision.start(tasks, running(id="b"))
        clock.span_s += 7.9
        assert supervision.overdue() == []
        clock.span_s += 0.1
        assert supervision.overdue() == ["a"]
        assert supervision.overdue() == []
        clock.span_s += 5
        assert supervision.overdue() == ["a"]
        tasks.cancel_scope.cancel()


def test_a_doubt_is_taken_once(supervision: Supervision) -> None:
    assert supervision.take_doubt()
    assert not supervision.take_doubt()
    supervision.doubt()
    assert supervision.take_doubt()
