"""Schedules: what keeps them from firing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from mcp_jobs.domain.errors import JobsError
from mcp_jobs.execution import owner_locks
from mcp_jobs.execution.incarnation import identify
from mcp_jobs.interfaces.cli import keepers
from mcp_jobs.interfaces.cli.doctor.findings import Finding, fine, warning

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from mcp_jobs.interfaces.cli.session import Session

_CHECK: Final = "schedules"
_SHOWN: Final = 5


async def check(opened: Session) -> AsyncIterator[Finding]:
    """Look whether somebody fires them, and which of them come to nothing.

    Before anybody is called to work, who would not stay.
    """
    await opened.core.scheduling.sync()
    found = [one for one in await opened.core.store.schedules.of() if not one.paused]
    if not found:
        yield fine(_CHECK, "none")
        return
    number = f"{len(found)} schedule{'' if len(found) == 1 else 's'}"
    if _is_kept(opened):
        yield fine(_CHECK, f"{number}, and a worker that is kept alive")
    elif owner_locks.anybody(opened.settings.owners_dir):
        yield fine(_CHECK, f"{number}, fired as long as a server or worker is running, as one is")
    else:
        yield warning(
            _CHECK,
            f"{number} and no server or worker that would start the jobs.",
            "mcp-jobs service install keeps a worker alive; or keep mcp-jobs worker running.",
        )
    for one in [one for one in found if one.problem is not None][:_SHOWN]:
        yield warning(
            _CHECK,
            f"the last fire of {one.name} came to nothing: {one.problem}",
            f"mcp-jobs schedule show {one.id} says more; schedule run tries it now.",
        )


def _is_kept(opened: Session) -> bool:
    try:
        return keepers.keeper_of(identify(opened.settings.home).home_id).is_active()
    except JobsError:
        # Nothing here could, or it cannot be asked.
        return False
