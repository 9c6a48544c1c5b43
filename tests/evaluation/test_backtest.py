"""The back-test is the trading cycle: limits hold in it, breakers act in it, and the future does not reach it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordinis import bootstrap
from ordinis.costs.conditions import MarketConditions
from ordinis.costs.execution import execution_price, expected_cash
from ordinis.domain.decisions import Allocation, Source
from ordinis.domain.limits import TradingState
from ordinis.domain.orders import Side
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.errors import AllocationUnavailable, DataUnavailable
from ordinis.evaluation.backtest import OPERATOR, Backtest, Market, backtest
from ordinis.features.view import VIEW_SESSIONS, market_view
from ordinis.governance.breakers import DRAWDOWN
from ordinis.ports import Allocator, MarketView, PriceHistory
from ordinis.settings import Settings

SETTINGS = Settings()
RULES = bootstrap.rulebook(SETTINGS)
FIRST, LAST = date(2020, 2, 3), date(2020, 4, 30)


def run(
    allocator: str | Allocator = "minimum-variance",
    history: Callable[[PriceHistory], PriceHistory] = lambda h: h,
    first: date = FIRST,
    last: date = LAST,
    profile: str = "standard",
) -> Backtest:
    chosen = Settings(profile=profile)
    market, rules = bootstrap.sample_market(chosen), bootstrap.rulebook(chosen)
    market = Market(history(market.history), market.instruments, market.calendar)
    asked = bootstrap.allocator(allocator, rules.limits) if isinstance(allocator, str) else allocator
    fallback = bootstrap.allocator("inverse-volatility", rules.limits)
    return backtest(market, asked, fallback, rules, bootstrap.costs(chosen), first=first, last=last)


@pytest.fixture(scope="module")
def crash_of_2020() -> Backtest:
    return run()


def test_the_ledger_verifies_and_its_valuations_follow_from_fills(crash_of_2020: Backtest) -> None:
    with crash_of_2020.ledger.begin(write=False) as unit:
        unit.verify()
        valuations, fills = unit.book.valuations(), unit.book.fills()
        cash = Decimal(1_000_000) + sum((fill.cash for fill in fills), Decimal(0))
    assert valuations[-1].cash == cash
    assert valuations[-1].equity == valuations[-1].cash + valuations[-1].gross
    assert len(valuations) == len(crash_of_2020.sessions) == 62


def test_impact_is_charged_by_the_volumes_that_the_bars_have() -> None:
    """A tenth of what the reference file assumes, in a market that thins out: plan, gates and venue all know it."""
    few = FIRST, date(2020, 3, 13)
    market = bootstrap.sample_market(SETTINGS)

    def thin(history: PriceHistory) -> PriceHistory:
        adv = [market.instruments[symbol].adv or np.nan for symbol in history.symbols]
        fading = np.linspace(0.2, 0.1, len(history.sessions))
        return replace(history, volumes=np.round(np.outer(fading, adv)))

    usual, dear = run(first=few[0], last=few[1]), run(history=thin, first=few[0], last=few[1])
    history = thin(market.history)
    with dear.ledger.begin(write=False) as unit:
        decisions, orders, fills = unit.decisions.all(), unit.orders.all(), unit.book.fills()
        for decision in decisions:
            seen = json.loads(unit.decisions.inputs(decision.inputs_sha))["view"]
            row = history.sessions.index(decision.as_of.date())
            rows = slice(max(0, row - VIEW_SESSIONS), row)
            before = PriceHistory(
                history.symbols,
                history.sessions[rows],
                history.closes[rows],
                history.volumes[rows],  # type: ignore[index]
            )
            assert seen["sha"] == market_view(before, decision.as_of, decision.as_of.date()).sha
    first = {order.client_order_id: order for order in orders if order.decision_id == decisions[0].id}
    model, row = bootstrap.costs(SETTINGS), history.sessions.index(FIRST)
    conditions = MarketConditions.measured(history, row)
    assert conditions.volumes["KO"] < 0.2 * market.instruments["KO"].adv  # type: ignore[operator]
    bought = [fill for fill in fills if fill.client_order_id in first]
    assert bought
    for fill in bought:
        order, instrument = first[fill.client_order_id or ""], market.instruments[fill.symbol]
        asked = fill.side, fill.quantity, order.reference_price, conditions
        assert fill.price == execution_price(model, instrument, *asked)
        if fill.side is Side.BUY:
            assert order.reserved_notional == -expected_cash(model, instrument, *asked)
    assert dear.equity[-1] < usual.equity[-1]


def test_bought_weights_stay_under_the_limits(crash_of_2020: Backtest) -> None:
    with crash_of_2020.ledger.begin(write=False) as unit:
        decisions = unit.decisions.all()
        valuations = unit.book.valuations()
    for decision in decisions:
        assert max(decision.weights.values(), default=0.0) <= 0.22
    for row in valuations:
        assert row.gross <= Decimal("0.93") * row.equity
        assert row.cash > 0


def test_the_drawdown_curve_takes_risk_off_in_a_crash(crash_of_2020: Backtest) -> None:
    with crash_of_2020.ledger.begin(write=False) as unit:
        cut = [
            (decision.as_of.date(), verdict)
            for decision in unit.decisions.all()
            for verdict in unit.decisions.verdicts(decision.id)
            if verdict.rule == "drawdown curve" and not verdict.passed
        ]
    assert cut
    assert all(verdict.value > 0.10 for _, verdict in cut)
    drawdowns = 1 - crash_of_2020.equity / np.maximum.accumulate(crash_of_2020.equity)
    assert drawdowns.max() < 0.20


class Silent:
    """An allocation service that answers nobody."""

    name, version = "silent", "1"

    def allocate(self, view: MarketView, portfolio: PortfolioSnapshot) -> Allocation:
        raise AllocationUnavailable("http://127.0.0.1:8000", "timed out after 2 s")


def fallen(history: PriceHistory) -> PriceHistory:
    """The market loses a quarter in a night: more than the curve can take off before the breaker sees it."""
    closes = history.closes.copy()
    closes[[session >= date(2020, 3, 2) for session in history.sessions]] *= 0.75
    return replace(history, closes=closes)


def test_a_drawdown_that_comes_overnight_sells_halts_and_is_resumed_by_the_operator_only() -> None:
    with run(history=fallen, last=date(2020, 3, 20)).ledger.begin(write=False) as unit:
        rows = unit.control.history()
        valuations = {row.session: row for row in unit.book.valuations()}
    said = [(row.by, row.state) for row in rows]
    first = said.index((DRAWDOWN, TradingState.REDUCING))
    assert rows[first].at.date() == date(2020, 3, 2)
    assert said[first + 1] == (DRAWDOWN, TradingState.HALTED)
    # Once resumed, the drawdown counts from where the book stands: the old peak would halt it again every day.
    assert said[first + 2] == (OPERATOR, TradingState.ACTIVE)
    assert not any(by == DRAWDOWN for by, _ in said[first + 3 :])
    sold = valuations[date(2020, 3, 3)]
    assert (sold.gross, sold.peak_equity) == (0, valuations[date(2020, 2, 28)].peak_equity)
    assert {row.peak_equity for day, row in valuations.items() if day > date(2020, 3, 3)} == {sold.equity}
    assert valuations[date(2020, 3, 4)].gross > 0


def test_the_baseline_answers_when_the_allocator_does_not_and_the_decision_says_so() -> None:
    result = run(Silent(), last=date(2020, 2, 14))
    with result.ledger.begin(write=False) as unit:
        decisions = unit.decisions.all()
        assert {decision.source for decision in decisions} == {Source.BASELINE}
        assert all("baseline: allocation-unavailable" in decision.reason for decision in decisions)
        assert all(decision.model_sha.startswith("inverse_volatility@") for decision in decisions)
        assert unit.book.fills()


@settings(max_examples=5, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["minimum-variance", "mean-cvar", "managed-inverse-volatility"]))
def test_shuffling_every_row_after_a_date_changes_no_decision_before_it(seed: int, allocator: str) -> None:
    cut = date(2020, 3, 13)

    def shuffled(history: PriceHistory) -> PriceHistory:
        after = np.array([session > cut for session in history.sessions])
        closes = history.closes.copy()
        closes[after] = np.random.default_rng(seed).permutation(closes[after])
        return PriceHistory(history.symbols, history.sessions, closes)

    first, last = date(2020, 3, 2), date(2020, 3, 20)
    texts = []
    for change in (lambda h: h, shuffled):
        with run(allocator, change, first, last).ledger.begin(write=False) as unit:
            texts.append([d for d in unit.decisions.all() if d.as_of.date() <= cut])
    assert texts[0] == texts[1]
    assert len(texts[0]) == 10


def test_a_stretch_without_a_past_is_refused() -> None:
    with pytest.raises(DataUnavailable, match="sessions before and from 1990-01-02"):
        run(first=date(1990, 1, 2), last=date(1990, 2, 1))


def test_a_holding_that_nobody_quotes_any_more_does_not_keep_a_back_test_from_buying() -> None:
    def delisted(history: PriceHistory) -> PriceHistory:
        fallen_too = fallen(history)
        gone = [session >= date(2020, 3, 2) for session in history.sessions]
        fallen_too.closes[gone, history.symbols.index("JNJ")] = np.nan
        return fallen_too

    with run(history=delisted, last=date(2020, 3, 20)).ledger.begin(write=False) as unit:
        said = [(row.by, row.state) for row in unit.control.history()]
        last, held = unit.book.fills()[-1], unit.book.holdings()
    assert "JNJ" in held
    assert (DRAWDOWN, TradingState.REDUCING) in said
    assert (OPERATOR, TradingState.ACTIVE) in said
    assert last.at.date() > date(2020, 3, 4)
