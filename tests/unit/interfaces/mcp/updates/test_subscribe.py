"""What a connection has subscribed to is followed as long as it lasts, and no longer."""

from __future__ import annotations

from contextlib import AsyncExitStack
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from mcp_types import SubscribeRequestParams, UnsubscribeRequestParams

from mcp_jobs.domain.events import InProcessBus
from mcp_jobs.interfaces.mcp.updates.push import Push
from mcp_jobs.interfaces.mcp.updates.subscribe import Subscriptions
from tests.unit.interfaces.mcp.updates.followed import Followed

if TYPE_CHECKING:
    from mcp_jobs.interfaces.mcp.updates.watched import Targets

URI = "jobs://job/a"


class Connection:
    """Stands in for the SDK's, of which each is another one."""

    def __init__(self, exit_stack: AsyncExitStack) -> None:
        self.exit_stack = exit_stack


class Caller:
    """One connection that subscribes."""

    def __init__(self, followed: Followed) -> None:
        self.stack = AsyncExitStack()
        session = SimpleNamespace(_connection=Connection(self.stack))
        self._context: Any = SimpleNamespace(session=session)
        self._subscriptions = Subscriptions(
            targets=cast("Targets", followed),
            push=Push(InProcessBus()),
            owner_of=lambda _: "ann",
        )

    async def subscribe(self) -> None:
        await self._subscriptions.subscribe(self._context, SubscribeRequestParams(uri=URI))

    async def unsubscribe(self) -> None:
        await self._subscriptions.unsubscribe(self._context, UnsubscribeRequestParams(uri=URI))

    def known(self) -> int:
        """Return how many connections there are as the server knows it."""
        return len(self._subscriptions._sessions)


@pytest.fixture
def followed() -> Followed:
    return Followed()


@pytest.fixture
def caller(followed: Followed) -> Caller:
    return Caller(followed)


async def test_to_subscribe_twice_is_to_subscribe_once(caller: Caller, followed: Followed) -> None:
    await caller.subscribe()
    await caller.subscribe()
    assert followed.count == 1
    await caller.unsubscribe()
    assert followed.count == 0


async def test_the_end_of_a_connection_ends_what_it_follows(
    caller: Caller, followed: Followed
) -> None:
    await caller.subscribe()
    await caller.stack.aclose()
    assert (followed.count, caller.known()) == (0, 0)


@pytest.mark.parametrize("where", ["fault", "watching"])
async def test_a_connection_that_ends_while_it_subscribes_leaves_nothing_behind(
    caller: Caller, followed: Followed, where: str
) -> None:
    followed.meanwhile[where] = caller.stack.aclose
    await caller.subscribe()
    assert (followed.count, caller.known()) == (0, 0)
