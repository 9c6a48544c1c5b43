"""What a holding is worth: its quote while that can be believed."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import pytest

from ordinis.costs.conditions import UNKNOWN
from ordinis.domain.market import Quote
from ordinis.execution.prices import Prices

NOW = datetime(2020, 3, 16, 19, 45, tzinfo=UTC)


@pytest.mark.parametrize(
    ("quote", "close", "worth"),
    [
        ("50", "49", "50"),
        ("74", "50", "74"),
        ("75", "50", "75"),
        ("76", "50", "50"),
        ("34", "50", "34"),
        ("33", "50", "50"),
        ("0", "50", "50"),
        ("-1", "50", "50"),
        ("NaN", "50", "50"),
        ("Infinity", "50", "50"),
        ("76", "0", "76"),
        ("1", "1.5", "1"),
        ("0.5", "100", "100"),
        ("0.5", "0.6", "0.5"),
        ("100", "0.5", "0.5"),
    ],
)
def test_a_quote_far_from_the_last_close_is_not_believed(quote: str, close: str, worth: str) -> None:
    prices = Prices({"KO": Quote("KO", Decimal(quote), NOW)}, {"KO": Decimal(close)}, UNKNOWN)
    assert prices.of("KO") == Decimal(worth)


def test_a_symbol_without_a_quote_is_worth_its_close_and_one_without_a_close_its_quote() -> None:
    prices = Prices({"KO": Quote("KO", Decimal(50), NOW)}, {"XOM": Decimal(40)}, UNKNOWN)
    assert (prices.of("KO"), prices.of("XOM")) == (Decimal(50), Decimal(40))
    assert prices.of("GONE") == 0


@pytest.mark.parametrize(
    ("bid", "ask", "spread"), [("49.9", "50.1", "0.004"), (None, "50.1", None), ("49.9", None, None)]
)
def test_a_spread_is_a_fraction_of_the_price(bid: str | None, ask: str | None, spread: str | None) -> None:
    sides = [None if side is None else Decimal(side) for side in (bid, ask)]
    found = Quote("KO", Decimal(50), NOW, *sides).spread
    assert found == (None if spread is None else Decimal(spread))
