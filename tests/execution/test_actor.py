"""The trading cycle on a small market: what it asks, what it does when something is missing, what it never does."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from ordinis.allocation.naive import EqualWeight
from ordinis.brokers.simulated import SimulatedBroker
from ordinis.clock import ReplayClock
from ordinis.costs.models import ProportionalCost
from ordinis.data.live_window import LiveWindow
from ordinis.domain.decisions import Allocation, DecisionStatus, Source
from ordinis.domain.limits import TradingState
from ordinis.domain.market import Bar, SessionClosed
from ordinis.domain.orders import Known, QueryOutcome, Unknown
from ordinis.domain.portfolio import Movement, PortfolioSnapshot
from ordinis.errors import BrokerUnavailable, LedgerDamaged, StaleView
from ordinis.execution.actor import Actor, assemble
from ordinis.execution.reconcile import reconcile
from ordinis.governance.rulebook import load_rulebook
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import Allocator, ControlRow, MarketView, PriceHistory
from tests.brokers.market import CALENDAR, SESSIONS, SYMBOLS, TODAY, a_broker, at_the_window, history, instruments

RULES = load_rulebook("standard", {})
NEXT = CALENDAR.next_session(TODAY)


def an_actor(
    clock: ReplayClock | None = None,
    allocator: Allocator | None = None,
    prices: PriceHistory | None = None,
    through: date | None = None,
    flag: Path | None = None,
) -> Actor:
    clock = clock or at_the_window()
    full = history()
    rows = sum(session < (through or TODAY) for session in full.sessions)
    window = LiveWindow(SYMBOLS, CALENDAR)
    window.seed(PriceHistory(SYMBOLS, full.sessions[:rows], full.closes[:rows]))
    actor = assemble(
        ledger=SqlLedger("sqlite://", "sim"),
        broker=a_broker(clock, prices=prices),
        clock=clock,
        calendar=CALENDAR,
        instruments=instruments(),
        rulebook=RULES,
        costs=ProportionalCost(10.0),
        allocator=allocator or EqualWeight(RULES.limits),
        baseline=EqualWeight(RULES.limits),
        window=window,
        symbols=SYMBOLS,
        kill_flag=flag,
    )
    actor.start()
    return actor


def closed(session: date, symbols: tuple[str, ...] = SYMBOLS) -> SessionClosed:
    row = history().closes[SESSIONS.index(session)]
    bars = tuple(Bar(s, session, Decimal(str(p))) for s, p in zip(SYMBOLS, row, strict=True) if s in symbols)
    return SessionClosed(session, CALENDAR.closes(session), bars)


def test_a_session_is_decided_once_and_booked() -> None:
    actor = an_actor()
    first = actor.trade(TODAY)
    again = actor.trade(TODAY)
    assert first == again
    assert first is not None
    assert first.status is DecisionStatus.APPROVED
    with actor.engine.ledger.begin(write=False) as unit:
        assert len(unit.decisions.all()) == 1
        assert set(unit.book.holdings()) == set(SYMBOLS)
        assert len(unit.book.fills()) == 3
        rules = [verdict.rule for verdict in unit.decisions.verdicts(first.id)]
    assert rules == [*(rule.name for rule in RULES.rules), "certificate"]


def test_the_book_is_valued_once_a_close() -> None:
    actor = an_actor()
    actor.trade(TODAY)
    actor.close(closed(TODAY))
    actor.close(closed(TODAY))
    with actor.engine.ledger.begin(write=False) as unit:
        [row] = unit.book.valuations()
        held = unit.book.holdings()
        cash = unit.book.cash()
    prices = {bar.symbol: bar.close for bar in closed(TODAY).bars}
    assert row.equity == cash + sum(units * prices[symbol] for symbol, units in held.items())
    assert row.peak_equity == row.equity


def test_nothing_is_decided_on_a_view_that_lacks_the_last_session() -> None:
    with pytest.raises(StaleView, match=f"the market view ends at session {SESSIONS[SESSIONS.index(TODAY) - 2]}"):
        an_actor(through=CALENDAR.previous_session(TODAY)).trade(TODAY)


def test_a_missing_bar_is_noticed_and_the_holding_keeps_its_last_close(caplog: pytest.LogCaptureFixture) -> None:
    actor = an_actor()
    actor.trade(TODAY)
    with caplog.at_level(logging.WARNING, logger="ordinis"):
        actor.close(closed(TODAY, symbols=("AAPL", "KO")))
    assert "missing" in caplog.text
    assert "XOM" in caplog.text
    before = Decimal(str(history().closes[SESSIONS.index(TODAY) - 1, 2]))
    closes = {bar.symbol: bar.close for bar in closed(TODAY).bars} | {"XOM": before}
    with actor.engine.ledger.begin(write=False) as unit:
        [row] = unit.book.valuations()
        held = unit.book.holdings()
    assert row.gross == sum(units * closes[symbol] for symbol, units in held.items())


def test_a_holding_without_a_quote_is_valued_at_its_last_close_and_not_traded() -> None:
    prices = history()
    prices.closes[SESSIONS.index(NEXT), 2] = np.nan
    actor = an_actor(prices=prices)
    actor.trade(TODAY)
    actor.close(closed(TODAY))
    clock = actor.engine.clock
    assert isinstance(clock, ReplayClock)
    clock.advance(CALENDAR.trading_instant(NEXT))
    snapshot = actor.snapshot()
    assert snapshot.prices["XOM"] == Decimal(str(history().closes[SESSIONS.index(TODAY), 2]))
    decision = actor.trade(NEXT)
    assert decision is not None
    assert "XOM" not in {order.symbol for order in decision.orders}


class Wild:
    """An allocator whose weights are wrong in one way."""

    name, version = "wild", "1"

    def __init__(self, change: dict[str, float]) -> None:
        self._change = change

    def allocate(self, view: MarketView, portfolio: PortfolioSnapshot) -> Allocation:
        good = EqualWeight(RULES.limits).allocate(view, portfolio)
        return replace(good, weights={**good.weights, **self._change})


@pytest.mark.parametrize(
    "change", [{"KO": float("nan")}, {"KO": float("inf")}, {"KO": -0.1}, {"KO": 0.9}, {"GONE": 0.4}],
    ids=["nan", "infinite", "negative", "sums to more than one", "unknown symbol"],
)  # fmt: skip
def test_an_unusable_answer_is_refused_and_the_baseline_answers(change: dict[str, float]) -> None:
    decision = an_actor(allocator=Wild(change)).trade(TODAY)
    assert decision is not None
    assert decision.source is Source.BASELINE
    assert decision.reason.startswith("baseline: allocation-refused")


class Fixed:
    """An allocator that always wants the same."""

    name, version = "fixed", "1"

    def __init__(self, weights: dict[str, float]) -> None:
        self._weights = weights

    def allocate(self, view: MarketView, portfolio: PortfolioSnapshot) -> Allocation:
        good = EqualWeight(RULES.limits).allocate(view, portfolio)
        return replace(good, weights=self._weights, cash=1.0 - sum(self._weights.values()))


def test_a_holding_that_prices_carried_far_past_its_cap_is_cut_whatever_the_bands_say() -> None:
    prices = history()
    prices.closes[SESSIONS.index(NEXT) :, 0] *= 1.2  # 20 % of the book becomes 23 %: inside its band of 5 points
    actor = an_actor(prices=prices, allocator=Fixed({"AAPL": 0.2, "KO": 0.2, "XOM": 0.2}))
    actor.trade(TODAY)
    actor.close(closed(TODAY))
    clock = actor.engine.clock
    assert isinstance(clock, ReplayClock)
    clock.advance(CALENDAR.trading_instant(NEXT))
    assert actor.snapshot().weights["AAPL"] > 0.22
    decision = actor.trade(NEXT)
    assert decision is not None
    assert {order.side.value for order in decision.orders} == {"sell"}
    assert actor.snapshot().weights["AAPL"] == pytest.approx(0.2, abs=1e-4)
    with actor.engine.ledger.begin(write=False) as unit:
        failed = [verdict.rule for verdict in unit.decisions.verdicts(decision.id) if not verdict.passed]
    assert failed == ["position cap, held"]


def test_a_holding_may_be_added_to_up_to_its_limits() -> None:
    actor = an_actor(allocator=Fixed({"AAPL": 0.05, "KO": 0.05, "XOM": 0.05}))
    actor.trade(TODAY)
    actor.close(closed(TODAY))
    later = CALENDAR.next_session(date(2020, 3, 24))  # past the cool-down
    clock = actor.engine.clock
    assert isinstance(clock, ReplayClock)
    for session in CALENDAR.between(NEXT, CALENDAR.previous_session(later)):
        clock.advance(CALENDAR.closes(session))
        actor.close(closed(session))
    clock.advance(CALENDAR.trading_instant(later))
    actor.allocator = Fixed({"AAPL": 0.15, "KO": 0.05, "XOM": 0.05})
    decision = actor.trade(later)
    assert decision is not None
    assert [(order.symbol, order.side.value) for order in decision.orders] == [("AAPL", "buy")]
    assert actor.snapshot().weights["AAPL"] == pytest.approx(0.15, abs=1e-3)


class Moody:
    """The venue, with answers that fail, orders that take their time and units of something without a price."""

    def __init__(self, venue: SimulatedBroker) -> None:
        self._venue = venue
        self.silent = 0
        self.gift: dict[str, Decimal] = {}

    def __getattr__(self, name: str) -> object:
        return getattr(self._venue, name)

    def positions(self) -> QueryOutcome[Mapping[str, Decimal]]:
        self.silent -= 1
        return Unknown("silent") if self.silent >= 0 else Known({**self._venue.positions().value, **self.gift})

    def movements(self, since: datetime) -> Known[Sequence[Movement]]:
        at = CALENDAR.opens(TODAY)
        rows = [Movement("sim", f"gift {s}", "spin-off", Decimal(0), at, s, units) for s, units in self.gift.items()]
        return Known([*self._venue.movements(since).value, *rows])


def moody(actor: Actor) -> Moody:
    broker = actor.engine.broker
    assert isinstance(broker, SimulatedBroker)
    door = Moody(broker)
    actor.engine = replace(actor.engine, broker=door)  # type: ignore[arg-type]
    return door


def test_a_start_waits_for_a_broker_that_is_silent_for_a_while_and_not_for_ever() -> None:
    actor = an_actor()
    door, begun = moody(actor), actor.engine.clock.now()
    door.silent = 4
    actor.start()
    assert actor.engine.clock.now() - begun == timedelta(seconds=20)
    door.silent = 30
    with pytest.raises(BrokerUnavailable, match="silent"):
        actor.start()


def test_units_that_never_had_a_price_are_worth_nothing_and_do_not_stop_the_rest() -> None:
    actor = an_actor()
    moody(actor).gift = {"SPUN": Decimal(5)}
    decision = actor.trade(TODAY)
    assert decision is not None
    assert {order.symbol for order in decision.orders} == set(SYMBOLS)
    assert "SPUN" not in actor.snapshot().holdings
    actor.close(closed(TODAY))
    with actor.engine.ledger.begin(write=False) as unit:
        [row] = unit.book.valuations()
        held = unit.book.holdings()
    assert held["SPUN"] == 5
    prices = {bar.symbol: bar.close for bar in closed(TODAY).bars} | {"SPUN": Decimal(0)}
    assert row.gross == sum(units * prices[symbol] for symbol, units in held.items())


def test_what_the_broker_tells_between_the_last_order_and_the_close_is_in_the_valuation() -> None:
    actor = an_actor()
    actor.trade(TODAY)
    venue = actor.engine.broker
    assert isinstance(venue, SimulatedBroker)
    with venue._book.transaction():
        venue._book.move(Movement("sim", "late deposit", "deposit", Decimal(1000), actor.engine.clock.now()))
    actor.close(closed(TODAY))
    with actor.engine.ledger.begin(write=False) as unit:
        [row] = unit.book.valuations()
        assert row.cash == unit.book.cash() == venue.account().value.cash


@pytest.mark.parametrize("cash", [3000, -1000])
@pytest.mark.parametrize("minutes", [-5, 5], ids=["dated before the close, told after", "dated after the close"])
@pytest.mark.parametrize("valued_late", [False, True])
def test_money_that_comes_round_the_close_is_counted_once(cash: int, minutes: int, valued_late: bool) -> None:
    """A broker dates a movement before it tells it, and a session may be valued a while after its close."""
    actor = an_actor()
    clock, venue = actor.engine.clock, actor.engine.broker
    assert isinstance(clock, ReplayClock)
    assert isinstance(venue, SimulatedBroker)
    actor.trade(TODAY)
    moved = Movement("sim", "money", "deposit", Decimal(cash), CALENDAR.closes(TODAY) + timedelta(minutes=minutes))
    clock.advance(CALENDAR.closes(TODAY) + timedelta(minutes=10))
    if not valued_late:
        actor.close(closed(TODAY))
    with venue._book.transaction():
        venue._book.move(moved)
    if valued_late:
        actor.close(closed(TODAY))
    reconcile(actor.engine)
    book = actor.snapshot()
    assert book.cash == venue.account().value.cash
    assert abs(book.daily_return) < 0.01
    assert book.drawdown < 0.01


def test_units_that_people_brought_are_neither_profit_nor_loss() -> None:
    actor = an_actor()
    actor.trade(TODAY)
    actor.close(closed(TODAY))
    moody(actor).gift = {"KO": Decimal(100)}
    gifts = actor.engine.broker.movements(CALENDAR.opens(TODAY))
    assert isinstance(gifts, Known)
    with actor.engine.ledger.begin() as unit:
        for gift in gifts.value:
            unit.book.movement(replace(gift, kind="transfer"))
        unit.commit()
    assert abs(actor.snapshot().daily_return) < 0.01


def test_a_close_is_valued_though_the_broker_is_silent() -> None:
    actor = an_actor()
    actor.trade(TODAY)
    moody(actor).silent = 99
    actor.close(closed(TODAY))
    with actor.engine.ledger.begin(write=False) as unit:
        assert len(unit.book.valuations()) == 1


class NoBetter(Wild):
    """A baseline that is as wrong."""

    name = "no better"


def test_where_the_baseline_is_wrong_too_the_book_is_held() -> None:
    actor = an_actor(allocator=Wild({"KO": float("nan")}))
    actor.baseline = NoBetter({"KO": -0.5})
    decision = actor.trade(TODAY)
    assert decision is not None
    assert (decision.orders, decision.source) == ((), Source.BASELINE)
    assert decision.reason.startswith("baseline: allocation-refused, held: allocation-refused")


@pytest.mark.parametrize("state", [TradingState.HALTED, TradingState.KILLED])
def test_nothing_is_decided_while_trading_is_stopped(state: TradingState) -> None:
    actor = an_actor()
    with actor.engine.ledger.begin() as unit:
        unit.control.set(ControlRow(state, "drill", "anna", actor.engine.clock.now()))
        unit.commit()
    assert actor.trade(TODAY) is None
    with actor.engine.ledger.begin(write=False) as unit:
        assert unit.decisions.all() == []


def test_the_kill_flag_stops_decisions_too(tmp_path: Path) -> None:
    flag = tmp_path / "KILLED-sim"
    actor = an_actor(flag=flag)
    flag.write_text("stop")
    assert actor.trade(TODAY) is None
    flag.unlink()
    assert actor.trade(TODAY) is not None


def test_a_damaged_ledger_is_not_traded_on() -> None:
    actor = an_actor()
    actor.trade(TODAY)
    ledger = actor.engine.ledger
    assert isinstance(ledger, SqlLedger)
    with ledger.engine.begin() as connection:
        connection.exec_driver_sql("UPDATE position SET qty = '1' WHERE symbol = 'KO'")
    with pytest.raises(LedgerDamaged, match="KO: qty: 1 kept"):
        actor.start()
