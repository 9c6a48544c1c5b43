"""The trading cycle: the same for a back-test, a replay and live trading, with another clock, broker and stream.

    window of session t:  reconcile -> view of sessions before t -> ask -> rulebook -> plan -> commit -> orders
    close of session t:   bars join the live window -> the book is valued

A decision uses closes before session t and trades at the prices of session t, so nothing in it comes from the
future. When the allocator is late or wrong the baseline answers, and the decision says so. After a crash the actor
starts with a reconciliation and finishes the plan that it finds; it never makes a second one for the same instant.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path

import numpy as np

from ordinis.clock import ReplayClock, TradingCalendar
from ordinis.costs.execution import session_volatility
from ordinis.data.live_window import LiveWindow
from ordinis.domain.canonical import to_decimal
from ordinis.domain.decisions import Allocation, Decision, Source
from ordinis.domain.instruments import Instrument
from ordinis.domain.limits import TradingState
from ordinis.domain.market import MarketEvent, SessionClosed, TradingWindow
from ordinis.domain.portfolio import ZERO, PortfolioSnapshot, Valuation
from ordinis.errors import (
    AllocationRefused,
    AllocationUnavailable,
    DataUnavailable,
    InfeasibleLimits,
    SolverFailed,
    StaleView,
    TradingStopped,
)
from ordinis.execution.decide import Desk, Draft
from ordinis.execution.gates import Gates
from ordinis.execution.intents import OrderEngine
from ordinis.execution.killpoints import KillHook, KillPoint, survive
from ordinis.execution.rebalance import Planner
from ordinis.execution.reconcile import known, reconcile
from ordinis.features.view import VIEW_SESSIONS, market_view
from ordinis.governance.rulebook import Rulebook
from ordinis.ports import Allocator, Broker, Clock, ControlRow, CostModel, Ledger, MarketView

logger = logging.getLogger(__name__)
NO_ANSWER = (AllocationUnavailable, AllocationRefused, InfeasibleLimits, SolverFailed, StaleView)


@dataclass
class Actor:
    """The only writer of orders of one account."""

    engine: OrderEngine
    desk: Desk
    allocator: Allocator
    baseline: Allocator
    window: LiveWindow
    symbols: Sequence[str]
    """What may be held; the view and the quotes are of these."""
    on_decision: Callable[[Decision], None] = field(default=lambda decision: None)
    latencies: list[float] = field(default_factory=list)
    """Seconds that each answer of the allocator took, by the machine's own clock whatever the market's says."""

    def start(self) -> None:
        """Verify the ledger, reconcile, finish what a crash left behind. Nothing is traded before this returns."""
        with self.engine.ledger.begin(write=False) as unit:
            unit.verify()
        reconcile(self.engine, finish=True)
        self.engine.ledger.anchor()

    def run(self, events: Iterable[MarketEvent], clock: ReplayClock) -> None:
        """Live through a replayed market, its clock moved by its events."""
        for event in events:
            clock.advance(event.at)
            self.on(event)

    def on(self, event: MarketEvent) -> None:
        """Do what a market event asks."""
        if isinstance(event, TradingWindow):
            self.trade(event.session)
        else:
            self.close(event)

    def trade(self, session: date) -> Decision | None:
        """Decide and trade once in `session`; None while trading is stopped."""
        stopped = self.stopped()
        if stopped is not None:
            logger.warning("not trading session=%s: %s", session, stopped)
            return None
        reconcile(self.engine, finish=True)
        now = self.engine.clock.now()
        view = market_view(self.window.history(VIEW_SESSIONS), now, session)
        expected = self.desk.calendar.previous_session(session)
        if view.sessions[-1] != expected:
            raise StaleView(str(expected), str(view.sessions[-1]))
        portfolio = self.snapshot(now)
        with self.engine.ledger.begin(write=False) as unit:
            decision = unit.decisions.at(now)
        if decision is None:
            decision = self._decide(view, portfolio)
        volatility = session_volatility(view.symbols, view.closes)
        self.engine.execute(decision, portfolio.prices, volatility)
        self.on_decision(decision)
        return decision

    def close(self, event: SessionClosed) -> None:
        """Take in the bars of a session that has closed, and value the book at its close."""
        for notice in self.window.feed(event):
            logger.warning("live window: %s", notice)
        closes = {bar.symbol: bar.close for bar in event.bars}
        with self.engine.ledger.begin() as unit:
            cash, holdings, last = unit.book.cash(), unit.book.holdings(), unit.book.last_valuation()
            prices = {symbol: closes.get(symbol) or self.last_close(symbol) for symbol in holdings}
            gross = sum((units * prices[symbol] for symbol, units in holdings.items()), ZERO)
            equity = cash + gross
            peak = equity if last is None else max(last.peak_equity, equity)
            row = Valuation(self.engine.ledger.account, event.session, event.at, equity, cash, gross, peak)
            if unit.book.value(row):
                unit.commit()
        self.engine.kill_point(KillPoint.VALUED)
        self.engine.ledger.anchor()

    def snapshot(self, now: datetime) -> PortfolioSnapshot:
        """The book at the prices that can be traded on now."""
        with self.engine.ledger.begin(write=False) as unit:
            cash, holdings = unit.book.cash(), unit.book.holdings()
            last, traded = unit.book.last_valuation(), unit.book.last_traded()
        wanted = sorted({*self.symbols, *holdings})
        quotes = known(self.engine.broker.quotes(wanted), "quotes")
        prices = {symbol: quotes[symbol].price for symbol in wanted if symbol in quotes}
        for symbol in holdings:
            if symbol not in prices:
                prices[symbol] = self.last_close(symbol)
                logger.warning("no quote symbol=%s: valued at its last close", symbol)
        return PortfolioSnapshot(
            account=self.engine.ledger.account,
            as_of=now,
            cash=cash,
            holdings=dict(holdings),
            prices=prices,
            peak_equity=ZERO if last is None else last.peak_equity,
            previous_equity=ZERO if last is None else last.equity,
            last_traded=dict(traded),
        )

    def last_close(self, symbol: str) -> Decimal:
        """The latest close that the live window has of `symbol`."""
        history = self.window.history(VIEW_SESSIONS)
        if symbol in history.symbols:
            column = history.closes[:, history.symbols.index(symbol)]
            seen = column[np.isfinite(column)]
            if len(seen):
                return to_decimal(seen[-1])
        raise DataUnavailable("live window", f"close of {symbol}", "backfill it before trading")

    def stopped(self) -> TradingStopped | None:
        """Why nothing may be decided now: the kill flag, or a state that only a person may leave."""
        flag = self.engine.gates.kill_flag
        if flag is not None and flag.exists():
            return TradingStopped(TradingState.KILLED, f"the kill flag {flag} is set", "a person")
        with self.engine.ledger.begin(write=False) as unit:
            row: ControlRow | None = unit.control.state()
        if row is not None and row.state in (TradingState.HALTED, TradingState.KILLED):
            return TradingStopped(row.state, row.reason, row.by)
        return None

    def carry_out(self, draft: Draft, portfolio: PortfolioSnapshot) -> None:
        """Commit a decision and send its orders."""
        self._commit(draft)
        self.engine.execute(draft.decision, portfolio.prices, draft.volatility)

    def _commit(self, draft: Draft) -> None:
        with self.engine.ledger.begin() as unit:
            unit.decisions.add(draft.decision, draft.inputs, draft.verdicts, draft.parts)
            unit.commit()
        self.engine.kill_point(KillPoint.DECIDED)

    def _decide(self, view: MarketView, portfolio: PortfolioSnapshot) -> Decision:
        answer, source, note = self._ask(view, portfolio)
        draft = self.desk.decide(view, portfolio, answer, source, note)
        self._commit(draft)
        logger.info(
            "decision session=%s source=%s rung=%s orders=%d %s",
            view.session,
            source,
            answer.rung,
            len(draft.decision.orders),
            draft.decision.reason,
        )
        return draft.decision

    def _ask(self, view: MarketView, portfolio: PortfolioSnapshot) -> tuple[Allocation, Source, str]:
        """The allocator's answer, or the baseline's with the reason."""
        if not self.desk.asks(view, portfolio):
            return self.desk.hold(portfolio, view), Source.MODEL, ""
        started = time.perf_counter()
        try:
            answer = _finite(self.allocator.allocate(view, portfolio))
        except NO_ANSWER as error:
            logger.warning("baseline answers: %s", error)
            return self.baseline.allocate(view, portfolio), Source.BASELINE, f"baseline: {error.code}"
        self.latencies.append(time.perf_counter() - started)
        return answer, Source.MODEL, ""


def _finite(answer: Allocation) -> Allocation:
    numbers: Mapping[str, float] = answer.weights
    wrong = sorted(symbol for symbol, weight in numbers.items() if not math.isfinite(weight) or weight < 0.0)
    if wrong:
        raise AllocationRefused(f"weights of {', '.join(wrong)} are negative or not finite")
    # Written so that a cash that is no number fails too.
    if not abs(sum(numbers.values()) + answer.cash - 1.0) <= 1e-6:
        raise AllocationRefused(f"weights and cash sum to {sum(numbers.values()) + answer.cash}")
    return answer


def assemble(
    *,
    ledger: Ledger,
    broker: Broker,
    clock: Clock,
    calendar: TradingCalendar,
    instruments: Mapping[str, Instrument],
    rulebook: Rulebook,
    costs: CostModel,
    allocator: Allocator,
    baseline: Allocator,
    window: LiveWindow,
    symbols: Sequence[str],
    kill_flag: Path | None = None,
    kill_point: KillHook = survive,
) -> Actor:
    """An actor from its doors; the same for a back-test, a replay and live trading."""
    gates = Gates(calendar, instruments, rulebook.limits, rulebook.sha, costs, kill_flag)
    planner = Planner(instruments, rulebook.trading, costs, rulebook.limits.cash_buffer)
    return Actor(
        engine=OrderEngine(ledger, broker, clock, gates, kill_point=kill_point),
        desk=Desk(rulebook, planner, calendar),
        allocator=allocator,
        baseline=baseline,
        window=window,
        symbols=tuple(symbols),
    )
