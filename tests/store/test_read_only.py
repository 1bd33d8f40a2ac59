"""A store that may only read shows all that is there, and what others do later."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.domain.errors import HomeGoneError, NewerSchemaError, StoreError
from mcp_jobs.execution.launcher.pinned import PinnedPath
from mcp_jobs.store.sqlite.read_only import ReadOnlyStore
from tests.stores import OWNER, created, new_job, open_store, sqlite_store

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a ?#% name.db"


@pytest.fixture
async def reading(path: Path) -> AsyncIterator[ReadOnlyStore]:
    """Opened when nobody works with the file."""
    async with sqlite_store(path) as store:
        await created(store)
    opened = await ReadOnlyStore.open(path, pin=PinnedPath)
    yield opened
    await opened.close()


async def test_a_file_that_nobody_works_with_is_read_and_left_as_it_is(
    path: Path, reading: ReadOnlyStore
) -> None:
    assert len(await reading.recent_ids(OWNER, limit=9)) == 1
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    with pytest.raises(StoreError):
        await reading.create(new_job())


async def test_what_others_do_later_is_seen_while_they_work_and_after_they_have_left(
    path: Path, reading: ReadOnlyStore
) -> None:
    await reading.changed_elsewhere()
    assert not await reading.changed_elsewhere()
    async with sqlite_store(path) as store:
        await created(store)
        assert await reading.changed_elsewhere()
        assert len(await reading.recent_ids(OWNER, limit=9)) == 2
        await created(store)
        assert await reading.changed_elsewhere()
        assert await reading.last_change() == await store.last_change()
    assert len(await reading.recent_ids(OWNER, limit=9)) == 3


async def test_a_log_that_a_crash_has_left_without_its_index_is_refused_in_words(
    path: Path, tmp_path: Path
) -> None:
    left = tmp_path / "left" / path.name
    left.parent.mkdir()
    async with sqlite_store(path) as store:
        await created(store)
        for end in ("", "-wal"):
            shutil.copy(f"{path}{end}", f"{left}{end}")
    with pytest.raises(StoreError, match="which a crash has left"):
        await ReadOnlyStore.open(left, pin=PinnedPath)


@pytest.mark.parametrize(("by", "error"), [(-1, StoreError), (1, NewerSchemaError)])
async def test_another_schema_is_refused_and_not_changed(
    path: Path, by: int, error: type[StoreError]
) -> None:
    await (await open_store(path)).close()
    with closing(sqlite3.connect(path)) as file:
        (version,) = file.execute("PRAGMA user_version").fetchone()
        file.execute(f"PRAGMA user_version = {version + by}")
    with pytest.raises(error, match=f"schema version {version + by}"):
        await ReadOnlyStore.open(path, pin=PinnedPath)


async def test_a_file_that_is_removed_or_was_never_there_is_told_in_words(
    path: Path, tmp_path: Path, reading: ReadOnlyStore
) -> None:
    path.unlink()
    with pytest.raises(HomeGoneError, match="was removed"):
        await reading.changed_elsewhere()
    with pytest.raises(StoreError, match="No such file"):
        await ReadOnlyStore.open(tmp_path / "none.db", pin=PinnedPath)


async def test_an_opening_that_fails_leaves_no_thread_behind(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await (await open_store(path)).close()
    before = set(threading.enumerate())

    def refuse(*_: object) -> None:
        raise StoreError("no more files")

    for name in ("Glance", "DatabaseFile"):
        with monkeypatch.context() as patch:
            patch.setattr(f"mcp_jobs.store.sqlite.connection.{name}", refuse)
            with pytest.raises(StoreError, match="no more files"):
                await ReadOnlyStore.open(path, pin=PinnedPath)
    for thread in set(threading.enumerate()) - before:
        thread.join(timeout=5)
    assert set(threading.enumerate()) <= before
