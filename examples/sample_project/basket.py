"""A shopping basket. Two of its functions are wrong, and the tests say which."""

from __future__ import annotations

FREE_SHIPPING_FROM = 5000
"""Cents. An order of this value, or more, is sent for free."""

SHIPPING = {"letter": 195, "parcel": 595, "pallet": 4900}


def parse_price(text: str) -> int:
    """Return a price such as `12.34` or `€ 12` in cents."""
    whole, _, cents = text.strip().removeprefix("€").strip().partition(".")
    return int(whole) * 100 + int(cents.ljust(2, "0")[:2] or 0)


def show_price(cents: int) -> str:
    """Return a price for people."""
    return f"€ {cents // 100}.{cents % 100:02d}"


def total(items: dict[str, tuple[int, int]]) -> int:
    """Return the value of a basket: for each item its price in cents and how many."""
    return sum(price * count for price, count in items.values())


def discounted(cents: int, percent: int) -> int:
    """Return a price after a discount, rounded to the nearest cent."""
    return cents * (100 - percent) // 100  # wrong: this rounds down


def shipping(cents: int, kind: str = "parcel") -> int:
    """Return what sending an order of this value costs."""
    if cents > FREE_SHIPPING_FROM:  # wrong: the limit itself should be free too
        return 0
    return SHIPPING[kind]
