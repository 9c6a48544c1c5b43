"""What one trade will cost, in money: the same arithmetic for the plan, the simulated venue and the report.

Executions are reported finer than quotes, so a price is rounded to a millionth, against whoever trades.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import numpy as np

from ordinis.domain.canonical import to_decimal
from ordinis.domain.instruments import Instrument
from ordinis.domain.orders import Side
from ordinis.errors import NoVolume
from ordinis.ports import CostModel, FloatArray

PRICE_STEP = Decimal("0.000001")
VOLATILITY_SESSIONS = 21


def participation(symbol: str, quantity: Decimal, adv: float | None) -> float:
    """`quantity` over the volume of an average day; NaN where nobody knows that volume.

    Raises:
        NoVolume: the volume is none, so that no trade is a share of it.
    """
    if adv is None:
        return math.nan
    if adv <= 0.0:
        raise NoVolume(symbol, adv)
    return float(quantity) / adv


def execution_price(
    costs: CostModel,
    instrument: Instrument,
    side: Side,
    quantity: Decimal,
    price: Decimal,
    volatility: float,
    volume: float | None = None,
) -> Decimal:
    """The price at which `quantity` trades when the market stands at `price`.

    Args:
        volatility: of a session's return.
        volume: units of an average day, as measured; None, or 0 where nothing was traded, for what the instrument's
            reference says.
    """
    share = participation(instrument.symbol, quantity, volume or instrument.adv)
    slippage = to_decimal(costs.slippage(instrument.symbol, float(quantity * price), share, volatility))
    if side is Side.BUY:
        return (price * (1 + slippage)).quantize(PRICE_STEP, ROUND_CEILING)
    # However little is traded in it, nobody pays to be rid of it.
    return max((price * (1 - slippage)).quantize(PRICE_STEP, ROUND_FLOOR), PRICE_STEP)


def expected_cash(
    costs: CostModel,
    instrument: Instrument,
    side: Side,
    quantity: Decimal,
    price: Decimal,
    volatility: float,
    volume: float | None = None,
) -> Decimal:
    """Signed change of the cash balance by a trade, slippage and fee included: negative for a buy."""
    notional = quantity * execution_price(costs, instrument, side, quantity, price, volatility, volume)
    return (notional if side is Side.SELL else -notional) - costs.fee(notional)


def measured_volumes(symbols: Sequence[str], volumes: FloatArray | None) -> Mapping[str, float]:
    """Mean of the last 21 sessions in `volumes` (T, N), by symbol; without those that lack one."""
    if volumes is None or len(volumes) < VOLATILITY_SESSIONS:
        return {}
    # In one layout, so that the same numbers have the same mean to the last bit.
    means = np.ascontiguousarray(volumes[-VOLATILITY_SESSIONS:]).mean(axis=0)
    return {symbol: mean for symbol, mean in zip(symbols, means.tolist(), strict=True) if mean == mean}


def session_volatility(symbols: tuple[str, ...], closes: FloatArray) -> Mapping[str, float]:
    """Standard deviation of the last 21 simple returns in `closes` (T, N), by symbol; NaN where one is missing."""
    recent = np.ascontiguousarray(closes[-VOLATILITY_SESSIONS - 1 :])
    if len(recent) <= VOLATILITY_SESSIONS:
        return dict.fromkeys(symbols, math.nan)
    deviations = np.std(recent[1:] / recent[:-1] - 1.0, axis=0, ddof=1)
    return dict(zip(symbols, deviations.tolist(), strict=True))
