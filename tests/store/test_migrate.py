"""A database file comes to the newest schema from anywhere, by anybody, and stays private."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_jobs.domain.errors import StoreError
from mcp_jobs.execution.host import prepare_home
from mcp_jobs.settings import Settings
from mcp_jobs.store.sqlite import migrate
from mcp_jobs.store.sqlite.migrate import migrations, statements
from tests.stores import OWNER, created, sqlite_store

if TYPE_CHECKING:
    from collections.abc import Iterator

NEXT = """
-- A later version.
ALTER TABLE jobs ADD COLUMN tag TEXT;
CREATE INDEX jobs_by_tag ON jobs (owner, tag);
"""
BROKEN = "ALTER TABLE jobs ADD COLUMN tag TEXT;\nALTER TABLE missing ADD COLUMN tag TEXT;\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "jobs.db"


def open_and_close(path: Path) -> None:
    async def step() -> None:
        async with sqlite_store(path):
            pass

    asyncio.run(step())


def schema(path: Path) -> tuple[int, list[tuple[str, ...]]]:
    with closing(sqlite3.connect(path)) as database:
        (version,) = database.execute("PRAGMA user_version").fetchone()
        rows = database.execute("SELECT type, name, tbl_name, sql FROM sqlite_schema").fetchall()
        return version, sorted((kind, name, table, sql or "") for kind, name, table, sql in rows)


def made_at(path: Path, version: int) -> None:
    """Make a file as a program with only the first migrations did."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        for step in migrations()[:version]:
            database.executescript(step)
        database.execute(f"PRAGMA user_version = {version}")


# -- versions ------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", range(len(migrations()) + 1))
def test_a_migrated_file_has_the_schema_of_a_fresh_one(tmp_path: Path, version: int) -> None:
    old, fresh = tmp_path / "old.db", tmp_path / "fresh.db"
    made_at(old, version)

    open_and_close(old)
    open_and_close(fresh)

    assert schema(old) == schema(fresh)
    assert schema(fresh)[0] == len(migrations())
    assert ("table", "jobs") in {row[:2] for row in schema(fresh)[1]}


def test_no_two_migrations_have_the_same_number() -> None:
    names = sorted(p.name for p in (Path(migrate.__file__).parent / "migrations").glob("*.sql"))
    numbers = [int(name.split("_")[0]) for name in names]

    assert numbers == sorted(set(numbers))
    assert len(numbers) == len(migrations())


