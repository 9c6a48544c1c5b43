"""What one trade will cost, in money: the same arithmetic for the plan, the simulated venue and the report.

Executions are reported finer than quotes, so a price is rounded to a millionth, against whoever trades.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

from ordinis.costs.conditions import MarketConditions
from ordinis.domain.canonical import to_decimal
from ordinis.domain.instruments import Instrument
from ordinis.domain.orders import Side
from ordinis.ports import CostModel

PRICE_STEP = Decimal("0.000001")


def execution_price(
    costs: CostModel,
    instrument: Instrument,
    side: Side,
    quantity: Decimal,
    price: Decimal,
    conditions: MarketConditions,
) -> Decimal:
    """The price at which `quantity` trades when the market stands at `price`."""
    symbol = instrument.symbol
    share = conditions.participation(symbol, quantity, instrument.adv)
    slippage = to_decimal(costs.slippage(symbol, float(quantity * price), share, conditions.sigma(symbol)))
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
    conditions: MarketConditions,
) -> Decimal:
    """Signed change of the cash balance by a trade, slippage and fee included: negative for a buy."""
    notional = quantity * execution_price(costs, instrument, side, quantity, price, conditions)
    return (notional if side is Side.SELL else -notional) - costs.fee(notional)
