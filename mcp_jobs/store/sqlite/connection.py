"""Open the database file and run statements on it, with SQLite's errors translated at this edge."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias
from urllib.parse import quote

import aiosqlite

from mcp_jobs.domain.errors import (
    UNWRITABLE,
    HomeGoneError,
    StoreBusyError,
    StoreError,
    StoreUnwritableError,
    in_words,
)
from mcp_jobs.store.sqlite.migrate import migrate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

_OLDEST_SQLITE: Final = (3, 37, 0)
"""STRICT tables (3.37) and RETURNING (3.35)."""

_BUSY_TIMEOUT_MS: Final = 8_000
"""How long a statement may wait, from the call on, for its turn and for the lock of others."""

_BUSY_STEP_MS: Final = 200
"""How long SQLite itself waits for a lock, before the time is looked at again."""

_PAUSE_MS: Final = 10
_DEADLINE: Final = "deadline_s"
"""The parameter that no statement names: when (monotonic seconds) it is too late to begin."""

Row = sqlite3.Row


class Punctual(sqlite3.Connection):
    """A connection that begins no statement after its time, and waits no longer for a lock.

    Statements wait for their turn in the thread of the connection, and one whose caller has given
    up stays there: it must not be done later, as the caller was told that it was not.
    """

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        """Run a statement. Raises OperationalError with the code of a locked file when late."""
        given = isinstance(parameters, dict) and parameters.get(_DEADLINE)
        deadline_s = given or _deadline_s()
        while time.monotonic() < deadline_s:
            try:
                return super().execute(sql, parameters)
            except sqlite3.OperationalError as error:
                if not _is_busy(error):
                    raise
            # Some locks SQLite does not wait for.
            time.sleep(_PAUSE_MS / 1000)
        late = sqlite3.OperationalError("database is locked")
        late.sqlite_errorcode = sqlite3.SQLITE_BUSY
        raise late


class Pin(Protocol):
    """A path, as long as it names what it named when this was made."""

    def lost(self) -> str | None:
        """Say what has become of the thing, "removed" or "replaced"; None while it is there."""
        ...


Pinner: TypeAlias = Callable[[str], Pin]
"""Makes a pin of a path. Raises OSError where there is nothing."""


class DatabaseFile:
    """The file that a store has opened, as long as its path names it.

    SQLite goes on with a file that was removed or replaced, beside the one that others then make:
    nothing more may be written to it. The open file keeps its number from being used again.
    """

    def __init__(self, path: Path, pin: Pinner) -> None:
        self.path = path
        self.pin = pin
        try:
            self._file = pin(str(path))
        except FileNotFoundError:
            raise HomeGoneError(_lost(path, "removed")) from None
        except OSError as error:
            raise translated(path, error) from error
        self._log: Pin | None = None
        self.gone: str | None = None
        """Why nothing may be read or written any more; None as long as it may."""

    def lost(self) -> str | None:
        """Return a sentence when the path no longer names the file, or its log; else None."""
        lost = self._file.lost()
        if lost is not None:
            return _lost(self.path, lost)
        if self._log is None:
            # SQLite makes it with the first write.
            with contextlib.suppress(OSError):
                self._log = self.pin(f"{self.path}-wal")
        elif self._log.lost() is not None:
            return (
                f"The log of the job database, {self.path}-wal, was removed while mcp-jobs worked "
                "with it, so this process leaves. Start mcp-jobs again."
            )
        return None

    def check(self) -> None:
        """Raise `HomeGoneError` when nothing may be written any more."""
        self.gone = self.gone or self.lost()
        self.check_told()

    def check_told(self) -> None:
        """Raise `HomeGoneError` when that was found out before."""
        if self.gone is not None:
            raise HomeGoneError(self.gone)


def _lost(path: Path, lost: str) -> str:
    how = lost if lost == "removed" else f"{lost} by another file"
    return (
        f"The job database {path} was {how} while mcp-jobs worked with it, so this process leaves. "
        "Put the file back, or start mcp-jobs again without it."
    )


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
        # Beside a writer, SQLite would open for reading only and not say so. Its log is tried, as
        # to close another descriptor of the file itself would give up the locks on it.
        with contextlib.suppress(FileNotFoundError):
            os.close(os.open(f"{path}-wal", os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK))
        # A connection that fails in aiosqlite leaves its thread behind to complain about it.
        sqlite3.connect(path).close()
        connection = await _connect(path)
    except (OSError, sqlite3.Error) as error:
        raise translated(path, error) from error
    try:
        await _use_wal(connection)
        for pragma in ("synchronous = FULL", "secure_delete = ON"):
            await connection.execute_fetchall(f"PRAGMA {pragma}")
        await migrate(connection)
    except sqlite3.Error as error:
        await connection.close()
        raise translated(path, error) from error
    except BaseException:
        await connection.close()
        raise
    return connection


async def open_reader(path: Path, how: str = "") -> aiosqlite.Connection:
    """Open the file for reading beside the writer, so that a read never waits for an fsync.

    `how` are parameters of SQLite for the opening, as in `mode=ro`.
    """
    try:
        connection = await _connect(path, how)
    except sqlite3.Error as error:
        raise translated(path, error) from error
    try:
        await connection.execute_fetchall("PRAGMA query_only = ON")
    except sqlite3.Error as error:
        await connection.close()
        raise translated(path, error) from error
    return connection


class Glance:
    """Reads a row or a few in the calling thread, which a trip to another would take longer than.

    A reader of a WAL waits for nobody but a recovery or an exclusive lock; then this connection
    gives up at once, and the caller goes the long way.
    """

    def __init__(self, path: Path, how: str = "") -> None:
        try:
            self._connection = sqlite3.connect(
                place(path, how), timeout=0, isolation_level=None, uri=True
            )
            self._connection.row_factory = Row
            self._connection.execute("PRAGMA query_only = ON")
        except sqlite3.Error as error:
            raise translated(path, error) from error

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
    connection: aiosqlite.Connection, file: DatabaseFile, sql: str, parameters: Mapping[str, Any]
) -> Sequence[Row]:
    """Run one statement and return all its rows; a write is committed when this returns.

    Every row is read, since SQLite commits only when the statement is done.
    """
    file.check_told()
    deadline_s = _deadline_s()
    timed = {**parameters, _DEADLINE: deadline_s}
    while True:
        try:
            return list(await connection.execute_fetchall(sql, timed))
        except sqlite3.Error as error:
            if not _is_busy(error) or time.monotonic() >= deadline_s:
                raise translated(file.path, error) from error


async def _connect(path: Path, how: str = "") -> aiosqlite.Connection:
    connection = await aiosqlite.connect(
        place(path, how), isolation_level=None, factory=Punctual, uri=True
    )
    connection.row_factory = Row
    await connection.execute_fetchall(f"PRAGMA busy_timeout = {_BUSY_STEP_MS}")
    return connection


def place(path: Path, how: str) -> str:
    """Return the file as a URI with parameters of SQLite, such as `mode=ro`."""
    return f"file:{quote(os.fsencode(os.path.abspath(path)))}?{how}"


async def _use_wal(connection: aiosqlite.Connection) -> None:
    """Change the file to WAL mode. SQLite does not wait for the locks that this needs; we do."""
    await connection.execute_fetchall("PRAGMA journal_mode = WAL")


def _deadline_s() -> float:
    return time.monotonic() + _BUSY_TIMEOUT_MS / 1000


def _is_busy(error: sqlite3.Error) -> bool:
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
    )


def translated(path: Path, error: Exception) -> StoreError:
    """Return an error of SQLite or the system as one of ours, with what to do about it."""
    if isinstance(error, sqlite3.Error) and _is_busy(error):
        return StoreBusyError(
            f"Another process keeps the job database {path} locked. Nothing was changed; try "
            "again in a moment."
        )
    refusal = error if isinstance(error, OSError) else _refusal(path)
    if refusal is not None:
        kind = StoreUnwritableError if refusal.errno in UNWRITABLE else StoreError
        return kind(f"The job database {path} cannot be used: {in_words(refusal)}.")
    return StoreError(
        f"The job database {path} cannot be used: {error}. It was left as it is; free disk space, "
        "restore the file, or name another home in MCP_JOBS_HOME."
    )


def _refusal(path: Path) -> OSError | None:
    """Return what the system has against the file, of which SQLite only says that it failed."""
    try:
        with contextlib.ExitStack() as opened:
            # The file, its log, the index of that, and a journal of what a statement undoes.
            for _ in range(4):
                fd = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NONBLOCK)
                opened.callback(os.close, fd)
    except OSError as error:
        return error
    return None
