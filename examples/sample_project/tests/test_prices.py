from __future__ import annotations

import pytest
from basket import discounted, parse_price, show_price, total


@pytest.mark.parametrize(
    ("text", "cents"),
    [("12.34", 1234), ("12", 1200), ("12.5", 1250), ("0.05", 5), ("€ 7", 700), (" € 7.10 ", 710)],
)
def test_a_price_is_read(text: str, cents: int) -> None:
    assert parse_price(text) == cents


def test_what_is_no_price_is_refused() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        parse_price("free")


@pytest.mark.parametrize(("cents", "text"), [(1234, "€ 12.34"), (5, "€ 0.05"), (700, "€ 7.00")])
def test_a_price_is_shown(cents: int, text: str) -> None:
    assert show_price(cents) == text


def test_an_empty_basket_costs_nothing() -> None:
    assert total({}) == 0


def test_a_basket_is_added_up() -> None:
    assert total({"tea": (450, 2), "cup": (1200, 1)}) == 2100


def test_a_discount_is_taken_off() -> None:
    assert discounted(2000, 25) == 1500


def test_a_discount_rounds_to_the_nearest_cent() -> None:
    assert discounted(995, 10) == 896
