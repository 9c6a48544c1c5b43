"""One cost model: what the optimiser expects of trades is what the simulated venue books for them."""

from __future__ import annotations

import math
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordinis.costs.execution import expected_cash
from ordinis.costs.models import ProportionalCost, SquareRootCost
from ordinis.domain.canonical import to_decimal
from ordinis.domain.instruments import AssetClass, Instrument
from ordinis.domain.orders import Side
from ordinis.errors import ConfigurationError
from ordinis.optimize.trading_costs import trading_costs
from ordinis.ports import CostModel

EQUITY = 1_000_000.0
models = st.one_of(
    st.builds(ProportionalCost, st.floats(0.0, 50.0)),
    st.builds(SquareRootCost, st.floats(0.0, 20.0), st.floats(0.0, 1.0), st.floats(0.1, 1.0), st.floats(0.0, 5.0)),
)
trades = st.tuples(
    st.floats(-0.5, 0.5).filter(lambda q: abs(q) > 1e-4),
    st.floats(1.0, 900.0),
    st.one_of(st.none(), st.floats(1e4, 1e8)),
    st.one_of(st.just(math.nan), st.floats(0.001, 0.1)),
)


@settings(max_examples=300, deadline=None)
@given(models, st.lists(trades, min_size=1, max_size=6))
def test_the_estimate_is_what_the_venue_books(
    model: CostModel, asked: list[tuple[float, float, float | None, float]]
) -> None:
    booked, rounding, shares = 0.0, 0.0, []
    for share, price, volume, volatility in asked:
        instrument = Instrument("X", "X", AssetClass.EQUITY, Decimal("0.000001"), Decimal(0), adv=volume)
        at, side = to_decimal(round(price, 4)), Side.BUY if share > 0.0 else Side.SELL
        quantity = to_decimal(round(abs(share) * EQUITY / float(at), 6))
        cash = expected_cash(model, instrument, side, quantity, at, volatility)
        booked += float((quantity * at if side is Side.SELL else -quantity * at) - cash)
        # A fee is rounded up to a cent, a price to a millionth.
        rounding += 0.01 + 1e-6 * float(quantity)
        shares.append(math.copysign(float(quantity * at) / EQUITY, share))
    costs = trading_costs(
        model,
        EQUITY,
        np.array([round(price, 4) for _, price, *_ in asked]),
        np.array([math.nan if volume is None else volume for *_, volume, _ in asked]),
        np.array([volatility for *_, volatility in asked]),
    )
    # The commission is of what was paid, slippage included.
    estimate = costs.of(np.array(shares)) * EQUITY
    commission = getattr(model, "commission_bps", 0.0) * 1e-4
    assert booked == pytest.approx(estimate, abs=rounding + 2.0 * commission * estimate)


def test_a_model_of_ones_own_is_for_the_venue_only() -> None:
    class Mine:
        def slippage(self, notional: float, participation: float, volatility: float) -> float:
            return 0.0

        def fee(self, notional: Decimal) -> Decimal:
            return Decimal(0)

    with pytest.raises(ConfigurationError, match="Mine is not one that an optimiser knows"):
        trading_costs(Mine(), EQUITY, np.ones(1), np.ones(1), np.ones(1))