async def test_the_jobs_of_an_older_file_are_kept(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with sqlite_store(path) as store:
        job = await created(store)
    steps = [*migrations(), NEXT]
    monkeypatch.setattr(migrate, "migrations", lambda: steps)

    async with sqlite_store(path) as store:
        assert await store.get(OWNER, job.id) == job
    version, items = schema(path)
    assert version == len(steps)
    assert ("index", "jobs_by_tag") in {item[:2] for item in items}


def test_a_migration_that_fails_leaves_the_file_at_the_old_version(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_and_close(path)
    before = schema(path)
    steps = [*migrations(), BROKEN]
    monkeypatch.setattr(migrate, "migrations", lambda: steps)

    with pytest.raises(StoreError, match="no such table: missing"):
        open_and_close(path)

    assert schema(path) == before
    monkeypatch.undo()
    open_and_close(path)
    assert schema(path) == before


def test_a_file_of_a_newer_version_is_refused_and_left_untouched(path: Path) -> None:
    made_at(path, len(migrations()))
    newer = len(migrations()) + 1
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("CREATE TABLE unknown (x)")
        database.execute(f"PRAGMA user_version = {newer}")
    before = path.read_bytes()

    with pytest.raises(StoreError, match=f"version {newer}.*knows up to {newer - 1}") as error:
        open_and_close(path)

    assert "Upgrade mcp-jobs" in str(error.value)
    assert path.read_bytes() == before
    assert [p.name for p in path.parent.iterdir()] == ["jobs.db"]


@pytest.mark.parametrize(
    "content", [b"not a database, only some text " * 100, b"SQLite format 3\0?"]
)
def test_a_file_that_is_no_database_is_refused_and_left_untouched(
    path: Path, content: bytes
) -> None:
    path.write_bytes(content)

    with pytest.raises(StoreError, match="cannot be used") as error:
        open_and_close(path)

    assert str(path) in str(error.value)
    assert path.read_bytes() == content


def test_a_directory_that_is_missing_is_said_to_be(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file or directory"):
        open_and_close(tmp_path / "nowhere" / "jobs.db")


# -- privacy -------------------------------------------------------------------------------------


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def test_the_files_are_for_their_owner_only(path: Path, open_umask: None) -> None:
    async with sqlite_store(path) as store:
        await created(store)

        names = {"jobs.db", "jobs.db-wal", "jobs.db-shm"}
        assert {p.name: mode(p) for p in path.parent.iterdir()} == dict.fromkeys(names, 0o600)


@pytest.mark.parametrize("exists", [False, True])
def test_the_home_is_for_its_owner_only(tmp_path: Path, open_umask: None, exists: bool) -> None:
    home = tmp_path / "home"
    if exists:
        home.mkdir(mode=0o755)

    prepare_home(Settings(home=home))

    assert mode(home) == 0o700
    assert {mode(p) for p in home.iterdir() if p.is_dir()} <= {0o700}


# -- the splitter --------------------------------------------------------------------------------


NAMES = st.from_regex(r"[a-z]{1,8}", fullmatch=True)
COMMENTS = st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), max_size=20).map(
    lambda text: f"-- {text}"
)
TEXTS = st.text(st.sampled_from("ab;-\n '"), max_size=12).map(lambda t: t.replace("'", "''"))
INSERTS = st.builds(lambda text: f"INSERT INTO log VALUES ('{text}');", TEXTS)  # noqa: S608 - names and texts of this test
TRIGGERS = st.builds(
    lambda name, body: (
        f"CREATE TRIGGER x_{name} AFTER INSERT ON log\nBEGIN\n    " + "\n    ".join(body) + "\nEND;"
    ),
    NAMES,
    st.lists(INSERTS, min_size=1, max_size=3),
)
TABLES = st.builds(
    lambda name, comment: f"CREATE TABLE t_{name} (\n    {comment}\n    a TEXT,\n    b TEXT\n);",
    NAMES,
    COMMENTS,
)
KINDS = ("CREATE", "ALTER", "DROP", "UPDATE", "INSERT", "PRAGMA")
PARTS = st.lists(st.tuples(st.lists(COMMENTS, max_size=2), INSERTS | TRIGGERS | TABLES), max_size=6)


@given(parts=PARTS, tail=st.sampled_from(["", "\n", "\n\n-- the end\n", "-- a; b;"]))
def test_a_script_is_split_into_its_statements_and_nothing_is_lost(
    parts: list[tuple[list[str], str]], tail: str
) -> None:
    script = "\n".join("\n".join([*comments, "", part]) for comments, part in parts) + "\n" + tail

    found = list(statements(script))

    assert len(found) == len(parts)
    for (comments, part), statement in zip(parts, found, strict=True):
        assert statement.endswith(part)
        assert statement.removesuffix(part).split() == " ".join(comments).split()
        assert sqlite3.complete_statement(statement)


def test_the_real_migrations_are_split_into_what_sqlite_runs_one_at_a_time() -> None:
    for step in migrations():
        found = list(statements(step))
        heads = [line for line in step.splitlines() if line.startswith(KINDS)]
        assert len(found) == len(heads) > 0


@pytest.mark.parametrize("end", ["CREATE TABLE a (x)", "SELECT 1;\nSELECT 'open;\n", "BEGIN"])
def test_a_script_that_stops_inside_a_statement_is_refused(end: str) -> None:
    with pytest.raises(StoreError, match="in the middle of a statement"):
        list(statements(end))
