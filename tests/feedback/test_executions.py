"""Executions on orders whose cost a pencil can follow, and advice that only evidence moves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import numpy as np
import pytest

from ordinis.clock import trading_calendar
from ordinis.domain.executions import Execution
from ordinis.domain.orders import Fill, OrderIntent, OrderState, OrderType, Side, TimeInForce
from ordinis.feedback.executions import (
    LEAST_ORDERS,
    SMALLEST_STEP,
    by_symbol,
    by_time_of_day,
    by_venue,
    executions,
    quality,
    quality_by,
    sizing_advice,
)

D = Decimal
CALENDAR = trading_calendar()
SENT = datetime(2020, 3, 16, 19, 45, tzinfo=UTC)


def intent(name: str = "or1-a", side: Side = Side.BUY, quantity: str = "100", **changes: object) -> OrderIntent:
    made = OrderIntent(
        name, "decision", "sim", "KO", side.value, 1, side, D(quantity), OrderType.MARKET, None, TimeInForce.DAY,
        OrderState.FILLED, D("50"), D("5000"), sent_at=SENT,
    )  # fmt: skip
    return replace(made, **changes)  # type: ignore[arg-type]


def fill(
    number: int, quantity: str, price: str, order: str | None = "or1-a", side: Side = Side.BUY, later: float = 2.0
) -> Fill:
    at = SENT + timedelta(seconds=later)
    return Fill("sim", f"x{number}", order, "KO", side, D(quantity), D(price), D("0.10"), at)


def test_a_buy_that_paid_more_than_planned_has_a_shortfall() -> None:
    [row] = executions([intent()], [fill(1, "60", "50.10"), fill(2, "40", "50.05", later=9.0)], "sim", CALENDAR)
    assert row.price == D("50.08")
    assert row.shortfall == D("8.00")
    assert row.shortfall_bps == pytest.approx(16.0)
    assert (row.filled, row.fees, row.latency) == (D(100), D("0.20"), 2.0)


def test_a_sale_that_got_more_than_planned_has_a_gain() -> None:
    sale = intent(side=Side.SELL)
    [row] = executions([sale], [fill(1, "100", "50.10", side=Side.SELL)], "sim", CALENDAR)
    assert row.shortfall == D("-10.00")
    assert row.shortfall_bps == pytest.approx(-20.0)


def test_a_fill_that_is_heard_twice_counts_once_and_one_taken_back_not_at_all() -> None:
    first = fill(1, "60", "50.10")
    back = replace(fill(2, "20", "50.10", side=Side.SELL, later=5.0), reverses="x1")
    [row] = executions([intent()], [first, first, back, fill(3, "5", "51", order=None)], "sim", CALENDAR)
    assert (row.filled, row.price) == (D(40), D("50.10"))
    whole = replace(back, quantity=D(60))
    [none] = executions([intent()], [first, whole], "sim", CALENDAR)
    assert (none.filled, none.price, none.first_fill_at) == (D(0), None, None)
    assert math.isnan(none.shortfall_bps)
    assert math.isnan(none.latency)
    [rest] = executions([intent()], [first, whole, fill(4, "40", "50.05", later=9.0)], "sim", CALENDAR)
    assert (rest.filled, rest.latency) == (D(40), 9.0), "what was taken back was not the first"
    assert row.latency == 2.0, "a part of the first was left"


def test_an_order_that_was_never_sent_is_no_execution_and_one_unfilled_lowers_the_rate() -> None:
    rows = executions(
        [intent(), intent("or1-b"), intent("or1-c", sent_at=None)], [fill(1, "100", "50.05")], "sim", CALENDAR
    )
    assert [row.order_id for row in rows] == ["or1-a", "or1-b"]
    found = quality(rows)
    assert (found.orders, found.fill_rate) == (2, 0.5)
    assert found.shortfall_p50 == found.shortfall_p95 == found.shortfall_mean == pytest.approx(10.0)
    assert found.fees == pytest.approx(0.2)


def test_nothing_filled_has_no_quality_but_a_rate() -> None:
    found = quality(executions([intent()], [], "sim", CALENDAR))
    assert found.fill_rate == 0.0
    assert math.isnan(found.shortfall_p50)
    assert math.isnan(quality([]).fill_rate)


def test_the_mean_is_of_money_and_the_percentiles_are_of_orders() -> None:
    large, small = intent("or1-a", quantity="900"), intent("or1-b", quantity="100")
    rows = executions(
        [large, small], [fill(1, "900", "50.00"), fill(2, "100", "51.00", order="or1-b")], "sim", CALENDAR
    )
    found = quality(rows)
    assert found.shortfall_mean == pytest.approx(20.0)
    assert found.shortfall_p50 == pytest.approx(100.0)
    assert found.shortfall_p95 == pytest.approx(190.0)


def test_groups_by_symbol_venue_and_half_hour_of_the_session() -> None:
    early = intent("or1-b", symbol="XOM", sent_at=CALENDAR.opens(SENT.date()) + timedelta(minutes=31))
    night = intent("or1-c", sent_at=SENT + timedelta(hours=8))
    rows = executions([intent(), early, night], [], "sim", CALENDAR)
    assert {name: found.orders for name, found in quality_by(rows, by_symbol).items()} == {"KO": 2, "XOM": 1}
    assert list(quality_by(rows, by_venue)) == ["sim"]
    assert list(quality_by(rows, by_time_of_day(CALENDAR))) == ["0.5 to 1.0 h", "6.0 to 6.5 h", "closed"]


def orders(paid: Sequence[float]) -> list[Execution]:
    """One order for each shortfall in basis points."""
    sizes = (D(100), D(100), D(50))
    return [
        Execution(
            f"or1-{i}", "KO", Side.BUY, "sim", SENT.date(), *sizes, D(50) * (1 + D(str(bps)) / 10_000), D(0), SENT, SENT
        )
        for i, bps in enumerate(paid)
    ]


def advised(paid: Sequence[float], expected: float, delta: float = 0.5) -> tuple[float, str]:
    rows = orders(paid)
    advice = sizing_advice(rows, {row.order_id: expected for row in rows}, delta)["KO"]
    return advice.factor, advice.reason


def test_orders_that_cost_more_than_expected_should_shrink_by_the_law_of_impact() -> None:
    paid = [12.0, 8.0] * 30
    factor, reason = advised(paid, 8.0)
    assert factor == pytest.approx(0.8**2)
    assert reason == "10.0 bp paid and 8.0 bp expected over 60 orders"
    assert advised(paid, 8.0, delta=1.0)[0] == pytest.approx(0.8)
    assert advised(paid, 1.0)[0] == SMALLEST_STEP


def test_without_evidence_nothing_is_advised() -> None:
    assert advised([12.0] * (LEAST_ORDERS - 1), 8.0) == (1.0, "29 orders, 30 are needed")
    noisy = np.random.default_rng(0).normal(8.5, 40.0, 60).tolist()
    assert advised(noisy, 8.0)[0] == 1.0
    assert advised([5.0, 6.0] * 30, 8.0)[0] == 1.0


def test_noise_alone_moves_the_advice_in_one_run_of_twenty() -> None:
    rng = np.random.default_rng(1)
    moved = [advised(rng.normal(8.0, 10.0, 40).tolist(), 8.0)[0] < 1.0 for _ in range(400)]
    assert 0.02 <= np.mean(moved) <= 0.09


def test_an_order_without_an_expectation_is_no_evidence() -> None:
    rows = orders([4.0, 6.0] * 30)
    assert sizing_advice(rows, {}) == {}
    expected = {row.order_id: 8.0 for row in rows} | {rows[0].order_id: float("nan")}
    assert sizing_advice(rows, expected)["KO"].factor == 1.0
