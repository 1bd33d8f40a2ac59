"""What every implementation of `Members` promises; another one joins by a line in `MAKERS`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import pytest

from mcp_jobs.execution import base
from mcp_jobs.execution.owner_locks import Owners
from tests.contracts import memory_members
from tests.contracts.memory_members import Board, MemoryMembers

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mcp_jobs.execution.base import Members

LEASE_S: Final = max(base.LEASE_S, memory_members.LEASE_S)


class FakeClock:
    """Both clocks stand still until they are moved."""

    def __init__(self) -> None:
        self.wall_ms = 1_790_000_000_000
        self.span_s = 100.0

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic_s(self) -> float:
        return self.span_s


Maker = Callable[[str], "Members"]
"""Makes a member of an id; all that one maker makes are members of one store."""


def _in_memory(_directory: Path, clock: FakeClock) -> Maker:
    board = Board(clock)
    return lambda own_id: MemoryMembers(board, own_id)


def _with_locks(directory: Path, clock: FakeClock) -> Maker:
    return lambda own_id: Owners(directory, own_id, clock)


MAKERS: Final[dict[str, Callable[[Path, FakeClock], Maker]]] = {
    "memory": _in_memory,
    "locks": _with_locks,
}


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture(params=MAKERS)
def maker(request: pytest.FixtureRequest, tmp_path: Path, clock: FakeClock) -> Maker:
    return MAKERS[request.param](tmp_path, clock)


@pytest.fixture
def observer(maker: Maker) -> Iterator[Members]:
    with joined(maker, "observer") as member:
        yield member


@pytest.fixture
def other(maker: Maker) -> Iterator[Members]:
    with joined(maker, "other") as member:
        yield member


@contextmanager
def joined(maker: Maker, own_id: str) -> Iterator[Members]:
    """Be a member as long as the context lasts."""
    member = maker(own_id)
    member.join()
    try:
        yield member
    finally:
        member.leave()


def test_a_member_knows_its_id(observer: Members) -> None:
    assert observer.own_id == "observer"


def test_who_has_joined_is_not_gone(observer: Members, other: Members) -> None:
    assert not observer.is_gone(other.own_id)
    assert not other.is_gone(observer.own_id)
    assert not observer.is_gone(observer.own_id)


@pytest.mark.parametrize("unknown", ["nobody", "", ".", "../observer", "a\0b", "x" * 10_000])
def test_who_never_joined_is_gone(observer: Members, unknown: str) -> None:
    assert observer.is_gone(unknown)


def test_who_has_not_joined_yet_is_gone(observer: Members, maker: Maker) -> None:
    assert observer.is_gone(maker("late").own_id)


def test_who_has_left_is_gone(observer: Members, maker: Maker) -> None:
    with joined(maker, "short") as member:
        assert not observer.is_gone(member.own_id)
    assert observer.is_gone("short")


def test_to_leave_again_is_fine(observer: Members, maker: Maker) -> None:
    with joined(maker, "short") as member:
        member.leave()
    assert observer.is_gone("short")


def test_who_has_left_may_join_again(observer: Members, other: Members) -> None:
    other.leave()
    other.join()
    assert not observer.is_gone(other.own_id)


def test_who_does_not_renew_is_gone_after_a_lease(
    observer: Members, other: Members, clock: FakeClock
) -> None:
    assert not observer.is_gone(other.own_id)
    clock.span_s += LEASE_S
    assert observer.is_gone(other.own_id)


def test_who_renews_is_not_gone_however_long_it_is_there(
    observer: Members, other: Members, clock: FakeClock
) -> None:
    for _ in range(5):
        assert not observer.is_gone(other.own_id)
        clock.span_s += 0.7 * LEASE_S
        other.renew()


def test_who_renews_after_its_lease_is_not_gone_any_more(
    observer: Members, other: Members, clock: FakeClock
) -> None:
    assert not observer.is_gone(other.own_id)
    clock.span_s += 2 * LEASE_S
    assert observer.is_gone(other.own_id)
    other.renew()
    assert not observer.is_gone(other.own_id)


def test_a_jump_of_the_wall_clock_makes_nobody_gone(
    observer: Members, other: Members, clock: FakeClock
) -> None:
    assert not observer.is_gone(other.own_id)
    clock.wall_ms += 10_000_000
    assert not observer.is_gone(other.own_id)


def test_to_renew_without_having_joined_makes_nobody_a_member(
    observer: Members, maker: Maker
) -> None:
    late = maker("late")
    late.renew()
    assert observer.is_gone("late")
