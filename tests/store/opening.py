"""The one place of the tests that knows which store a home has."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from mcp_jobs.execution.launcher.pinned import PinnedPath
from mcp_jobs.store.sqlite.sqlite_store import SqliteStore

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

STORE_OF_A_HOME: Final = SqliteStore
"""For tests that put a fault into it."""


async def open_store(path: Path) -> SqliteStore:
    """Open a file; whoever does closes it."""
    return await SqliteStore.open(path, pin=PinnedPath)


@asynccontextmanager
async def sqlite_store(path: Path) -> AsyncIterator[SqliteStore]:
    """Open a file; closed however the test ends, since an open store keeps the process alive."""
    store = await open_store(path)
    try:
        yield store
    finally:
        await store.close()
