"""Each gate by itself: an order that passes all of them but one is held up by that one, and for that reason."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ordinis.costs.conditions import UNKNOWN
from ordinis.costs.execution import expected_cash
from ordinis.costs.models import SquareRootCost
from ordinis.domain.decisions import DecisionStatus
from ordinis.domain.limits import Limits, OrderLimits, TradingState
from ordinis.domain.market import Quote
from ordinis.domain.orders import Fill, Side
from ordinis.execution.gates import WHOLE, Denied, Passed, Waits
from tests.brokers.market import CALENDAR, TODAY
from tests.execution.judging import (
    HOUR,
    INSTANT,
    MINUTE,
    ZERO,
    bought,
    control,
    judged,
    passes,
    valid,
)
from tests.execution.world import PACED, PRICES, World


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


def test_a_buy_without_any_room_is_denied(world: World) -> None:
    full = Limits(position_cap=0.0, gross_cap=0.9, cash_buffer=0.1, sector_cap=1.0)
    told = "G8/G11: no room for AAPL under its caps, the cash buffer or a person's ceiling"
    assert judged(world, change=lambda g: replace(g, limits=full)) == Denied(told)


def test_cash_is_reserved_for_the_impact_of_a_volatile_symbol(world: World) -> None:
    costs, prices = SquareRootCost(), world.prices()
    instrument = replace(world.engine().gates.instruments["AAPL"], adv=1000.0)
    verdict = judged(world, change=lambda g: replace(g, costs=costs, instruments={"AAPL": instrument}))
    taken = -expected_cash(costs, instrument, Side.BUY, Decimal(10), prices.of("AAPL"), prices.conditions)
    assert verdict == Passed(Decimal(10), taken)
    assert taken > -expected_cash(costs, instrument, Side.BUY, Decimal(10), prices.of("AAPL"), UNKNOWN)


def test_nothing_is_bought_of_what_nobody_trades(world: World) -> None:
    assert judged(world, volumes={"AAPL": 0.0}) == Denied("G8: no trade in AAPL is known of for 21 sessions")
    bought(world)
    assert passes(judged(world, Side.SELL, volumes={"AAPL": 0.0})), "what is held may still be offered"


def test_cash_is_reserved_for_the_impact_in_a_market_that_is_measured_to_be_thin(world: World) -> None:
    costs, prices, instrument = SquareRootCost(), world.prices(), world.engine().gates.instruments["AAPL"]
    verdict = judged(world, change=lambda g: replace(g, costs=costs), volumes={"AAPL": 1000.0, "KO": 0.0})
    asked, thin = (Side.BUY, Decimal(10), prices.of("AAPL")), replace(prices.conditions, volumes={"AAPL": 1000.0})
    assert verdict == Passed(Decimal(10), -expected_cash(costs, instrument, *asked, thin))
    assert verdict != Passed(Decimal(10), -expected_cash(costs, instrument, *asked, prices.conditions))


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
