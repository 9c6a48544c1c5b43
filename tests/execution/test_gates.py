"""Each gate by itself: an order that passes all of them but one is held up by that one, and for that reason."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from ordinis.costs.execution import expected_cash
from ordinis.costs.liquidity import UNKNOWN
from ordinis.costs.models import SquareRootCost
from ordinis.domain.canonical import canonical, digest
from ordinis.domain.decisions import Decision, DecisionStatus
from ordinis.domain.limits import Limits, OrderLimits, TradingState
from ordinis.domain.market import Quote
from ordinis.domain.orders import Fill, OrderState, PlannedOrder, Side
from ordinis.domain.overrides import Override, OverrideKind
from ordinis.execution.gates import WHOLE, Denied, Gates, Passed, Waits
from ordinis.execution.prices import Prices
from ordinis.execution.reconcile import reconcile
from ordinis.ports import ControlRow, OrderEvent
from tests.brokers.market import CALENDAR, TODAY
from tests.execution.test_order_engine import PACED, PRICES, World

ZERO, INSTANT, SECOND, MINUTE, HOUR = (
    timedelta(0),
    timedelta(microseconds=1),
    timedelta(seconds=1),
    timedelta(minutes=1),
    timedelta(hours=1),
)
Verdict = Passed | Denied | Waits


@pytest.fixture
def world(tmp_path: Path) -> World:
    world = World(tmp_path)
    reconcile(world.engine())
    return world


def judged(
    world: World,
    side: Side = Side.BUY,
    quantity: str = "10",
    *,
    orders: OrderLimits = PACED,
    change: Callable[[Gates], Gates] = lambda gates: gates,
    decided: Callable[[Decision], Decision] = lambda decision: decision,
    quote: Callable[[Quote], Quote] = lambda quote: quote,
    planned: Callable[[PlannedOrder], PlannedOrder] = lambda order: order,
    skew: timedelta = ZERO,
    later: timedelta = ZERO,
    volumes: Mapping[str, float] = MappingProxyType({}),
) -> Verdict:
    """What the gates say of an order in AAPL of a new decision."""
    world.clock.advance(world.clock.now() + INSTANT)
    decision = decided(world.decide(("AAPL", side, quantity)))
    order = planned(decision.orders[0])
    prices = world.prices()
    liquidity = replace(prices.liquidity, volumes=volumes)
    prices = replace(prices, quotes={s: quote(q) for s, q in prices.quotes.items()}, liquidity=liquidity)
    gates = change(replace(world.engine().gates, orders=orders))
    with world.ledger.begin() as unit:
        return gates.admit(unit, decision, order, world.clock.now() + later, prices, skew)


def passes(verdict: Verdict) -> bool:
    return isinstance(verdict, Passed)


def bought(world: World, symbol: str = "AAPL", quantity: str = "30") -> None:
    world.clock.advance(world.clock.now() + INSTANT)
    assert world.engine().execute(world.decide((symbol, Side.BUY, quantity)), world.prices())


def control(world: World, state: TradingState, symbol: str = "") -> None:
    with world.ledger.begin() as unit:
        unit.control.set(ControlRow(state, "drill", "anna", world.clock.now(), symbol))
        unit.commit()


def wish(
    world: World, kind: OverrideKind, value: float | None = None, *, symbol: str = "AAPL", later: timedelta = ZERO
) -> None:
    at = world.clock.now() + later
    with world.ledger.begin() as unit:
        unit.control.override(Override(symbol, kind, value, "anna", "a hunch", at, at + HOUR))
        unit.commit()


def test_an_order_that_meets_everything_passes_whole(world: World) -> None:
    verdict = judged(world)
    assert isinstance(verdict, Passed)
    assert verdict.quantity == 10
    # 10 units at about 60, 10 bp of slippage.
    assert verdict.reserved == pytest.approx(world.prices().of("AAPL") * 10 * Decimal("1.001"), rel=Decimal("1e-6"))


def test_g2_states_stop_buys_and_only_reducing_lets_sales_go(world: World) -> None:
    bought(world)
    for state in (TradingState.REDUCING, TradingState.HALTED, TradingState.KILLED):
        control(world, state)
        assert f"G2: trading is {state} since anna said: drill" in str(judged(world))
        assert passes(judged(world, Side.SELL)) is (state is TradingState.REDUCING)


def test_g3_a_halted_symbol_waits_and_one_that_is_not_traded_is_denied(world: World) -> None:
    assert judged(world, quote=lambda q: replace(q, halted=True)) == Waits("G3: trading in AAPL is halted")
    closed = {"AAPL": replace(world.engine().gates.instruments["AAPL"], tradable=False)}
    assert judged(world, change=lambda g: replace(g, instruments=closed)) == Denied("G3: AAPL cannot be traded")


@pytest.mark.parametrize(("quantity", "left"), [("0", "10"), ("-1", "10"), ("NaN", "10"), ("10.001", "10")], ids=str)
def test_g4_only_what_was_decided_is_sent(world: World, quantity: str, left: str) -> None:
    verdict = judged(world, planned=lambda order: replace(order, quantity=Decimal(quantity)))
    assert isinstance(verdict, Denied)
    assert f"{left} of the decided quantity left" in verdict.reason


@pytest.mark.parametrize("age", [5.0, 5.1])
def test_g5_a_price_may_be_five_seconds_old(world: World, age: float) -> None:
    verdict = judged(world, quote=lambda q: replace(q, at=q.at - timedelta(seconds=age)))
    assert passes(verdict) is (age <= 5.0)
    assert passes(verdict) or verdict == Waits("G5: the price of AAPL is 5.1 s old")


@pytest.mark.parametrize("ahead", [10.0, 10.1])
def test_g5_a_price_may_be_ahead_of_our_clock_by_the_skew(world: World, ahead: float) -> None:
    verdict = judged(world, quote=lambda q: replace(q, at=q.at + timedelta(seconds=ahead)))
    assert passes(verdict) is (ahead <= PACED.skew_seconds)
    assert passes(verdict) or verdict == Waits("G5: the price of AAPL is -10.1 s old")


def test_g5_no_price_no_order(world: World) -> None:
    decision, prices = world.decide(("AAPL", Side.BUY, "10")), replace(world.prices(), quotes={})
    with world.ledger.begin() as unit:
        verdict = world.engine().gates.admit(unit, decision, decision.orders[0], world.clock.now(), prices)
    assert verdict == Waits("G5: AAPL has no price")


@pytest.mark.parametrize("price", ["0", "-1"])
def test_g5_a_price_that_is_none_is_denied(world: World, price: str) -> None:
    assert judged(world, quote=lambda q: replace(q, price=Decimal(price))) == Denied(
        f"G5: the price of AAPL is {price}"
    )


@pytest.mark.parametrize("width", ["0.0099", "0.0101"])
def test_g5_a_wide_spread_waits(world: World, width: str) -> None:
    half = Decimal(width) / 2
    verdict = judged(world, quote=lambda q: replace(q, bid=q.price * (1 - half), ask=q.price * (1 + half)))
    assert passes(verdict) is (width == "0.0099")
    assert passes(verdict) or verdict == Waits("G5: the spread of AAPL is 1.01%")


@pytest.mark.parametrize("move", [1.04, 1.06, 0.96, 0.94])
def test_g6_a_buy_far_from_the_last_close_is_denied(world: World, move: float) -> None:
    close = world.prices().closes["AAPL"]
    price = close * Decimal(str(move))
    verdict = judged(
        world, quote=lambda q: replace(q, price=price), planned=lambda o: replace(o, reference_price=price)
    )
    assert passes(verdict) is (abs(move - 1) < 0.05)
    assert passes(verdict) or f"G6: the price of AAPL is {price}, its last close {close}" in str(verdict)


def test_g6_a_buy_far_from_the_price_that_was_decided_on_is_denied(world: World) -> None:
    verdict = judged(world, planned=lambda o: replace(o, reference_price=o.reference_price * Decimal("0.94")))
    quoted = world.prices().quotes["AAPL"].price
    decided = PRICES["AAPL"] * Decimal("0.94")
    assert verdict == Denied(f"G6: the price of AAPL is {quoted}, the price that was decided on {decided}")


@pytest.mark.parametrize("side", list(Side))
@pytest.mark.parametrize("move", ["1.25", "0.75"])
def test_a_spread_and_a_move_as_wide_as_allowed_pass(world: World, side: Side, move: str) -> None:
    bought(world)
    limits = replace(PACED, spread_cap=0.25, buy_collar=0.25, sell_collar=0.25)
    price = world.prices().closes["AAPL"] * Decimal(move)
    half = price / 8
    assert passes(
        judged(
            world,
            side,
            orders=limits,
            quote=lambda q: replace(q, price=price, bid=price - half, ask=price + half),
            planned=lambda o: replace(o, reference_price=price),
        )
    )


def test_g6_a_sale_may_follow_a_fall_but_not_a_split_that_is_not_adjusted_for(world: World) -> None:
    bought(world)
    fallen = judged(world, Side.SELL, quote=lambda q: replace(q, price=q.price * Decimal("0.75")))
    split = judged(world, Side.SELL, quote=lambda q: replace(q, price=q.price * Decimal("0.5")))
    assert passes(fallen)
    assert "G6" in str(split)


@pytest.mark.parametrize(
    ("weights", "told"),
    [
        ({"AAPL": float("nan")}, "G7: decision {} has weights that are negative or not finite"),
        ({"AAPL": -0.1, "KO": 0.5}, "G7: decision {} has weights that are negative or not finite"),
        ({"AAPL": float("inf")}, "G7: decision {} has weights that are negative or not finite"),
        ({"AAPL": 0.75, "KO": 0.5}, "G7: the weights of decision {} sum to 1.25"),
        ({"AAPL": 1.0 + 2 * WHOLE}, "G7: the weights of decision {} sum to 1.000002"),
        ({"AAPL": 1.0 + WHOLE}, ""),
        ({"AAPL": 1.0}, ""),
        ({"AAPL": 0.0, "KO": 0.5}, ""),
    ],
)
def test_g7_weights_must_be_numbers_that_sum_to_a_whole(world: World, weights: dict[str, float], told: str) -> None:
    seen = []
    verdict = judged(world, decided=lambda d: seen.append(d.id[:12]) or replace(d, weights=weights))  # type: ignore[func-returns-value]
    assert passes(verdict) is (told == "")
    assert passes(verdict) or verdict == Denied(told.format(seen[0]))


def test_g8_a_buy_is_at_most_a_share_of_the_daily_volume(world: World) -> None:
    thin = {s: replace(i, adv=100.0) for s, i in world.engine().gates.instruments.items()}
    verdict = judged(world, quantity="10", change=lambda g: replace(g, instruments=thin))
    assert isinstance(verdict, Passed)
    assert verdict.quantity == 5
    bought(world)
    assert judged(world, Side.SELL, "20", change=lambda g: replace(g, instruments=thin)) == Passed(
        Decimal(20), Decimal(0)
    )


def test_g10_a_symbol_with_a_live_order_waits_for_its_end_and_an_order_is_not_in_its_own_way(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "10"))
    gates, now, prices = world.engine().gates, world.clock.now(), world.prices()
    with world.ledger.begin() as unit:
        intent = world.engine()._written(unit, decision, decision.orders[0], 1, Passed(Decimal(10), Decimal(601)))
        other = gates.admit(unit, decision, decision.orders[0], now, prices)
        itself = gates.admit(unit, decision, decision.orders[0], now, prices, ZERO, intent.client_order_id)
    assert other == Denied(f"G10: order {intent.client_order_id} in AAPL is still INTENT")
    assert passes(itself)


def test_g12_the_old_rule_on_day_trades_holds_up_buys_and_never_a_sale(world: World) -> None:
    limits = replace(PACED, day_trades=1)
    bought(world, "KO")
    assert passes(judged(world, orders=limits))
    world.clock.advance(world.clock.now() + INSTANT)
    assert world.engine().execute(world.decide(("KO", Side.SELL, "10")), world.prices())
    assert judged(world, orders=limits) == Denied("G12: 1 day trades in 5 sessions")
    assert passes(judged(world, orders=PACED))
    bought(world)
    assert passes(judged(world, Side.SELL, orders=limits))


def test_g12_a_round_trip_six_sessions_ago_no_longer_counts(world: World) -> None:
    limits = replace(PACED, day_trades=1)
    for sessions, counts in ((5, False), (4, True)):
        at = CALENDAR.opens(CALENDAR.back(TODAY, sessions)) + HOUR
        with world.ledger.begin() as unit:
            for side in Side:
                row = Fill("sim", f"{sessions}{side}", None, "XOM", side, Decimal(1), Decimal(40), Decimal(0), at)
                unit.book.fill(row, source="poll", received_at=at)
            unit.commit()
        assert passes(judged(world, orders=limits)) is not counts


@pytest.mark.parametrize("seconds", [60, 61])
def test_g13_ledger_and_broker_were_compared_within_a_minute(world: World, seconds: int) -> None:
    limits = replace(PACED, reconciled_within_seconds=60)
    agreed = world.clock.now()
    world.clock.advance(agreed + timedelta(seconds=seconds) - INSTANT)
    verdict = judged(world, orders=limits)
    assert passes(verdict) is (seconds == 60)
    assert passes(verdict) or verdict == Waits(f"G13: ledger and broker last agreed {agreed.isoformat()}")


def test_g13_without_any_comparison_nothing_is_sent(tmp_path: Path) -> None:
    assert judged(World(tmp_path)) == Waits("G13: ledger and broker last agreed never")


def test_g13_a_locked_symbol_is_not_traded_either_way(world: World) -> None:
    bought(world)
    control(world, TradingState.HALTED, "AAPL")
    assert "G13: AAPL is locked since anna said: drill" in str(judged(world))
    assert "G13: AAPL is locked" in str(judged(world, Side.SELL))


def test_g12_a_day_trade_is_a_purchase_and_a_sale_of_one_symbol_in_one_session(world: World) -> None:
    limits = replace(PACED, day_trades=2)
    yesterday, today = (CALENDAR.opens(session) + MINUTE for session in (CALENDAR.back(TODAY, 1), TODAY))

    def booked(symbol: str, side: Side, at: datetime) -> None:
        with world.ledger.begin() as unit:
            row = Fill("sim", f"{symbol}{side}{at}", None, symbol, side, Decimal(1), Decimal(40), Decimal(0), at)
            unit.book.fill(row, source="poll", received_at=at)
            unit.commit()

    # Bought yesterday, sold today; bought one symbol, sold another; and one day trade of four executions.
    booked("XOM", Side.BUY, yesterday)
    booked("XOM", Side.SELL, today)
    booked("AAPL", Side.BUY, today)
    for step in range(2):
        for side in Side:
            booked("KO", side, today + step * MINUTE)
    assert passes(judged(world, orders=limits))
    assert judged(world, orders=replace(limits, day_trades=1)) == Denied("G12: 1 day trades in 5 sessions")
    booked("KO", Side.BUY, yesterday)
    booked("KO", Side.SELL, yesterday)
    assert judged(world, orders=limits) == Denied("G12: 2 day trades in 5 sessions")


@pytest.mark.parametrize("seconds", [10, 11])
def test_g14_a_broker_whose_clock_is_off_gets_no_new_risk(world: World, seconds: int) -> None:
    skew = timedelta(seconds=seconds)
    verdict = judged(world, skew=skew)
    assert passes(verdict) is (seconds == 10)
    assert passes(verdict) or verdict == Denied("G14: the broker's clock differs from ours by 11 s")
    bought(world)
    assert passes(judged(world, Side.SELL, skew=skew))


def test_g15_a_disk_that_is_nearly_full_takes_sales_only(world: World, tmp_path: Path) -> None:
    limits = replace(PACED, free_disk_mb=10**9)
    bought(world)
    verdict = judged(world, orders=limits, change=lambda g: replace(g, folder=tmp_path))
    assert isinstance(verdict, Denied)
    assert re.fullmatch(r"G15: \d+ MB left where the ledger lies, 1000000000 MB needed", verdict.reason)
    for folder, side in ((None, Side.BUY), (tmp_path, Side.SELL)):
        assert passes(judged(world, side, orders=limits, change=lambda g, f=folder: replace(g, folder=f)))  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "value", "buy", "sell"),
    [
        (OverrideKind.NO_TRADE, None, False, False),
        (OverrideKind.REDUCE_ONLY, None, False, True),
        (OverrideKind.MAX, 0.5, True, True),
        (OverrideKind.PIN, 0.3, True, True),
        (OverrideKind.MIN, 0.3, True, True),
    ],
)
def test_overrides_are_asked_when_an_order_is_sent(
    world: World, kind: OverrideKind, value: float | None, buy: bool, sell: bool
) -> None:
    bought(world, quantity="10")
    wish(world, kind, value)
    assert passes(judged(world)) is buy
    assert passes(judged(world, Side.SELL)) is sell


@pytest.mark.parametrize(
    ("kind", "value", "symbol", "buy", "sell"),
    [
        (OverrideKind.MAX, 0.5, "AAPL", False, True),
        (OverrideKind.PIN, 0.3, "AAPL", False, False),
        (OverrideKind.MIN, 0.3, "AAPL", False, False),
        (OverrideKind.BASELINE, None, "", False, False),
        (OverrideKind.FLAT, None, "", False, True),
        (OverrideKind.NO_TRADE, None, "KO", True, True),
    ],
)
def test_a_wish_that_is_newer_than_the_decision_ends_what_is_left_of_it(
    world: World, kind: OverrideKind, value: float | None, symbol: str, buy: bool, sell: bool
) -> None:
    bought(world, quantity="10")
    wish(world, kind, value, symbol=symbol, later=SECOND)
    assert passes(judged(world, later=SECOND)) is buy
    assert passes(judged(world, Side.SELL, later=SECOND)) is sell


def test_a_decision_whose_inputs_say_nothing_of_overrides_was_made_without_them(world: World) -> None:
    inputs = canonical({"as_of": "long ago"})
    bare = replace(
        world.decide(as_of=world.clock.now() - HOUR), id="bare", as_of=world.clock.now(), inputs_sha=digest(inputs)
    )
    with world.ledger.begin() as unit:
        unit.decisions.add(bare, inputs, [], [])
        unit.commit()
    wish(world, OverrideKind.MAX, 0.5)
    verdict = judged(world, decided=lambda decision: replace(decision, inputs_sha=digest(inputs)))
    assert isinstance(verdict, Denied)
    assert verdict.reason.endswith("was made without it")


def test_a_ceiling_of_a_person_shrinks_a_buy_and_ends_with_its_time(world: World) -> None:
    wish(world, OverrideKind.MAX, 0.03)
    verdict = judged(world)
    assert isinstance(verdict, Passed)
    assert 0 < verdict.quantity * world.prices().of("AAPL") <= 300
    at = CALENDAR.trading_instant(TODAY) - HOUR
    with world.ledger.begin() as unit:
        unit.control.override(Override("AAPL", OverrideKind.MAX, 0.03, "anna", "over", at, at + MINUTE))
        unit.commit()
    assert judged(world).quantity == 10  # type: ignore[union-attr]


def test_an_intent_found_after_a_restart_passes_all_the_gates_again(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "10"))
    engine, now = world.engine(), world.clock.now()
    with world.ledger.begin() as unit:
        engine._written(unit, decision, decision.orders[0], 1, Passed(Decimal(10), Decimal(601)))
        unit.commit()
    reconcile(engine, finish=True)
    assert world.states() == {"AAPL": OrderState.INTENT}
    old = replace(world.prices(), quotes={"AAPL": Quote("AAPL", world.prices().of("AAPL"), now - HOUR)})
    assert not engine.execute(decision, old)
    assert world.states() == {"AAPL": OrderState.INTENT}
    dear = Prices({"AAPL": Quote("AAPL", Decimal(66), now)}, world.prices().closes)
    assert engine.execute(decision, dear)
    assert world.states() == {"AAPL": OrderState.EXPIRED_UNSENT}
    assert world.venue.positions().value == {}


def test_an_intent_that_no_longer_fits_is_not_sent(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "50"))
    engine = world.engine()
    with world.ledger.begin() as unit:
        engine._written(unit, decision, decision.orders[0], 1, Passed(Decimal(50), Decimal(3001)))
        unit.commit()
    tight = replace(engine, gates=replace(engine.gates, limits=Limits(0.1, 0.9, 0.1, 1.0)))
    assert tight.execute(decision, world.prices())
    assert world.states() == {"AAPL": OrderState.EXPIRED_UNSENT}


def test_what_would_wait_for_ever_is_denied_at_the_end(world: World) -> None:
    decision, prices = world.decide(("AAPL", Side.BUY, "10")), replace(world.prices(), quotes={})
    assert not world.engine().execute(decision, prices)
    assert world.states() == {}
    assert world.engine().execute(decision, prices, last=True)
    assert world.states() == {"AAPL": OrderState.DENIED}
    with world.ledger.begin(write=False) as unit:
        [order] = unit.orders.all()
        [event] = unit.orders.events(order.client_order_id)
    assert event["payload"]["reason"] == "G5: AAPL has no price"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"status": DecisionStatus.REFUSED}, "G4: decision {} is REFUSED"),
        ({"limits_sha": "others"}, "G4: decision {} was made under other limits"),
    ],
)
def test_g4_a_decision_is_approved_and_made_under_the_limits_in_force(
    world: World, change: dict[str, Any], told: str
) -> None:
    decision = replace(world.decide(("AAPL", Side.BUY, "10")), **change)
    assert valid(world, decision) == told.format(decision.id[:12])


def test_g4_a_decision_is_in_force_to_its_last_instant(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "10"), lasts=MINUTE)
    assert valid(world, decision, MINUTE) == ""
    told = f"G4: decision {decision.id[:12]} expired at {decision.expires_at.isoformat()}"
    assert valid(world, decision, MINUTE + INSTANT) == told


def test_g3_a_closed_exchange_is_named(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "10"), lasts=12 * HOUR)
    assert valid(world, decision, 6 * HOUR) == "G3: the exchange is closed"


def valid(world: World, decision: Decision, later: timedelta = ZERO) -> str:
    with world.ledger.begin(write=False) as unit:
        return world.engine().gates.still_valid(unit, decision, "AAPL", Side.BUY, world.clock.now() + later)


@pytest.mark.parametrize("later", [ZERO, INSTANT, -HOUR], ids=["same instant", "later", "by a clock that is behind"])
def test_a_decision_knows_the_wishes_in_its_inputs_and_no_others_whatever_the_clocks_say(
    world: World, later: timedelta
) -> None:
    wish(world, OverrideKind.MAX, 0.5)
    decision = world.decide(("AAPL", Side.BUY, "10"))
    assert valid(world, decision) == ""
    at = world.clock.now() + later
    with world.ledger.begin() as unit:
        unit.control.override(Override("AAPL", OverrideKind.MAX, 0.4, "bert", "a doubt", at, at + 2 * HOUR))
        unit.commit()
    told = f"G8: override max of bert until {(at + 2 * HOUR).isoformat()}: a doubt"
    assert valid(world, decision, INSTANT) == f"{told}; decision {decision.id[:12]} was made without it"


def test_what_was_filled_and_then_taken_back_is_not_bought_again(world: World) -> None:
    decision = world.decide(("AAPL", Side.BUY, "10"))
    assert world.engine().execute(decision, world.prices())
    now = world.clock.now()
    with world.ledger.begin() as unit:
        [fill] = unit.book.fills()
        back = replace(fill, exec_id="bust", side=Side.SELL, reverses=fill.exec_id)
        unit.book.fill(back, source="poll", received_at=now)
        [intent] = unit.orders.all()
        verdict = world.engine().gates.admit(unit, decision, decision.orders[0], now, world.prices())
    assert (intent.state, intent.filled_quantity) == (OrderState.FILLED, 0)
    assert verdict == Denied("G4: 10 asked, 0 of the decided quantity left")


@pytest.mark.parametrize(("side", "other"), [(Side.BUY, Side.SELL), (Side.SELL, Side.BUY)])
def test_what_an_order_that_ended_early_had_taken_back_may_come_again_corrected(
    world: World, side: Side, other: Side
) -> None:
    """The venue takes six back; the same six at another price may be told later, when the rest was sent again."""
    if side is Side.SELL:
        bought(world)
        world.clock.advance(world.clock.now() + INSTANT)
    decision, engine, now = world.decide(("AAPL", side, "10")), world.engine(), world.clock.now()
    order = decision.orders[0]
    with world.ledger.begin() as unit:
        intent = engine._written(unit, decision, order, 1, Passed(Decimal(10), Decimal(601)))
        coid = intent.client_order_id
        for state in (OrderState.SENDING, OrderState.WORKING):
            unit.orders.move(coid, state, OrderEvent(f"{coid}:{state}", "local", now, now, {}))
        filled = Fill("sim", "x1", coid, "AAPL", side, Decimal(6), Decimal(60), Decimal(0), now)
        unit.book.fill(filled, source="poll", received_at=now)
        unit.orders.move(coid, OrderState.CANCELED, OrderEvent(f"{coid}:C", "poll", now, now, {}))
        back = replace(filled, exec_id="x1-bust", side=other, reverses="x1")
        unit.book.fill(back, source="poll", received_at=now)
        asked = {
            quantity: engine.gates.admit(
                unit, decision, replace(order, quantity=Decimal(quantity)), now, world.prices()
            )
            for quantity in (10, 5, 4)
        }
    assert asked[10] == Denied("G4: 10 asked, 4 of the decided quantity left")
    assert asked[5] == Denied("G4: 5 asked, 4 of the decided quantity left")
    assert passes(asked[4])


def test_a_plan_whose_order_was_taken_back_whole_has_nothing_left_to_do(world: World) -> None:
    decision, engine, now = world.decide(("AAPL", Side.BUY, "10")), world.engine(), world.clock.now()
    with world.ledger.begin() as unit:
        coid = engine._written(unit, decision, decision.orders[0], 1, Passed(Decimal(10), Decimal(601))).client_order_id
        for state in (OrderState.SENDING, OrderState.WORKING, OrderState.CANCELED):
            unit.orders.move(coid, state, OrderEvent(f"{coid}:{state}", "local", now, now, {}))
        late = Fill("sim", "x1", coid, "AAPL", Side.BUY, Decimal(10), Decimal(60), Decimal(0), now)
        unit.book.fill(late, source="poll", received_at=now)
        unit.book.fill(replace(late, exec_id="x2", side=Side.SELL, reverses="x1"), source="poll", received_at=now)
        unit.commit()
    assert engine.execute(decision, world.prices())
    with world.ledger.begin(write=False) as unit:
        assert [intent.attempt for intent in unit.orders.all()] == [1]


def test_a_buy_without_any_room_is_denied(world: World) -> None:
    full = Limits(position_cap=0.0, gross_cap=0.9, cash_buffer=0.1, sector_cap=1.0)
    told = "G8/G11: no room for AAPL under its caps, the cash buffer or a person's ceiling"
    assert judged(world, change=lambda g: replace(g, limits=full)) == Denied(told)


def test_cash_is_reserved_for_the_impact_of_a_volatile_symbol(world: World) -> None:
    costs, prices = SquareRootCost(), world.prices()
    instrument = replace(world.engine().gates.instruments["AAPL"], adv=1000.0)
    verdict = judged(world, change=lambda g: replace(g, costs=costs, instruments={"AAPL": instrument}))
    taken = -expected_cash(costs, instrument, Side.BUY, Decimal(10), prices.of("AAPL"), prices.liquidity)
    assert verdict == Passed(Decimal(10), taken)
    assert taken > -expected_cash(costs, instrument, Side.BUY, Decimal(10), prices.of("AAPL"), UNKNOWN)


def test_nothing_is_bought_of_what_nobody_trades(world: World) -> None:
    assert judged(world, volumes={"AAPL": 0.0}) == Denied("G8: nothing was traded in AAPL for 21 sessions")
    bought(world)
    assert passes(judged(world, Side.SELL, volumes={"AAPL": 0.0})), "what is held may still be offered"


def test_cash_is_reserved_for_the_impact_in_a_market_that_is_measured_to_be_thin(world: World) -> None:
    costs, prices, instrument = SquareRootCost(), world.prices(), world.engine().gates.instruments["AAPL"]
    verdict = judged(world, change=lambda g: replace(g, costs=costs), volumes={"AAPL": 1000.0, "KO": 0.0})
    asked, thin = (Side.BUY, Decimal(10), prices.of("AAPL")), replace(prices.liquidity, volumes={"AAPL": 1000.0})
    assert verdict == Passed(Decimal(10), -expected_cash(costs, instrument, *asked, thin))
    assert verdict != Passed(Decimal(10), -expected_cash(costs, instrument, *asked, prices.liquidity))


@pytest.mark.parametrize("more", ["0", "0.001"])
def test_g9_a_buy_may_take_all_that_is_left_of_the_minute(world: World, more: str) -> None:
    limits = OrderLimits(bought_per_minute=0.2, buy_collar=None, reconciled_within_seconds=3600)
    # At a price of one, units are currency: a fifth of 10,000 less what KO takes of this minute.
    spent = 10 * PRICES["KO"]
    decision = world.decide(("KO", Side.BUY, "10"), ("AAPL", Side.BUY, str(2000 - spent + Decimal(more))))
    one = {"AAPL": Quote("AAPL", Decimal(1), world.clock.now())}
    prices = replace(world.prices(), quotes={**world.prices().quotes, **one}, closes={"AAPL": Decimal(1)})
    gates = replace(world.engine().gates, orders=limits)
    with world.ledger.begin() as unit:
        world.engine()._written(unit, decision, decision.orders[0], 1, Passed(Decimal(10), spent))
        verdict = gates.admit(unit, decision, decision.orders[1], world.clock.now(), prices)
    assert passes(verdict) is (more == "0")
    assert passes(verdict) or verdict == Waits(f"G9: {spent:.2f} bought within a minute")
