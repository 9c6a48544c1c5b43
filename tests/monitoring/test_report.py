"""What the report says of a ledger, in numbers."""

from __future__ import annotations

from dataclasses import replace
from decimal import Decimal

import numpy as np
import pytest

from ordinis.costs.models import CalibratedCost, ProportionalCost, SquareRootCost
from ordinis.domain.orders import Side
from ordinis.errors import NoVolume
from ordinis.evaluation import statistics
from ordinis.monitoring.figures_performance import months
from ordinis.monitoring.report import ReportData, collect
from ordinis.monitoring.report_data import Effect, Track
from ordinis.ports import PriceHistory
from tests.monitoring.book import (
    CALENDAR,
    SECTORS,
    SESSIONS,
    BookWriter,
    three_closes,
    three_sessions,
)


@pytest.fixture(scope="module")
def three() -> ReportData:
    return collect(three_sessions().ledger, SECTORS, closes=three_closes(), costs=ProportionalCost(10.0))


# numbers


def test_slippage_is_price_against_plan_and_a_cost_is_positive(three: ReportData) -> None:
    # 80 * (60.06 - 60) + 50 * (49.99 - 50) = 4.8 - 0.5; the sale 20 * (63 - 62.9) and the buy 10 * (50.1 - 50)
    np.testing.assert_allclose(three.costs.slippage, [4.3, 0.0, 3.0], atol=1e-12)


def test_fees_are_those_of_the_fills_and_those_charged_apart() -> None:
    book = three_sessions()
    fourth = SESSIONS[3]
    book.deposit(fourth, "-1.20", kind="fee")
    book.close(fourth, {"AAPL": "63", "KO": "50"})
    data = collect(book.ledger, SECTORS)
    np.testing.assert_allclose(data.costs.fees, [0.75, 0.0, 0.15, 1.20], atol=1e-12)
    # a charge is a loss, not money that people took
    assert data.book.returns[3] == pytest.approx(-1.20 / 11231.80)


def test_the_model_is_asked_about_the_orders_as_they_were_planned(three: ReportData) -> None:
    assert three.costs.expected is not None
    # ten basis points of 80 * 60 + 50 * 50, and of 20 * 63 + 10 * 50
    np.testing.assert_allclose(three.costs.expected, [7.3, 0.0, 1.76], atol=1e-12)


def test_expected_impact_takes_volatility_from_the_sessions_before() -> None:
    before = tuple(CALENDAR.between(CALENDAR.back(SESSIONS[0], 23), CALENDAR.back(SESSIONS[0], 1)))
    # returns of +1 % and -1 % in turn, and a jump on the day of the trade that nobody knew of before
    walk = 60.0 * np.cumprod([1.0] + [1.01, 0.99] * 11)
    closes = PriceHistory(("AAPL",), (*before, SESSIONS[0]), np.append(walk, 90.0)[:, None])
    book = BookWriter()
    book.deposit(SESSIONS[0], "10000")
    decision = book.decide(SESSIONS[0], {"AAPL": 0.5}, [("AAPL", Side.BUY, "100", "60")])
    book.fill(decision, "AAPL", "60", "0")
    book.close(SESSIONS[0], {"AAPL": "90"})
    model = SquareRootCost(half_spread_bps=1.0, eta=0.5, delta=0.5, commission_bps=0.0)
    data = collect(book.ledger, {}, closes=closes, costs=model, adv={"AAPL": 10_000.0})
    sigma = np.std([0.01] * 10 + [-0.01] * 11, ddof=1)
    assert data.costs.expected is not None
    assert data.costs.expected[0] == pytest.approx(6000 * (1e-4 + 0.5 * sigma * 0.1))


