"""What the book is worth: at the prices of this moment for a decision, at its closes for the record.

A holding without a price that can be believed counts at its last close, and one that never had a price counts
nothing. Money that people brought or took is neither profit nor loss, so the figures of the last close are carried
forward past it.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from decimal import Decimal

import numpy as np

from ordinis.domain.canonical import to_decimal
from ordinis.domain.market import SessionClosed
from ordinis.domain.portfolio import ZERO, PortfolioSnapshot, Valuation, carried
from ordinis.execution.intents import OrderEngine
from ordinis.execution.prices import believed
from ordinis.execution.reconcile import known
from ordinis.governance.breakers import restarted
from ordinis.ports import Ledger, MarketView, PriceHistory, UnitOfWork

logger = logging.getLogger(__name__)


def standing(engine: OrderEngine, symbols: Sequence[str], closes: Mapping[str, Decimal]) -> PortfolioSnapshot:
    """The book at the prices that can be traded on now.

    Args:
        symbols: what else is quoted, besides the holdings.
        closes: last close by symbol.

    Raises:
        BrokerUnavailable: it gave no quotes.
    """
    with engine.ledger.begin(write=False) as unit:
        cash, holdings = unit.book.cash(), unit.book.holdings()
        traded = unit.book.last_traded()
        previous, peak = _carried(unit, closes)
    quotes = known(engine.broker.quotes(sorted({*symbols, *holdings})), "quotes")
    prices = {s: quote.price for s, quote in quotes.items() if believed(quote.price, closes.get(s))}
    for symbol in (symbol for symbol in holdings if symbol not in prices and symbol in closes):
        prices[symbol] = closes[symbol]
        told = f"quote {quotes[symbol].price} not believed" if symbol in quotes else "no quote"
        logger.warning("%s symbol=%s: valued at its last close", told, symbol)
    return PortfolioSnapshot(
        account=engine.ledger.account,
        as_of=engine.clock.now(),
        cash=cash,
        holdings=_priced(holdings, prices),
        prices=prices,
        peak_equity=peak,
        previous_equity=previous,
        last_traded=dict(traded),
    )


def value(ledger: Ledger, event: SessionClosed, closes: Mapping[str, Decimal]) -> None:
    """Store what the book is worth at the closes of a session, once."""
    with ledger.begin() as unit:
        # A person's command may book what the broker told meanwhile: it must be in the value and its marks, or in none.
        unit.book.hold_still()
        cash, holdings = unit.book.cash(), _priced(unit.book.holdings(), closes)
        gross = sum((units * closes[symbol] for symbol, units in holdings.items()), ZERO)
        equity = cash + gross
        _, before = _carried(unit, closes)
        moved, told = unit.book.last_movement(), unit.book.last_event()
        row = Valuation(ledger.account, event.session, event.at, equity, cash, gross, max(before, equity), moved, told)
        if unit.book.value(row):
            unit.commit()


def last_closes(history: MarketView | PriceHistory) -> dict[str, Decimal]:
    """The latest close of each symbol that has one."""
    found = {}
    for column, symbol in enumerate(history.symbols):
        [seen] = np.nonzero(np.isfinite(history.closes[:, column]))
        if len(seen):
            found[symbol] = to_decimal(history.closes[seen[-1], column])
    return found


def _carried(unit: UnitOfWork, closes: Mapping[str, Decimal]) -> tuple[Decimal, Decimal]:
    """Equity at the last close and the peak, as later flows and a person's resumption leave them."""
    last = unit.book.last_valuation()
    return carried(last, unit.book.movements(last) if last else (), closes, restarted(unit.control))


def _priced(holdings: Mapping[str, Decimal], prices: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """The holdings that have a price: one that never had any, such as a spin-off, counts nothing and is left alone."""
    unknown = sorted(holdings.keys() - prices.keys())
    if unknown:
        logger.error("never had a price symbols=%s: held at no value, and not traded", ",".join(unknown))
    return {symbol: units for symbol, units in holdings.items() if symbol in prices}
