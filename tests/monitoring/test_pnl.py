"""A session's profit taken apart: the parts sum to it to the last digit, whatever happened."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal

import numpy as np
import pytest

from ordinis.domain.orders import Side
from ordinis.domain.portfolio import Movement
from ordinis.errors import DataUnavailable
from ordinis.monitoring.pnl import SessionProfit, session_profit
from ordinis.monitoring.report_trading import Traded, read_trading
from tests.monitoring.book import CALENDAR, SESSIONS, BookWriter

D = Decimal
FIRST, SECOND, THIRD = SESSIONS[:3]
CLOSES = {
    FIRST: {"AAPL": "60.50", "KO": "45.25"},
    SECOND: {"AAPL": "63.25", "KO": "44.10"},
    THIRD: {"AAPL": "61.10", "KO": "44.90"},
}
PRICES = {session: {symbol: D(price) for symbol, price in row.items()} for session, row in CLOSES.items()}


def traded(book: BookWriter) -> Traded:
    with book.ledger.begin(write=False) as unit:
        return read_trading(unit)


@pytest.fixture
def book() -> BookWriter:
    """Two days of trading and a dividend."""
    book = BookWriter()
    book.deposit(FIRST, "100000")
    decision = book.decide(FIRST, {}, [("AAPL", Side.BUY, "500", "60.00"), ("KO", Side.BUY, "300", "45.00")])
    book.fill(decision, "AAPL", "60.06", "1.00")
    book.fill(decision, "KO", "45.02", "0.50")
    book.close(FIRST, CLOSES[FIRST])
    decision = book.decide(SECOND, {}, [("KO", Side.SELL, "100", "44.50")])
    book.fill(decision, "KO", "44.45", "0.30")
    book.deposit(SECOND, "41.00", kind="dividend")
    book.deposit(SECOND, "-2.50", kind="fee")
    book.deposit(SECOND, "5000", kind="deposit")
    book.close(SECOND, CLOSES[SECOND])
    return book


def test_every_part_is_what_a_pencil_says(book: BookWriter) -> None:
    found = session_profit(traded(book), SECOND, PRICES[FIRST], PRICES[SECOND])
    assert found.specific == {"AAPL": D("1375.00"), "KO": D("-345.00")}
    # A hundred KO were planned at 44.50, sold at 44.45, and closed at 44.10.
    assert found.timing == {"KO": D("40.00")}
    assert found.shortfall == D("5.00")
    assert found.fees == D("2.80")
    assert found.other == D("41.00")
    assert found.profit == D("1375") - 345 + 40 - 5 - D("2.80") + 41
    assert found.unexplained == 0
    assert found.factors == {}


def test_the_first_session_has_nothing_held_and_pays_for_its_trades(book: BookWriter) -> None:
    found = session_profit(traded(book), FIRST, {}, PRICES[FIRST])
    assert found.specific == {}
    assert found.timing == {"AAPL": D("250.00"), "KO": D("75.00")}
    assert (found.shortfall, found.fees) == (D("36.00"), D("1.50"))
    assert found.profit == D("325") - 36 - D("1.50")
    assert found.unexplained == 0


def test_what_factors_explain_is_theirs_and_the_rest_is_specific(book: BookWriter) -> None:
    betas = {"AAPL": np.array([1.2, 0.5]), "KO": np.array([0.6, -0.4])}
    found = session_profit(
        traded(book), SECOND, PRICES[FIRST], PRICES[SECOND], ("market", "value"), betas, np.array([0.02, -0.01])
    )
    aapl, ko = D("500") * D("60.50"), D("300") * D("45.25")
    assert float(found.factors["market"]) == pytest.approx(float(aapl) * 0.024 + float(ko) * 0.012)
    assert float(found.factors["value"]) == pytest.approx(float(aapl) * -0.005 + float(ko) * 0.004)
    assert found.held == D("1030.00")
    assert found.unexplained == 0
    late = session_profit(traded(book), SECOND, PRICES[FIRST], PRICES[SECOND], ("market", "value"), betas, None)
    assert late.factors == {}
    assert late.specific == {"AAPL": D("1375.00"), "KO": D("-345.00")}


def test_costs_are_those_of_the_ledger_to_the_cent(book: BookWriter) -> None:
    rows = traded(book)
    for place, session in enumerate((FIRST, SECOND)):
        found = session_profit(rows, session, PRICES[FIRST], PRICES[session])
        assert float(found.shortfall) == rows.slippage[place]
        assert float(found.fees) == rows.fees[place]


@pytest.mark.parametrize("seed", range(25))
def test_nothing_is_left_unexplained_whatever_happened(seed: int) -> None:
    rng, book = random.Random(seed), BookWriter()
    book.deposit(FIRST, "1000000")
    for session in (FIRST, SECOND, THIRD):
        plans = {symbol: f"{float(price) * rng.uniform(0.97, 1.03):.4f}" for symbol, price in CLOSES[session].items()}
        orders = [(symbol, rng.choice(list(Side)), str(rng.randrange(1, 900)), plan) for symbol, plan in plans.items()]
        decision = book.decide(session, {}, orders)
        for symbol, plan in plans.items():
            filled = book.fill(decision, symbol, f"{float(plan) * rng.uniform(0.99, 1.01):.4f}", f"{rng.random():.2f}")
            if rng.random() < 0.3:
                book.fill(decision, symbol, plan, "0", reverses=filled)
        at = CALENDAR.opens(session) + timedelta(minutes=rng.randrange(1, 300))
        kind = rng.choice(["deposit", "withdrawal", "dividend", "fee", "interest", "correction", "transfer", "split"])
        in_kind = kind in ("transfer", "split")
        moved = Movement(
            "sim", f"extra {session}", kind, D(0) if in_kind else D(rng.randrange(-900, 900)) / 100, at,
            "KO" if in_kind else None, D(rng.randrange(1, 50)) if in_kind else D(0),
        )  # fmt: skip
        with book.ledger.begin() as unit:
            unit.book.movement(moved)
            unit.commit()
        book.close(session, CLOSES[session])
    parts = [
        session_profit(traded(book), session, PRICES.get(before, {}), PRICES[session])
        for before, session in ((None, FIRST), (FIRST, SECOND), (SECOND, THIRD))
    ]
    assert [part.unexplained for part in parts] == [0, 0, 0]
    assert _sums(parts) == float(sum((part.profit for part in parts), D(0)))


def _sums(parts: list[SessionProfit]) -> float:
    whole = sum((p.held + sum(p.timing.values(), D(0)) - p.shortfall - p.fees + p.other for p in parts), D(0))
    return float(whole)


@pytest.mark.parametrize(
    ("session", "before", "now", "told"),
    [
        (THIRD, PRICES[SECOND], PRICES[THIRD], f"value of {THIRD}"),
        (SECOND, {"AAPL": D(60)}, PRICES[SECOND], "close of KO"),
        (SECOND, PRICES[FIRST], {"KO": D(44)}, "close of AAPL"),
    ],
)
def test_what_is_not_known_is_named(
    book: BookWriter, session: object, before: Mapping[str, Decimal], now: Mapping[str, Decimal], told: str
) -> None:
    with pytest.raises(DataUnavailable, match=told):
        session_profit(traded(book), session, before, now)  # type: ignore[arg-type]


def test_a_fill_that_is_told_after_the_valuation_is_part_of_the_next() -> None:
    """Filled before the close of the first session, told after its valuation: no profit is invented on either."""
    book = BookWriter()
    book.deposit(FIRST, "100000")
    decision = book.decide(FIRST, {}, [("AAPL", Side.BUY, "500", "60.00"), ("KO", Side.BUY, "300", "45.00")])
    book.fill(decision, "KO", "45.02", "0.50")
    book.close(FIRST, CLOSES[FIRST])
    book.fill(decision, "AAPL", "60.06", "1.00")
    assert traded(book).later_fills == 1
    book.close(SECOND, CLOSES[SECOND])
    first, second = (
        session_profit(traded(book), session, PRICES.get(before, {}), PRICES[session])  # type: ignore[arg-type]
        for before, session in ((None, FIRST), (FIRST, SECOND))
    )
    assert [first.unexplained, second.unexplained] == [0, 0]
    assert (first.profit, first.timing, first.fees) == (D("68.50"), {"KO": D("75.00")}, D("0.50"))
    # Planned at 60.00, bought at 60.06; the session in which it is known ends at 63.25.
    assert (second.timing, second.shortfall, second.fees) == ({"AAPL": D("1625.00")}, D("30.00"), D("1.00"))
    assert second.specific == {"KO": D("-345.00")}
    rows = traded(book)
    assert rows.units(["AAPL", "KO"]).tolist() == [[0.0, 300.0], [500.0, 300.0]]
    assert {trade.symbol: trade.row for trade in rows.trades} == {"KO": 0, "AAPL": 1}


def test_a_ledger_without_marks_goes_by_time(book: BookWriter) -> None:
    rows = traded(book)
    older = [replace(row, movements=None, events=None) for row in rows.valuations]
    found = session_profit(replace(rows, valuations=older), SECOND, PRICES[FIRST], PRICES[SECOND])
    assert found == session_profit(rows, SECOND, PRICES[FIRST], PRICES[SECOND])


def test_marks_count_from_the_first_valuation_that_has_one(book: BookWriter) -> None:
    """The first two sessions were valued before there were marks; what is told after the third is of the fourth."""
    decision = book.decide(THIRD, {}, [("AAPL", Side.SELL, "100", "61.00"), ("KO", Side.BUY, "10", "44.00")])
    book.fill(decision, "AAPL", "61.00", "0")
    book.close(THIRD, CLOSES[THIRD])
    book.fill(decision, "KO", "44.00", "0")
    book.close(SESSIONS[3], CLOSES[THIRD])
    rows = traded(book)
    older = [replace(row, movements=None, events=None) for row in rows.valuations[:2]]
    mixed = replace(rows, valuations=[*older, *rows.valuations[2:]])
    assert [row for row, _ in rows.placed_fills] == [0, 0, 1, 2, 3]
    assert mixed.placed_fills == rows.placed_fills
    assert [mixed.row_of(moved) for moved in mixed.movements] == [rows.row_of(moved) for moved in rows.movements]
