"""A broker that fills market orders at the tape's price and charges the project's cost model.

An order is executed in the parts, and at the delays, that its `Execution` plan says; as it comes, whole and at once,
at

    price * (1 + slippage)   for a buy,   price * (1 - slippage)   for a sale

of the session in which the part is due, rounded against the customer to a millionth (executions are reported finer
than quotes), plus a commission. A day order ends with its session. A cash account: what is bought must be paid, what
is sold must be held, and open orders count as if they filled. The book is committed before the reply, and a client
order id that is known gets the first order back: sending twice is harmless.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction

from ordinis.brokers.book import Due, VenueBook
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

CENT = Decimal("0.01")
OPEN = (OrderState.WORKING, OrderState.PARTIAL)


@dataclass(frozen=True)
class Part:
    """A share of an order, and how long after its acceptance it is executed."""

    share: Fraction
    after: timedelta = timedelta(0)


AT_ONCE = (Part(Fraction(1)),)
BUSTED, CORRECTED = AMENDED = ("-bust", "-corrected")
"""How the ids of an execution's reversal and of its correction end."""


class SimulatedBroker:
    def __init__(
        self,
        book: VenueBook,
        tape: PriceTape,
        instruments: Mapping[str, Instrument],
        costs: CostModel,
        clock: Clock,
        calendar: TradingCalendar,
        parts: Callable[[OrderRequest], Sequence[Part]] = lambda request: AT_ONCE,
        halted_until: Callable[[str, datetime], datetime | None] = lambda symbol, at: None,
    ) -> None:
        """`parts` says how an order is executed; `halted_until` when the halt of a symbol ends, None without one."""
        self._book, self._tape, self._instruments = book, tape, instruments
        self._costs, self._clock, self._calendar = costs, clock, calendar
        self._parts, self._halted_until = parts, halted_until
        self._next_due = book.next_due()

    def open_account(self, cash: Decimal, at: datetime) -> None:
        """Deposit the opening cash; a second call changes nothing."""
        with self._book.transaction():
            self._book.move(Movement(self._book.account, "opening-deposit", "deposit", cash, at))

    # queries

    def account(self) -> Known[BrokerAccount]:
        self._settle()
        return Known(BrokerAccount(self._book.account, self._book.cash(), True, self._book.suspended()))

    def positions(self) -> Known[Mapping[str, Decimal]]:
        self._settle()
        return Known(self._book.positions())

    def order(self, client_order_id: str) -> Known[BrokerOrder | None]:
        self._settle()
        return Known(self._book.order(client_order_id))

    def open_orders(self) -> Known[Sequence[BrokerOrder]]:
        self._settle()
        return Known(self._book.open_orders())

    def closed_orders(self, since: datetime) -> Known[Sequence[BrokerOrder]]:
        self._settle()
        return Known(self._book.closed_orders(since))

    def fills(self, since: datetime) -> Known[Sequence[Fill]]:
        self._settle()
        return Known(self._book.fills(since))

    def movements(self, since: datetime) -> Known[Sequence[Movement]]:
        return Known(self._book.movements(since))

    def quotes(self, symbols: Sequence[str]) -> Known[Mapping[str, Quote]]:
        now = self._clock.now()
        prices = self._tape.prices(self._calendar.session_of(now))
        return Known(
            {
                symbol: Quote(symbol, prices[symbol], now, halted=self._halted_until(symbol, now) is not None)
                for symbol in symbols
                if symbol in prices
            }
        )

    def now(self) -> Known[datetime]:
        return Known(self._clock.now())

    def capabilities(self) -> Capabilities:
        return Capabilities(fractional=True, dedupes_client_ids=True, lookups_are_current=True)

    # commands

    def submit(self, request: OrderRequest) -> SubmitOutcome:
        self._settle()
        known = self._book.order(request.client_order_id)
        if known is not None:
            same = (known.symbol, known.side, known.quantity) == (request.symbol, request.side, request.quantity)
            return Accepted(known) if same else Refused("the client order id belongs to another order")
        now = self._clock.now()
        reason = self._objection(request, now)
        if reason:
            return Refused(reason)
        order = BrokerOrder(
            broker_order_id="sim-" + hashlib.sha256(request.client_order_id.encode()).hexdigest()[:20],
            client_order_id=request.client_order_id,
            symbol=request.symbol,
            side=request.side,
            quantity=request.quantity,
            filled_quantity=ZERO,
            state=OrderState.WORKING,
            submitted_at=now,
        )
        with self._book.transaction():
            self._book.add_order(order, self._schedule(request, now))
            self._execute_due(now)
        return Accepted(self._book.order(request.client_order_id) or order)

    def cancel(self, client_order_id: str) -> SubmitOutcome:
        self._settle()
        order = self._book.order(client_order_id)
        if order is None:
            return Refused("no such order")
        if order.state not in OPEN:
            return Refused(f"the order is {order.state}")
        with self._book.transaction():
            self._book.end(client_order_id, OrderState.CANCELED)
        return Accepted(replace(order, state=OrderState.CANCELED))

    def cancel_all(self) -> Known[int]:
        self._settle()
        open_orders = self._book.open_orders()
        with self._book.transaction():
            for order in open_orders:
                self._book.end(order.client_order_id, OrderState.CANCELED)
        return Known(len(open_orders))

    def suspend_trading(self, suspended: bool) -> Known[bool]:
        self._book.suspend(suspended)
        return Known(suspended)

    # what happens to an account without the customer's doing

    def bust(self, exec_id: str, corrected: Decimal | None = None) -> bool:
        """Take an execution back, and with a `corrected` price execute it anew; False when it cannot be undone now."""
        self._settle()
        now, fill = self._clock.now(), self._book.execution(exec_id)
        if fill is None or fill.reverses or self._book.execution(exec_id + BUSTED):
            return False
        opposite = Side.SELL if fill.side is Side.BUY else Side.BUY
        reversal = replace(fill, exec_id=exec_id + BUSTED, side=opposite, fee=-fill.fee, at=now, reverses=exec_id)
        again = None if corrected is None else replace(fill, exec_id=exec_id + CORRECTED, price=corrected, at=now)
        units = reversal.units + (again.units if again else ZERO)
        cash = reversal.cash + (again.cash if again else ZERO)
        if self._book.positions().get(fill.symbol, ZERO) + units < ZERO or self._book.cash() + cash < ZERO:
            return False
        with self._book.transaction():
            self._book.execute(reversal)
            if again is not None:
                self._book.execute(again)
        return True

    def split(self, activity_id: str, symbol: str, ratio: Decimal) -> None:
        """Every unit held becomes `ratio` units; what is open in the symbol is cancelled first."""
        self._settle()
        held = self._book.positions().get(symbol, ZERO)
        lot = self._instruments[symbol].lot
        gained = (held * (ratio - 1) / lot).to_integral_value(rounding="ROUND_DOWN") * lot
        with self._book.transaction():
            for order in self._book.open_orders():
                if order.symbol == symbol:
                    self._book.end(order.client_order_id, OrderState.CANCELED)
            now = self._clock.now()
            self._book.move(Movement(self._book.account, activity_id, "split", ZERO, now, symbol, gained))

    def dividend(self, activity_id: str, symbol: str, per_unit: Decimal) -> None:
        """Pay a cash dividend on what is held."""
        self._settle()
        paid = (self._book.positions().get(symbol, ZERO) * per_unit).quantize(CENT, rounding="ROUND_DOWN")
        with self._book.transaction():
            self._book.move(Movement(self._book.account, activity_id, "dividend", paid, self._clock.now(), symbol))

    # how an order is taken and filled

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
        if self._halted_until(request.symbol, now) is not None:
            return f"trading in {request.symbol} is halted"
        if request.quantity <= 0 or request.quantity % instrument.lot:
            return f"quantity {request.quantity} is not a positive multiple of the lot {instrument.lot}"
        prices = self._tape.prices(self._calendar.session_of(now))
        if request.symbol not in prices:
            return f"{request.symbol} has no price in this session"
        others = self._book.open_orders()
        if request.side is Side.SELL:
            held = self._book.positions().get(request.symbol, ZERO)
            free = held - sum((_rest(o) for o in others if o.symbol == request.symbol and o.side is Side.SELL), ZERO)
            return f"short sale: {request.quantity} asked, {free} held" if request.quantity > free else ""
        needed = -self._fill(request.client_order_id, request.symbol, Side.BUY, request.quantity, 1, now).cash
        reserved = sum((_rest(o) * prices.get(o.symbol, ZERO) for o in others if o.side is Side.BUY), ZERO)
        available = self._book.cash() - reserved
        return f"insufficient cash: {needed} needed, {available} available" if needed > available else ""

    def _schedule(self, request: OrderRequest, now: datetime) -> list[Due]:
        """When which part is executed; the last part of a whole plan takes what rounding left."""
        lot = self._instruments[request.symbol].lot
        lots = left = int(request.quantity / lot)
        close = self._calendar.closes(self._calendar.session_of(now))
        parts, due = self._parts(request), list[Due]()
        whole = sum(part.share for part in parts) >= 1
        for number, part in enumerate(parts, start=1):
            taken = left if whole and number == len(parts) else min(left, int(lots * part.share))
            if taken and now + part.after <= close:
                due.append(Due(request.client_order_id, number, now + part.after, taken * lot))
                left -= taken
        due.append(Due(request.client_order_id, len(parts) + 1, close, None))
        return due

    def _settle(self) -> None:
        """Let everything happen that is due by now."""
        now = self._clock.now()
        if self._next_due is not None and self._next_due <= now:
            with self._book.transaction():
                self._execute_due(now)

    def _execute_due(self, now: datetime) -> None:
        while (item := self._book.due(now)) is not None:
            order = self._book.order(item.client_order_id)
            resumes = None if order is None else self._halted_until(order.symbol, item.at)
            if order is None or item.quantity is None:
                self._book.end(item.client_order_id, OrderState.EXPIRED)
            elif resumes is not None:
                self._book.postpone(replace(item, at=resumes))
            else:
                self._book.done(item)
                fill = self._fill(order.client_order_id, order.symbol, order.side, item.quantity, item.number, item.at)
                if fill.cash + self._book.cash() < ZERO:
                    self._book.end(order.client_order_id, OrderState.CANCELED)
                else:
                    self._book.execute(fill)
        self._next_due = self._book.next_due()

    def _fill(self, client_id: str, symbol: str, side: Side, quantity: Decimal, number: int, at: datetime) -> Fill:
        session = self._calendar.session_of(at)
        executed = execution_price(
            self._costs,
            self._instruments[symbol],
            side,
            quantity,
            self._tape.prices(session)[symbol],
            self._tape.conditions(session),
        )
        return Fill(
            account=self._book.account,
            exec_id=f"{client_id}-{number}",
            client_order_id=client_id,
            symbol=symbol,
            side=side,
            quantity=quantity,
            price=executed,
            fee=self._costs.fee(quantity * executed),
            at=at,
        )


def _rest(order: BrokerOrder) -> Decimal:
    return order.quantity - order.filled_quantity