def test_expected_costs_are_those_of_the_symbols_bucket_and_of_the_impact_that_stays() -> None:
    book = BookWriter()
    book.deposit(SESSIONS[0], "10000")
    orders = [("AAPL", Side.BUY, "100", "30"), ("KO", Side.BUY, "100", "20")]
    decision = book.decide(SESSIONS[0], {"AAPL": 0.3, "KO": 0.2}, orders)
    book.fill(decision, "AAPL", "30", "0")
    book.fill(decision, "KO", "20", "0")
    book.close(SESSIONS[0], {"AAPL": "30", "KO": "20"})
    before = tuple(CALENDAR.between(CALENDAR.back(SESSIONS[0], 23), SESSIONS[0]))
    walk = np.cumprod([1.0] + [1.01, 0.99] * 11 + [1.0])
    closes = PriceHistory(("AAPL", "KO"), before, np.column_stack([30.0 * walk, 20.0 * walk]))
    free = SquareRootCost(0.0, 0.0, 0.5, 0.0)
    model = CalibratedCost("one", free, (replace(free, half_spread_bps=2.0), replace(free, permanent=0.4)), {"KO": 1})
    sigma, adv = np.std([0.01] * 10 + [-0.01] * 11, ddof=1), {"AAPL": 10_000.0, "KO": 1_000.0}
    data = collect(book.ledger, {}, closes=closes, costs=model, adv=adv)
    assert data.costs.expected is not None
    # Nothing for AAPL, which no bucket names; 0.4 / 2 * sigma * 10 % of 2,000 for KO.
    assert data.costs.expected[0] == pytest.approx(2000 * 0.2 * sigma * 0.1)
    assert "leave impact out" in " ".join(collect(book.ledger, {}, costs=model, adv=adv).remarks), "KO has an impact"
    in_both = collect(book.ledger, {}, closes=closes, costs=replace(model, bucket={"AAPL": 0, "KO": 1}), adv=adv)
    assert in_both.costs.expected is not None
    assert in_both.costs.expected[0] == pytest.approx(2000 * 0.2 * sigma * 0.1 + 3000 * 2e-4)
    with pytest.raises(NoVolume, match="KO"):
        collect(book.ledger, {}, closes=closes, costs=model, adv=adv | {"KO": 0.0})


def test_turnover_is_the_larger_way_over_the_equity_before(three: ReportData) -> None:
    assert three.book.turnover is not None
    bought, sold = 80 * 60.06 + 50 * 49.99, 20 * 62.9
    np.testing.assert_allclose(three.book.turnover, [bought / 10_000, 0.0, sold / 11_234.95], rtol=1e-12)


def test_money_that_people_bring_is_no_return(three: ReportData) -> None:
    np.testing.assert_allclose(three.equity, [9994.95, 11234.95, 11231.80], rtol=1e-12)
    # the first session lost slippage and fees; in the second 80 AAPL gained 3 each on 9,994.95 and the 1,000
    np.testing.assert_allclose(three.book.returns, [-5.05 / 10_000, 240 / 10_994.95, -3.15 / 11_234.95], rtol=1e-9)


def test_weights_are_holdings_at_the_close_over_equity(three: ReportData) -> None:
    assert three.symbols == ("AAPL", "KO")
    held = np.array([[80 * 60, 50 * 50], [80 * 63, 50 * 50], [60 * 63, 60 * 50]])
    np.testing.assert_allclose(three.weights, held / three.equity[:, None], rtol=1e-12)
    np.testing.assert_allclose(three.weights.sum(axis=1) + three.cash / three.equity, 1.0, rtol=1e-12)
    np.testing.assert_allclose(three.gross, three.weights.sum(axis=1), rtol=1e-12)
    np.testing.assert_allclose(three.by_sector()["consumer staples"], three.weights[:, 1])
    assert three.remarks == ()


def test_without_closes_the_decided_weights_are_shown_and_said_to_be_such() -> None:
    data = collect(three_sessions().ledger, SECTORS)
    assert not data.weights_are_held
    assert data.weights[2].tolist() == [0.34, 0.27]
    assert any("last decided" in remark for remark in data.remarks)


def test_closes_that_disagree_with_the_ledger_are_remarked() -> None:
    closes = three_closes()
    wrong = replace(closes, closes=closes.closes * 1.02)
    data = collect(three_sessions().ledger, SECTORS, closes=wrong)
    assert any("miss the ledger's valuation by up to 1.46" in remark for remark in data.remarks)


