"""A session's work that takes time: orders that wait, a broker that does not answer, a breaker, a person's wish."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from fractions import Fraction

import pytest

from ordinis.brokers.book import VenueBook
from ordinis.brokers.simulated import Part, SimulatedBroker
from ordinis.brokers.tape import PriceTape
from ordinis.clock import ReplayClock
from ordinis.costs.models import ProportionalCost
from ordinis.domain.decisions import Source
from ordinis.domain.limits import TradingState
from ordinis.domain.market import Quote
from ordinis.domain.orders import Ambiguous, Known, OrderState, QueryOutcome, Side, SubmitOutcome, Unknown
from ordinis.domain.overrides import Override, OverrideKind
from ordinis.domain.portfolio import Valuation
from ordinis.errors import BrokerUnavailable
from ordinis.execution.actor import Actor
from ordinis.execution.control import lift, slow_down
from ordinis.execution.killpoints import KillPoint
from ordinis.governance.breakers import DAILY_LOSS, DRAWDOWN, RECONCILIATION
from ordinis.ports import BrokerAccount, ControlRow
from tests.brokers.market import CALENDAR, SESSIONS, SYMBOLS, TODAY, history, instruments
from tests.execution.test_actor import NEXT, Fixed, an_actor, closed
from tests.execution.world import Crash

WINDOW = CALENDAR.trading_instant(TODAY)


class Failing:
    """A venue of which the named queries fail, this often."""

    def __init__(self, venue: SimulatedBroker, **failures: int) -> None:
        self._venue, self._failures = venue, failures

    def __getattr__(self, name: str) -> object:
        return getattr(self._venue, name)

    def _fails(self, name: str) -> bool:
        self._failures[name] = self._failures.get(name, 0) - 1
        return self._failures[name] >= 0

    def account(self) -> QueryOutcome[BrokerAccount]:
        return Unknown("no route") if self._fails("account") else self._venue.account()

    def quotes(self, symbols: Sequence[str]) -> QueryOutcome[Mapping[str, Quote]]:
        return Unknown("no route") if self._fails("quotes") else self._venue.quotes(symbols)


def failing(**failures: int) -> Actor:
    actor = an_actor()
    actor.engine = replace(actor.engine, broker=Failing(actor.engine.broker, **failures))  # type: ignore[arg-type]
    return actor


def state(actor: Actor) -> ControlRow | None:
    with actor.engine.ledger.begin(write=False) as unit:
        return unit.control.state()


def now_at(actor: Actor, session: object = NEXT) -> None:
    clock = actor.engine.clock
    assert isinstance(clock, ReplayClock)
    clock.advance(max(clock.now(), CALENDAR.trading_instant(session)))  # type: ignore[arg-type]


def wish(actor: Actor, kind: OverrideKind, value: float | None = None, symbol: str = "AAPL") -> None:
    at = actor.engine.clock.now()
    with actor.engine.ledger.begin() as unit:
        unit.control.override(Override(symbol, kind, value, "anna", "a hunch", at, at + timedelta(days=30)))
        unit.commit()


def test_funding_is_spread_over_minutes_and_ends_before_the_close() -> None:
    actor = an_actor(allocator=Fixed(dict.fromkeys(SYMBOLS, 0.2)))
    decision = actor.trade(TODAY)
    assert decision is not None
    with actor.engine.ledger.begin(write=False) as unit:
        sent = [(i.symbol, i.sent_at) for i in unit.orders.all()]
    times = [at - WINDOW for _, at in sent if at is not None]
    assert [symbol for symbol, _ in sent] == sorted(SYMBOLS)
    assert times == [timedelta(0), timedelta(minutes=1), timedelta(minutes=2)]
    assert actor.snapshot().weights == pytest.approx(dict.fromkeys(SYMBOLS, 0.2), abs=1e-3)


def test_a_restart_in_the_middle_goes_on_with_the_same_plan() -> None:
    actor = an_actor(allocator=Fixed(dict.fromkeys(SYMBOLS, 0.2)))
    clock = actor.engine.clock
    assert isinstance(clock, ReplayClock)
    draft = actor.trade(TODAY)
    # The same session again, minutes later: what a restart does.
    clock.advance(clock.now() + timedelta(minutes=1))
    assert actor.trade(TODAY) == draft
    with actor.engine.ledger.begin(write=False) as unit:
        assert len(unit.decisions.all()) == 1
        assert len(unit.orders.all()) == 3


def test_a_broker_that_comes_back_within_three_tries_is_traded_with(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="ordinis"):
        decision = failing(account=2).trade(TODAY)
    assert decision is not None
    assert caplog.text.count("the broker did not answer account: no route") == 2


def test_a_broker_that_does_not_answer_three_times_halts_trading() -> None:
    actor = failing(account=3)
    assert actor.trade(TODAY) is None
    row = state(actor)
    assert row is not None
    assert (row.state, row.by) == (TradingState.HALTED, RECONCILIATION)
    assert row.reason == "3 comparisons with the broker failed, the last: the broker did not answer account: no route"
    assert actor.trade(TODAY) is None


def test_quotes_that_come_late_are_waited_for() -> None:
    actor = failing(quotes=4)
    decision = actor.trade(TODAY)
    assert decision is not None
    assert decision.as_of == WINDOW + timedelta(seconds=20)
    assert actor.snapshot().holdings.keys() == set(SYMBOLS)


def test_without_quotes_until_the_close_nothing_is_decided() -> None:
    actor = failing(quotes=10_000)
    assert actor.trade(TODAY) is None
    assert state(actor) is None
    assert actor.engine.clock.now() <= CALENDAR.closes(TODAY)


def test_a_plan_whose_prices_fail_waits_and_is_denied_at_the_end() -> None:
    actor = failing()
    venue: Failing = actor.engine.broker  # type: ignore[assignment]
    actor.on_decision = lambda decision: None
    commit = actor._commit

    def then_fail(draft: object) -> None:
        commit(draft)  # type: ignore[arg-type]
        venue._failures["quotes"] = 10_000

    actor._commit = then_fail  # type: ignore[method-assign, assignment]
    decision = actor.trade(TODAY)
    assert decision is not None
    with actor.engine.ledger.begin(write=False) as unit:
        orders = unit.orders.all()
        reasons = {unit.orders.events(i.client_order_id)[0]["payload"]["reason"] for i in orders}
    assert {i.state for i in orders} == {OrderState.DENIED}
    assert reasons == {f"G5: {symbol} has no price" for symbol in SYMBOLS}


def test_a_bad_day_lets_the_book_shrink_only_and_ends_with_the_day() -> None:
    prices = history()
    prices.closes[SESSIONS.index(NEXT) :] *= 0.96
    actor = an_actor(prices=prices, allocator=Fixed(dict.fromkeys(SYMBOLS, 0.2)))
    actor.trade(TODAY)
    actor.close(closed(TODAY))
    now_at(actor)
    actor.allocator = Fixed({"AAPL": 0.05, "KO": 0.2, "XOM": 0.2})
    decision = actor.trade(NEXT)
    row = state(actor)
    assert decision is not None
    assert row is not None
    assert (row.state, row.by) == (TradingState.REDUCING, DAILY_LOSS)
    assert {order.side for order in decision.orders} <= {Side.SELL}
    actor.close(closed(NEXT))
    after = CALENDAR.next_session(NEXT)
    now_at(actor, after)
    actor.trade(after)
    row = state(actor)
    assert row is not None
    assert (row.state, row.reason) == (TradingState.ACTIVE, "a new session")


def test_a_deep_drawdown_sells_the_book_and_then_halts() -> None:
    actor = an_actor(allocator=Fixed(dict.fromkeys(SYMBOLS, 0.2)))
    actor.trade(TODAY)
    book = actor.snapshot()
    gross = book.equity - book.cash
    row = Valuation("sim", TODAY, CALENDAR.closes(TODAY), book.equity, book.cash, gross, book.equity * 2)
    with actor.engine.ledger.begin() as unit:
        unit.book.value(row)
        unit.commit()
    actor.close(closed(TODAY))
    now_at(actor)
    decision = actor.trade(NEXT)
    control = state(actor)
    assert decision is not None
    assert control is not None
    assert (control.state, control.by) == (TradingState.REDUCING, DRAWDOWN)
    assert {order.side for order in decision.orders} == {Side.SELL}
    assert actor.snapshot().holdings == {}
    actor.close(closed(NEXT))
    after = CALENDAR.next_session(NEXT)
    now_at(actor, after)
    assert actor.trade(after) is None
    control = state(actor)
    assert control is not None
    assert (control.state, control.by) == (TradingState.HALTED, DRAWDOWN)


def test_a_persons_pin_is_traded_at_once_and_then_left_alone() -> None:
    actor = an_actor(allocator=Fixed(dict.fromkeys(SYMBOLS, 0.15)))
    actor.trade(TODAY)
    actor.close(closed(TODAY))
    now_at(actor)
    wish(actor, OverrideKind.PIN, 0.05)
    decision = actor.trade(NEXT)
    assert decision is not None
    assert [(o.symbol, o.side) for o in decision.orders] == [("AAPL", Side.SELL)]  # inside the cool-down
    assert actor.snapshot().weights["AAPL"] == pytest.approx(0.05, abs=1e-3)
    assert decision.reason == "overrides: AAPL pin 0.1500 to 0.0500 (anna: a hunch)"
    actor.close(closed(NEXT))
    after = CALENDAR.next_session(NEXT)
    now_at(actor, after)
    again = actor.trade(after)
    assert again is not None
    assert again.orders == ()


def test_a_pin_upwards_is_bought_and_a_frozen_symbol_is_not_touched() -> None:
    actor = an_actor(allocator=Fixed(dict.fromkeys(SYMBOLS, 0.1)))
    wish(actor, OverrideKind.PIN, 0.18, "KO")
    wish(actor, OverrideKind.NO_TRADE, None, "XOM")
    decision = actor.trade(TODAY)
    assert decision is not None
    assert {o.symbol for o in decision.orders} == {"AAPL", "KO"}
    assert actor.snapshot().weights["KO"] == pytest.approx(0.18, abs=1e-3)


def test_flat_sells_the_whole_book_and_keeps_it_sold_until_it_is_lifted() -> None:
    actor = an_actor(allocator=Fixed(dict.fromkeys(SYMBOLS, 0.2)))
    actor.trade(TODAY)
    actor.close(closed(TODAY))
    wish(actor, OverrideKind.FLAT, symbol="")
    now_at(actor)
    decision = actor.trade(NEXT)
    assert decision is not None
    assert {order.side for order in decision.orders} == {Side.SELL}
    assert actor.snapshot().holdings == {}
    actor.close(closed(NEXT))
    later = CALENDAR.next_session(NEXT)
    now_at(actor, later)
    decision = actor.trade(later)
    assert decision is not None
    assert decision.orders == ()
    actor.close(closed(later))
    last = CALENDAR.next_session(later)
    now_at(actor, last)
    lift(actor.engine.ledger, "", OverrideKind.FLAT, reason="over", by="anna", at=actor.engine.clock.now())
    decision = actor.trade(last)
    assert decision is not None
    assert {order.side for order in decision.orders} == {Side.BUY}


def test_a_wish_beyond_the_limits_is_cut_to_them() -> None:
    actor = an_actor(allocator=Fixed(dict.fromkeys(SYMBOLS, 0.1)))
    wish(actor, OverrideKind.PIN, 0.9)
    actor.trade(TODAY)
    assert actor.snapshot().weights["AAPL"] == pytest.approx(0.2, abs=1e-3)


class Never:
    """A model that must not be asked."""

    name, version = "never", "1"

    def allocate(self, view: object, portfolio: object) -> object:
        raise AssertionError("the model was asked")


def test_the_baseline_answers_while_a_person_asks_for_it_and_the_model_is_not_even_asked() -> None:
    actor = an_actor(allocator=Never())  # type: ignore[arg-type]
    wish(actor, OverrideKind.BASELINE, symbol="")
    decision = actor.trade(TODAY)
    assert decision is not None
    assert decision.source is Source.BASELINE
    assert decision.reason.startswith("baseline: anna until 2020-04-15")
    actor.close(closed(TODAY))
    now_at(actor)
    ledger, now = actor.engine.ledger, actor.engine.clock.now()
    lift(ledger, "", OverrideKind.BASELINE, reason="over", by="anna", at=now)
    with pytest.raises(AssertionError, match="the model was asked"):
        actor.trade(NEXT)


def test_while_reducing_nothing_is_planned_that_adds() -> None:
    actor = an_actor()
    slow_down(actor.engine.ledger, TradingState.REDUCING, reason="drill", by="anna", at=actor.engine.clock.now())
    decision = actor.trade(TODAY)
    assert decision is not None
    assert decision.orders == ()
    assert "trading is REDUCING: nothing is added" in decision.reason


def test_a_person_cannot_raise_the_state_by_slowing_down() -> None:
    actor = an_actor()
    ledger, at = actor.engine.ledger, actor.engine.clock.now()
    assert "is HALTED." in slow_down(ledger, TradingState.HALTED, reason="drill", by="anna", at=at)
    told = slow_down(ledger, TradingState.REDUCING, reason="lunch", by="bert", at=at)
    assert told == "Trading is HALTED already, since anna said: drill"
    row = state(actor)
    assert row is not None
    assert row.state is TradingState.HALTED


def quoted(actor: Actor, symbol: str, price: str) -> None:
    """The broker's quote of one symbol is wrong from now on."""
    venue = actor.engine.broker
    quotes = venue.quotes

    def wrong(symbols: Sequence[str]) -> Known[Mapping[str, Quote]]:
        answer = quotes(symbols)
        assert isinstance(answer, Known)
        found = dict(answer.value)
        if symbol in found:
            found[symbol] = replace(found[symbol], price=Decimal(price))
        return Known(found)

    venue.quotes = wrong  # type: ignore[method-assign]


