"""One cost model: what the optimiser expects of trades is what the simulated venue books for them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ordinis.costs.conditions import MarketConditions
from ordinis.costs.execution import expected_cash
from ordinis.costs.models import CalibratedCost, ProportionalCost, SquareRootCost
from ordinis.domain.canonical import to_decimal
from ordinis.domain.instruments import AssetClass, Instrument
from ordinis.domain.orders import Side
from ordinis.errors import ConfigurationError, NoVolume
from ordinis.optimize.trading_costs import trading_costs
from ordinis.ports import CostModel

EQUITY = 1_000_000.0
NAMES = ("KO", "AAPL", "XOM", "MSFT")


def square_roots(
    delta: st.SearchStrategy[float], commission: st.SearchStrategy[float]
) -> st.SearchStrategy[SquareRootCost]:
    return st.builds(SquareRootCost, st.floats(0.0, 20.0), st.floats(0.0, 1.0), delta, commission, st.floats(0.0, 2.0))


@st.composite
def calibrated(draw: st.DrawFn) -> CalibratedCost:
    """Some symbols in each bucket, some in none."""
    shared = st.just(draw(st.floats(0.1, 1.0))), st.just(draw(st.floats(0.0, 5.0)))
    book, *buckets = draw(st.lists(square_roots(*shared), min_size=2, max_size=4))
    bucket = draw(st.dictionaries(st.sampled_from(NAMES), st.integers(0, len(buckets) - 1)))
    return CalibratedCost("drawn", book, tuple(buckets), bucket)


models = st.one_of(
    st.builds(ProportionalCost, st.floats(0.0, 50.0)),
    square_roots(st.floats(0.1, 1.0), st.floats(0.0, 5.0)),
    calibrated(),
)
trades = st.tuples(
    st.sampled_from(NAMES),
    st.floats(-0.5, 0.5).filter(lambda q: abs(q) > 1e-4),
    st.floats(1.0, 900.0),
    st.one_of(st.none(), st.floats(1e4, 1e8)),
    st.one_of(st.just(math.nan), st.floats(0.001, 0.1)),
)
Trade = tuple[str, float, float, float | None, float]


@settings(max_examples=400, deadline=None)
@given(models, st.lists(trades, min_size=1, max_size=6))
def test_the_estimate_is_what_the_venue_books(model: CostModel, asked: Sequence[Trade]) -> None:
    booked, rounding, shares = 0.0, 0.0, []
    for symbol, share, price, volume, volatility in asked:
        instrument = Instrument(symbol, symbol, AssetClass.EQUITY, Decimal("0.000001"), Decimal(0), adv=volume)
        at, side = to_decimal(round(price, 4)), Side.BUY if share > 0.0 else Side.SELL
        quantity = to_decimal(round(abs(share) * EQUITY / float(at), 6))
        cash = expected_cash(model, instrument, side, quantity, at, MarketConditions({symbol: volatility}))
        booked += float((quantity * at if side is Side.SELL else -quantity * at) - cash)
        # A fee is rounded up to a cent, a price to a millionth.
        rounding += 0.01 + 1e-6 * float(quantity)
        shares.append(math.copysign(float(quantity * at) / EQUITY, share))
    costs = trading_costs(
        model,
        [symbol for symbol, *_ in asked],
        EQUITY,
        np.array([round(price, 4) for _, _, price, *_ in asked]),
        np.array([math.nan if volume is None else volume for *_, volume, _ in asked]),
        np.array([volatility for *_, volatility in asked]),
    )
    # No venue pays less than nothing, whatever a sale of many days' volume does to the price.
    sizes = np.abs(shares)
    each = costs.linear * sizes + costs.power * sizes**costs.exponent + costs.square * sizes**2
    assume((each < sizes).all())
    # The commission is of what was paid, slippage included.
    estimate = costs.of(np.array(shares)) * EQUITY
    commission = getattr(getattr(model, "book", model), "commission_bps", 0.0) * 1e-4
    assert booked == pytest.approx(estimate, abs=rounding + 2.0 * commission * estimate)


def test_the_permanent_term_is_the_square_of_the_trade_and_known_by_hand() -> None:
    # A trade of all of a million at 50 is 20,000 units, a fifth of the volume: 0.4 / 2 * 2 % * 0.2 = 8 basis points.
    model = SquareRootCost(half_spread_bps=0.0, eta=0.0, commission_bps=0.0, permanent=0.4)
    costs = trading_costs(model, ["KO"], EQUITY, np.array([50.0]), np.array([1e5]), np.array([0.02]))
    assert costs.square == pytest.approx(8e-4)
    assert costs.of(np.array([-0.5])) == pytest.approx(2e-4)


def test_each_symbol_has_the_costs_of_its_bucket() -> None:
    book, liquid, thin = (SquareRootCost(spread, eta, permanent=gamma) for spread, eta, gamma in (
        (2.0, 0.3, 0.2), (1.0, 0.1, 0.0), (8.0, 0.5, 0.6)
    ))  # fmt: skip
    model = CalibratedCost("one", book, (liquid, thin), {"KO": 0, "XOM": 1})
    one = np.ones(3)
    costs = trading_costs(model, ["XOM", "MSFT", "KO"], 1.0, one, one, 0.02 * one)
    np.testing.assert_allclose(costs.linear, [8.5e-4, 2.5e-4, 1.5e-4])
    np.testing.assert_allclose(costs.power, [0.01, 0.006, 0.002])
    np.testing.assert_allclose(costs.square, [0.006, 0.002, 0.0])
    assert costs.exponent == 1.5


@pytest.mark.parametrize("model", [SquareRootCost(), ProportionalCost()])
def test_what_nobody_trades_in_is_refused_by_name(model: CostModel) -> None:
    with pytest.raises(NoVolume, match="XOM: an average daily volume of 0 is not above 0"):
        trading_costs(model, ["KO", "XOM"], EQUITY, np.ones(2), np.array([math.nan, 0.0]), np.full(2, 0.02))


def test_a_model_of_ones_own_is_for_the_venue_only() -> None:
    class Mine:
        def slippage(self, symbol: str, notional: float, participation: float, volatility: float) -> float:
            return 0.0

        def fee(self, notional: Decimal) -> Decimal:
            return Decimal(0)

    with pytest.raises(ConfigurationError, match="Mine is not one that an optimiser knows"):
        trading_costs(Mine(), ["X"], EQUITY, np.ones(1), np.ones(1), np.ones(1))
