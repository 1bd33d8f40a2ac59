"""Bring a database file to the newest schema, one transaction for each migration."""

from __future__ import annotations

import sqlite3
from importlib.resources import files
from typing import TYPE_CHECKING

from mcp_jobs.domain.errors import NewerSchemaError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator

    import aiosqlite


def migrations() -> list[str]:
    """Return the SQL of each migration in order; the first makes schema version 1."""
    folder = files(__package__).joinpath("migrations")
    names = sorted(item.name for item in folder.iterdir() if item.name.endswith(".sql"))
    return [folder.joinpath(name).read_text("utf-8") for name in names]


async def migrate(connection: aiosqlite.Connection) -> None:
    """Apply what is missing. Safe when several processes do it at once.

    Raises `NewerSchemaError` for a file that a newer mcp-jobs has written.
    """
    steps = migrations()
    if await _version(connection) == len(steps):
        return
    # The write lock first, then the version again: another process may have been faster.
    await connection.execute_fetchall("BEGIN IMMEDIATE")
    try:
        version = await _version(connection)
        _refuse_newer(version, len(steps))
        for step in steps[version:]:
            for statement in statements(step):
                await connection.execute_fetchall(statement)
        await connection.execute_fetchall(f"PRAGMA user_version = {len(steps)}")
        await connection.execute_fetchall("COMMIT")
    except BaseException:
        await connection.rollback()
        raise


async def require_current(connection: aiosqlite.Connection) -> None:
    """Raise `StoreError` unless the file has the newest schema: for those who may not make it."""
    version, newest = await _version(connection), len(migrations())
    _refuse_newer(version, newest)
    if version < newest:
        raise StoreError(
            f"The job database has schema version {version}, and this mcp-jobs needs {newest}, "
            "which it can only make where it may write: run mcp-jobs list there once."
        )


def _refuse_newer(version: int, newest: int) -> None:
    if version > newest:
        raise NewerSchemaError(
            f"The job database has schema version {version}, this mcp-jobs knows up to {newest}. "
            "Upgrade mcp-jobs, or name another home in MCP_JOBS_HOME."
        )


def statements(script: str) -> Iterator[str]:
    """Split a script into statements; a trigger's body stays whole.

    `executescript` would commit the open transaction first, so it cannot be used.
    """
    pending = ""
    for line in script.splitlines(keepends=True):
        pending += line
        if line.rstrip().endswith(";") and sqlite3.complete_statement(pending):
            yield pending.strip()
            pending = ""
    if pending.strip() and not all(
        line.startswith("--") or not line.strip() for line in pending.splitlines()
    ):
        raise StoreError(f"A migration ends in the middle of a statement: {pending.strip()[:80]}")


async def _version(connection: aiosqlite.Connection) -> int:
    rows = await connection.execute_fetchall("PRAGMA user_version")
    return int(next(iter(rows))[0])