@pytest.mark.parametrize("price", ["0.5", "5000", "0", "-1", "NaN"])
def test_one_wrong_quote_neither_trips_a_breaker_nor_trades_anything(price: str) -> None:
    actor = an_actor(allocator=Fixed(dict.fromkeys(SYMBOLS, 0.2)))
    actor.trade(TODAY)
    actor.close(closed(TODAY))
    now_at(actor)
    held = actor.snapshot().holdings
    quoted(actor, "KO", price)
    actor.trade(NEXT)
    assert actor.snapshot().holdings == held
    assert state(actor) is None


def test_a_bar_that_the_window_does_not_take_values_nothing() -> None:
    actor = an_actor(allocator=Fixed(dict.fromkeys(SYMBOLS, 0.2)))
    actor.trade(TODAY)
    bars = closed(TODAY)
    wrong = [replace(bar, close=Decimal(-50)) if bar.symbol == "KO" else bar for bar in bars.bars]
    actor.close(replace(bars, bars=tuple(wrong)))
    with actor.engine.ledger.begin(write=False) as unit:
        row = unit.book.last_valuation()
    assert row is not None
    assert Decimal(9900) < row.equity < Decimal(10100)


def test_a_person_who_reduces_after_a_bad_day_is_not_overruled_by_the_next(world_of_loss: Actor) -> None:
    actor = world_of_loss
    told = slow_down(actor.engine.ledger, TradingState.REDUCING, reason="mine", by="anna", at=actor.engine.clock.now())
    assert told.startswith("Trading is REDUCING.")
    after = CALENDAR.next_session(NEXT)
    actor.close(closed(NEXT))
    now_at(actor, after)
    actor.trade(after)
    row = state(actor)
    assert row is not None
    assert (row.state, row.by) == (TradingState.REDUCING, "anna")


