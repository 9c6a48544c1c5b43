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
from datetime import date, datetime, timedelta
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
from ordinis.domain.orders import Known
from ordinis.domain.overrides import OverrideKind
from ordinis.domain.portfolio import ZERO, PortfolioSnapshot, Valuation, carried
from ordinis.errors import (
    AllocationRefused,
    AllocationUnavailable,
    BrokerUnavailable,
    DataUnavailable,
    InfeasibleLimits,
    NotReconciled,
    SolverFailed,
    StaleView,
    TradingStopped,
)
from ordinis.execution.decide import Controls, Desk, Draft
from ordinis.execution.gates import Gates
from ordinis.execution.intents import OrderEngine
from ordinis.execution.killpoints import KillHook, KillPoint, survive
from ordinis.execution.prices import Prices, believed
from ordinis.execution.rebalance import Planner
from ordinis.execution.reconcile import known, reconcile
from ordinis.features.view import VIEW_SESSIONS, market_view
from ordinis.governance.breakers import RECONCILIATION, a_new_day, judge_book, lower
from ordinis.governance.rulebook import Rulebook
from ordinis.ports import Allocator, Broker, Clock, ControlRow, CostModel, Ledger, MarketView, PriceHistory

logger = logging.getLogger(__name__)
AGAIN, COMPARED_EVERY = timedelta(seconds=5), timedelta(seconds=30)
"""How often a plan that waits is looked at, and how often ledger and broker are compared meanwhile."""
MINDED = 30
"""How often open orders are looked at while trading stands still: for two and a half minutes a session."""
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
            clock.advance(max(event.at, clock.now()))
            self.on(event)

    def on(self, event: MarketEvent) -> None:
        """Do what a market event asks."""
        if isinstance(event, TradingWindow):
            self.trade(event.session)
        else:
            self.close(event)

    def trade(self, session: date) -> Decision | None:
        """Decide and trade once in `session`, as long as it takes; None while trading is stopped."""
        if self._stands_still(session):
            self._mind_orders()
            return None
        portfolio = self._opening_book(session)
        if portfolio is None:
            return None
        view = market_view(self.window.history(VIEW_SESSIONS), portfolio.as_of, session)
        expected = self.desk.calendar.previous_session(session)
        if view.sessions[-1] != expected:
            raise StaleView(str(expected), str(view.sessions[-1]))
        with self.engine.ledger.begin(write=False) as unit:
            decision = unit.decisions.latest()
        if decision is None or decision.as_of < self.desk.calendar.opens(session):
            self._judge(portfolio)
            if self._stands_still(session):
                return None
            decision = self._decide(view, portfolio)
        self._work(decision, view)
        self.on_decision(decision)
        return decision

    def close(self, event: SessionClosed) -> None:
        """Take in the bars of a session that has closed, and value the book at its close."""
        for notice in self.window.feed(event):
            logger.warning("live window: %s", notice)
        # The window's closes, not the event's: a bar that it did not take in values nothing either.
        closes = last_closes(self.window.history(VIEW_SESSIONS))
        with self.engine.ledger.begin() as unit:
            cash, holdings, last = unit.book.cash(), unit.book.holdings(), unit.book.last_valuation()
            prices = {symbol: closes[symbol] if symbol in closes else self.last_close(symbol) for symbol in holdings}
            gross = sum((units * prices[symbol] for symbol, units in holdings.items()), ZERO)
            equity = cash + gross
            _, before = carried(last, unit.book.movements())
            peak = max(before, equity)
            row = Valuation(self.engine.ledger.account, event.session, event.at, equity, cash, gross, peak)
            if unit.book.value(row):
                unit.commit()
        self.engine.kill_point(KillPoint.VALUED)
        self.engine.ledger.anchor()

    def snapshot(self) -> PortfolioSnapshot:
        """The book at the prices that can be traded on now.

        Raises:
            BrokerUnavailable: it gave no quotes.
            DataUnavailable: a holding has neither quote nor close.
        """
        with self.engine.ledger.begin(write=False) as unit:
            cash, holdings = unit.book.cash(), unit.book.holdings()
            traded = unit.book.last_traded()
            previous, peak = carried(unit.book.last_valuation(), unit.book.movements())
        quotes = known(self.engine.broker.quotes(sorted({*self.symbols, *holdings})), "quotes")
        closes = last_closes(self.window.history(VIEW_SESSIONS))
        prices = {s: quote.price for s, quote in quotes.items() if believed(quote.price, closes.get(s))}
        for symbol in holdings:
            if symbol not in prices:
                prices[symbol] = self.last_close(symbol)
                told = f"quote {quotes[symbol].price} not believed" if symbol in quotes else "no quote"
                logger.warning("%s symbol=%s: valued at its last close", told, symbol)
        return PortfolioSnapshot(
            account=self.engine.ledger.account,
            as_of=self.engine.clock.now(),
            cash=cash,
            holdings=dict(holdings),
            prices=prices,
            peak_equity=peak,
            previous_equity=previous,
            last_traded=dict(traded),
        )

    def prices(self, decision: Decision, view: MarketView) -> Prices:
        """What the orders of `decision`, which was made on `view`, are judged by at this moment."""
        with self.engine.ledger.begin(write=False) as unit:
            concerned = {*unit.book.holdings(), *(order.symbol for order in decision.orders)}
        answer = self.engine.broker.quotes(sorted(concerned))
        if not isinstance(answer, Known):
            logger.warning("no quotes: %s", getattr(answer, "reason", "the answer is old"))
        quotes = answer.value if isinstance(answer, Known) else {}
        return Prices(quotes, last_closes(view), session_volatility(view.symbols, view.closes))

    def last_close(self, symbol: str) -> Decimal:
        """The latest close that the live window has of `symbol`."""
        closes = last_closes(self.window.history(VIEW_SESSIONS))
        if symbol not in closes:
            raise DataUnavailable("live window", f"close of {symbol}", "backfill it before trading")
        return closes[symbol]

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

    def carry_out(self, draft: Draft, view: MarketView, portfolio: PortfolioSnapshot) -> None:
        """Commit a decision that was made before on `view`, and trade it as it was traded then."""
        # What the comparison and the breakers write is part of what is repeated.
        self._agrees(self.desk.calendar.session_of(portfolio.as_of))
        self._judge(portfolio)
        self._commit(draft)
        self._work(draft.decision, view)

    def _stands_still(self, session: date) -> bool:
        stopped = self.stopped()
        if stopped is not None:
            logger.warning("not trading session=%s: %s", session, stopped)
        return stopped is not None

    def _opening_book(self, session: date) -> PortfolioSnapshot | None:
        """The book once ledger and broker agree; None when they do not, or the broker has no prices."""
        clock, closes = self.engine.clock, self.desk.calendar.closes(session)
        while self._agrees(session):
            try:
                return self.snapshot()
            except BrokerUnavailable as error:
                logger.warning("session=%s: %s", session, error)
            if clock.now() + AGAIN > closes:
                break
            clock.wait(AGAIN.total_seconds())
        return None

    def _agrees(self, session: date) -> bool:
        """Compare ledger and broker, more than once if need be; False when they do not come to agree.

        A broker that does not answer several times in a row halts trading. A difference is given time: an execution
        may be reported late, and one that stays is locked or halts.
        """
        clock, failed = self.engine.clock, 0
        closes = self.desk.calendar.closes(session)
        while True:
            try:
                reconcile(self.engine, finish=True)
            except (BrokerUnavailable, NotReconciled) as error:
                logger.warning("session=%s: %s", session, error)
                failed += isinstance(error, BrokerUnavailable)
                if self._given_up(failed, str(error)) or clock.now() + AGAIN > closes or self._stands_still(session):
                    return False
                clock.wait(AGAIN.total_seconds())
            else:
                break
        with self.engine.ledger.begin() as unit:
            if a_new_day(unit, self.desk.calendar.opens(session), clock.now()):
                unit.commit()
        self.engine.kill_point(KillPoint.JUDGED)
        return True

    def _given_up(self, failed: int, problem: str) -> bool:
        """Halt when the broker has not answered often enough."""
        most = self.engine.breakers.failed_reconciliations
        if most is None or failed < most:
            return False
        with self.engine.ledger.begin() as unit:
            reason = f"{failed} comparisons with the broker failed, the last: {problem}"
            if lower(unit, TradingState.HALTED, reason, by=RECONCILIATION, at=self.engine.clock.now()):
                unit.commit()
        self.engine.kill_point(KillPoint.JUDGED)
        return True

    def _mind_orders(self) -> None:
        """Though nothing is decided: executions are booked, and what is open at the broker is ended."""
        clock, tries = self.engine.clock, 0
        while tries < MINDED:
            try:
                reconcile(self.engine, finish=True)
            except (BrokerUnavailable, NotReconciled) as error:
                logger.warning("orders minded: %s", error)
                self.engine.follow_up()
            with self.engine.ledger.begin(write=False) as unit:
                if not unit.orders.live():
                    return
            tries += 1
            clock.wait(AGAIN.total_seconds())

    def _judge(self, portfolio: PortfolioSnapshot) -> None:
        with self.engine.ledger.begin() as unit:
            if judge_book(unit, self.engine.breakers, portfolio):
                unit.commit()
        self.engine.kill_point(KillPoint.JUDGED)

    def _work(self, decision: Decision, view: MarketView) -> None:
        """Carry out a plan to its end: orders wait for their pace, for sells, for a price, until the decision ends."""
        clock, agreed, last = self.engine.clock, self.engine.clock.now(), False
        session = self.desk.calendar.session_of(agreed)
        while True:
            last = last or clock.now() + AGAIN > decision.expires_at
            if self.engine.execute(decision, self.prices(decision, view), last=last) or last:
                return
            clock.wait(AGAIN.total_seconds())
            self.engine.ledger.renew()
            if clock.now() - agreed >= COMPARED_EVERY:
                agreed, last = clock.now(), not self._agrees(session)

    def _controls(self, now: datetime) -> Controls:
        with self.engine.ledger.begin(write=False) as unit:
            row, overrides = unit.control.state(), unit.control.overrides(now)
        return Controls(TradingState.ACTIVE if row is None else row.state, tuple(overrides))

    def _commit(self, draft: Draft) -> None:
        with self.engine.ledger.begin() as unit:
            unit.decisions.add(draft.decision, draft.inputs, draft.verdicts, draft.parts)
            unit.commit()
        self.engine.kill_point(KillPoint.DECIDED)

    def _decide(self, view: MarketView, portfolio: PortfolioSnapshot) -> Decision:
        controls = self._controls(portfolio.as_of)
        answer, source, note = self._ask(view, portfolio, controls)
        draft = self.desk.decide(view, portfolio, answer, source, note, controls)
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

    def _ask(
        self, view: MarketView, portfolio: PortfolioSnapshot, controls: Controls
    ) -> tuple[Allocation, Source, str]:
        """The allocator's answer, or the baseline's with the reason."""
        asked_for = next((row for row in controls.overrides if row.kind is OverrideKind.BASELINE), None)
        if asked_for is not None:
            note = f"baseline: {asked_for.by} until {asked_for.expires_at.isoformat()}"
            return self.baseline.allocate(view, portfolio), Source.BASELINE, note
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


def last_closes(history: MarketView | PriceHistory) -> dict[str, Decimal]:
    """The latest close of each symbol that has one."""
    found = {}
    for column, symbol in enumerate(history.symbols):
        [seen] = np.nonzero(np.isfinite(history.closes[:, column]))
        if len(seen):
            found[symbol] = to_decimal(history.closes[seen[-1], column])
    return found


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
    gates = Gates(
        calendar, instruments, rulebook.limits, rulebook.sha, costs, kill_flag, rulebook.orders, ledger.folder
    )
    planner = Planner(instruments, rulebook.trading, costs, rulebook.limits)
    return Actor(
        engine=OrderEngine(ledger, broker, clock, gates, rulebook.breakers, kill_point=kill_point),
        desk=Desk(rulebook, planner, calendar),
        allocator=allocator,
        baseline=baseline,
        window=window,
        symbols=tuple(symbols),
    )
