"""What a trade costs; every number can be checked by hand."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from dataclasses import asdict, replace
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordinis.costs.conditions import UNKNOWN, MarketConditions
from ordinis.costs.execution import execution_price, expected_cash
from ordinis.costs.models import CalibratedCost, ProportionalCost, SquareRootCost, cost_model
from ordinis.domain.canonical import canonical
from ordinis.domain.instruments import AssetClass, Instrument
from ordinis.domain.orders import Side
from ordinis.errors import ConfigurationError, NoVolume
from ordinis.ports import CostModel

SHARE = Instrument("KO", "Coca-Cola", AssetClass.EQUITY, Decimal("0.01"), Decimal(1), adv=10_000)
MOVES = MarketConditions({"KO": 0.02, "XOM": 0.02})


def test_half_spread_and_square_root_impact_add_up() -> None:
    model = SquareRootCost(half_spread_bps=2.0, eta=0.5, delta=0.5, commission_bps=0.0)
    # 2 bp + 0.5 * 2 % * sqrt(1 %) = 0.0002 + 0.001
    assert model.slippage("KO", 1_000.0, 0.01, 0.02) == pytest.approx(0.0012)


def test_an_order_pays_half_of_the_impact_that_stays() -> None:
    model = SquareRootCost(half_spread_bps=0.0, eta=0.0, commission_bps=0.0, permanent=0.314)
    # Half of 0.314 * 2 % * 10 %
    assert model.slippage("KO", 1_000.0, 0.1, 0.02) == pytest.approx(0.000314)
    both = SquareRootCost(half_spread_bps=2.0, eta=0.5, permanent=0.4)
    # 2 bp + 0.5 * 2 % * sqrt(4 %) + 0.4 / 2 * 2 % * 4 % = 0.0002 + 0.002 + 0.00016
    assert both.slippage("KO", 1_000.0, 0.04, 0.02) == pytest.approx(0.00236)


def test_an_unknown_volume_or_volatility_leaves_the_impact_out() -> None:
    model = SquareRootCost(half_spread_bps=2.0, permanent=0.3)
    assert model.slippage("KO", 1_000.0, math.nan, 0.02) == 0.0002
    assert model.slippage("KO", 1_000.0, 0.01, math.nan) == 0.0002


def test_a_volume_of_nothing_is_refused_by_name_and_not_free() -> None:
    with pytest.raises(NoVolume, match="KO: an average daily volume of 0 is not above 0") as refused:
        replace(SHARE, adv=0.0)
    assert (refused.value.symbol, refused.value.volume) == ("KO", 0.0)
    with pytest.raises(NoVolume, match="KO: an average daily volume of nan"):
        replace(SHARE, adv=math.nan)
    with pytest.raises(NoVolume, match="KO"):
        UNKNOWN.participation("KO", Decimal(5), 0.0)
    with pytest.raises(NoVolume, match="KO"):
        SquareRootCost().slippage("KO", 1.0, math.inf, 0.02)


LIQUID, THIN = SquareRootCost(1.0, 0.1, permanent=0.1), SquareRootCost(9.0, 0.6, permanent=0.4)
CALIBRATED = CalibratedCost("2020-03", SquareRootCost(2.0, 0.3), (LIQUID, THIN), {"XOM": 1, "KO": 0})


def test_each_symbol_pays_by_its_bucket_and_any_other_by_the_book() -> None:
    for symbol, model in (("KO", LIQUID), ("XOM", THIN), ("MSFT", CALIBRATED.book)):
        assert CALIBRATED.of(symbol) is model
        assert CALIBRATED.slippage(symbol, 1.0, 0.04, 0.02) == model.slippage(symbol, 1.0, 0.04, 0.02)
    # 9 bp + 0.6 * 2 % * sqrt(4 %) + 0.4 / 2 * 2 % * 4 %, and the commission of all
    assert CALIBRATED.slippage("XOM", 1.0, 0.04, 0.02) == pytest.approx(0.0009 + 0.0024 + 0.00016)
    assert CALIBRATED.fee(Decimal("1001")) == Decimal("0.06")


def test_the_venue_asks_for_the_symbol_that_is_traded() -> None:
    thin = replace(SHARE, symbol="XOM")
    liquid, dear = (
        execution_price(CALIBRATED, each, Side.BUY, Decimal(400), Decimal(50), MOVES) for each in (SHARE, thin)
    )
    # 50 and 5.4 basis points, 50 and 34.6 basis points; rounded up to a millionth.
    assert [float(liquid), float(dear)] == pytest.approx([50.027, 50.173], abs=2e-6)


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        (
            lambda: replace(CALIBRATED, buckets=(LIQUID, replace(THIN, delta=0.6))),
            "bucket 1 has a delta of 0.6, the book",
        ),
        (lambda: replace(CALIBRATED, book=replace(LIQUID, commission_bps=1.0)), "bucket 0 has a commission_bps of 0.5"),
        (lambda: replace(CALIBRATED, bucket={"KO": 2}), "KO is in bucket 2 of 2"),
        (lambda: replace(CALIBRATED, bucket={"KO": -1}), "KO is in bucket -1 of 2"),
        (lambda: SquareRootCost(eta=-0.1), "eta of -0.1 is not at least 0"),
        (lambda: SquareRootCost(permanent=math.nan), "permanent of nan is not at least 0"),
        (lambda: SquareRootCost(delta=0.0), "delta of 0.0 is not above 0 and at most 1"),
        (lambda: SquareRootCost(delta=1.5), "delta of 1.5 is not above 0 and at most 1"),
    ],
)
def test_costs_that_cannot_be_are_refused(wrong: Callable[[], object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=told):
        wrong()


numbers = st.floats(0.0, 50.0)
names = st.text("ABCZ./é ", max_size=4)


def square_roots(delta: float, commission: float) -> st.SearchStrategy[SquareRootCost]:
    return st.builds(SquareRootCost, numbers, numbers, st.just(delta), st.just(commission), numbers)


@st.composite
def calibrated(draw: st.DrawFn) -> CalibratedCost:
    shared = square_roots(draw(st.floats(0.01, 1.0)), draw(numbers))
    buckets = draw(st.lists(shared, max_size=4))
    places = st.integers(0, len(buckets) - 1) if buckets else st.nothing()
    return CalibratedCost("drawn", draw(shared), tuple(buckets), draw(st.dictionaries(names, places)))


@given(st.one_of(st.builds(ProportionalCost, numbers), square_roots(0.5, 1.0), calibrated()))
def test_a_model_is_what_its_stored_text_says(model: CostModel) -> None:
    stored = canonical(asdict(model))
    assert json.loads(json.dumps(asdict(model))) == json.loads(stored), "plain JSON"
    again = cost_model(type(model).__name__, json.loads(stored))
    assert again == model
    assert canonical(asdict(again)) == stored
    assert repr(again) == repr(model), "allocators tell models apart by their text"


def test_the_order_in_which_symbols_are_named_does_not_matter() -> None:
    other = replace(CALIBRATED, bucket={"KO": 0, "XOM": 1})
    assert repr(other) == repr(CALIBRATED)
    given = {"KO": 0}
    model = replace(CALIBRATED, bucket=given)
    given["KO"] = 1
    assert model.of("KO") is LIQUID


def stored(**changed: object) -> dict[str, object]:
    return asdict(CALIBRATED) | changed


def test_a_decision_of_before_there_was_a_permanent_term_is_read() -> None:
    old = {"half_spread_bps": 1.0, "eta": 0.3, "delta": 0.5, "commission_bps": 0.5}
    assert cost_model("SquareRootCost", old) == SquareRootCost(1.0, 0.3, 0.5, 0.5, 0.0)


@pytest.mark.parametrize(
    ("kind", "parameters", "told"),
    [
        ("MyCost", {}, "'MyCost' is not SquareRootCost, ProportionalCost or CalibratedCost"),
        ("ProportionalCost", {}, "ProportionalCost, parameter bps: missing"),
        (
            "SquareRootCost",
            {"half_spread_bps": 1.0, "eta": 0.3, "commission_bps": 0.5},
            "delta: missing",
        ),
        ("SquareRootCost", asdict(LIQUID) | {"gamma": 0.1}, "parameter gamma: no such parameter; there are comm"),
        ("SquareRootCost", asdict(LIQUID) | {"eta": "0.3"}, "parameter eta: '0.3' is not a number"),
        ("SquareRootCost", asdict(LIQUID) | {"eta": True}, "parameter eta: True is not a number"),
        ("CalibratedCost", {"version": "1"}, "CalibratedCost, parameter book: missing"),
        ("CalibratedCost", stored(version=3), "parameter version: 3 is not text"),
        ("CalibratedCost", stored(book=None), "parameter book: None is not a set of parameters"),
        ("CalibratedCost", stored(book={"eta": 1.0}), "book of CalibratedCost, parameter commission_bps: missing"),
        ("CalibratedCost", stored(buckets={}), "parameter buckets: {} is not a list"),
        ("CalibratedCost", stored(buckets=[{}]), "bucket 0 of CalibratedCost, parameter commission_bps: missing"),
        ("CalibratedCost", stored(bucket={"KO": 0.5}), "parameter bucket: {'KO': 0.5} is not a whole number by symbol"),
    ],
)
def test_a_stored_model_that_is_none_is_refused(kind: str, parameters: dict[str, object], told: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(told)):
        cost_model(kind, parameters)


def test_a_commission_rounds_up_to_the_cent() -> None:
    assert SquareRootCost(commission_bps=0.5).fee(Decimal("1000")) == Decimal("0.05")
    assert SquareRootCost(commission_bps=0.5).fee(Decimal("1001")) == Decimal("0.06")
    assert ProportionalCost().fee(Decimal("1001")) == 0


def test_prices_are_rounded_against_whoever_trades() -> None:
    model = ProportionalCost(10.0)
    buy = execution_price(model, SHARE, Side.BUY, Decimal(1), Decimal("33.333"), MOVES)
    sell = execution_price(model, SHARE, Side.SELL, Decimal(1), Decimal("33.333"), MOVES)
    assert (buy, sell) == (Decimal("33.366333"), Decimal("33.299667"))
    assert execution_price(model, SHARE, Side.BUY, Decimal(1), Decimal("0.0003"), MOVES) == Decimal("0.000301")
    assert execution_price(model, SHARE, Side.SELL, Decimal(1), Decimal("0.0003"), MOVES) == Decimal("0.000299")


def test_cash_goes_out_with_costs_and_comes_in_without_them() -> None:
    model = SquareRootCost(half_spread_bps=0.0, eta=0.0, commission_bps=10.0)
    assert expected_cash(model, SHARE, Side.BUY, Decimal(10), Decimal(50), MOVES) == Decimal("-500.50")
    assert expected_cash(model, SHARE, Side.SELL, Decimal(10), Decimal(50), MOVES) == Decimal("499.50")


@given(st.floats(0, 1), st.floats(0, 1), st.floats(0, 0.2))
def test_a_larger_trade_never_costs_less_per_unit(small: float, large: float, volatility: float) -> None:
    small, large = sorted((small, large))
    model = SquareRootCost(permanent=0.3)
    assert model.slippage("KO", 1.0, small, volatility) <= model.slippage("KO", 1.0, large, volatility)


def test_a_sale_into_a_market_that_hardly_trades_is_for_next_to_nothing_and_not_for_less() -> None:
    model = SquareRootCost(permanent=0.1)
    price = execution_price(
        model, SHARE, Side.SELL, Decimal(20_000), Decimal(10), MarketConditions({"KO": 0.05}, {"KO": 20.0})
    )
    assert price == Decimal("0.000001")
