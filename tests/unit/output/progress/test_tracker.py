"""One attempt's progress never goes backwards, and the job's own word wins."""

from __future__ import annotations

import math

import pytest

from mcp_jobs.domain.time_left import with_estimate
from mcp_jobs.output.progress import Progress, ProgressTracker, Reading


def shown(
    current: float | None = None,
    total: float | None = None,
    percent: float | None = None,
    message: str | None = None,
) -> Progress:
    return Progress(current=current, total=total, percent=percent, message=message)


def test_percent_is_derived_from_the_count() -> None:
    tracker = ProgressTracker()
    progress = tracker.update(Reading(current=23, total=47, message="m"), now_s=0)
    assert progress == shown(23, 47, 48.9, "m")
    assert tracker.snapshot == progress


def test_a_given_percent_is_kept() -> None:
    reading = Reading(current=1, total=4, percent=33.333)
    assert ProgressTracker().update(reading, now_s=0) == shown(1, 4, 33.3)


@pytest.mark.parametrize(
    ("current", "total", "percent"),
    [(9999, 10_000, 99.9), (10_000, 10_000, 100.0), (12, 10, 100.0), (1e-320, 1e308, 0.0)],
)
def test_a_hundred_is_said_only_of_all(current: float, total: float, percent: float) -> None:
    reading = Reading(current=current, total=total)
    progress = ProgressTracker().update(reading, now_s=0, explicit=True)
    assert progress is not None
    assert progress.percent == percent


def test_nothing_new_gives_none() -> None:
    tracker = ProgressTracker()
    assert tracker.update(Reading(), now_s=0) is None
    assert tracker.update(Reading(percent=math.nan, total=0), now_s=0) is None
    assert tracker.update(Reading(percent=5), now_s=0)
    assert tracker.update(Reading(percent=5.01), now_s=1) is None
    assert tracker.snapshot == shown(percent=5)


def test_a_lower_reading_changes_only_the_message() -> None:
    tracker = ProgressTracker()
    tracker.update(Reading(current=50, total=100), now_s=0)
    assert tracker.update(Reading(current=40, total=100), now_s=1) is None
    progress = tracker.update(Reading(current=40, total=100, message="again"), now_s=1)
    assert progress == shown(50, 100, 50, "again")
    assert tracker.update(Reading(percent=49), now_s=1) is None
    assert tracker.update(Reading(current=3, total=4), now_s=1) is None


def test_a_lower_count_without_a_total_is_ignored() -> None:
    tracker = ProgressTracker()
    assert tracker.update(Reading(current=5), now_s=0) == shown(5)
    assert tracker.update(Reading(current=4), now_s=0) is None
    assert tracker.update(Reading(total=10), now_s=0) is None


def test_a_grown_total_goes_on_counting_while_the_percentage_waits() -> None:
    tracker = ProgressTracker()
    tracker.update(Reading(current=50, total=100), now_s=0)
    assert tracker.update(Reading(current=60, total=200), now_s=0) == shown(60, 200, 50)
    assert tracker.update(Reading(current=120, total=200), now_s=0) == shown(120, 200, 60)


def test_explicit_numbers_win_for_good() -> None:
    tracker = ProgressTracker()
    tracker.update(Reading(current=80, total=800, message="seen"), now_s=0)
    said = tracker.update(Reading(current=3, total=10, message="said"), now_s=0, explicit=True)
    assert said == shown(3, 10, 30, "said")
    assert tracker.update(Reading(current=90, total=100, message="seen"), now_s=0) is None


def test_explicit_numbers_behind_the_shown_percentage_wait() -> None:
    tracker = ProgressTracker()
    tracker.update(Reading(percent=50), now_s=0)
    assert tracker.update(Reading(current=3, total=10), now_s=0, explicit=True) is None
    progress = tracker.update(Reading(current=6, total=10), now_s=0, explicit=True)
    assert progress == shown(6, 10, 60)


def test_an_explicit_message_alone_leaves_the_numbers_to_the_output() -> None:
    tracker = ProgressTracker()
    tracker.update(Reading(message="phase 2"), now_s=0, explicit=True)
    progress = tracker.update(Reading(current=1, total=4, message="1 of 4"), now_s=0)
    assert progress == shown(1, 4, 25, "phase 2")


