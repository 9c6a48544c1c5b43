"""A floor above a ceiling is refused when it is asked for."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ordinis.domain.overrides import Override, OverrideKind, agree
from ordinis.errors import OverrideRefused

NOW = datetime(2020, 3, 16, 15, tzinfo=UTC)
K = OverrideKind


def wish(kind: OverrideKind, value: float | None, symbol: str = "KO") -> Override:
    return Override(symbol, kind, value, "anna", "a hunch", NOW, NOW + timedelta(days=7))


@pytest.mark.parametrize(
    ("asked", "stands"),
    [(K.MIN, K.MAX), (K.MIN, K.PIN), (K.PIN, K.MAX)],
)
def test_a_floor_above_a_ceiling_is_refused_either_way_round(asked: OverrideKind, stands: OverrideKind) -> None:
    higher, lower = wish(asked, 0.10), wish(stands, 0.05)
    told = (
        rf"override {asked}: anna asked for {stands} 5.00% until 2020-03-23; lift that first: `ordinis override lift KO"
    )
    with pytest.raises(OverrideRefused, match=told):
        agree(higher, [lower])
    with pytest.raises(OverrideRefused):
        agree(lower, [higher])
    level = wish(asked, 0.05)
    agree(level, [lower])
    agree(lower, [level])
    agree(level, [wish(stands, 0.10)])
    agree(higher, [wish(stands, 0.05, "XOM")])


def test_the_same_kind_takes_the_place_of_the_older_and_a_wish_without_weight_stands_against_nothing() -> None:
    agree(wish(K.MAX, 0.05), [wish(K.MAX, 0.10)])
    agree(wish(K.MIN, 0.05), [wish(K.NO_TRADE, None)])
    agree(wish(K.NO_TRADE, None), [wish(K.MAX, 0.05)])
    with pytest.raises(OverrideRefused):
        agree(wish(K.MIN, 0.10), [wish(K.NO_TRADE, None), wish(K.MAX, 0.05)])
