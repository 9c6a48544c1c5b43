"""What people ask for against the model: what makes sense, and what it leaves of a proposal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from ordinis.domain.decisions import Verdict
from ordinis.domain.overrides import Override, OverrideKind, overridden
from ordinis.errors import OverrideRefused

NOW = datetime(2020, 3, 16, 19, 45, tzinfo=UTC)
K = OverrideKind


def wish(kind: OverrideKind, value: float | None = None, symbol: str = "KO") -> Override:
    return Override(symbol, kind, value, "anna", "a hunch", NOW, NOW + timedelta(days=1))


@pytest.mark.parametrize(
    ("kind", "value", "symbol", "problem"),
    [
        (K.PIN, None, "KO", "needs a weight"),
        (K.NO_TRADE, 0.1, "KO", "takes no weight"),
        (K.MAX, 30.0, "KO", "30.0 is not a fraction of equity between 0 and 1"),
        (K.MAX, 1.01, "KO", "1.01 is not a fraction of equity between 0 and 1"),
        (K.MIN, -0.1, "KO", "-0.1 is not a fraction of equity between 0 and 1"),
        (K.PIN, float("nan"), "KO", "nan is not a fraction of equity between 0 and 1"),
        (K.BASELINE, None, "KO", "baseline is for the whole account"),
        (K.FLAT, None, "KO", "flat is for the whole account"),
        (K.NO_TRADE, None, "", "no_trade is for one symbol"),
    ],
)
def test_what_makes_no_sense_is_refused(kind: OverrideKind, value: float | None, symbol: str, problem: str) -> None:
    with pytest.raises(OverrideRefused) as refused:
        wish(kind, value, symbol)
    assert (refused.value.kind, refused.value.problem) == (kind, problem)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_the_ends_of_the_range_are_weights(value: float) -> None:
    assert wish(K.MAX, value).ceiling == value


@pytest.mark.parametrize(
    ("row", "proposed", "held", "left"),
    [
        (wish(K.PIN, 0.1), 0.3, 0.2, 0.1),
        (wish(K.PIN, 0.1), 0.0, 0.0, 0.1),
        (wish(K.MAX, 0.1), 0.3, 0.2, 0.1),
        (wish(K.MAX, 0.1), 0.05, 0.2, 0.05),
        (wish(K.MIN, 0.1), 0.05, 0.2, 0.1),
        (wish(K.MIN, 0.1), 0.3, 0.2, 0.3),
        (wish(K.NO_TRADE), 0.3, 0.2, 0.2),
        (wish(K.NO_TRADE), 0.0, 0.2, 0.2),
        (wish(K.REDUCE_ONLY), 0.3, 0.2, 0.2),
        (wish(K.REDUCE_ONLY), 0.1, 0.2, 0.1),
    ],
)
def test_what_is_left_of_a_proposal(row: Override, proposed: float, held: float, left: float) -> None:
    weights, verdict = overridden({"AAPL": 0.1, "KO": proposed}, {"KO": held}, [row])
    assert weights == {"AAPL": 0.1, "KO": left}
    assert verdict.passed is (proposed == left)
    assert verdict.passed or verdict.detail == f"KO {row.kind} {proposed:.4f} to {left:.4f} (anna: a hunch)"


def test_a_symbol_that_nobody_proposed_may_be_wished_for() -> None:
    weights, _ = overridden({"XOM": 0.1}, {}, [wish(K.MIN, 0.05)])
    assert list(weights.items()) == [("KO", 0.05), ("XOM", 0.1)]


def test_the_baseline_is_no_matter_of_weights() -> None:
    weights, verdict = overridden({"KO": 0.1}, {}, [wish(K.BASELINE, symbol="")])
    assert (weights, verdict) == ({"KO": 0.1}, Verdict("overrides", 1.0, 0.0, True))


def test_the_verdict_counts_the_wishes_and_names_what_they_changed() -> None:
    rows = [wish(K.PIN, 0.0), wish(K.MAX, 0.1, "XOM"), wish(K.MAX, 0.5, "AAPL")]
    weights, verdict = overridden({"AAPL": 0.3, "KO": 0.2, "XOM": 0.2}, {}, rows)
    assert weights == {"AAPL": 0.3, "KO": 0.0, "XOM": 0.1}
    changed = "KO pin 0.2000 to 0.0000 (anna: a hunch); XOM max 0.2000 to 0.1000 (anna: a hunch)"
    assert verdict == Verdict("overrides", 3.0, 2.0, False, changed)


@pytest.mark.parametrize("kind", [K.NO_TRADE, K.REDUCE_ONLY])
def test_what_is_not_held_is_not_bought_against_a_wish(kind: OverrideKind) -> None:
    assert overridden({"KO": 0.3}, {}, [wish(kind)])[0] == {"KO": 0.0}


@pytest.mark.parametrize(
    ("kind", "value", "held", "unmet"),
    [
        (K.PIN, 0.1, 0.104, False),
        (K.PIN, 0.1, 0.106, True),
        (K.PIN, 0.1, 0.094, True),
        (K.MAX, 0.1, 0.106, True),
        (K.MAX, 0.1, 0.0, False),
        (K.MIN, 0.1, 0.094, True),
        (K.MIN, 0.1, 0.5, False),
        (K.PIN, 0.0, 0.005, False),
        (K.PIN, 0.005, 0.0, False),
        (K.NO_TRADE, None, 0.5, False),
    ],
)
def test_a_weight_near_the_one_asked_for_is_left_alone(
    kind: OverrideKind, value: float | None, held: float, unmet: bool
) -> None:
    assert wish(kind, value).unmet(held) is unmet


def test_only_pin_and_max_set_a_ceiling() -> None:
    assert [wish(kind, 0.1).ceiling for kind in (K.PIN, K.MAX, K.MIN)] == [0.1, 0.1, None]


def test_flat_leaves_nothing_whatever_else_is_wished_for() -> None:
    rows = [wish(K.PIN, 0.1), wish(K.FLAT, symbol="")]
    weights, verdict = overridden({"AAPL": 0.1, "KO": 0.0, "XOM": 0.2}, {"XOM": 0.2}, rows)
    assert weights == {"AAPL": 0.0, "KO": 0.0, "XOM": 0.0}
    assert not verdict.passed
    assert verdict.detail.endswith("everything to nothing (anna: a hunch), 3 symbols proposed")
