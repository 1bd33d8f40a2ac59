"""Notice within seconds that the home is no longer there, and leave it."""

from __future__ import annotations

import logging
from contextlib import closing
from typing import TYPE_CHECKING, Final

import anyio

from mcp_jobs.domain.errors import HomeGoneError
from mcp_jobs.execution import owner_locks
from mcp_jobs.execution.launcher import layout
from mcp_jobs.execution.launcher.pinned import PinnedHome

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mcp_jobs.settings import Settings
    from mcp_jobs.store import Store

logger = logging.getLogger(__name__)

_EVERY_S: Final = 1.0
_LAST_WORDS_S: Final = 2.0
"""How long calls are still answered, with what is the matter, before this process leaves."""


class HomeWatch:
    """Looks once a second whether the home and its database are those that were opened.

    `mend` makes again what this process has in the home; None where it may write nothing.
    """

    def __init__(self, settings: Settings, store: Store, mend: Callable[[], None] | None) -> None:
        self._home = settings.home
        self._directories = (settings.jobs_dir, settings.owners_dir)
        self._store = store
        self._mend_owner = mend
        self._gone = anyio.Event()
        self._why = ""

    async def run(self) -> None:
        """Watch until there is nothing to work on any more; then every call is told so."""
        self._why = await self._end_of_home()
        self._store.abandon(self._why)
        self._gone.set()
        await anyio.sleep_forever()

    async def gone(self) -> str:
        """Return, with the sentence that says why, when this process should leave.

        Until then it has answered a while, and said in each answer what is the matter.
        """
        await self._gone.wait()
        await anyio.sleep(_LAST_WORDS_S)
        return self._why

    async def _end_of_home(self) -> str:
        """Return why there is nothing to work on, as soon as that is so."""
        try:
            home = PinnedHome(str(self._home))
        except FileNotFoundError:
            return self._lost("removed")
        with closing(home):
            while (problem := self._problem(home)) is None:
                self._mend()
                await anyio.sleep(_EVERY_S)
        return problem

    def _problem(self, home: PinnedHome) -> str | None:
        lost = home.lost()
        return self._store.lost() if lost is None else self._lost(lost)

    def _lost(self, lost: str) -> str:
        if lost == "removed":
            return (
                f"The home {self._home} was removed while mcp-jobs worked in it, so this process "
                "leaves. Start mcp-jobs again to have a new one."
            )
        return (
            f"The home {self._home} was {lost} by another directory while mcp-jobs worked in it, "
            "so this process leaves. Start mcp-jobs again to work in the new one."
        )

    def _mend(self) -> None:
        """Make the home's own directories again when they were removed, and what we have there."""
        if self._mend_owner is None:
            return
        try:
            for directory in self._directories:
                if not directory.exists():
                    directory.mkdir(mode=layout.PRIVATE_DIR, exist_ok=True)
                    logger.warning("%s was removed; it was made anew", directory)
            self._mend_owner()
        except FileNotFoundError:
            # The home itself is just being removed.
            return
        except OSError as error:
            logger.warning("something in %s cannot be made anew: %s", self._home, error)


def refuse_second_database(database: Path, owners_dir: Path) -> None:
    """Raise `HomeGoneError` where others still work with a database that was removed.

    A new one would stand beside it. Whoever is an owner has made one, so it was there before.
    """
    if database.exists() or not owner_locks.anybody(owners_dir) or database.exists():
        return
    raise HomeGoneError(
        f"The job database {database} was removed while other mcp-jobs processes work with it. "
        "They leave within seconds: put the file back, or start again then to have a new one."
    )
