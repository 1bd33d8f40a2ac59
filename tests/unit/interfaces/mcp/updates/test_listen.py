"""An open request that is refused leaves nothing behind that goes on for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
from mcp.shared.exceptions import MCPError
from mcp_types import SubscriptionFilter, SubscriptionsListenRequestParams

from mcp_jobs.domain.events import InProcessBus
from mcp_jobs.interfaces.mcp.updates import listen
from mcp_jobs.interfaces.mcp.updates.push import Push
from tests.unit.interfaces.mcp.updates.followed import Followed

if TYPE_CHECKING:
    from mcp_jobs.interfaces.mcp.tasks import Tasks
    from mcp_jobs.interfaces.mcp.updates.watched import Targets


async def test_a_stream_beyond_the_share_of_its_owner_follows_no_job(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(listen, "MOST_OF_OWNER", 0)
    followed = Followed()
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
