"""A broker that fills market orders at the tape's price and charges the project's cost model.

A market order given while the exchange is open fills at once and whole, at

    price * (1 + slippage)   for a buy,   price * (1 - slippage)   for a sale

rounded against the customer to a millionth (executions are reported finer than quotes), plus a commission. A cash
account: a buy beyond the cash or a sale beyond the holding is refused. The book is committed before the reply, and
a client order id that is known gets the first order back: sending twice is harmless.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal

from ordinis.brokers.book import VenueBook
from ordinis.brokers.tape import PriceTape
from ordinis.clock import TradingCalendar
from ordinis.costs.execution import execution_price
from ordinis.domain.instruments import Instrument
from ordinis.domain.market import Quote
from ordinis.domain.orders import (
    Accepted,
    BrokerOrder,
    Fill,
    Known,
    OrderRequest,
    OrderState,
    OrderType,
    Refused,
    Side,
    SubmitOutcome,
)
from ordinis.domain.portfolio import ZERO, Movement
from ordinis.ports import BrokerAccount, Capabilities, Clock, CostModel


class SimulatedBroker:
    def __init__(
        self,
        book: VenueBook,
        tape: PriceTape,
        instruments: Mapping[str, Instrument],
        costs: CostModel,
        clock: Clock,
        calendar: TradingCalendar,
    ) -> None:
        self._book, self._tape, self._instruments = book, tape, instruments
        self._costs, self._clock, self._calendar = costs, clock, calendar

    def open_account(self, cash: Decimal, at: datetime) -> None:
        """Deposit the opening cash; a second call changes nothing."""
        with self._book.transaction():
            self._book.deposit("opening-deposit", cash, at)

    # queries

    def account(self) -> Known[BrokerAccount]:
        return Known(BrokerAccount(self._book.account, self._book.cash(), True, self._book.suspended()))

    def positions(self) -> Known[Mapping[str, Decimal]]:
        return Known(self._book.positions())

    def order(self, client_order_id: str) -> Known[BrokerOrder | None]:
        return Known(self._book.order(client_order_id))

    def open_orders(self) -> Known[Sequence[BrokerOrder]]:
        return Known(self._book.open_orders())

    def closed_orders(self, since: datetime) -> Known[Sequence[BrokerOrder]]:
        return Known(self._book.closed_orders(since))

    def fills(self, since: datetime) -> Known[Sequence[Fill]]:
        return Known(self._book.fills(since))

    def movements(self, since: datetime) -> Known[Sequence[Movement]]:
        return Known(self._book.movements(since))

    def quotes(self, symbols: Sequence[str]) -> Known[Mapping[str, Quote]]:
        now = self._clock.now()
        prices = self._tape.prices(self._calendar.session_of(now))
        return Known({symbol: Quote(symbol, prices[symbol], now) for symbol in symbols if symbol in prices})

    def now(self) -> Known[datetime]:
        return Known(self._clock.now())

    def capabilities(self) -> Capabilities:
        return Capabilities(fractional=True, dedupes_client_ids=True, lookups_are_current=True)

    # commands

    def submit(self, request: OrderRequest) -> SubmitOutcome:
        known = self._book.order(request.client_order_id)
        if known is not None:
            same = (known.symbol, known.side, known.quantity) == (request.symbol, request.side, request.quantity)
            return Accepted(known) if same else Refused("the client order id belongs to another order")
        now = self._clock.now()
        reason = self._objection(request, now)
        if reason:
            return Refused(reason)
        fill = self._fill(request, now)
        if fill.cash + self._book.cash() < ZERO:
            return Refused(f"insufficient cash: {-fill.cash} needed, {self._book.cash()} available")
        order = BrokerOrder(
            broker_order_id="sim-" + hashlib.sha256(request.client_order_id.encode()).hexdigest()[:20],
            client_order_id=request.client_order_id,
            symbol=request.symbol,
            side=request.side,
            quantity=request.quantity,
            filled_quantity=request.quantity,
            state=OrderState.FILLED,
            submitted_at=now,
        )
        with self._book.transaction():
            self._book.add_order(order)
            self._book.execute(fill)
        return Accepted(order)

    def cancel(self, client_order_id: str) -> SubmitOutcome:
        order = self._book.order(client_order_id)
        if order is None:
            return Refused("no such order")
        if order.state not in (OrderState.WORKING, OrderState.PARTIAL):
            return Refused(f"the order is {order.state}")
        with self._book.transaction():
            self._book.set_state(client_order_id, OrderState.CANCELED)
        return Accepted(order)

    def cancel_all(self) -> Known[int]:
        open_orders = self._book.open_orders()
        with self._book.transaction():
            for order in open_orders:
                self._book.set_state(order.client_order_id, OrderState.CANCELED)
        return Known(len(open_orders))

    def suspend_trading(self, suspended: bool) -> Known[bool]:
        self._book.suspend(suspended)
        return Known(suspended)

    # how an order fills

    def _objection(self, request: OrderRequest, now: datetime) -> str:
        """Why the venue will not have this order; empty when it will."""
        instrument = self._instruments.get(request.symbol)
        if self._book.suspended():
            return "trading is suspended on this account"
        if request.type is not OrderType.MARKET:
            return f"{request.type} orders are not taken here"
        if instrument is None or not instrument.tradable:
            return f"{request.symbol} is not traded here"
        if not self._calendar.is_open(now):
            return "the exchange is closed"
        if request.quantity <= 0 or request.quantity % instrument.lot:
            return f"quantity {request.quantity} is not a positive multiple of the lot {instrument.lot}"
        if request.symbol not in self._tape.prices(self._calendar.session_of(now)):
            return f"{request.symbol} has no price in this session"
        if request.side is Side.SELL and request.quantity > self._book.positions().get(request.symbol, ZERO):
            return f"short sale: {request.quantity} asked, {self._book.positions().get(request.symbol, ZERO)} held"
        return ""

    def _fill(self, request: OrderRequest, now: datetime) -> Fill:
        session = self._calendar.session_of(now)
        instrument = self._instruments[request.symbol]
        executed = execution_price(
            self._costs,
            instrument,
            request.side,
            request.quantity,
            self._tape.prices(session)[request.symbol],
            self._tape.volatility(session)[request.symbol],
        )
        return Fill(
            account=self._book.account,
            exec_id=f"{request.client_order_id}-1",
            client_order_id=request.client_order_id,
            symbol=request.symbol,
            side=request.side,
            quantity=request.quantity,
            price=executed,
            fee=self._costs.fee(request.quantity * executed),
            at=now,
        )
