from __future__ import annotations

import pytest
from basket import FREE_SHIPPING_FROM, SHIPPING, shipping


@pytest.mark.parametrize("kind", SHIPPING)
def test_a_small_order_pays_for_shipping(kind: str) -> None:
    assert shipping(1000, kind) == SHIPPING[kind]


def test_a_large_order_is_sent_for_free() -> None:
    assert shipping(FREE_SHIPPING_FROM + 1) == 0


def test_an_order_of_exactly_the_limit_is_sent_for_free() -> None:
    assert shipping(FREE_SHIPPING_FROM) == 0


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(KeyError, match="pigeon"):
        shipping(1000, "pigeon")
