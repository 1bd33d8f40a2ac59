"""The table of transitions, and the same rules in the database schema."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mcp_jobs.domain.states import (
    STARTS,
    TERMINAL,
    TRANSITIONS,
    Reason,
    Signal,
    Status,
    mermaid,
)
from mcp_jobs.store.sqlite.migrate import migrations

if TYPE_CHECKING:
    from collections.abc import Iterator

Row = dict[str, Any]

LIVE = (Status.RUNNING, Status.INPUT_REQUIRED)
EXPLAINED = (Status.FAILED, Status.CANCELLED, Status.RETRYING)
REACHABLE = {(old, new) for (old, _), new in TRANSITIONS.items()}
PAIRS = [(old, new) for old in Status for new in Status]


@pytest.fixture(scope="module")
def database() -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as database:
        for step in migrations():
            database.executescript(step)
        yield database


@pytest.fixture
def clean(database: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    database.execute("BEGIN")
    yield database
    database.execute("ROLLBACK")


def row_in(status: Status) -> Row:
    """Return a row that every CHECK accepts."""
    return {
        "id": "a",
        "owner": "local",
        "locality": "here",
        "type": "shell",
        "params": "{}",
        "title": "",
        "cwd": "/",
        "status": status.value,
        "reason": "signal" if status in EXPLAINED else None,
        "result": None,
        "attempt": 1,
        "max_attempts": 1,
        "interrupts": 0,
        "created_at_ms": 1,
        "run_at_ms": 1,
        "finished_at_ms": 5 if status in TERMINAL else None,
        "attempt_finished_at_ms": 5,
        "timeout_s": None,
        "idle_timeout_s": None,
        "retry_on_interrupt": 0,
        "progress": None,
        "fingerprint": "f",
        "claimed_by": "server" if status in LIVE else None,
    }


def insert(database: sqlite3.Connection, row: Row) -> None:
    names, values = ", ".join(row), ", ".join(f":{name}" for name in row)
    database.execute(f"INSERT INTO jobs ({names}) VALUES ({values})", row)  # noqa: S608 - names and texts of this test


def update(database: sqlite3.Connection, row: Row) -> None:
    names = ", ".join(f"{name} = :{name}" for name in row)
    database.execute(f"UPDATE jobs SET {names} WHERE id = 'a'", {"id": "a", **row})  # noqa: S608 - names and texts of this test


def stored(database: sqlite3.Connection) -> list[tuple[Any, ...]]:
    return database.execute("SELECT * FROM jobs").fetchall()


# -- the table -----------------------------------------------------------------------------------


def test_states_are_terminal_exactly_when_nothing_leads_out_of_them() -> None:
    assert set(Status) - {old for old, _ in TRANSITIONS} == TERMINAL


def test_every_state_is_reached_and_reaches_an_end() -> None:
    assert {new for _, new in REACHABLE} | {*STARTS.values()} == set(Status)
    for status in set(Status) - TERMINAL:
        assert (status, Status.CANCELLED) in REACHABLE


def test_every_state_that_runs_nothing_or_something_can_be_cancelled() -> None:
    assert {old for old, s in TRANSITIONS if s is Signal.CANCEL} == set(Status) - TERMINAL


def test_the_diagram_has_one_arrow_for_each_row_and_each_end() -> None:
    head, *lines = mermaid().splitlines()
    arrows = [re.fullmatch(r"    (\S+) --> (\S+?)(?:: (.+))?", line) for line in lines]

    assert head == "stateDiagram-v2"
    assert {arrow.groups() for arrow in arrows if arrow} == {
        *(("[*]", status.value, start) for start, status in STARTS.items()),
        *((old.value, new.value, signal.value) for (old, signal), new in TRANSITIONS.items()),
        *((status.value, "[*]", None) for status in TERMINAL),
    }
    assert len(lines) == len(STARTS) + len(TRANSITIONS) + len(TERMINAL)


# -- the same in SQL -----------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), PAIRS)
def test_an_update_of_the_state_is_accepted_exactly_when_the_table_has_it(
    clean: sqlite3.Connection, old: Status, new: Status
) -> None:
    insert(clean, row_in(old))
    before = stored(clean)

    if (old, new) in REACHABLE or (old is new and old not in TERMINAL):
        update(clean, row_in(new))
        assert clean.execute("SELECT status FROM jobs").fetchone() == (new,)
        return
    refusal = "terminal state never changes" if old in TERMINAL else "illegal transition"
    with pytest.raises(sqlite3.IntegrityError, match=refusal):
        update(clean, row_in(new))
    assert stored(clean) == before


@pytest.mark.parametrize("status", sorted(TERMINAL))
def test_no_column_of_an_ended_job_can_be_changed(
    clean: sqlite3.Connection, status: Status
) -> None:
    insert(clean, row_in(status))
    before = stored(clean)
    columns = [row[1] for row in clean.execute("PRAGMA table_info(jobs)")]

    assert len(columns) > 30
    for column in columns:
        with pytest.raises(sqlite3.IntegrityError, match="a terminal state never changes"):
            clean.execute(f"UPDATE jobs SET {column} = {column}")  # noqa: S608 - names and texts of this test
    assert stored(clean) == before


@pytest.mark.parametrize(("column", "values"), [("status", list(Status)), ("reason", list(Reason))])
def test_the_words_in_sql_are_those_in_code(
    clean: sqlite3.Connection, column: str, values: list[str]
) -> None:
    (schema,) = clean.execute("SELECT sql FROM sqlite_schema WHERE name = 'jobs'").fetchone()
    found = re.search(
        rf"^    {column} TEXT.*?{column} IN \((.*?)\)", schema, re.DOTALL | re.MULTILINE
    )

    assert found is not None
    # The file also knows reasons of versions to come, since a CHECK cannot be changed later.
    known = re.findall(r"'(\w+)'", found[1])
    assert [word for word in known if word in values] == values


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_can_be_stored(clean: sqlite3.Connection, reason: Reason) -> None:
    insert(clean, {**row_in(Status.FAILED), "reason": reason})

    assert clean.execute("SELECT reason FROM jobs").fetchone() == (reason,)


JSON = st.sampled_from(["{}", "[1]", '"x"', "{", "", "nan"])
NUMBERS = st.sampled_from([-1, 0, 1, 7])
LIMITS = st.sampled_from([None, -0.5, 0.0, 0.001, 3600.0])
COLUMNS: dict[str, st.SearchStrategy[Any]] = {
    "status": st.sampled_from([*Status, "done", "", "RUNNING"]),
    "reason": st.sampled_from([None, *Reason, "because", ""]),
    "finished_at_ms": st.sampled_from([None, 5]),
    "claimed_by": st.sampled_from([None, "server"]),
    "params": JSON,
    "result": st.none() | JSON,
    "progress": st.none() | JSON,
    "attempt": NUMBERS,
    "max_attempts": NUMBERS,
    "interrupts": NUMBERS,
    "timeout_s": LIMITS,
    "idle_timeout_s": LIMITS,
    "retry_on_interrupt": NUMBERS,
}
VALID_JSON = {"{}", "[1]", '"x"', None}


def broken_rules(row: Row) -> set[str]:
    """Say in Python what the CHECKs say in SQL."""
    status = row["status"]
    rules = {
        "status": status in set(Status),
        "reason": row["reason"] in {None, *Reason},
        "finished": (row["finished_at_ms"] is not None) == (status in TERMINAL),
        "explained": (row["reason"] is not None) == (status in EXPLAINED),
        "claimed": (row["claimed_by"] is not None) == (status in LIVE),
        "params": row["params"] in VALID_JSON,
        "result": row["result"] in VALID_JSON,
        "progress": row["progress"] in VALID_JSON,
        "attempt": row["attempt"] >= 0,
        "max_attempts": row["max_attempts"] >= 1,
        "interrupts": row["interrupts"] >= 0,
        "timeout": row["timeout_s"] is None or row["timeout_s"] > 0,
        "idle": row["idle_timeout_s"] is None or row["idle_timeout_s"] > 0,
        "flag": row["retry_on_interrupt"] in (0, 1),
    }
    return {name for name, holds in rules.items() if not holds}


@given(
    status=st.sampled_from(Status),
    changed=st.sets(st.sampled_from(sorted(COLUMNS)), max_size=4),
    data=st.data(),
)
def test_a_row_is_accepted_exactly_when_it_breaks_no_rule(
    database: sqlite3.Connection, status: Status, changed: set[str], data: st.DataObject
) -> None:
    row = row_in(status)
    row |= {name: data.draw(COLUMNS[name], label=name) for name in sorted(changed)}

    database.execute("BEGIN")
    try:
        if broken_rules(row):
            with pytest.raises(sqlite3.IntegrityError, match="CHECK constraint failed"):
                insert(database, row)
            assert stored(database) == []
        else:
            insert(database, row)
            assert len(stored(database)) == 1
    finally:
        database.execute("ROLLBACK")


ONE_FAULT: list[tuple[Status, Row]] = [
    (Status.PENDING, {"status": "done"}),
    (Status.PENDING, {"finished_at_ms": 5}),
    (Status.COMPLETED, {"finished_at_ms": None}),
    (Status.FAILED, {"reason": None}),
    (Status.FAILED, {"reason": "because"}),
    (Status.COMPLETED, {"reason": "signal"}),
    (Status.RUNNING, {"claimed_by": None}),
    (Status.RETRYING, {"claimed_by": "server"}),
    (Status.PENDING, {"params": "{"}),
    (Status.PENDING, {"result": "{"}),
    (Status.PENDING, {"progress": "{"}),
    (Status.PENDING, {"attempt": -1}),
    (Status.PENDING, {"max_attempts": 0}),
    (Status.PENDING, {"interrupts": -1}),
    (Status.PENDING, {"timeout_s": 0.0}),
    (Status.PENDING, {"idle_timeout_s": -1.0}),
    (Status.PENDING, {"retry_on_interrupt": 2}),
]


@pytest.mark.parametrize(("status", "fault"), ONE_FAULT)
def test_one_broken_rule_is_enough_for_an_insert_and_an_update_to_be_refused(
    clean: sqlite3.Connection, status: Status, fault: Row
) -> None:
    assert len(broken_rules({**row_in(status), **fault})) == 1
    with pytest.raises(sqlite3.IntegrityError, match="CHECK constraint failed"):
        insert(clean, {**row_in(status), **fault})
    if status not in TERMINAL:
        insert(clean, row_in(status))
        with pytest.raises(sqlite3.IntegrityError):
            update(clean, fault)


@pytest.mark.parametrize(
    "column", ["id", "owner", "locality", "params", "run_at_ms", "fingerprint"]
)
def test_a_row_without_a_needed_value_is_refused(clean: sqlite3.Connection, column: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match=f"NOT NULL constraint failed: jobs.{column}"):
        insert(clean, {**row_in(Status.PENDING), column: None})
