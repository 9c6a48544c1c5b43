"""Rules shrink or refuse; the numbers here can be checked by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordinis.domain.decisions import Verdict
from ordinis.domain.limits import TradingState
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.governance.rules import (
    ROUNDING,
    DailyLoss,
    DrawdownCurve,
    GrossCap,
    MarketHours,
    PositionCap,
    ReduceOnly,
    SectorCap,
)
from ordinis.ports import Rule, RuleContext

AT = datetime(2020, 3, 16, 19, 45, tzinfo=UTC)
SECTORS = {"AAPL": "technology", "MSFT": "technology", "KO": "staples"}
OPEN = RuleContext(date(2020, 3, 16), True, SECTORS)
CLOSED = RuleContext(date(2020, 3, 16), False, SECTORS)
REDUCING = RuleContext(date(2020, 3, 16), True, SECTORS, TradingState.REDUCING)


def a_book(weights: dict[str, float] | None = None, peak: str = "100", previous: str = "100") -> PortfolioSnapshot:
    """A book worth 100 with these weights."""
    units = {symbol: Decimal(str(weight)) * 100 for symbol, weight in (weights or {}).items()}
    cash = Decimal(100) - sum(units.values(), Decimal(0))
    return PortfolioSnapshot("sim", AT, cash, units, dict.fromkeys(units, Decimal(1)), Decimal(peak), Decimal(previous))


RULES: list[Rule] = [
    PositionCap(0.2, 0.02),
    SectorCap(0.3, 0.02),
    GrossCap(0.9, 0.02),
    DrawdownCurve(0.1, 0.2, 0.9, 0.0),
    DailyLoss(0.02),
    ReduceOnly(),
    MarketHours(),
]
weights = st.dictionaries(st.sampled_from(["AAPL", "MSFT", "KO", "XOM"]), st.floats(0, 1), max_size=4)


@given(
    weights,
    weights.filter(lambda w: sum(w.values()) <= 1),
    st.integers(100, 200),
    st.integers(90, 110),
    st.sampled_from(RULES),
    st.sampled_from([OPEN, CLOSED, REDUCING]),
)
def test_a_rule_never_enlarges_a_position(
    proposal: dict[str, float], held: dict[str, float], peak: int, previous: int, rule: Rule, context: RuleContext
) -> None:
    book = a_book({s: round(w, 6) for s, w in held.items()}, str(peak), str(previous))
    allowed, verdict = rule.review(proposal, book, context)
    assert all(allowed[symbol] <= proposal[symbol] + 1e-12 for symbol in allowed)
    assert verdict.rule == rule.name


def test_a_position_is_cut_to_its_cap() -> None:
    allowed, verdict = PositionCap(0.2, 0.02).review({"AAPL": 0.35, "KO": 0.1}, a_book(), OPEN)
    assert allowed == {"AAPL": 0.2, "KO": 0.1}
    assert (verdict.limit, verdict.value, verdict.passed, verdict.detail) == (0.2, 0.35, False, "cut AAPL")


@pytest.mark.parametrize(
    ("held", "proposed", "allowed"),
    [(0.21, 0.21, 0.21), (0.21, 0.215, 0.2), (0.23, 0.23, 0.2)],
    ids=["prices carried it a little: left alone", "it would add: cut", "prices carried it far: cut"],
)
def test_prices_may_carry_a_weight_a_little_past_its_cap(held: float, proposed: float, allowed: float) -> None:
    reviewed, _ = PositionCap(0.2, 0.02).review({"AAPL": proposed}, a_book({"AAPL": held}), OPEN)
    assert reviewed == {"AAPL": allowed}


def test_a_sector_is_scaled_as_a_whole() -> None:
    allowed, verdict = SectorCap(0.3, 0.02).review({"AAPL": 0.4, "MSFT": 0.2, "KO": 0.3}, a_book(), OPEN)
    assert allowed == pytest.approx({"AAPL": 0.2, "MSFT": 0.1, "KO": 0.3})
    assert verdict.value == pytest.approx(0.6)
    assert verdict.detail == "cut technology"


def test_gross_exposure_is_scaled_to_its_cap() -> None:
    allowed, verdict = GrossCap(0.9, 0.02).review({"AAPL": 0.6, "KO": 0.4}, a_book(), OPEN)
    assert allowed == pytest.approx({"AAPL": 0.54, "KO": 0.36})
    assert not verdict.passed


@pytest.mark.parametrize(
    ("peak", "allowed"),
    [("100", 0.9), ("111", 0.9), ("117.6470588", 0.45), ("125", 0.0), ("200", 0.0)],
    ids=["at the peak", "9.9 % below", "15 % below: half way down", "20 % below", "50 % below"],
)
def test_exposure_falls_with_the_drawdown_in_a_straight_line(peak: str, allowed: float) -> None:
    reviewed, verdict = DrawdownCurve(0.1, 0.2, 0.9, 0.0).review({"AAPL": 0.9}, a_book(peak=peak), OPEN)
    assert reviewed["AAPL"] == pytest.approx(allowed, abs=1e-8)
    assert verdict.passed is (allowed == 0.9)


def test_after_a_daily_loss_nothing_is_added() -> None:
    book = a_book({"AAPL": 0.3}, previous="102.1")
    allowed, verdict = DailyLoss(0.02).review({"AAPL": 0.4, "KO": 0.2}, book, OPEN)
    assert allowed == pytest.approx({"AAPL": 0.3, "KO": 0.0})
    assert verdict.value == pytest.approx(2.1 / 102.1)
    assert DailyLoss(0.02).review({"AAPL": 0.4}, a_book(previous="102"), OPEN)[1].passed


def test_a_closed_exchange_refuses() -> None:
    allowed, verdict = MarketHours().review({"AAPL": 0.1}, a_book(), CLOSED)
    assert allowed == {}
    assert not verdict.passed


@pytest.mark.parametrize(
    ("rule", "limit"),
    [(PositionCap(0.2, 0.02), 0.2), (SectorCap(0.3, 0.02), 0.3), (GrossCap(0.9, 0.02), 0.9)],
    ids=["position", "sector", "gross"],
)
def test_a_proposal_of_nothing_passes_every_cap(rule: Rule, limit: float) -> None:
    assert rule.review({}, a_book({"AAPL": 0.5}), OPEN) == ({}, Verdict(rule.name, limit, 0.0, True))


@pytest.mark.parametrize(
    ("rule", "cap"),
    [
        (PositionCap(0.25, 0.0), 0.25),
        (SectorCap(0.25, 0.0), 0.25),
        (GrossCap(0.25, 0.0), 0.25),
        (DrawdownCurve(0.25, 0.75, 0.5, 0.0), 0.25),
    ],
    ids=["position", "sector", "gross", "half of 0.5 at half the way down"],
)
def test_a_weight_at_its_cap_is_left_alone_and_rounding_is_no_excess(rule: Rule, cap: float) -> None:
    fallen_by_half = a_book(peak="200")
    for weight in (cap, cap + ROUNDING):
        allowed, verdict = rule.review({"AAPL": weight}, fallen_by_half, OPEN)
        assert (allowed, verdict.passed, verdict.detail) == ({"AAPL": weight}, True, "")
    allowed, verdict = rule.review({"AAPL": cap + 2 * ROUNDING}, fallen_by_half, OPEN)
    assert allowed == {"AAPL": pytest.approx(cap, abs=1e-15)}
    assert not verdict.passed


@pytest.mark.parametrize(
    "rule",
    [PositionCap(0.25, 0.125), SectorCap(0.25, 0.125), GrossCap(0.25, 0.125), DrawdownCurve(0.25, 0.75, 0.5, 0.125)],
    ids=["position", "sector", "gross", "drawdown"],
)
@pytest.mark.parametrize(
    ("held", "proposed", "left_alone"),
    [
        (0.3, 0.3, True),
        (0.3, 0.3 + ROUNDING, True),
        (0.3, 0.31, False),
        (0.375, 0.375, True),
        (0.376, 0.376, False),
        (0.4, 0.3, True),
        (0.0, 0.3, False),
    ],
    ids=[
        "prices carried it there",
        "and rounding",
        "it would add",
        "carried as far as may be",
        "carried too far",
        "sold down, not yet to the cap",
        "never held",
    ],
)
def test_an_excess_that_prices_made_is_left_alone_by_every_cap(
    rule: Rule, held: float, proposed: float, left_alone: bool
) -> None:
    book = a_book({"AAPL": held} if held else {}, peak="200")
    allowed, verdict = rule.review({"AAPL": proposed}, book, OPEN)
    assert verdict.passed is left_alone
    assert allowed == {"AAPL": proposed if left_alone else pytest.approx(0.25)}


def test_every_cut_is_named() -> None:
    proposal = {"XOM": 0.4, "KO": 0.4, "AAPL": 0.1, "MSFT": 0.35}
    assert PositionCap(0.2, 0.02).review(proposal, a_book(), OPEN)[1].detail == "cut KO, MSFT, XOM"
    _, verdict = SectorCap(0.25, 0.0).review(proposal, a_book(), OPEN)
    assert verdict == Verdict("sector cap", 0.25, pytest.approx(0.45), False, "cut staples, technology")
    _, verdict = GrossCap(0.5, 0.0).review({"KO": 0.5, "XOM": 0.25}, a_book(), OPEN)
    assert verdict == Verdict("gross exposure", 0.5, 0.75, False, "scaled to the cap")


def test_caps_that_hold_say_how_much_of_them_is_used() -> None:
    proposal = {"AAPL": 0.25, "KO": 0.5}
    assert PositionCap(0.5, 0.0).review(proposal, a_book(), OPEN)[1] == Verdict("position cap", 0.5, 0.5, True)
    assert SectorCap(0.5, 0.0).review(proposal, a_book(), OPEN)[1] == Verdict("sector cap", 0.5, 0.5, True)
    assert GrossCap(0.9, 0.0).review(proposal, a_book(), OPEN)[1] == Verdict("gross exposure", 0.9, 0.75, True)


def test_a_symbol_without_a_sector_is_in_nobodys_cap() -> None:
    allowed, verdict = SectorCap(0.25, 0.0).review({"XOM": 0.5, "KO": 0.5}, a_book(), OPEN)
    assert allowed == {"XOM": 0.5, "KO": 0.25}
    assert verdict.detail == "cut staples"


def test_below_its_start_the_drawdown_curve_leaves_the_gross_cap_to_the_gross_cap() -> None:
    for peak, drawdown in (("100", 0.0), ("125", 0.2)):
        allowed, verdict = DrawdownCurve(0.2, 0.4, 0.5, 0.0).review({"AAPL": 0.75}, a_book(peak=peak), OPEN)
        assert (allowed, verdict) == ({"AAPL": 0.75}, Verdict("drawdown curve", 0.2, drawdown, True))


def test_half_way_down_half_of_the_exposure_is_allowed() -> None:
    allowed, verdict = DrawdownCurve(0.25, 0.75, 0.5, 0.0).review({"AAPL": 0.4, "KO": 0.1}, a_book(peak="200"), OPEN)
    assert allowed == pytest.approx({"AAPL": 0.2, "KO": 0.05})
    told = "drawdown 50.0%: exposure 50.0% cut to 25.0%"
    assert verdict == Verdict("drawdown curve", 0.25, 0.5, False, told)


def test_at_the_stop_even_what_prices_carried_is_sold() -> None:
    allowed, verdict = DrawdownCurve(0.25, 0.5, 0.5, 0.125).review(
        {"AAPL": 0.1}, a_book({"AAPL": 0.1}, peak="200"), OPEN
    )
    assert (allowed, verdict.passed) == ({"AAPL": 0.0}, False)


@pytest.mark.parametrize(("previous", "passed"), [("125", False), ("124.9", True)], ids=["at the limit", "short of it"])
def test_the_daily_loss_counts_from_its_limit_on(previous: str, passed: bool) -> None:
    allowed, verdict = DailyLoss(0.2).review({"AAPL": 0.5}, a_book({"AAPL": 0.25}, previous=previous), OPEN)
    loss = float(1 - 100 / Decimal(previous))
    told = "" if passed else "down 20.00% today: nothing is added"
    assert verdict == Verdict("daily loss", 0.2, pytest.approx(loss), passed, told)
    assert allowed == {"AAPL": 0.5 if passed else 0.25}


def test_while_reducing_nothing_is_added_and_anything_may_be_sold() -> None:
    proposal, book = {"AAPL": 0.4, "KO": 0.1, "XOM": 0.2}, a_book({"AAPL": 0.3, "KO": 0.2})
    assert ReduceOnly().review(proposal, book, OPEN) == (proposal, Verdict("trading state", 1.0, 1.0, True))
    for state in (TradingState.REDUCING, TradingState.HALTED, TradingState.KILLED):
        context = RuleContext(date(2020, 3, 16), True, SECTORS, state)
        assert ReduceOnly().review(proposal, book, context) == (
            {"AAPL": 0.3, "KO": 0.1, "XOM": 0.0},
            Verdict("trading state", 1.0, 0.0, False, f"trading is {state}: nothing is added"),
        )


def test_market_hours_say_which_session_is_over() -> None:
    told = "the exchange is closed (session 2020-03-16)"
    assert MarketHours().review({"KO": 0.1}, a_book(), CLOSED)[1] == Verdict("market hours", 1.0, 0.0, False, told)
    assert MarketHours().review({"KO": 0.1}, a_book(), OPEN) == ({"KO": 0.1}, Verdict("market hours", 1.0, 1.0, True))