@pytest.fixture
def world_of_loss() -> Actor:
    prices = history()
    prices.closes[SESSIONS.index(NEXT) :] *= 0.96
    actor = an_actor(prices=prices, allocator=Fixed(dict.fromkeys(SYMBOLS, 0.2)))
    actor.trade(TODAY)
    actor.close(closed(TODAY))
    now_at(actor)
    actor.trade(NEXT)
    return actor


def test_while_trading_stands_still_what_is_under_way_is_still_booked() -> None:
    actor = an_actor()

    def die(point: KillPoint) -> None:
        if point is KillPoint.REPLIED:
            raise Crash(point)

    alive = actor.engine
    actor.engine = replace(alive, kill_point=die)
    with pytest.raises(Crash):
        actor.trade(TODAY)
    actor.engine = alive
    slow_down(alive.ledger, TradingState.HALTED, reason="drill", by="anna", at=alive.clock.now())
    assert actor.trade(TODAY) is None
    with alive.ledger.begin(write=False) as unit:
        assert unit.orders.live() == []
        booked = unit.book.fills()
    executed = alive.broker.fills(CALENDAR.opens(TODAY))
    assert isinstance(executed, Known)
    assert list(booked) == list(executed.value)
    assert len(booked) == 1


def test_a_broker_that_does_not_say_what_it_can_do_ends_no_plan() -> None:
    actor = an_actor()
    venue = actor.engine.broker

    def unknown() -> object:
        raise BrokerUnavailable("capabilities", "no route")

    venue.capabilities = unknown  # type: ignore[method-assign, assignment]
    assert not actor.engine._dedupes()
    assert actor.trade(TODAY) is not None


