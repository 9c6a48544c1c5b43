"""A back-test: the actor's own trading cycle under a clock that a price history moves.

There is no second engine: the same decisions, gates, orders, venue and ledger as in live trading, with a ledger in
memory unless a URL is given. A decision for session t sees closes before t and trades at the closes of t; the venue
charges the cost model; returns are those of the ledger's valuations. Where a breaker halts trading, a back-test has an
operator who resumes at the next session, when the books agree: what the breaker saw is then judged anew, a drawdown
from where the book stands.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

import numpy as np

from ordinis.brokers.book import VenueBook
from ordinis.brokers.simulated import SimulatedBroker
from ordinis.brokers.tape import PriceTape
from ordinis.clock import ReplayClock, TradingCalendar
from ordinis.data.live_window import LiveWindow
from ordinis.domain.canonical import to_decimal
from ordinis.domain.instruments import Instrument
from ordinis.domain.limits import TradingState
from ordinis.domain.market import Bar, MarketEvent, SessionClosed, TradingWindow
from ordinis.domain.orders import Known
from ordinis.errors import BrokerUnavailable, DataUnavailable, NotReconciled
from ordinis.execution.actor import Actor, assemble
from ordinis.execution.intents import OrderEngine
from ordinis.execution.reconcile import reconcile
from ordinis.governance.breakers import DRAWDOWN
from ordinis.governance.rulebook import Rulebook
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import Allocator, ControlRow, CostModel, FloatArray, Ledger, PriceHistory

logger = logging.getLogger(__name__)
OPERATOR = "the back-test's operator"


@dataclass(frozen=True)
class Market:
    """What a back-test trades on."""

    history: PriceHistory
    instruments: dict[str, Instrument]
    calendar: TradingCalendar

    def events(self, first: date, last: date) -> Iterator[MarketEvent]:
        """Trading windows and closes of the sessions from `first` to `last`."""
        for row, session in enumerate(self.history.sessions):
            if not first <= session <= last:
                continue
            yield TradingWindow(session, self.calendar.trading_instant(session))
            yield SessionClosed(session, self.calendar.closes(session), self._bars(row))

    def _bars(self, row: int) -> tuple[Bar, ...]:
        history = self.history
        closes = history.closes[row]
        volumes = np.full(len(closes), np.nan) if history.volumes is None else history.volumes[row]
        return tuple(
            Bar(
                symbol,
                history.sessions[row],
                to_decimal(close),
                volume=to_decimal(volume) if volume == volume else None,
            )
            for symbol, close, volume in zip(history.symbols, closes.tolist(), volumes.tolist(), strict=True)
            if np.isfinite(close)
        )

    def before(self, session: date) -> PriceHistory:
        """The history up to, and without, `session`."""
        rows = sum(day < session for day in self.history.sessions)
        volumes = self.history.volumes
        return PriceHistory(
            self.history.symbols,
            self.history.sessions[:rows],
            self.history.closes[:rows],
            None if volumes is None else volumes[:rows],
        )


@dataclass(frozen=True)
class Backtest:
    """What came of it; the ledger answers every other question."""

    name: str
    ledger: Ledger
    sessions: tuple[date, ...]
    equity: FloatArray
    """(T,) at each session's close, in currency."""
    opening_cash: float

    @property
    def returns(self) -> FloatArray:
        """(T,) of each session, the first from the opening cash."""
        before = np.concatenate([[self.opening_cash], self.equity[:-1]])
        return np.asarray(self.equity / before - 1.0, dtype=np.float64)


def backtest(
    market: Market,
    allocator: Allocator,
    baseline: Allocator,
    rulebook: Rulebook,
    costs: CostModel,
    *,
    first: date,
    last: date,
    opening_cash: Decimal = Decimal(1_000_000),
    account: str = "sim",
    ledger: Ledger | None = None,
    on_session: Callable[[date], None] = lambda session: None,
) -> Backtest:
    """Trade `allocator` from `first` to `last`, sessions of `market.history`.

    Raises:
        DataUnavailable: the history has no session before `first`, or none in between.
    """
    sessions = [session for session in market.history.sessions if first <= session <= last]
    if not sessions or market.history.sessions[0] >= sessions[0]:
        raise DataUnavailable("price history", f"sessions before and from {first} to {last}")
    ledger = ledger or SqlLedger("sqlite://", account)
    clock = ReplayClock(market.calendar.opens(sessions[0]))
    broker = SimulatedBroker(
        VenueBook(":memory:", account), PriceTape(market.history), market.instruments, costs, clock, market.calendar
    )
    broker.open_account(opening_cash, clock.now())
    window = LiveWindow(market.history.symbols, market.calendar)
    window.seed(market.before(sessions[0]))
    actor = assemble(
        ledger=ledger,
        broker=broker,
        clock=clock,
        calendar=market.calendar,
        instruments=market.instruments,
        rulebook=rulebook,
        costs=costs,
        allocator=allocator,
        baseline=baseline,
        window=window,
        symbols=market.history.symbols,
    )
    _run(actor, market, clock, sessions[0], sessions[-1], on_session)
    with ledger.begin(write=False) as unit:
        valuations = unit.book.valuations()
    return Backtest(
        name=allocator.name,
        ledger=ledger,
        sessions=tuple(row.session for row in valuations),
        equity=np.array([float(row.equity) for row in valuations]),
        opening_cash=float(opening_cash),
    )


def _run(
    actor: Actor,
    market: Market,
    clock: ReplayClock,
    first: date,
    last: date,
    on_session: Callable[[date], None],
) -> None:
    actor.start()
    for event in market.events(first, last):
        clock.advance(max(event.at, clock.now()))
        if isinstance(event, TradingWindow):
            _resume(actor)
        actor.on(event)
        if isinstance(event, SessionClosed):
            on_session(event.session)


def _stuck(engine: OrderEngine, row: ControlRow) -> bool:
    """True when a drawdown waits for sales of what nobody quotes any more."""
    if row.state is not TradingState.REDUCING or row.by != DRAWDOWN:
        return False
    with engine.ledger.begin(write=False) as unit:
        held = sorted(unit.book.holdings())
    quotes = engine.broker.quotes(held)
    return bool(held) and isinstance(quotes, Known) and not quotes.value


def _resume(actor: Actor) -> None:
    """What the operator does before each session."""
    engine = actor.engine
    with engine.ledger.begin(write=False) as unit:
        row = unit.control.state()
    if row is None or not (row.state is TradingState.HALTED or _stuck(engine, row)):
        return
    try:
        reconcile(engine)
    except (BrokerUnavailable, NotReconciled) as error:
        logger.warning("not resumed: %s", error)
        return
    with engine.ledger.begin() as unit:
        resumed = ControlRow(TradingState.ACTIVE, f"resumed after: {row.reason}", OPERATOR, engine.clock.now())
        unit.control.set(resumed)
        unit.commit()