def test_a_session_without_a_close_takes_the_last_one() -> None:
    closes = three_closes()
    gap = replace(closes, closes=np.where(np.arange(3)[:, None] == 2, np.nan, closes.closes))
    np.testing.assert_array_equal(
        collect(three_sessions().ledger, SECTORS, closes=gap).weights,
        collect(three_sessions().ledger, SECTORS, closes=closes).weights,
    )


def test_a_fill_that_is_taken_back_costs_nothing() -> None:
    book = BookWriter()
    book.deposit(SESSIONS[0], "10000")
    decision = book.decide(SESSIONS[0], {"AAPL": 0.5}, [("AAPL", Side.BUY, "80", "60")])
    fill = book.fill(decision, "AAPL", "61", "0")
    book.fill(decision, "AAPL", "61", "0", reverses=fill)
    book.close(SESSIONS[0], {})
    data = collect(book.ledger, SECTORS, costs=ProportionalCost(10.0))
    assert data.book.turnover is not None
    assert data.costs.expected is not None
    assert [data.costs.paid[0], data.book.turnover[0], data.costs.expected[0]] == [0.0, 0.0, 0.0]


def test_a_fill_that_is_taken_back_a_session_later_is_not_counted_twice() -> None:
    """80 are bought at 61 on a plan of 60; the exchange breaks the trade on the next day."""
    book = BookWriter()
    book.deposit(SESSIONS[0], "10000")
    decision = book.decide(SESSIONS[0], {"AAPL": 0.5}, [("AAPL", Side.BUY, "80", "60")])
    fill = book.fill(decision, "AAPL", "61", "0.40")
    book.close(SESSIONS[0], {"AAPL": "60"})
    book.fill(decision, "AAPL", "61", "-0.40", reverses=fill)
    other = book.decide(SESSIONS[1], {"KO": 0.2}, [("KO", Side.BUY, "40", "50")])
    book.fill(other, "KO", "50", "0")
    book.close(SESSIONS[1], {"AAPL": "60", "KO": "50"})
    data = collect(book.ledger, SECTORS, costs=ProportionalCost(10.0))
    assert data.book.turnover is not None
    assert data.costs.expected is not None
    assert data.book.turnover.tolist() == pytest.approx([0.488, 2000 / data.equity[0]])
    assert data.costs.slippage.tolist() == [80.0, -80.0]
    assert data.costs.expected.tolist() == pytest.approx([4.8, 2.0 - 4.8])
    [apple] = [row for row in data.paid_by_symbol if row.symbol == "AAPL"]
    assert (apple.orders, apple.notional, apple.slippage, apple.fees, apple.expected) == (1, 0.0, 0.0, 0.0, 0.0)
    assert np.isnan(apple.shortfall_p50)


def test_what_the_ledger_cannot_tell_is_said() -> None:
    book = three_sessions()
    by_hand = CALENDAR.trading_instant(SESSIONS[3])
    book.book("KO", Side.SELL, Decimal(1), "50", "0", by_hand)
    book.close(SESSIONS[3], {"AAPL": "63", "KO": "50"})
    book.book("KO", Side.SELL, Decimal(1), "50", "0", by_hand)
    data = collect(book.ledger, {"AAPL": "technology"}, closes=three_closes(), costs=SquareRootCost())
    remarks = " ".join(data.remarks)
    assert "Told after the last valuation, and not in these figures: 1 fill." in remarks
    assert "Without a planned price in the ledger: 1 order, whose slippage is left out." in remarks
    assert "No daily volume is known for AAPL, KO" in remarks
    assert "No sector is known for KO" in remarks
    assert "the first 5 orders leaves impact out: fewer than 22 closes" in remarks
    assert "No closes were given: expected costs" in " ".join(
        collect(book.ledger, SECTORS, costs=SquareRootCost()).remarks
    )


def test_equity_from_nowhere_is_no_return() -> None:
    book = BookWriter()
    book.book("KO", Side.SELL, Decimal(1), "50", "0", CALENDAR.trading_instant(SESSIONS[0]))
    book.close(SESSIONS[0], {"KO": "40"})
    data = collect(book.ledger, SECTORS)
    assert data.book.returns.tolist() == [0.0]
    assert any("without a deposit" in remark for remark in data.remarks)


