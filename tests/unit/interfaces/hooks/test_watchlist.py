"""Who waits to hear of which job outlives everybody, and what lies there leads nobody astray."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.domain.ids import new_id
from mcp_jobs.interfaces.hooks.watchlist import Watched, Watchlist

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NOW_MS = 1_790_000_000_000


def watched(session: str = "s", host: str = "opencode", place: str = "/work") -> Watched:
    return Watched(job_id=new_id(NOW_MS), host=host, session=session, place=place)


def test_what_was_added_is_there_for_others_until_it_is_dropped(tmp_path: Path) -> None:
    one, two = watched("one"), watched("two", host="claude-code")
    for each in (one, two):
        Watchlist(tmp_path).add(each)
    assert Watchlist(tmp_path).of("opencode") == [one]
    assert (tmp_path / "watched").stat().st_mode & 0o077 == 0
    Watchlist(tmp_path).drop(one.job_id)
    assert Watchlist(tmp_path).of("opencode") == []
    assert Watchlist(tmp_path).of("claude-code") == [two]


def test_a_watched_job_stays_with_its_first_session(tmp_path: Path) -> None:
    first = watched("first")
    other = Watched(job_id=first.job_id, host="opencode", session="other", place="/work")
    Watchlist(tmp_path).add(first)
    Watchlist(tmp_path).add(other)
    assert Watchlist(tmp_path).of("opencode") == [first]


def test_a_job_is_held_by_one_listener_and_by_the_next_when_that_one_is_gone(
    tmp_path: Path,
) -> None:
    one = watched()
    holder, other = Watchlist(tmp_path), Watchlist(tmp_path)
    holder.add(one)
    assert [holder.hold(one.job_id), holder.hold(one.job_id)] == [True, True]
    assert not other.hold(one.job_id)
    holder.release_all()
    assert other.hold(one.job_id)
    other.drop(one.job_id)
    assert not holder.hold(one.job_id)


@pytest.mark.parametrize("name", ["../x", "", "jobs.db", "i" * 25])
def test_what_is_no_job_id_is_neither_added_nor_dropped(tmp_path: Path, name: str) -> None:
    (tmp_path / "jobs.db").touch()
    watchlist = Watchlist(tmp_path)
    watchlist.add(Watched(job_id=name, host="opencode", session="s", place="/"))
    watchlist.drop(f"../{name}")
    watchlist.drop(name)
    assert [path.name for path in tmp_path.rglob("*")] == ["jobs.db"]


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        os.mkdir,
        lambda path: os.symlink("/dev/zero", path),
        lambda path: path.write_text("{"),
        lambda path: path.write_text("[]"),
        lambda path: path.write_text(json.dumps({"host": "opencode", "session": 1})),
        lambda path: path.write_text(" " * 100_000),
    ],
)
def test_what_a_job_puts_there_is_passed_over(tmp_path: Path, make: Callable[[Path], None]) -> None:
    one = watched()
    Watchlist(tmp_path).add(one)
    make(tmp_path / "watched" / new_id(NOW_MS))
    assert Watchlist(tmp_path).of("opencode") == [one]


def test_a_session_with_an_endless_name_is_not_kept(tmp_path: Path) -> None:
    Watchlist(tmp_path).add(watched("s" * 10_000))
    assert Watchlist(tmp_path).of("opencode") == []
