"""A loop that looks when it is woken, when something is due, and now and then."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import pytest

from mcp_jobs.domain.errors import HomeGoneError, StoreError
from mcp_jobs.engine.rounds import Rounds
from tests.support import BOUND_S

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

LONG_S = 1000.0


class Looks:
    """What the loop under test sees: for each look a nap, or an error; then nothing more."""

    def __init__(self, rounds: Rounds, outcomes: Sequence[float | Exception | None] = ()) -> None:
        self.unasked: list[bool] = []
        self.rounds = rounds
        self._outcomes = list(outcomes)
        self._looked = anyio.Event()

    async def look(self, unasked: bool) -> float | None:
        self.unasked.append(unasked)
        looked, self._looked = self._looked, anyio.Event()
        looked.set()
        outcome = self._outcomes.pop(0) if self._outcomes else None
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def after(self, count: int) -> list[bool]:
        """Return, of that many looks, which were unasked."""
        with anyio.fail_after(BOUND_S):
            while len(self.unasked) < count:
                await self._looked.wait()
        return self.unasked[:count]


@asynccontextmanager
async def looking(
    *outcomes: float | Exception | None, longest_s: float = LONG_S
) -> AsyncIterator[Looks]:
    looks = Looks(Rounds("work", longest_s=longest_s), outcomes)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(looks.rounds.run, looks.look)
        yield looks
        tasks.cancel_scope.cancel()


async def test_it_looks_at_first_unasked() -> None:
    async with looking() as looks:
        assert await looks.after(1) == [True]


async def test_it_looks_when_it_is_woken() -> None:
    async with looking() as looks:
        await looks.after(1)
        looks.rounds.wake()
        assert await looks.after(2) == [True, False]


async def test_it_looks_when_something_is_due() -> None:
    async with looking(0.01) as looks:
        assert await looks.after(2) == [True, True]


async def test_it_looks_now_and_then_though_nothing_is_known() -> None:
    async with looking(None, LONG_S, longest_s=0.01) as looks:
        assert await looks.after(3) == [True] * 3


async def test_a_call_in_the_middle_of_a_look_is_answered_by_another() -> None:
    looks = Looks(rounds := Rounds("work", longest_s=LONG_S))

    async def look(unasked: bool) -> float | None:
        if not looks.unasked:
            rounds.wake()
            rounds.wake()
        return await looks.look(unasked)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rounds.run, look)
        assert await looks.after(2) == [True, False]
        await anyio.wait_all_tasks_blocked()
        assert len(looks.unasked) == 2
        tasks.cancel_scope.cancel()


async def test_after_an_error_nothing_is_trusted(caplog: pytest.LogCaptureFixture) -> None:
    async with looking(StoreError("it is locked")) as looks:
        await looks.after(1)
        looks.rounds.wake()
        assert await looks.after(2) == [True, True]
    assert "cannot look for work: it is locked" in caplog.text


async def test_without_a_home_it_looks_no_more(caplog: pytest.LogCaptureFixture) -> None:
    async with looking(HomeGoneError("removed"), longest_s=0.0) as looks:
        await looks.after(1)
        looks.rounds.wake()
        await anyio.wait_all_tasks_blocked()
        assert looks.unasked == [True]
    assert not caplog.records


async def test_what_it_does_not_understand_is_its_caller_s() -> None:
    rounds = Rounds("work", longest_s=LONG_S)

    async def look(_: bool) -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - any
        await rounds.run(look)


async def test_a_burst_of_calls_is_one_look() -> None:
    looks = Looks(rounds := Rounds("work", longest_s=LONG_S, gather_s=0.01))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(rounds.run, looks.look)
        await looks.after(1)
        for _ in range(5):
            rounds.wake()
            await anyio.lowlevel.checkpoint()
        assert await looks.after(2) == [True, False]
        await anyio.wait_all_tasks_blocked()
        assert len(looks.unasked) == 2
        tasks.cancel_scope.cancel()
