"""The baselines by name: what any allocator has to beat, and where they stand on the sample.

Eight strategies on the same 20 stocks, dates and costs (10 basis points a side), decided on closes before the
session and traded at its prices. The figures beside them are those that the design recorded, by another program that
traded at the very close it had seen; they are "about", and a difference in the second decimal is the later price.
The stocks were chosen in hindsight, so the level flatters all of them alike; only differences mean something.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal

from ordinis.allocation.exposure import ExposureControl
from ordinis.allocation.naive import EqualWeight, InverseVolatility
from ordinis.allocation.optimal import MeanCVaR, MinimumVariance
from ordinis.costs.models import ProportionalCost
from ordinis.domain.limits import Limits
from ordinis.evaluation.backtest import Backtest, Market, backtest
from ordinis.governance.rulebook import Rulebook
from ordinis.ports import Allocator

FIRST, LAST = date(2000, 1, 3), date(2022, 12, 28)
LOT = Decimal("0.000001")


@dataclass(frozen=True)
class Baseline:
    name: str
    calendar: str
    """How often it may trade."""
    make: Callable[[Limits], Allocator]
    recorded: tuple[float, float, float]
    """Sharpe ratio, annual volatility and largest drawdown in the design's table."""


def _managed(base: Callable[[Limits], Allocator], **exposure: float | str) -> Callable[[Limits], Allocator]:
    return lambda limits: ExposureControl(base(limits), limits, **exposure)  # type: ignore[arg-type]


BASELINES = (
    Baseline("1/N, monthly", "month", EqualWeight, (0.71, 0.195, 0.49)),
    Baseline("inverse volatility, monthly", "month", InverseVolatility, (0.69, 0.175, 0.45)),
    Baseline("minimum variance, monthly", "month", MinimumVariance, (0.69, 0.150, 0.42)),
    Baseline("minimum CVaR 95, monthly", "month", MeanCVaR, (0.72, 0.154, 0.40)),
    Baseline(
        "inverse volatility at 12 % volatility, weekly",
        "week",
        _managed(InverseVolatility, target_volatility=0.12, half_life=20.0, band=0.0, base_calendar="week"),
        (0.79, 0.116, 0.25),
    ),
    Baseline(
        "minimum variance at 12 % volatility, monthly",
        "month",
        _managed(MinimumVariance, target_volatility=0.12, half_life=20.0, band=0.0),
        (0.80, 0.116, 0.30),
    ),
    Baseline(
        "inverse volatility, exposure to 12 % daily",
        "day",
        _managed(InverseVolatility, target_volatility=0.12, half_life=10.0, band=0.15),
        (0.85, 0.110, 0.23),
    ),
    Baseline(
        "minimum variance, exposure to 10 % daily",
        "day",
        _managed(MinimumVariance, target_volatility=0.10, half_life=20.0, band=0.15),
        (0.88, 0.097, 0.20),
    ),
)


def run_baseline(
    baseline: Baseline,
    market: Market,
    rulebook: Rulebook,
    *,
    first: date = FIRST,
    last: date = LAST,
    on_session: Callable[[date], None] = lambda session: None,
) -> Backtest:
    """Back-test `baseline` under the limits of `rulebook`, which should be the research profile, in tiny lots."""
    fine = {symbol: replace(instrument, lot=LOT) for symbol, instrument in market.instruments.items()}
    trading = replace(rulebook.trading, calendar=baseline.calendar)
    return backtest(
        replace(market, instruments=fine),
        baseline.make(rulebook.limits),
        EqualWeight(rulebook.limits),
        replace(rulebook, trading=trading),
        ProportionalCost(10.0),
        first=first,
        last=last,
        on_session=on_session,
    )
