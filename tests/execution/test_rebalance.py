"""From targets to a plan: bands, cool-down, minimum, turnover, cash; every number can be checked by hand."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordinis.clock import first_of_period
from ordinis.costs.conditions import MarketConditions
from ordinis.costs.models import ProportionalCost
from ordinis.domain.instruments import AssetClass, Instrument
from ordinis.domain.limits import TradingRules
from ordinis.domain.orders import PlannedOrder, Side
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.execution.rebalance import UNBOUNDED, Planner

AT = datetime(2020, 3, 16, 19, 45, tzinfo=UTC)
SESSION, BEFORE = date(2020, 3, 16), date(2020, 3, 13)
FREE = ProportionalCost(0.0)
NO_LIMITS = TradingRules("day", None, None, 0, Decimal(0), Decimal(0), None)
BANDS = TradingRules(None, 0.05, 0.25, 7, Decimal(1), Decimal(10), None)


def share(symbol: str, lot: str = "1") -> Instrument:
    return Instrument(symbol, symbol, AssetClass.EQUITY, Decimal("0.001"), Decimal(lot), adv=1e6)


SHARES = {symbol: share(symbol) for symbol in ("A", "B", "C")}


def a_book(cash: str = "1000", traded: dict[str, date] | None = None, **units: str) -> PortfolioSnapshot:
    prices = {symbol: Decimal(10) for symbol in SHARES}
    holdings = {symbol: Decimal(held) for symbol, held in units.items()}
    return PortfolioSnapshot("sim", AT, Decimal(cash), holdings, prices, last_traded=traded or {})


def plan(
    targets: dict[str, float], book: PortfolioSnapshot, planner: Planner, demanded: tuple[str, ...] = ()
) -> tuple[PlannedOrder, ...]:
    return planner.plan(
        targets, book, session=SESSION, previous_session=BEFORE,
        conditions=MarketConditions(dict.fromkeys(SHARES, 0.01)), demanded=demanded,
    )  # fmt: skip


def units(orders: tuple[PlannedOrder, ...]) -> dict[str, Decimal]:
    return {order.symbol: order.signed for order in orders}


def test_targets_become_whole_lots_towards_zero() -> None:
    # 0.333 * 1000 / 10 = 33.3 shares
    assert units(plan({"A": 0.333}, a_book(), Planner(SHARES, NO_LIMITS, FREE))) == {"A": Decimal(33)}


def test_sells_come_before_buys_and_symbols_in_order() -> None:
    orders = plan({"B": 0.4, "C": 0.1}, a_book("0", A="50", C="50"), Planner(SHARES, NO_LIMITS, FREE))
    assert [(o.symbol, o.side) for o in orders] == [("A", Side.SELL), ("C", Side.SELL), ("B", Side.BUY)]


def test_buys_are_scaled_to_the_cash_after_sells_costs_and_buffer() -> None:
    planner = Planner(
        {"A": share("A", "0.01")}, NO_LIMITS, ProportionalCost(100.0), replace(UNBOUNDED, cash_buffer=0.1)
    )
    orders = plan({"A": 1.0}, a_book(), planner)
    # 900 may be spent less one cent, and each share costs 10.10
    assert units(orders) == {"A": Decimal("89.10")}
    assert Decimal("89.10") * Decimal("10.1") <= Decimal(900)


def test_costs_count_against_the_cash_even_without_a_buffer() -> None:
    orders = plan({"A": 0.5, "B": 0.5}, a_book(), Planner(SHARES, NO_LIMITS, ProportionalCost(10.0)))
    spent = sum(order.quantity * Decimal("10.01") for order in orders)
    assert Decimal(970) < spent <= Decimal(1000)


@pytest.mark.parametrize(
    ("held", "target", "traded"),
    [
        ("24", 0.2, False),  # 4 points off: inside 5 points and, at 25 % of 20 %, 5 points
        ("26", 0.2, True),  # 6 points off
        ("6", 0.05, False),  # 1 point off: 25 % of 5 % is 1.25 points
        ("7", 0.05, True),  # 2 points off
        ("2", 0.0, True),  # a target of zero has no band
    ],
)
def test_a_symbol_is_traded_when_it_leaves_the_smaller_of_its_bands(held: str, target: float, traded: bool) -> None:
    cash = str(1000 - 10 * int(held))
    orders = plan(
        {"A": target}, a_book(cash, A=held), Planner(SHARES, replace(BANDS, minimum_invest_cash=Decimal(10000)), FREE)
    )
    assert bool(orders) is traded


@pytest.mark.parametrize(
    ("aversion", "bps", "held", "target", "traded"),
    [
        (1.0, 100.0, "56", 0.5, False),  # (3/2 x 0.01 x 0.25^2) ^ (1/3) is 9.8 points, wider than the rule's 5
        (1.0, 100.0, "59", 0.5, False),
        (1.0, 100.0, "60", 0.5, True),
        (1.0, 100.0, "40", 0.5, True),  # either way
        (10.0, 100.0, "56", 0.5, True),  # 4.5 points: the rule's own band counts
        (1.0, 0.0, "56", 0.5, True),
        (None, 100.0, "56", 0.5, True),
        (1.0, 100.0, "2", 0.0, True),  # a target of zero has no band
    ],
)
def test_a_drift_is_traded_where_it_is_worth_its_cost(
    aversion: float | None, bps: float, held: str, target: float, traded: bool
) -> None:
    rules = replace(BANDS, minimum_invest_cash=Decimal(10000), cost_aversion=aversion)
    book = a_book(str(1000 - 10 * int(held)), A=held)
    assert bool(plan({"A": target}, book, Planner(SHARES, rules, ProportionalCost(bps)))) is traded


@pytest.mark.parametrize("aversion", [None, 3.0])
def test_what_is_held_beside_whole_lots_is_no_order(aversion: float | None) -> None:
    rules = replace(BANDS, cost_aversion=aversion)
    orders = plan({"B": 0.5}, a_book("500", A="0.5", B="20"), Planner(SHARES, rules, FREE))
    assert "A" not in units(orders)


def test_initial_funding_passes_the_bands() -> None:
    assert units(plan({"A": 0.04}, a_book(), Planner(SHARES, BANDS, FREE))) == {"A": Decimal(4)}


def test_idle_cash_lets_underweight_symbols_be_bought_and_nothing_be_sold() -> None:
    book = a_book("100", A="44", B="46")
    targets = {"A": 0.48, "B": 0.45}
    # Both inside their bands. Idle cash is 100 - 70 = 30, inside 5 % of 1000.
    assert plan(targets, book, Planner(SHARES, BANDS, FREE)) == ()
    # Idle cash is 100 - 40 = 60: A may be bought, B, a little over its target, is not sold.
    assert units(plan({"A": 0.48, "B": 0.48 - 0.03 + 0.03}, book, Planner(SHARES, BANDS, FREE))) == {
        "A": Decimal(4),
        "B": Decimal(2),
    }


def test_a_symbol_that_cools_down_is_not_tidied_but_a_demanded_sale_is_made() -> None:
    book = a_book("600", traded={"A": date(2020, 3, 10)}, A="40")
    planner = Planner(SHARES, BANDS, FREE)
    assert plan({"A": 0.2}, book, planner) == ()
    assert units(plan({"A": 0.2}, book, planner, demanded=("A",))) == {"A": Decimal(-20)}
    cooled = a_book("600", traded={"A": date(2020, 3, 9)}, A="40")
    assert units(plan({"A": 0.2}, cooled, planner)) == {"A": Decimal(-20)}


def test_an_order_below_the_minimum_is_left_out_unless_a_rule_demands_it() -> None:
    planner = Planner(SHARES, replace(NO_LIMITS, minimum_order=Decimal(50)), FREE)
    assert plan({"A": 0.46}, a_book("500", A="50"), planner) == ()
    assert units(plan({"A": 0.46}, a_book("500", A="50"), planner, demanded=("A",))) == {"A": Decimal(-4)}


def test_turnover_scales_all_that_tidies_by_one_factor() -> None:
    planner = Planner(SHARES, replace(BANDS, turnover_cap=0.1), FREE)
    orders = plan({"A": 0.2, "B": 0.5}, a_book("300", A="50", B="20"), planner)
    # Sells and buys are 300 each and 100 is allowed.
    assert units(orders) == {"A": Decimal(-10), "B": Decimal(10)}


def test_nothing_holds_up_a_sale_that_is_demanded() -> None:
    yesterday = {"A": BEFORE, "B": BEFORE}
    book = a_book("200", traded=yesterday, A="40", B="40")
    planner = Planner(SHARES, replace(BANDS, turnover_cap=0.01, minimum_order=Decimal(50)), FREE)
    assert plan({"A": 0.38, "B": 0.38}, book, planner) == ()
    assert units(plan({"A": 0.38, "B": 0.38}, book, planner, demanded=("A",))) == {"A": Decimal(-2)}


@pytest.mark.parametrize(
    ("asked", "falls"),
    [(0.751, False), (0.749, True), (0.9, False)],
    ids=["inside the band of 5 points", "past it", "a rise"],
)
def test_the_invested_share_has_a_band(asked: float, falls: bool) -> None:
    assert Planner(SHARES, BANDS, FREE).takes_risk_off({"A": asked}, a_book("200", A="80")) is falls
    assert not Planner(SHARES, NO_LIMITS, FREE).takes_risk_off({"A": asked}, a_book("200", A="80"))


def test_the_band_of_a_small_book_is_a_quarter_of_it() -> None:
    planner = Planner(SHARES, BANDS, FREE)
    assert not planner.takes_risk_off({"A": 0.081}, a_book("900", A="10"))
    assert planner.takes_risk_off({"A": 0.079}, a_book("900", A="10"))


def test_a_calendar_trigger_passes_bands_and_turnover() -> None:
    rules = replace(BANDS, calendar="day", turnover_cap=0.01)
    assert units(plan({"A": 0.48}, a_book("500", A="50"), Planner(SHARES, rules, FREE))) == {"A": Decimal(-2)}


@pytest.mark.parametrize(
    ("calendar", "session", "previous", "due"),
    [
        ("day", date(2020, 3, 17), date(2020, 3, 16), True),
        ("week", date(2020, 3, 16), date(2020, 3, 13), True),
        ("week", date(2020, 3, 17), date(2020, 3, 16), False),
        ("week", date(2021, 1, 4), date(2020, 12, 31), True),
        ("month", date(2020, 4, 1), date(2020, 3, 31), True),
        ("month", date(2021, 3, 1), date(2020, 3, 31), True),
        ("month", date(2020, 3, 17), date(2020, 3, 16), False),
        ("quarter", date(2020, 4, 1), date(2020, 3, 31), True),
        ("quarter", date(2020, 3, 2), date(2020, 2, 28), False),
    ],
)
def test_the_first_session_of_a_period_is_due(calendar: str, session: date, previous: date, due: bool) -> None:
    assert first_of_period(calendar, session, previous) is due


def test_what_cannot_be_traded_is_left_alone() -> None:
    locked = {**SHARES, "B": replace(SHARES["B"], tradable=False)}
    assert units(plan({"A": 0.1, "B": 0.1}, a_book(), Planner(locked, NO_LIMITS, FREE))) == {"A": Decimal(10)}


targets = st.dictionaries(st.sampled_from(sorted(SHARES)), st.floats(0, 0.3), max_size=3)
held = st.dictionaries(st.sampled_from(sorted(SHARES)), st.integers(1, 30).map(str), max_size=3)


@given(
    targets,
    held,
    st.sampled_from([NO_LIMITS, BANDS, replace(BANDS, turnover_cap=0.1)]),
    st.floats(0, 50),
    st.floats(0, 0.2),
)
def test_a_plan_never_sells_what_is_not_held_nor_spends_what_is_not_there(
    wanted: dict[str, float], holdings: dict[str, str], rules: TradingRules, bps: float, buffer: float
) -> None:
    book = a_book("1000", **holdings)
    costs = ProportionalCost(bps)
    orders = plan(wanted, book, Planner(SHARES, rules, costs, replace(UNBOUNDED, cash_buffer=buffer)))
    cash = book.cash
    for order in orders:
        assert order.quantity > 0
        slip = Decimal(repr(bps)) / 10_000 * order.notional
        cash += order.notional - slip if order.side is Side.SELL else -order.notional - slip
        if order.side is Side.SELL:
            assert order.quantity <= book.holdings[order.symbol]
    if any(order.side is Side.BUY for order in orders):
        assert cash >= Decimal(repr(buffer)) * book.equity - Decimal("0.05")


def test_buys_of_a_sector_are_scaled_to_what_it_may_still_take() -> None:
    limits = replace(UNBOUNDED, sector_cap=0.4, sectors={"A": "one", "B": "one", "C": "two"})
    book = a_book("650", A="35")
    # A is inside its band above a target of 32, so the sector has room for 5 and not for the 8 of B.
    orders = plan({"A": 0.32, "B": 0.08, "C": 0.1}, book, Planner(SHARES, BANDS, FREE, limits))
    assert units(orders) == {"B": Decimal(5), "C": Decimal(10)}


def test_a_sale_makes_room_in_its_sector_and_a_sector_past_its_cap_takes_nothing() -> None:
    limits = replace(UNBOUNDED, sector_cap=0.4, sectors={"A": "one", "B": "one"})
    book = a_book("550", A="45")
    sold = plan({"A": 0.2, "B": 0.2}, book, Planner(SHARES, BANDS, FREE, limits))
    assert units(sold) == {"A": Decimal(-25), "B": Decimal(20)}
    kept = plan({"A": 0.45, "B": 0.2}, book, Planner(SHARES, BANDS, FREE, limits))
    assert units(kept) == {}
