"""Open the database file and run statements on it, with SQLite's errors translated at this edge."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from typing import TYPE_CHECKING, Any, Final

import aiosqlite
import anyio

from mcp_jobs.errors import StoreBusyError, StoreError
from mcp_jobs.store.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_OLDEST_SQLITE: Final = (3, 37, 0)
"""STRICT tables (3.37) and RETURNING (3.35)."""

_BUSY_TIMEOUT_MS: Final = 10_000
_BUSY_TRIES: Final = 3
_PAUSE_MS: Final = 10

Row = sqlite3.Row


async def open_writer(path: Path) -> aiosqlite.Connection:
    """Open the file for writing, created private and migrated. Raises `StoreError`."""
    if sqlite3.sqlite_version_info < _OLDEST_SQLITE:
        raise StoreError(
            f"SQLite {sqlite3.sqlite_version} is too old; mcp-jobs needs 3.37 or newer. "
            "Use a Python that comes with a newer SQLite."
        )
    try:
        # SQLite gives its -wal and -shm files the mode of the main file.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        # Says plainly that a file system is read-only, which SQLite does not.
        os.utime(path)
        # A connection that fails in aiosqlite leaves its thread behind to complain about it.
        sqlite3.connect(path).close()
        connection = await _connect(path)
    except (OSError, sqlite3.Error) as error:
        raise _translated(path, error) from error
    try:
        await _use_wal(connection)
        for pragma in ("synchronous = FULL", "secure_delete = ON"):
            await connection.execute_fetchall(f"PRAGMA {pragma}")
        await migrate(connection)
    except sqlite3.Error as error:
        await connection.close()
        raise _translated(path, error) from error
    except BaseException:
        await connection.close()
        raise
    return connection


async def open_reader(path: Path) -> aiosqlite.Connection:
    """Open the file for reading beside the writer, so that a read never waits for an fsync."""
    try:
        connection = await _connect(path)
    except sqlite3.Error as error:
        raise _translated(path, error) from error
    try:
        await connection.execute_fetchall("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        await connection.close()
        raise _translated(path, error) from error
    return connection


class Glance:
    """Reads a row or a few in the calling thread, which a trip to another would take longer than.

    A reader of a WAL waits for nobody but a recovery or an exclusive lock; then this connection
    gives up at once, and the caller goes the long way.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._connection = sqlite3.connect(path, timeout=0, isolation_level=None)
            self._connection.row_factory = Row
            self._connection.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            raise _translated(path, error) from error

    def rows(self, sql: str, parameters: Mapping[str, Any]) -> Sequence[Row] | None:
        """Return all rows of a statement; None when it cannot be answered here and now."""
        try:
            return self._connection.execute(sql, parameters).fetchall()
        except sqlite3.Error:
            return None

    def version(self) -> int | None:
        """Return a number that is another one after every commit of any other connection.

        None when it cannot be told here and now.
        """
        found = self.rows("PRAGMA data_version", {})
        return None if found is None else int(found[0][0])

    def close(self) -> None:
        """Release the connection."""
        self._connection.close()


async def run(
    connection: aiosqlite.Connection, path: Path, sql: str, parameters: Mapping[str, Any]
) -> Sequence[Row]:
    """Run one statement and return all its rows; a write is committed when this returns.

    Every row is read, since SQLite commits only when the statement is done.
    """
    tries = _BUSY_TRIES
    while True:
        tries -= 1
        try:
            return list(await connection.execute_fetchall(sql, parameters))
        except sqlite3.Error as error:
            if not (tries and _is_busy(error)):
                raise _translated(path, error) from error


async def _connect(path: Path) -> aiosqlite.Connection:
    connection = await aiosqlite.connect(path, isolation_level=None)
    connection.row_factory = Row
    await connection.execute_fetchall(f"PRAGMA busy_timeout = {_BUSY_TIMEOUT_MS}")
    return connection


async def _use_wal(connection: aiosqlite.Connection) -> None:
    """Change the file to WAL mode. SQLite does not wait for the locks that this needs, so we do."""
    for _ in range(_BUSY_TIMEOUT_MS // _PAUSE_MS):
        try:
            await connection.execute_fetchall("PRAGMA journal_mode = WAL")
        except sqlite3.Error as error:
            if not _is_busy(error):
                raise
            await anyio.sleep(_PAUSE_MS / 1000)
        else:
            return
    await connection.execute_fetchall("PRAGMA journal_mode = WAL")


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    )


def _translated(path: Path, error: Exception) -> StoreError:
    if isinstance(error, sqlite3.Error) and _is_busy(error):
        return StoreBusyError(
            f"Another process keeps the job database {path} locked. Nothing was changed; try "
            "again in a moment."
        )
    return StoreError(
        f"The job database {path} cannot be used: {error}. It was left as it is; free disk space, "
        "restore the file, or name another home in MCP_JOBS_HOME."
    )
