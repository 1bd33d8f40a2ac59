"""Bring a database file to the newest schema, one transaction for each migration."""

from __future__ import annotations

import sqlite3
from importlib.resources import files
from typing import TYPE_CHECKING

from mcp_jobs.errors import NewerSchemaError, StoreError

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
        if version > len(steps):
            raise NewerSchemaError(
                f"The job database has schema version {version}, this mcp-jobs knows up to "
                f"{len(steps)}. Upgrade mcp-jobs, or name another home in MCP_JOBS_HOME."
            )
        for step in steps[version:]:
            for statement in statements(step):
                await connection.execute_fetchall(statement)
        await connection.execute_fetchall(f"PRAGMA user_version = {len(steps)}")
        await connection.execute_fetchall("COMMIT")
    except BaseException:
        await connection.rollback()
        raise


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
