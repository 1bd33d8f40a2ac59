"""An owner is gone when its process is dead or has stood still for a lease, and not before."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mcp_jobs.execution.base import LEASE_S
from mcp_jobs.execution.launcher import layout
from mcp_jobs.execution.owner_locks import Owners

if TYPE_CHECKING:
    from collections.abc import Iterator


class FakeClock:
    """Both clocks stand still until they are moved."""

    def __init__(self) -> None:
        self.wall_ms = 1_790_000_000_000
        self.span_s = 100.0

    def now_ms(self) -> int:
        return self.wall_ms

    def monotonic_s(self) -> float:
        return self.span_s


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def observer(tmp_path: Path, clock: FakeClock) -> Iterator[Owners]:
    owners = Owners(tmp_path, "observer", clock)
    owners.join()
    yield owners
    owners.leave()


@pytest.fixture
def other(tmp_path: Path, clock: FakeClock) -> Iterator[Owners]:
    owners = Owners(tmp_path, "other", clock)
    owners.join()
    yield owners
    owners.leave()


def beat_at(tmp_path: Path, seconds: float) -> None:
    """Beat as `other` does, at a chosen wall time."""
    os.utime(tmp_path / "other", (seconds, seconds))


def test_an_owner_that_beats_is_never_gone(
    tmp_path: Path, clock: FakeClock, observer: Owners, other: Owners
) -> None:
    for second in range(100):
        beat_at(tmp_path, second)
        assert not observer.is_gone("other")
        clock.span_s += LEASE_S - 0.1
        assert not observer.is_gone("other")


def test_an_owner_that_stands_still_is_gone_after_a_lease_and_not_before(
    clock: FakeClock, observer: Owners, other: Owners
) -> None:
    first = observer.is_gone("other")
    clock.span_s += LEASE_S - 0.001
    before = observer.is_gone("other")
    clock.span_s += 0.001

    assert (first, before, observer.is_gone("other")) == (False, False, True)


def test_the_lease_counts_from_the_last_beat_that_was_seen(
    tmp_path: Path, clock: FakeClock, observer: Owners, other: Owners
) -> None:
    observer.is_gone("other")
    clock.span_s += LEASE_S - 1
    beat_at(tmp_path, 5)
    observer.is_gone("other")
    clock.span_s += LEASE_S - 1
    before = observer.is_gone("other")
    clock.span_s += 1

    assert (before, observer.is_gone("other")) == (False, True)


def test_an_owner_that_goes_on_after_its_lease_is_not_gone_any_more(
    tmp_path: Path, clock: FakeClock, observer: Owners, other: Owners
) -> None:
    observer.is_gone("other")
    clock.span_s += LEASE_S
    stopped = observer.is_gone("other")
    beat_at(tmp_path, 7)

    assert (stopped, observer.is_gone("other")) == (True, False)


def test_an_old_owner_gets_a_whole_lease_from_a_new_observer(
    tmp_path: Path, clock: FakeClock, other: Owners
) -> None:
    beat_at(tmp_path, 0)
    clock.span_s += 10 * LEASE_S

    assert not Owners(tmp_path, "new", clock).is_gone("other")


@pytest.mark.parametrize("hours", [-1, 1], ids=["back", "forward"])
def test_a_jump_of_the_wall_clock_ends_no_lease(
    tmp_path: Path, clock: FakeClock, observer: Owners, other: Owners, hours: int
) -> None:
    beat_at(tmp_path, clock.wall_ms / 1000)
    observer.is_gone("other")
    clock.wall_ms += hours * 3_600_000
    unmoved = observer.is_gone("other")
    beat_at(tmp_path, clock.wall_ms / 1000)
    observer.is_gone("other")
    clock.span_s += LEASE_S - 0.1

    assert (unmoved, observer.is_gone("other")) == (False, False)


def test_an_owner_that_released_is_gone_and_leaves_no_file(
    tmp_path: Path, observer: Owners, other: Owners
) -> None:
    there = observer.is_gone("other")
    other.leave()

    assert (there, observer.is_gone("other")) == (False, True)
    assert [path.name for path in tmp_path.iterdir()] == ["observer"]


def test_an_id_that_nobody_knows_is_gone(observer: Owners) -> None:
    assert observer.is_gone("nobody")


def test_an_owner_that_is_looked_at_keeps_its_lock(
    tmp_path: Path, observer: Owners, other: Owners
) -> None:
    for _ in range(3):
        observer.is_gone("other")

    assert layout.lock_file(str(tmp_path / "other"), wait=False) is None


def test_a_beat_changes_what_others_see(
    tmp_path: Path, clock: FakeClock, observer: Owners, other: Owners
) -> None:
    beat_at(tmp_path, 0)
    observer.is_gone("other")
    clock.span_s += LEASE_S
    other.renew()

    assert not observer.is_gone("other")


def test_a_beat_without_a_file_is_no_fault(tmp_path: Path, other: Owners) -> None:
    (tmp_path / "other").unlink()
    other.renew()

    assert list(tmp_path.iterdir()) == []


def test_releasing_twice_is_the_same_as_once(tmp_path: Path, other: Owners) -> None:
    other.leave()
    other.leave()

    assert list(tmp_path.iterdir()) == []
