"""The store of a home that this process may not write to: all of it is read on, nothing changes."""

from __future__ import annotations

import os
import sqlite3
from typing import TYPE_CHECKING, Final

from mcp_jobs.domain.errors import StoreError
from mcp_jobs.store.sqlite import connection as sqlite
from mcp_jobs.store.sqlite.migrate import require_current
from mcp_jobs.store.sqlite.sqlite_store import SqliteStore

if TYPE_CHECKING:
    from pathlib import Path

    import aiosqlite

_BESIDE_WRITERS: Final = "mode=ro"
_ALONE: Final = "immutable=1"
"""Without log or index there is no writer, and SQLite could not make them here."""


class ReadOnlyStore(SqliteStore):
    """Implements `Store` for whoever only looks; whatever changes something is a `StoreError`.

    As long as nobody works with the file it is read without locks, and opened again once somebody
    does.
    """

    _opened_as: tuple[object, ...] = ()

    @classmethod
    async def open(cls, path: Path, *, pin: sqlite.Pinner) -> ReadOnlyStore:
        """Open the file. Raises `StoreError` where it cannot be read as it is."""
        opened_as, how = _state_of(path), _way(path)
        reader, glance = await _opened(path, how)
        try:
            store = cls(path, reader, reader, glance, pin)
        except BaseException:
            glance.close()
            await reader.close()
            raise
        store._opened_as = opened_as if how == _ALONE else ()
        return store

    async def close(self) -> None:
        self._sql.glance.close()
        await self._sql.reader.close()

    async def changed_elsewhere(self) -> bool:
        if self._opened_as:
            # A file that has taken its place is not the one that this store is of.
            self._sql.file.check()
            if self._opened_as != _state_of(self._sql.file.path):
                await self._open_again()
                return True
        return await super().changed_elsewhere()

    async def _open_again(self) -> None:
        path = self._sql.file.path
        opened_as, how = _state_of(path), _way(path)
        reader, glance = await _opened(path, how)
        on = self._sql
        old, old_glance = on.reader, on.glance
        on.reader = on.writer = reader
        on.glance = glance
        self._opened_as = opened_as if how == _ALONE else ()
        old_glance.close()
        await old.close()


async def _opened(path: Path, how: str) -> tuple[aiosqlite.Connection, sqlite.Glance]:
    reader = await _reader(path, how)
    try:
        return reader, sqlite.Glance(path, how)
    except BaseException:
        # Its thread would keep this process from its end.
        await reader.close()
        raise


async def _reader(path: Path, how: str) -> aiosqlite.Connection:
    reader = await sqlite.open_reader(path, how)
    try:
        await require_current(reader)
    except sqlite3.Error as error:
        await reader.close()
        raise sqlite.translated(path, error) from error
    except BaseException:
        await reader.close()
        raise
    return reader


def _way(path: Path) -> str:
    """Return how SQLite can open the file here. Raises `StoreError` when it cannot."""
    if os.path.exists(f"{path}-shm"):
        return _BESIDE_WRITERS
    if _size(f"{path}-wal"):
        raise StoreError(
            f"The last changes of the job database {path} are in its log, which a crash has left "
            "and which can only be read where mcp-jobs may write: run mcp-jobs list there once."
        )
    return _ALONE


def _state_of(path: Path) -> tuple[object, ...]:
    """Return what is another once somebody has begun to work with the file, or has done so.

    Raises `StoreError` where there is none.
    """
    try:
        info = path.stat()
    except OSError as error:
        raise sqlite.translated(path, error) from error
    return os.path.exists(f"{path}-shm"), info.st_ino, info.st_size, info.st_mtime_ns


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except FileNotFoundError:
        return 0
