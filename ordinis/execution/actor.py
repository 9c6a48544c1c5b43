"""The trading cycle: the same for a back-test, a replay and live trading, with another clock, broker and stream.

    window of session t:  reconcile -> view of sessions before t -> ask -> rulebook -> plan -> commit -> orders
    close of session t:   bars join the live window -> the book is valued

A decision uses closes before session t and trades at the prices of session t, so nothing in it comes from the
future. When the allocator is late or wrong the baseline answers, and the decision says so. After a crash the actor
starts with a reconciliation and finishes the plan that it finds; it never makes a second one for the same instant.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime, timedelta
from pathlib import Path

from ordinis.clock import ReplayClock, TradingCalendar
from ordinis.costs.conditions import MarketConditions
from ordinis.data.live_window import LiveWindow
from ordinis.domain.decisions import Allocation, Decision, Source
from ordinis.domain.exposures import FactorExposures
from ordinis.domain.instruments import Instrument
from ordinis.domain.limits import TradingState
from ordinis.domain.market import MarketEvent, SessionClosed, TradingWindow
from ordinis.domain.orders import Known
from ordinis.domain.overrides import OverrideKind
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.errors import BrokerUnavailable, NotReconciled, StaleView, TradingStopped
from ordinis.execution.decide import NO_ANSWER, Controls, Desk, Draft, checked
from ordinis.execution.gates import Gates
from ordinis.execution.intents import OrderEngine
from ordinis.execution.killpoints import KillHook, KillPoint, survive
from ordinis.execution.prices import Prices
from ordinis.execution.rebalance import Planner
from ordinis.execution.reconcile import reconcile
from ordinis.execution.valuing import last_closes, standing, value
from ordinis.features.view import VIEW_SESSIONS, market_view
from ordinis.governance.approvals import judge_limits
from ordinis.governance.breakers import RECONCILIATION, a_new_day, judge_book, lower
from ordinis.governance.rulebook import Rulebook
from ordinis.ports import Allocator, Broker, Clock, ControlRow, CostModel, Ledger, MarketView

logger = logging.getLogger(__name__)
AGAIN, COMPARED_EVERY = timedelta(seconds=5), timedelta(seconds=30)
"""How often a plan that waits is looked at, and how often ledger and broker are compared meanwhile."""
REPETITION, SAID_THEN = "the replay", "as it was then"
TRIES = 30
"""How often a silent broker is asked at a start, and open orders are looked at when nothing new is sent: for two and a
half minutes."""
STARTS = 144
"""How often a start is tried: for longer than any difference goes without a lock."""


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

    def believe(self, costs: CostModel) -> None:
        """Plan, and reserve cash, by another cost model from here on; each decision stores the one it was made by."""
        planner, gates = self.desk.planner, self.engine.gates
        self.desk = replace(self.desk, planner=replace(planner, costs=costs))
        self.engine = replace(self.engine, gates=replace(gates, costs=costs))

    def measure_by(self, exposures: FactorExposures | None) -> None:
        """Judge the book's factor exposures by these from here on; each decision stores those it was judged by."""
        self.desk = replace(self.desk, exposures=exposures)

    def start(self) -> None:
        """Verify the ledger, reconcile, finish what a crash left behind. Nothing is traded before this returns.

        Raises:
            LedgerDamaged: nothing may be traded on this ledger.
            BrokerUnavailable: the broker did not come to answer in two and a half minutes.
            NotReconciled: it did not come to agree, nor did a difference lock its symbol, in twelve.
        """
        with self.engine.ledger.begin(write=False) as unit:
            unit.verify()
        silent = 0
        for left in reversed(range(STARTS)):
            try:
                reconcile(self.engine, finish=True)
                break
            except (BrokerUnavailable, NotReconciled) as error:
                silent += isinstance(error, BrokerUnavailable)
                if not left or silent >= TRIES:
                    raise
                logger.warning("starting: %s", error)
                self.engine.follow_up()
                self.engine.clock.wait(AGAIN.total_seconds())
        with self.engine.ledger.begin() as unit:
            rules = self.desk.rulebook
            if judge_limits(unit, rules.values, rules.sha, self.engine.clock.now(), take_over=True):
                unit.commit()
        self.engine.kill_point(KillPoint.JUDGED)
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
        try:
            # What the broker has told since, a deposit or a late execution, belongs to this session.
            reconcile(self.engine)
        except (BrokerUnavailable, NotReconciled) as error:
            logger.warning("valued without the broker's word session=%s: %s", event.session, error)
        # The window's closes, not the event's: a bar that it did not take in values nothing either.
        value(self.engine.ledger, event, last_closes(self.window.history(VIEW_SESSIONS)))
        self.engine.kill_point(KillPoint.VALUED)
        self.engine.ledger.anchor()

    def snapshot(self) -> PortfolioSnapshot:
        """The book at the prices that can be traded on now.

        Raises:
            BrokerUnavailable: it gave no quotes.
        """
        return standing(self.engine, self.symbols, last_closes(self.window.history(VIEW_SESSIONS)))

    def prices(self, decision: Decision, view: MarketView) -> Prices:
        """What the orders of `decision`, which was made on `view`, are judged by at this moment."""
        with self.engine.ledger.begin(write=False) as unit:
            concerned = {*unit.book.holdings(), *(order.symbol for order in decision.orders)}
        answer = self.engine.broker.quotes(sorted(concerned))
        if not isinstance(answer, Known):
            logger.warning("no quotes: %s", getattr(answer, "reason", "the answer is old"))
        quotes = answer.value if isinstance(answer, Known) else {}
        return Prices(quotes, last_closes(view), MarketConditions.measured(view))

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

    def carry_out(self, draft: Draft, view: MarketView, portfolio: PortfolioSnapshot, controls: Controls) -> None:
        """Commit a decision that was made before on `view` under `controls`, and trade it as it was traded then."""
        # What the comparison and the breakers write is part of what is repeated.
        self._agrees(self.desk.calendar.session_of(portfolio.as_of))
        self._judge(portfolio)
        self._say_again(controls, portfolio.as_of)
        self._commit(draft)
        self._work(draft.decision, view)

    def _say_again(self, controls: Controls, now: datetime) -> None:
        """What people had said by then, which nothing else repeats."""
        with self.engine.ledger.begin() as unit:
            row, standing = unit.control.state(), unit.control.overrides(now)
            here = (TradingState.ACTIVE, "") if row is None else (row.state, row.by)
            if here != (controls.state, controls.by):
                # Somebody resumed, even where something has stopped it again since.
                unit.control.set(ControlRow(TradingState.ACTIVE, SAID_THEN, REPETITION, now))
                unit.control.set(ControlRow(controls.state, SAID_THEN, controls.by, now))
            for wish in standing:
                if wish not in controls.overrides:
                    unit.control.override(replace(wish, by=REPETITION, at=now, expires_at=now))
            for wish in controls.overrides:
                if wish not in standing:
                    unit.control.override(wish)
            unit.commit()
        self.engine.kill_point(KillPoint.JUDGED)

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
        clock, failed, rules = self.engine.clock, 0, self.desk.rulebook
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
            changed = a_new_day(unit, self.desk.calendar.opens(session), clock.now())
            changed = judge_limits(unit, rules.values, rules.sha, clock.now()) or changed
            if changed:
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
        """Though nothing new is sent: executions are booked, and what may not stay at the broker is ended."""
        for tried in range(TRIES):
            with self.engine.ledger.begin(write=False) as unit:
                if not unit.orders.live():
                    return
            if tried:
                self.engine.clock.wait(AGAIN.total_seconds())
            try:
                reconcile(self.engine, finish=True)
            except (BrokerUnavailable, NotReconciled) as error:
                logger.warning("orders minded: %s", error)
                self.engine.follow_up()

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
                break
            clock.wait(AGAIN.total_seconds())
            self.engine.ledger.renew()
            # Either way: a clock that was set back must not put the next comparison off.
            if abs(clock.now() - agreed) >= COMPARED_EVERY:
                agreed, last = clock.now(), not self._agrees(session)
        self._mind_orders()

    def _controls(self, now: datetime) -> Controls:
        with self.engine.ledger.begin(write=False) as unit:
            row, overrides = unit.control.state(), unit.control.overrides(now)
        state, by = (TradingState.ACTIVE, "") if row is None else (row.state, row.by)
        return Controls(state, by, tuple(overrides))

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
            return self._fall_back(view, portfolio, note)
        if not self.desk.asks(view, portfolio):
            return self.desk.hold(portfolio, view), Source.MODEL, ""
        started = time.perf_counter()
        try:
            answer = checked(self.allocator.allocate(view, portfolio))
        except NO_ANSWER as error:
            logger.warning("baseline answers: %s", error)
            return self._fall_back(view, portfolio, f"baseline: {error.code}")
        self.latencies.append(time.perf_counter() - started)
        return answer, Source.MODEL, ""

    def _fall_back(self, view: MarketView, portfolio: PortfolioSnapshot, note: str) -> tuple[Allocation, Source, str]:
        answer, problem = self.desk.fall_back(self.baseline, view, portfolio)
        if problem:
            logger.error("the baseline has no answer either, the book is held: %s", problem)
        return answer, Source.BASELINE, f"{note}, held: {problem}" if problem else note


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
