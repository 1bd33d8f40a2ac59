"""An open request that is refused leaves nothing behind that goes on for it."""

from __future__ import annotations

from contextlib import ExitStack
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import SubscriptionFilter, SubscriptionsListenRequestParams

from mcp_jobs.domain.events import InProcessBus
from mcp_jobs.interfaces.mcp.updates import listen
from mcp_jobs.interfaces.mcp.updates.push import Push

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mcp_jobs.interfaces.mcp.tasks import Tasks
    from mcp_jobs.interfaces.mcp.updates.watched import Targets


class _Followed:
    """Targets of which each exists, and a count of those that are followed."""

    def __init__(self) -> None:
        self.count = 0

    async def fault(self, owner: str, uri: str) -> str | None:
        del owner, uri
        return None

    async def watching(self, owner: str, uris: Sequence[str]) -> ExitStack:
        del owner
        stack = ExitStack()
        for _ in uris:
            self.count += 1
            stack.callback(self._end)
        return stack

    def _end(self) -> None:
        self.count -= 1


async def test_a_stream_beyond_the_share_of_its_owner_follows_no_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listen, "MOST_OF_OWNER", 0)
    followed = _Followed()
    listening = listen.Listening(
        targets=cast("Targets", followed),
        tasks=cast("Tasks", None),
        push=Push(InProcessBus()),
        owner_of=lambda _: "ann",
    )
    wanted = SubscriptionFilter(resource_subscriptions=["jobs://job/a", "jobs://job/b"])
    context: Any = SimpleNamespace(request_id=1)
    with pytest.raises(MCPError, match="your share"):
        await listening.listen(context, SubscriptionsListenRequestParams(notifications=wanted))
    assert followed.count == 0
