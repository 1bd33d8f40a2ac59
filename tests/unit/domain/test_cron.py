"""Fires by the clock on the wall, against tables that were written by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise, takewhile
from zoneinfo import ZoneInfo

import pytest

from mcp_jobs.domain.cron import MOST_COUNTED, CronTimes, cron_times

# The clocks of 2026. Berlin: forward on 29 March at 2:00 to 3:00 (UTC+1 to +2), back on 25 October
# at 3:00 to 2:00. New York: forward on 8 March at 2:00 to 3:00 (UTC-5 to -4), back on 1 November at
# 2:00 to 1:00. Lord Howe: back on 5 April at 2:00 to 1:30 (UTC+11 to +10:30), forward on 4 October
# at 2:00 to 2:30.
AROUND_THE_CHANGES = [
    # Skipped: there is no 2:30 on 29 March.
    ("Europe/Berlin", "30 2 * * *", "2026-03-27T12:00", [
        "2026-03-28T01:30", "2026-03-30T00:30", "2026-03-31T00:30",
    ]),
    # Once: 2:30 comes twice on 25 October, at 0:30 and at 1:30 UTC.
    ("Europe/Berlin", "30 2 * * *", "2026-10-24T12:00", [
        "2026-10-25T00:30", "2026-10-26T01:30", "2026-10-27T01:30",
    ]),
    # The first minute after the gap is a time like any other.
    ("Europe/Berlin", "0 3 * * *", "2026-03-28T12:00", ["2026-03-29T01:00", "2026-03-30T01:00"]),
    ("Europe/Berlin", "0,30 * * * *", "2026-03-29T00:00", [
        "2026-03-29T00:30", "2026-03-29T01:00", "2026-03-29T01:30",
    ]),
    # The hour that comes again is silent.
    ("Europe/Berlin", "*/20 * * * *", "2026-10-25T00:30", [
        "2026-10-25T00:40", "2026-10-25T02:00", "2026-10-25T02:20",
    ]),
    ("America/New_York", "30 2 * * *", "2026-03-07T00:00", [
        "2026-03-07T07:30", "2026-03-09T06:30", "2026-03-10T06:30",
    ]),
    ("America/New_York", "30 1 * * *", "2026-10-31T00:00", [
        "2026-10-31T05:30", "2026-11-01T05:30", "2026-11-02T06:30",
    ]),
    ("America/New_York", "0 9 * * 1-5", "2026-03-06T00:00", [
        "2026-03-06T14:00", "2026-03-09T13:00", "2026-03-10T13:00",
    ]),
    # Half an hour: 2:15 is not there on 4 October, 1:45 comes twice on 5 April.
    ("Australia/Lord_Howe", "15 2 * * *", "2026-10-02T00:00", [
        "2026-10-02T15:45", "2026-10-04T15:15", "2026-10-05T15:15",
    ]),
    ("Australia/Lord_Howe", "30 2 * * *", "2026-10-02T15:59", [
        "2026-10-02T16:00", "2026-10-03T15:30", "2026-10-04T15:30",
    ]),
    ("Australia/Lord_Howe", "45 1 * * *", "2026-04-03T00:00", [
        "2026-04-03T14:45", "2026-04-04T14:45", "2026-04-05T15:15",
    ]),
]  # fmt: skip

# How many fires the year has, and on which days there is none.
A_YEAR = [
    ("Europe/Berlin", "30 2 * * *", 364, [date(2026, 3, 29)]),
    ("America/New_York", "30 2 * * *", 364, [date(2026, 3, 8)]),
    ("Australia/Lord_Howe", "15 2 * * *", 364, [date(2026, 10, 4)]),
    ("Europe/Berlin", "0 12 * * *", 365, []),
    ("America/New_York", "30 1 * * *", 365, []),
    ("Australia/Lord_Howe", "45 1 * * *", 365, []),
]


def ms(text: str) -> int:
    return round(datetime.fromisoformat(f"{text}+00:00").timestamp() * 1000)


def shown(fires_ms: list[int]) -> list[str]:
    moments = [datetime.fromtimestamp(fire_ms / 1000, UTC) for fire_ms in fires_ms]
    return [moment.strftime("%Y-%m-%dT%H:%M") for moment in moments]


@pytest.mark.parametrize(("zone", "cron", "begin", "expected"), AROUND_THE_CHANGES)
def test_fires_around_a_change_of_the_clocks_are_those_of_the_table(
    zone: str, cron: str, begin: str, expected: list[str]
) -> None:
    times = CronTimes(cron, zone)

    assert shown(list(islice(times.all_after(ms(begin)), len(expected)))) == expected


@pytest.mark.parametrize(("zone", "cron", "begin", "expected"), AROUND_THE_CHANGES)
def test_the_latest_fire_is_the_one_that_was_just_made(
    zone: str, cron: str, begin: str, expected: list[str]
) -> None:
    times = CronTimes(cron, zone)
    for before, after in pairwise(expected):
        assert times.latest(ms(before)) == ms(before)
        assert times.latest(ms(after) - 1) == ms(before)


def test_in_the_hour_that_comes_again_the_latest_fire_is_from_before_it() -> None:
    times = CronTimes("*/15 * * * *", "Europe/Berlin")

    # The wall shows 2:10 for the second time; the last fire was at 2:45, the first time.
    assert times.latest(ms("2026-10-25T01:10")) == ms("2026-10-25T00:45")


@pytest.mark.parametrize(("zone", "cron", "number", "missing"), A_YEAR)
def test_a_year_has_a_fire_for_each_day_that_has_the_time(
    zone: str, cron: str, number: int, missing: list[date]
) -> None:
    wall = ZoneInfo(zone)
    fires = CronTimes(cron, zone).all_after(ms("2025-12-30T00:00"))
    upto = takewhile(lambda fire_ms: fire_ms < ms("2027-01-03T00:00"), fires)
    days = [datetime.fromtimestamp(fire_ms / 1000, wall).date() for fire_ms in upto]
    of_year = [day for day in days if day.year == 2026]

    assert len(of_year) == len(set(of_year)) == number
    every = {date(2026, 1, 1) + timedelta(days=n) for n in range(365)}
    assert sorted(every - set(of_year)) == missing


def test_every_step_through_a_year_says_the_same_as_the_whole() -> None:
    end = ms("2027-01-01T00:00")
    for zone in ("Europe/Berlin", "America/New_York", "Australia/Lord_Howe"):
        times = CronTimes("*/30 1-3 * * *", zone)
        whole = list(takewhile(end.__gt__, times.all_after(ms("2026-01-01T00:00"))))
        now, stepped = ms("2026-01-01T00:00"), []
        while (found := times.after(now)) is not None and found < end:
            stepped.append(found)
            now = found
        assert stepped == whole
        assert len(set(whole)) == len(whole)


def test_fires_of_a_gap_are_counted_up_to_a_bound() -> None:
    times = CronTimes("* * * * *", "UTC")

    assert times.count(ms("2026-01-01T00:00"), ms("2026-01-01T00:10")) == 11
    assert times.count(ms("2026-01-01T00:00"), ms("2026-12-01T00:00")) == MOST_COUNTED


def test_beyond_the_calendar_there_is_no_fire() -> None:
    assert CronTimes("0 0 29 2 *", "UTC").after(253_402_000_000_000) is None
    assert CronTimes("0 0 1 1 *", "UTC").after(10**18) is None


@pytest.mark.parametrize(
    ("cron", "told"),
    [
        ("* * * *", "five fields"),
        ("0 * * * * *", "five fields"),
        ("@daily", "five fields"),
        ("", "five fields"),
        ("9" * 5000, "five fields"),
        ("61 * * * *", "its minute"),
        ("* 24 * * *", "its hour"),
        ("* * 0 * *", "its day of month"),
        ("* * * 13 *", "its month"),
        ("* * * * 8", "its day of week"),
        ("* * * * \N{SUPERSCRIPT TWO}L", "its day of week"),
        ("*/0 * * * *", "its minute"),
        ("0 0 30 2 *", "its day of month"),
        ("0 0 */31 2 1#5", "never fires"),
    ],
)
def test_what_is_no_expression_is_refused_in_words(cron: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        cron_times(cron, "UTC")


@pytest.mark.parametrize(
    ("zone", "told"),
    [
        ("Europe/Berln", "did you mean Europe/Berlin"),
        ("berlin", "did you mean Europe/Berlin"),
        ("Nowhere/At_all", "names are such as Europe/Berlin"),
        ("../../../etc/passwd", "there is no time zone"),
        ("/etc/localtime", "there is no time zone"),
        ("Europe", "there is no time zone"),
        ("", "there is no time zone"),
        ("a\0b", "there is no time zone"),
        ("\ud800", "there is no time zone"),
    ],
)
def test_what_is_no_time_zone_is_refused_with_the_nearest(zone: str, told: str) -> None:
    with pytest.raises(ValueError, match=told):
        cron_times("* * * * *", zone)


def test_a_machine_without_time_zones_is_told_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("zoneinfo.available_timezones", set)

    with pytest.raises(ValueError, match="tzdata"):
        CronTimes("* * * * *", "Not/There")
