"""`mcp-jobs` with faults in it: each makes one method of a part raise for the first so many calls.

A real process, so that it shows what a fault takes down.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mcp_jobs.__main__ import main
from mcp_jobs.engine.change_feed import ChangeFeed
from mcp_jobs.engine.claiming import ClaimLoop
from mcp_jobs.engine.recovery import Recovery
from mcp_jobs.engine.retention import Retention
from mcp_jobs.engine.webhooks import Webhooks
from mcp_jobs.execution.membership import Membership
from mcp_jobs.execution.watcher import Follower
from mcp_jobs.job_types.catalogue import Catalogue
from mcp_jobs.store.sqlite.outbox import SqliteOutbox
from tests.stores import STORE_OF_A_HOME

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

WORD: Final = "an injected fault"


def _http(name: str) -> type:
    if name == "live events":
        from mcp_jobs.interfaces.http.live.hub import Hub  # noqa: PLC0415 - as a server imports it

        return Hub
    from mcp_jobs.interfaces.mcp.updates.push import Push  # noqa: PLC0415 - as above

    return Push


FAULTS: Final[dict[str, tuple[Callable[[], type], str]]] = {
    "feed": (lambda: ChangeFeed, "run"),
    "feed in the middle": (lambda: STORE_OF_A_HOME, "changed_elsewhere"),
    "executor": (lambda: Follower, "run"),
    "executor in the middle": (lambda: Follower, "tick"),
    "backend": (lambda: ClaimLoop, "run"),
    "backend: claims": (lambda: ClaimLoop, "_claim_for_ever"),
    "backend: claims in the middle": (lambda: ClaimLoop, "_claim_due"),
    "backend: claims after a claim": (lambda: STORE_OF_A_HOME, "claim"),
    "recovery": (lambda: Recovery, "run"),
    "recovery: looks": (lambda: Recovery, "_look_for_ever"),
    "recovery: looks in the middle": (lambda: STORE_OF_A_HOME, "running"),
    "launcher link": (lambda: Membership, "stay_attached"),
    "retention": (lambda: Retention, "run"),
    "catalogue": (lambda: Catalogue, "run"),
    "webhooks": (lambda: Webhooks, "run"),
    "webhooks: deliveries": (lambda: Webhooks, "_deliver_for_ever"),
    "webhooks: deliveries in the middle": (lambda: SqliteOutbox, "next_due_ms"),
    "push": (lambda: _http("push"), "run"),
    "live events": (lambda: _http("live events"), "run"),
}


def part_of(fault: str) -> str:
    """Return the part that a fault hits."""
    return fault.removesuffix(" in the middle").removesuffix(" after a claim")


def _inject(kind: type, name: str, times: int, *, late: bool) -> None:
    """Make a method fail; `late`: after it has done its work, so that its answer is lost."""
    real: Callable[..., Awaitable[Any]] = getattr(kind, name)
    left = times

    async def faulty(*arguments: Any, **options: Any) -> Any:
        nonlocal left
        if not left:
            return await real(*arguments, **options)
        if late and await real(*arguments, **options) is None:
            return None
        left -= 1
        raise ValueError(WORD)

    setattr(kind, name, faulty)


def run(fault: str, times: int) -> None:
    """Run `mcp-jobs` with a fault and the arguments of this program."""
    find, method = FAULTS[fault]
    _inject(find(), method, times, late=fault.endswith("after a claim"))
    main()


def program(fault: str, times: int) -> str:
    """Return the program that does that, for `python -c`."""
    return f"from tests.system.faulty import run; run({fault!r}, {times})"