def test_sessions_before_anybody_brought_money_are_left_out() -> None:
    book = BookWriter()
    book.close(SESSIONS[0], {})
    book.deposit(SESSIONS[1], "100")
    book.close(SESSIONS[1], {})
    data = collect(book.ledger, {})
    assert data.sessions == SESSIONS[1:2]
    assert data.book.returns.tolist() == [0.0]


def test_decisions_tell_who_answered_on_which_rung_and_what_cut(three: ReportData) -> None:
    assert [(d.session, d.source, d.rung) for d in three.decisions] == [
        (SESSIONS[0], "model", "optimiser"),
        (SESSIONS[1], "model", "hold"),
        (SESSIONS[2], "baseline", "closed_form"),
    ]
    last = three.decisions[-1]
    assert (last.allocator, last.sells, last.buys, last.cuts) == ("min_var", 1, 1, ("position cap",))
    np.testing.assert_allclose(three.decided, [0.73, 0.73, 0.61])


def test_a_limit_that_cut_is_not_told_again_as_binding(three: ReportData) -> None:
    assert [(e.session, e.rule, e.effect) for e in three.limit_events] == [
        (SESSIONS[1], "position cap", Effect.BOUND),
        (SESSIONS[1], "gross exposure", Effect.BOUND),
        (SESSIONS[2], "position cap", Effect.CUT),
        (SESSIONS[2], "sector cap", Effect.BOUND),
    ]
    assert three.limit_events[1].detail == "gross, cash"


def test_caps_are_those_that_the_verdicts_name(three: ReportData) -> None:
    np.testing.assert_allclose(three.gross_cap, [0.9, 0.9, 0.8])
    np.testing.assert_allclose(three.sector_cap, 0.5)
    assert np.isnan(three.position_cap[:2]).all()
    assert three.position_cap[2] == 0.34


def test_what_prices_carried_past_a_cap_is_counted(three: ReportData) -> None:
    assert three.above_caps() == []
    tight = replace(three, sector_cap=np.full(3, 0.3), position_cap=np.full(3, 0.45))
    apple, cola = three.weights[:, 0].max(), three.weights[:, 1].max()
    # AAPL was 48 %, 45 % (just under) and 34 %, KO never 30 %
    assert tight.above_caps() == [("a position", 1, apple), ("technology", 3, apple)]
    assert cola < 0.3


def test_an_order_that_a_gate_denied_is_told_with_its_reason() -> None:
    book = BookWriter()
    book.deposit(SESSIONS[0], "100")
    decision = book.decide(SESSIONS[0], {"KO": 0.5}, [("KO", Side.BUY, "1", "50")])
    book.deny(decision, "KO", "G11: no room")
    book.close(SESSIONS[0], {})
    data = collect(book.ledger, SECTORS)
    (event,) = data.limit_events
    assert (event.rule, event.effect, event.detail) == ("order gates", Effect.DENIED, "buy KO: G11: no room")
    assert data.orders == {"DENIED": 1}


def test_a_baseline_counts_on_the_sessions_that_the_book_has() -> None:
    other = three_sessions()
    index = (SESSIONS[1:5], np.array([0.01, 0.02, 0.03, 0.04]))
    data = collect(three_sessions().ledger, SECTORS, {"twin": other.ledger, "index": index}, closes=three_closes())
    twin, listed = data.baselines
    np.testing.assert_array_equal(twin.returns, data.book.returns)
    assert twin.turnover is not None
    assert data.book.turnover is not None
    np.testing.assert_array_equal(twin.turnover, data.book.turnover)
    assert listed.sessions == SESSIONS[1:3]
    assert listed.returns.tolist() == [0.01, 0.02]
    assert listed.turnover is None
    assert data.remarks == ("index covers 2 of the book's 3 sessions.",)


