"""Every allocation leaves inside the limits, measured, and with its wish beside it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ordinis.allocation.answer import answer, expected_pnl, hold, left_out, usable, version_of
from ordinis.domain.canonical import canonical
from ordinis.domain.decisions import Rung
from ordinis.domain.limits import Limits
from ordinis.errors import AllocationRefused
from ordinis.optimize.projection import project


@dataclass(frozen=True)
class Wisher:
    limits: Limits = Limits(sectors={"S0": "energy", "S1": "energy"})  # noqa: RUF009
    name: str = "wisher"
    version: str = "1"


def test_a_wish_beyond_the_limits_is_projected_and_kept_in_the_trace(view_of, walk, book_of):
    view = view_of(walk(40))
    given_back = answer(
        Wisher(),
        view,
        book_of(),
        np.array([0.9, 0.1, -1.0, 0.2, 0.1]),
        Rung.MODEL,
        confidence=0.5,
        trace={"why": "test"},
    )
    assert dict(given_back.weights) == pytest.approx({"S0": 0.2, "S1": 0.1, "S2": 0.0, "S3": 0.2, "S4": 0.1})
    assert given_back.cash == pytest.approx(0.4)
    assert given_back.certificate.holds
    assert "position S0" in given_back.certificate.binding
    assert given_back.trace["raw_weights"] == {"S0": 0.9, "S1": 0.1, "S2": -1.0, "S3": 0.2, "S4": 0.1}
    assert given_back.trace["why"] == "test"
    assert (given_back.allocator, given_back.version, given_back.view_sha) == ("wisher", "1", view.sha)


@settings(max_examples=100, deadline=None)
@given(hnp.arrays(np.float64, 5, elements=st.floats(-1e6, 1e6)))
def test_whatever_finite_wish_comes_the_answer_holds_and_can_be_written_down(view_of, walk, book_of, wish):
    view = view_of(walk(30))
    given_back = answer(Wisher(), view, book_of(), wish, Rung.MODEL, confidence=1.0, trace={})
    assert given_back.certificate.holds
    assert sum(given_back.weights.values()) + given_back.cash == pytest.approx(1.0)
    canonical(given_back)


def test_a_wish_that_is_no_number_never_leaves(view_of, walk, book_of):
    wish = np.array([0.1, 0.1, 0.1, np.nan, 0.1])
    with pytest.raises(AllocationRefused, match="S3"):
        answer(Wisher(), view_of(walk(30)), book_of(), wish, Rung.MODEL, confidence=1.0, trace={})


def rolled(wish, symbols, limits):
    return np.roll(project(wish, symbols, limits), 1)


def scaled(wish, symbols, limits):
    return project(wish, symbols, limits) * 0.999


def clipped(wish, symbols, limits):
    """Inside, by cutting in proportion: what a hurried projection would do."""
    inside = np.clip(wish, 0.0, limits.position_cap)
    return inside * min(1.0, limits.invested_cap / inside.sum())


def doubled(wish, symbols, limits):
    return project(wish, symbols, limits) * 2.0


def no_number(wish, symbols, limits):
    return project(wish, symbols, limits) * np.nan


@pytest.mark.parametrize(
    ("lie", "told"),
    [
        (rolled, "nearer to the wish of wisher"),
        (scaled, "nearer to the wish of wisher"),
        (clipped, "nearer to the wish of wisher"),
        (doubled, "break gross"),
        (no_number, "break finite"),
    ],
)
def test_a_projection_that_lies_is_caught(view_of, walk, book_of, lie, told):
    author, view = Wisher(Limits()), view_of(walk(30))
    wish = np.array([0.35, 0.15, 0.28, 0.3, 0.19])
    asked = {"confidence": 1.0, "trace": {}}
    assert answer(author, view, book_of(), wish, Rung.MODEL, **asked).certificate.holds
    with pytest.raises(AllocationRefused, match=told):
        answer(author, view, book_of(), wish, Rung.MODEL, nearest=lie, **asked)


def test_what_is_held_outside_the_view_is_given_up_by_name(view_of, walk, book_of):
    book = book_of({"OLD": 0.1, "S0": 0.1})
    given_back = answer(Wisher(), view_of(walk(30)), book, np.full(5, 0.1), Rung.MODEL, confidence=1.0, trace={})
    assert given_back.weights["OLD"] == 0.0
    assert given_back.trace["outside_view"] == ["OLD"]


def test_expected_pnl_is_weight_times_equity_times_the_mean_return_over_the_horizon(view_of, book_of):
    closes = np.column_stack([100.0 * 1.001 ** np.arange(40), np.full(40, 50.0), [np.nan] * 30 + [20.0] * 10])
    expected = expected_pnl(view_of(closes), book_of(), {"S0": 0.2, "S1": 0.1, "S2": 0.1}, horizon_sessions=5)
    assert expected == pytest.approx({"S0": 0.2 * 1_000_000 * 0.001 * 5, "S1": 0.0})


def test_a_hold_shows_honestly_that_a_position_drifted_over_its_cap(view_of, walk, book_of):
    kept = hold(Wisher(), view_of(walk(30)), book_of({"S0": 0.25, "S4": 0.1}), "nothing to do", confidence=0.8)
    assert dict(kept.weights) == pytest.approx({"S0": 0.25, "S4": 0.1})
    assert kept.rung is Rung.HOLD
    assert not kept.certificate.holds
    assert kept.certificate.slacks["position S0"] == pytest.approx(-0.05)
    assert kept.trace["hold"] == "nothing to do"
    assert kept.confidence == 0.8


def test_a_history_is_complete_without_a_gap_in_the_sessions_that_are_needed(view_of, walk):
    closes = walk(30)
    closes[5, 0], closes[25, 1], closes[28, 2] = np.nan, np.nan, 0.0
    view = view_of(closes)
    used = usable(view, 10)
    assert used.tolist() == [True, False, False, True, True]
    assert left_out(view, used) == ["S1", "S2"]
    assert not usable(view, 31).any()


def test_a_version_follows_every_parameter():
    versions = {version_of("a", 1, {"x": 1}), version_of("a", 1, {"x": 2}), version_of("a", 2, {"x": 1})}
    versions |= {version_of("b", 1, {"x": 1}), version_of("a", 1, {"y": 1})}
    assert len(versions) == 5
    assert version_of("a", 1, {"x": 1, "y": 2}) == version_of("a", 1, {"y": 2, "x": 1})
