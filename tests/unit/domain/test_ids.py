"""Job ids: ordered by time, random enough, safe as file names, not to be misread."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from mcp_jobs.domain.ids import ALPHABET, ID_LENGTH, RANDOM_CHARS, TIME_CHARS, is_id, new_id

LAST_MS = 32**TIME_CHARS - 1
NOW_MS = 1_800_000_000_000


def test_an_id_has_25_characters_that_cannot_be_misread() -> None:
    assert ID_LENGTH == 25
    assert re.fullmatch(r"[0-9a-z]{25}", new_id(NOW_MS))
    assert len(set(ALPHABET)) == 32
    assert not set("ilou") & set(ALPHABET)


def test_an_id_has_80_random_bits() -> None:
    assert RANDOM_CHARS * 5 == 80
    ids = [new_id(NOW_MS) for _ in range(2000)]
    assert len(set(ids)) == 2000
    # Each random place takes every letter: a place that never changes would be no random bits.
    for place in range(TIME_CHARS, ID_LENGTH):
        assert {made[place] for made in ids} == set(ALPHABET)


@given(st.integers(0, LAST_MS), st.integers(0, LAST_MS))
def test_ids_sort_by_creation(one: int, other: int) -> None:
    first, second = new_id(one), new_id(other)
    if one != other:
        assert (first < second) == (one < other)
    assert first[:TIME_CHARS] == new_id(one)[:TIME_CHARS]


@given(st.integers(0, LAST_MS))
def test_the_time_can_be_read_back(now_ms: int) -> None:
    time = 0
    for character in new_id(now_ms)[:TIME_CHARS]:
        time = time * 32 + ALPHABET.index(character)
    assert time == now_ms


@given(st.integers(0, LAST_MS))
def test_every_new_id_has_the_shape(now_ms: int) -> None:
    assert is_id(new_id(now_ms))


@given(st.text(max_size=40))
def test_only_the_alphabet_makes_an_id(text: str) -> None:
    assert is_id(text) == bool(re.fullmatch(rf"[{ALPHABET}]{{25}}\Z", text))


def test_what_could_leave_a_directory_is_no_id() -> None:
    good = new_id(NOW_MS)
    for bad in (
        "",
        good[:-1],
        good + "0",
        good.upper(),
        good[:-1] + "/",
        good[:-1] + "i",
        "." * 25,
    ):
        assert not is_id(bad)
