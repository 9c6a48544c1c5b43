"""When a rule demands a trade and when a book is left in peace, decision by decision on a book of one million."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from ordinis.clock import TradingCalendar
from ordinis.costs.models import ProportionalCost
from ordinis.domain.canonical import to_decimal
from ordinis.domain.decisions import Allocation, Rung, Source
from ordinis.domain.exposures import FactorExposures
from ordinis.domain.instruments import AssetClass, Instrument
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.execution.decide import Desk
from ordinis.execution.rebalance import Planner
from ordinis.features.view import market_view
from ordinis.governance.exposures import exposures_in
from ordinis.governance.rulebook import SHIPPED, load_rulebook
from ordinis.optimize.certificate import certify
from ordinis.ports import PriceHistory

SYMBOLS = tuple(f"S{i}" for i in range(8))
SECTORS = {symbol: symbol for symbol in SYMBOLS}
RULES = load_rulebook("standard", SECTORS)
CALENDAR = TradingCalendar()
TODAY = date(2020, 6, 17)
YESTERDAY = CALENDAR.previous_session(TODAY)
SHARES = {s: Instrument(s, s, AssetClass.EQUITY, Decimal("0.001"), Decimal(1), sector=s, adv=1e8) for s in SYMBOLS}
DESK = Desk(RULES, Planner(SHARES, RULES.trading, ProportionalCost(0.0), RULES.limits), CALENDAR)
SESSIONS = CALENDAR.between(TODAY - timedelta(days=400), YESTERDAY)
WALK = 1.0 + 0.01 * np.random.default_rng(7).standard_normal((len(SESSIONS), len(SYMBOLS)))
VIEW = market_view(PriceHistory(SYMBOLS, SESSIONS, np.cumprod(WALK, axis=0)), CALENDAR.trading_instant(TODAY), TODAY)


def a_book(
    weights: Mapping[str, float], drawdown: float = 0.0, loss: float = 0.0, traded: date | None = None
) -> PortfolioSnapshot:
    million = Decimal(1_000_000)
    holdings = {symbol: to_decimal(weight) * million for symbol, weight in weights.items()}
    return PortfolioSnapshot(
        "sim",
        VIEW.as_of,
        million - sum(holdings.values(), Decimal(0)),
        holdings,
        dict.fromkeys(SYMBOLS, Decimal(1)),
        peak_equity=million / to_decimal(1.0 - drawdown),
        previous_equity=million / to_decimal(1.0 - loss),
        last_traded=dict.fromkeys(holdings, traded) if traded else {},
    )


def asked(weights: Mapping[str, float], rung: Rung = Rung.CLOSED_FORM) -> Allocation:
    return Allocation(weights, 1 - sum(weights.values()), "test", "1", rung, certify(weights, RULES.limits))


def trades(book: PortfolioSnapshot, answer: Mapping[str, float], rung: Rung = Rung.CLOSED_FORM) -> dict[str, float]:
    """Signed change of weight by symbol."""
    orders = DESK.decide(VIEW, book, asked(answer, rung), Source.MODEL).decision.orders
    return {order.symbol: float(order.signed) / 1e6 for order in orders}


EVEN = dict.fromkeys(SYMBOLS, 0.1125)
"""Ninety hundredths in equal parts: what the standard limits allow."""
HALF = dict.fromkeys(SYMBOLS, 0.05625)
"""What the curve leaves of it at a drawdown of 15 %."""


def test_a_book_under_the_drawdown_curve_is_left_in_peace() -> None:
    book = a_book(HALF | {"S0": 0.058, "S1": 0.050}, drawdown=0.15)
    assert trades(book, EVEN) == {}


@pytest.mark.parametrize(("held", "after"), [(0.058, 0.058), (0.0590, 0.05625)], ids=["within", "beyond"])
def test_the_curve_lets_a_book_be_carried_a_little_past_it(held: float, after: float) -> None:
    """Eight times 0.058 is 1.4 points over the curve, eight times 0.059 is 2.2 points: two are allowed."""
    changed = trades(a_book(dict.fromkeys(SYMBOLS, held), drawdown=0.15), EVEN)
    for symbol in SYMBOLS:
        assert held + changed.get(symbol, 0.0) == pytest.approx(after, abs=1e-5)


def test_at_the_end_of_the_curve_everything_is_sold() -> None:
    tiny = dict.fromkeys(SYMBOLS, 0.001)
    book = a_book(tiny, drawdown=0.20, traded=YESTERDAY)
    assert trades(book, EVEN) == dict.fromkeys(SYMBOLS, -0.001)


@pytest.mark.parametrize("rung", [Rung.HOLD, Rung.CLOSED_FORM])
def test_a_rule_that_binds_the_book_as_it_stands_waits_for_nothing(rung: Rung) -> None:
    book = a_book(dict.fromkeys(SYMBOLS, 0.08), drawdown=0.15, traded=YESTERDAY)
    sold = trades(book, book.weights, rung)
    assert sum(sold.values()) == pytest.approx(0.45 - 0.64, abs=1e-5)


def test_a_fall_of_the_invested_share_past_its_band_waits_for_nothing() -> None:
    """The band is 5 points here: a fall by four is left to the bands of the symbols, none of which is out."""
    book = a_book(EVEN, traded=YESTERDAY)
    assert trades(book, dict.fromkeys(SYMBOLS, 0.86 / 8)) == {}
    sold = trades(book, dict.fromkeys(SYMBOLS, 0.80 / 8))
    assert sold == pytest.approx(dict.fromkeys(SYMBOLS, -0.0125))


def test_after_a_daily_loss_the_bands_still_hold() -> None:
    """Nothing may be added, so the sum of what is left of the proposal falls; nobody asked for less risk."""
    held = {symbol: 0.1325 if i % 2 else 0.0925 for i, symbol in enumerate(SYMBOLS)}
    assert trades(a_book(held, loss=0.03), EVEN) == {}
    assert trades(a_book(held | {"S0": 0.02}, loss=0.03), EVEN) == {}


def test_why_an_allocator_holds_is_part_of_the_decision() -> None:
    holds = replace(asked({"S0": 0.1}, Rung.HOLD), trace={"hold": "sector cap, invested_target: no weights meet both"})
    decided = DESK.decide(VIEW, a_book({"S0": 0.1}), holds, Source.MODEL, "baseline: late").decision
    assert decided.reason == "baseline: late; hold: sector cap, invested_target: no weights meet both"
    assert (
        DESK.decide(VIEW, a_book({"S0": 0.1}), replace(holds, rung=Rung.CLOSED_FORM), Source.MODEL).decision.reason
        == ""
    )
    hostile = replace(holds, trace={"hold": "a\ud800b\x00c\x1b[31m\nd"})
    assert DESK.decide(VIEW, a_book({"S0": 0.1}), hostile, Source.MODEL).decision.reason == "hold: a b c [31m d"
    endless = replace(holds, trace={"hold": "many words " * 1000})
    assert len(DESK.decide(VIEW, a_book({"S0": 0.1}), endless, Source.MODEL).decision.reason) < 600


def test_the_verdict_on_a_book_as_it_stands_is_named_apart() -> None:
    # The proposal stays under its cap, the holding does not.
    book = a_book({"S0": 0.23, "S1": 0.1})
    draft = DESK.decide(VIEW, book, asked({"S0": 0.19, "S1": 0.1}), Source.MODEL)
    assert [verdict.rule for verdict in draft.verdicts if not verdict.passed] == ["position cap, held"]
    assert draft.decision.weights["S0"] == pytest.approx(0.19)


def test_a_decision_is_named_by_its_content() -> None:
    book = a_book(EVEN)
    one = DESK.decide(VIEW, book, asked(EVEN), Source.MODEL).decision
    assert DESK.decide(VIEW, book, asked(EVEN), Source.MODEL).decision.id == one.id
    others = [
        DESK.decide(VIEW, replace(book, cash=book.cash + 1), asked(EVEN), Source.MODEL),
        DESK.decide(VIEW, book, replace(asked(EVEN), version="2"), Source.MODEL),
        DESK.decide(VIEW, book, asked(EVEN), Source.BASELINE),
    ]
    assert len({one.id, *(other.decision.id for other in others)}) == 4


class TestFactorCaps:
    """The market is capped at five hundredths; S0 moves with it, S1 against it, of the others nothing is known."""

    KNOWN = FactorExposures(YESTERDAY, ("market",), {"S0": {"market": 1.0}, "S1": {"market": -1.0}})

    @pytest.fixture
    def desk(self, tmp_path: Path) -> Desk:
        content = yaml.safe_load(SHIPPED.read_text())
        content["profiles"]["standard"]["limits"]["factor_exposure_caps"] = {"market": 0.05}
        path = tmp_path / "rules.yaml"
        path.write_text(yaml.safe_dump(content))
        return replace(DESK, rulebook=load_rulebook("standard", SECTORS, path), exposures=self.KNOWN)

    def test_what_one_symbol_offset_of_another_is_not_lost_between_the_proposal_and_the_book(self, desk: Desk) -> None:
        """The proposal cancels out, and of S1 as it is held alone 0.05 may stay: so of S0 no more than 0.1 may come."""
        draft = desk.decide(VIEW, a_book({"S1": 0.3}), asked({"S0": 0.2, "S1": 0.2}), Source.MODEL)
        assert draft.decision.weights == pytest.approx({"S0": 0.1, "S1": 0.05})
        failed = {verdict.rule: verdict.detail for verdict in draft.verdicts if not verdict.passed}
        assert list(failed) == ["position cap, held", "factor exposure, held", "factor exposure, once more"]
        told = f"cut S0; exposures of {YESTERDAY}"
        assert failed["factor exposure, once more"] == f"market 0.1500 of 0.05; {told}"
        sold = {order.symbol: float(order.signed) / 1e6 for order in draft.decision.orders}
        assert sold["S1"] == pytest.approx(-0.25, abs=1e-5)

    def test_a_book_that_is_past_a_cap_waits_for_no_band(self, desk: Desk) -> None:
        book = a_book({"S0": 0.06}, traded=YESTERDAY)
        orders = desk.decide(VIEW, book, asked({"S0": 0.06}, Rung.HOLD), Source.MODEL).decision.orders
        assert {order.symbol: float(order.signed) / 1e6 for order in orders} == {"S0": pytest.approx(-0.01)}

    def test_the_exposures_are_part_of_what_was_asked_where_a_cap_is_in_force_and_only_there(self, desk: Desk) -> None:
        def stored(desk: Desk) -> dict[str, Any]:
            asked_of: dict[str, Any] = json.loads(desk.decide(VIEW, a_book({}), asked({}), Source.MODEL).inputs)
            return asked_of

        assert exposures_in(stored(desk)["exposures"]) == self.KNOWN
        assert stored(replace(desk, exposures=None))["exposures"] is None
        assert "exposures" not in stored(replace(DESK, exposures=self.KNOWN))
        assert stored(replace(DESK, exposures=self.KNOWN)) == stored(DESK)

    @pytest.mark.parametrize(
        ("sessions", "told"),
        [
            (1, "exposures of {}"),
            (5, "exposures of {}"),
            (6, "exposures of {} are 6 sessions old: all count as market 1"),
            (0, "exposures of {} are not of an earlier session: all count as market 1"),
            (-1, "exposures of {} are not of an earlier session: all count as market 1"),
        ],
    )
    def test_their_age_is_counted_in_sessions(self, desk: Desk, sessions: int, told: str) -> None:
        of = CALENDAR.back(TODAY, sessions) if sessions >= 0 else CALENDAR.next_session(TODAY)
        desk = replace(desk, exposures=replace(self.KNOWN, session=of))
        assert desk.age_of_exposures(TODAY) == sessions
        [verdict] = [
            verdict
            for verdict in desk.decide(VIEW, a_book({}), asked({"S1": 0.02}), Source.MODEL).verdicts
            if verdict.rule == "factor exposure"
        ]
        assert verdict.detail.partition("; ")[2] == told.format(of)
        assert replace(desk, exposures=None).age_of_exposures(TODAY) == 0