class Unheard(Failing):
    """Cancels of which nobody says what became."""

    def cancel(self, client_order_id: str) -> SubmitOutcome:
        return Ambiguous("no answer") if self._fails("cancel") else self._venue.cancel(client_order_id)


def test_what_is_open_when_trading_halts_in_the_middle_is_followed_to_its_end() -> None:
    actor = an_actor()
    clock = actor.engine.clock
    assert isinstance(clock, ReplayClock)
    late = [Part(Fraction(1), timedelta(hours=1))]
    venue = SimulatedBroker(
        VenueBook(":memory:", "sim"), PriceTape(history()), instruments(), ProportionalCost(10.0), clock, CALENDAR,
        lambda request: late,
    )  # fmt: skip
    venue.open_account(Decimal(10_000), CALENDAR.opens(SESSIONS[0]))
    door = Unheard(venue, cancel=3)
    actor.engine = replace(actor.engine, broker=door)  # type: ignore[arg-type]

    def then_fail(point: KillPoint) -> None:
        if point is KillPoint.DECIDED:
            door._failures["account"] = 9

    actor.engine = replace(actor.engine, kill_point=then_fail)
    assert actor.trade(TODAY) is not None
    row = state(actor)
    assert row is not None
    assert (row.state, row.by) == (TradingState.HALTED, RECONCILIATION)
    with actor.engine.ledger.begin(write=False) as unit:
        assert unit.orders.live() == []
        ended = {intent.state for intent in unit.orders.all() if intent.sent_at is not None}
    assert ended == {OrderState.CANCELED}
    assert venue.open_orders().value == []
