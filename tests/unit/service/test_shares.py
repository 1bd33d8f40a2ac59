"""What one owner may have at once, and that the others do not wait for it."""

from __future__ import annotations

import anyio
import pytest

from mcp_jobs.domain.errors import TooManyError
from mcp_jobs.service.shares import Line, Share


def test_one_more_than_the_share_is_refused_and_other_owners_are_not() -> None:
    share = Share(2, "calls")
    with share.of("ann"), share.of("ann"), share.of("bob"):
        assert share.is_full("ann")
        with pytest.raises(TooManyError, match="2 calls at once are your share"), share.of("ann"):
            raise AssertionError("let in")
        assert not share.is_full("bob")
    with share.of("ann"):
        assert not share.is_full("ann")


async def test_an_owner_waits_for_its_own_and_for_nobody_elses() -> None:
    line = Line(2, Share(10, "searches"))
    inside: list[str] = []
    go = anyio.Event()

    async def search(owner: str) -> None:
        async with line.turn(owner):
            inside.append(owner)
            await go.wait()

    async with anyio.create_task_group() as tasks:
        for _ in range(6):
            tasks.start_soon(search, "ann")
        tasks.start_soon(search, "bob")
        await anyio.wait_all_tasks_blocked()
        assert sorted(inside) == ["ann", "ann", "bob"]
        go.set()
    assert sorted(inside) == ["ann"] * 6 + ["bob"]


async def test_a_line_that_is_full_refuses_and_one_that_was_left_forgets() -> None:
    line = Line(1, Share(2, "searches"))

    async def search(seconds: float) -> None:
        async with line.turn("ann"):
            await anyio.sleep(seconds)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(search, 3600)
        tasks.start_soon(search, 3600)
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(TooManyError):
            await search(0)
        tasks.cancel_scope.cancel()
    with anyio.fail_after(5):
        await search(0)
