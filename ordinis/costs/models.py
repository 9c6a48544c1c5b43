"""Trading costs: half spread, square-root impact, commission.

A trade of Q shares in a name that trades V a day, with session volatility sigma, costs in its price

    half_spread + eta * sigma * (Q / V) ** delta        (fraction of the notional)

and a commission in cash. The square-root form with delta near 1/2 is the empirical law of impact (Almgren et al.
2005 fit 0.6, later work 0.5); the linear model of Almgren and Chriss (2000) is something else. Permanent impact is
left out: at our participation it is below the half spread. Where volume or volatility is unknown the impact term
is left out, and the caller can see that from the NaN it passed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from decimal import ROUND_UP, Decimal

from ordinis.domain.canonical import to_decimal

CENT = Decimal("0.01")
BASIS_POINT = 1e-4


@dataclass(frozen=True)
class SquareRootCost:
    """The default: a large US stock pays about one basis point of half spread."""

    half_spread_bps: float = 1.0
    eta: float = 0.3
    """Impact coefficient, a pure number; nightly calibration replaces it with one fitted to the book's own fills."""
    delta: float = 0.5
    commission_bps: float = 0.5

    def slippage(self, notional: float, participation: float, volatility: float) -> float:
        impact = self.eta * volatility * participation**self.delta
        return self.half_spread_bps * BASIS_POINT + (impact if math.isfinite(impact) else 0.0)

    def fee(self, notional: Decimal) -> Decimal:
        return _commission(notional, self.commission_bps)


@dataclass(frozen=True)
class ProportionalCost:
    """A fixed price for every trade, as the tables of baselines use: ten basis points a side."""

    bps: float = 10.0

    def slippage(self, notional: float, participation: float, volatility: float) -> float:
        return self.bps * BASIS_POINT

    def fee(self, notional: Decimal) -> Decimal:
        return Decimal(0)


def _commission(notional: Decimal, bps: float) -> Decimal:
    return (notional * to_decimal(bps) / 10_000).quantize(CENT, ROUND_UP)
