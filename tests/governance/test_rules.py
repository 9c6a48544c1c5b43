"""Rules shrink or refuse; the numbers here can be checked by hand."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.governance.rules import DailyLoss, DrawdownCurve, GrossCap, MarketHours, PositionCap, SectorCap
from ordinis.ports import Rule, RuleContext

AT = datetime(2020, 3, 16, 19, 45, tzinfo=UTC)
SECTORS = {"AAPL": "technology", "MSFT": "technology", "KO": "staples"}
OPEN = RuleContext(date(2020, 3, 16), True, SECTORS)
CLOSED = RuleContext(date(2020, 3, 16), False, SECTORS)


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
    MarketHours(),
]
weights = st.dictionaries(st.sampled_from(["AAPL", "MSFT", "KO", "XOM"]), st.floats(0, 1), max_size=4)


@given(
    weights,
    weights.filter(lambda w: sum(w.values()) <= 1),
    st.integers(100, 200),
    st.integers(90, 110),
    st.sampled_from(RULES),
    st.sampled_from([OPEN, CLOSED]),
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