def test_key_numbers_are_those_of_the_statistics_and_a_short_history_has_none_a_year() -> None:
    returns = np.random.default_rng(1).normal(0.001, 0.01, 100)
    track = Track("x", SESSIONS[:100], returns, np.full(100, 0.01), np.full(100, 2e-5))
    key = track.key_numbers
    assert key.sharpe == statistics.sharpe(returns)
    assert key.annual_return == statistics.annualised_return(returns)
    assert key.turnover == pytest.approx(2.52)
    assert key.cost_bps == pytest.approx(50.4)
    short = Track("x", SESSIONS[:62], returns[:62]).key_numbers
    assert np.isnan([short.annual_return, short.sharpe, short.calmar, short.turnover]).all()
    assert short.total_return == pytest.approx(np.prod(1.0 + returns[:62]) - 1.0)


def test_months_compound_to_the_year() -> None:
    sessions = tuple(CALENDAR.between(SESSIONS[0], SESSIONS[40]))
    returns = np.full(len(sessions), 0.01)
    (year,) = months(Track("x", sessions, returns))
    in_march = sum(session.month == 3 for session in sessions)
    assert year[2] == pytest.approx(1.01**in_march - 1.0)
    assert year[12] == pytest.approx(1.01 ** len(sessions) - 1.0)
    assert np.isnan(year[[0, 1, 5]]).all()


def test_what_orders_cost_by_symbol_is_what_a_pencil_says(three: ReportData) -> None:
    """AAPL: 80 bought 6 cents dear, 20 sold 10 cents cheap; KO: 50 bought a cent cheap, 10 bought 10 cents dear."""
    apple, coke = three.paid_by_symbol
    assert (apple.symbol, apple.orders, coke.symbol, coke.orders) == ("AAPL", 2, "KO", 2)
    assert (apple.slippage, apple.fees) == (pytest.approx(6.8), pytest.approx(0.6))
    assert (coke.slippage, coke.fees) == (pytest.approx(0.5), pytest.approx(0.3))
    assert apple.expected == pytest.approx((80 * 60 + 20 * 63) * 0.001)
    assert sum(row.slippage for row in three.paid_by_symbol) == pytest.approx(three.costs.slippage.sum())
    assert sum(row.expected for row in three.paid_by_symbol) == pytest.approx(three.costs.expected.sum())  # type: ignore[union-attr]
    assert apple.shortfall_p95 > apple.shortfall_p50 > 0.0


def test_each_order_is_held_against_the_model_that_it_was_decided_by() -> None:
    book = BookWriter()
    book.deposit(SESSIONS[0], "10000")
    for session, model in zip(SESSIONS[:2], (ProportionalCost(5.0), ProportionalCost(50.0)), strict=True):
        decision = book.decide(session, {}, [("KO", Side.BUY, "10", "50")], costs=model)
        book.fill(decision, "KO", "50.05", "0")
        book.close(session, {"KO": "50"})
    data = collect(book.ledger, {}, costs=ProportionalCost(1000.0))
    assert data.costs.expected == pytest.approx([500 * 0.0005, 500 * 0.005])


def test_a_report_of_the_past_ends_with_its_session() -> None:
    book = three_sessions()
    data = collect(book.ledger, SECTORS, closes=three_closes(), last=SESSIONS[1])
    assert data.sessions == SESSIONS[:2]
    assert data.weights[-1, 0] == pytest.approx(80 * 63 / float(data.equity[-1]))
    assert [line.session for line in data.decisions] == list(SESSIONS[:2])
    assert not any(change.units for change in data.changes)


def test_the_changes_of_the_last_session_are_those_of_its_fills(three: ReportData) -> None:
    apple, coke = sorted(three.changes, key=lambda change: change.symbol)
    assert (apple.units, apple.price, apple.shortfall, apple.fees) == (
        -20,
        Decimal("62.9"),
        Decimal("2.0"),
        Decimal("0.10"),
    )
    assert (coke.units, coke.price, coke.shortfall, coke.fees) == (10, Decimal("50.1"), Decimal("1.0"), Decimal("0.05"))
    assert apple.before == pytest.approx(three.weights[-2, 0])
    assert apple.now == pytest.approx(three.weights[-1, 0])