@pytest.mark.parametrize(
    ("percent", "now_s", "message"),
    [
        (12, 4, "about 30 s left"),
        (20, 10, "about 40 s left"),
        (50, 40, "about 40 s left"),
        (90, 9, "about 5 s left"),
        (90, 900, "about 2 min left"),
        (12.5, 900, "about 2 h left"),
        (50, 3600, "about 60 min left"),
        (50, 36000, "about 10 h left"),
    ],
)
def test_time_left_follows_from_the_rate(percent: float, now_s: float, message: str) -> None:
    tracker = ProgressTracker()
    tracker.update(Reading(percent=0), now_s=0)
    progress = tracker.update(Reading(percent=percent), now_s=now_s)
    assert progress is not None
    assert with_estimate(None, progress.left_s) == message


@pytest.mark.parametrize(
    ("percent", "now_s"),
    [(50, 2.9), (1.9, 60), (100, 60), (50, -60), (50, math.nan), (50, math.inf), (2, 1e12)],
)
def test_time_left_is_not_guessed_from_too_little(percent: float, now_s: float) -> None:
    tracker = ProgressTracker()
    tracker.update(Reading(percent=0), now_s=0)
    progress = tracker.update(Reading(percent=percent, message="m"), now_s=now_s)
    assert progress is not None
    assert progress.left_s is None


def test_time_left_is_appended_within_the_limit() -> None:
    message = with_estimate("x" * 200, 40)
    assert message is not None
    assert message.endswith("x, about 40 s left")
    assert len(message) == 200


def test_time_left_does_not_flicker() -> None:
    tracker = ProgressTracker()
    tracker.update(Reading(percent=0), now_s=0)
    assert tracker.update(Reading(percent=50), now_s=40)
    assert tracker.update(Reading(percent=50), now_s=40.5) is None


def test_the_end_is_not_forced_to_a_hundred() -> None:
    tracker = ProgressTracker()
    tracker.update(Reading(percent=99.99), now_s=0)
    assert tracker.snapshot == shown(percent=99.9)


def test_a_part_that_is_full_is_not_the_end_of_the_job() -> None:
    tracker = ProgressTracker()
    assert tracker.update(Reading(current=7, total=7), now_s=0) == shown(7, 7, 99.9)
    assert tracker.update(Reading(current=7, total=7), now_s=1) is None
    assert tracker.update(Reading(current=7, total=9), now_s=1) == shown(7, 9, None)


def test_a_second_part_is_counted_without_a_percentage() -> None:
    tracker = ProgressTracker()
    tracker.update(Reading(current=7, total=7, message="7 of 7 tests"), now_s=0)
    first = tracker.update(Reading(current=0, total=20, message="0 of 20 tests"), now_s=1)
    assert first == shown(0, 20, None, "0 of 20 tests")
    assert tracker.update(Reading(current=5, total=20), now_s=9) == shown(
        5, 20, None, "0 of 20 tests"
    )
    assert tracker.update(Reading(current=4, total=20), now_s=9) is None
    assert tracker.update(Reading(current=20, total=20), now_s=99) == shown(
        20, 20, None, "0 of 20 tests"
    )
    assert tracker.update(Reading(current=1, total=3), now_s=99) == shown(
        1, 3, None, "0 of 20 tests"
    )


def test_a_bar_that_starts_over_loses_its_percentage() -> None:
    tracker = ProgressTracker()
    tracker.update(Reading(percent=100, message="epoch 1"), now_s=0)
    assert tracker.update(Reading(percent=3, message="epoch 2"), now_s=1) == shown(
        message="epoch 2"
    )


def test_what_the_job_reports_may_be_all() -> None:
    tracker = ProgressTracker()
    tracker.update(Reading(current=2, total=2), now_s=0)
    tracker.update(Reading(current=1, total=2), now_s=0)
    assert tracker.update(Reading(percent=100), now_s=1, explicit=True) == shown(percent=100.0)
