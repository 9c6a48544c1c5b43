"""A certificate's numbers can be checked by hand, and what is no number never passes."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ordinis.domain.limits import Limits
from ordinis.optimize.certificate import certify, farther_than_need_be

LIMITS = Limits(
    position_cap=0.2, gross_cap=0.9, cash_buffer=0.15, sector_cap=0.3, sectors={"XOM": "Energy", "CVX": "Energy"}
)


def test_every_limit_has_its_slack():
    slacks = certify({"AAPL": 0.2, "CVX": 0.1, "XOM": 0.15}, LIMITS).slacks
    assert slacks == pytest.approx(
        {
            "long only": 0.1,
            "position AAPL": 0.0,
            "position CVX": 0.1,
            "position XOM": 0.05,
            "gross": 0.45,
            "cash": 0.4,
            "sector Energy": 0.05,
        }
    )


def test_what_binds_is_named():
    assert certify({"AAPL": 0.2, "CVX": 0.15, "XOM": 0.15}, LIMITS).binding == ("position AAPL", "sector Energy")


@pytest.mark.parametrize(
    ("weights", "broken"),
    [
        ({"AAPL": 0.21}, "position AAPL"),
        ({"AAPL": -0.01}, "long only"),
        ({"CVX": 0.16, "XOM": 0.16}, "sector Energy"),
        ({f"S{i}": 0.18 for i in range(5)}, "cash"),
        ({f"S{i}": 0.19 for i in range(5)}, "gross"),
        ({"AAPL": float("nan")}, "finite AAPL"),
        ({"AAPL": float("inf")}, "finite AAPL"),
        ({"AAPL": float("-inf")}, "finite AAPL"),
        ({"AAPL": 1e300, "MSFT": 1e300}, "finite MSFT"),
    ],
)
def test_a_broken_limit_is_named_and_the_certificate_does_not_hold(weights, broken):
    certificate = certify(weights, LIMITS)
    assert certificate.slacks[broken] < -certificate.tolerance
    assert not certificate.holds


def test_a_book_with_a_long_and_a_short_is_gross_of_both():
    assert certify({"AAPL": 0.1, "MSFT": -0.1}, LIMITS).slacks["gross"] == pytest.approx(0.7)


def test_an_empty_book_holds():
    certificate = certify({}, LIMITS)
    assert certificate.holds
    assert certificate.slacks == pytest.approx({"long only": 0.0, "gross": 0.9, "cash": 0.85})


def test_a_slack_within_the_tolerance_is_no_breach():
    assert certify({"AAPL": 0.2 + 5e-10}, LIMITS).holds
    assert not certify({"AAPL": 0.2 + 5e-9}, LIMITS).holds


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(["AAPL", "CVX", "XOM", "KO"]), st.floats(allow_nan=True, allow_infinity=True)))
def test_a_certificate_holds_exactly_for_feasible_numbers_and_can_always_be_written_down(weights):
    certificate = certify(weights, LIMITS)
    values = np.array(list(weights.values()))
    energy = sum(weights.get(symbol, 0.0) for symbol in ("CVX", "XOM"))
    inside = bool(np.isfinite(values).all()) and bool(
        (values >= -1e-9).all()
        and (values <= 0.2 + 1e-9).all()
        and values.sum() <= 0.85 + 1e-9
        and energy <= 0.3 + 1e-9
    )
    assert certificate.holds == inside
    json.dumps(dict(certificate.slacks), allow_nan=False)


def test_the_nearest_is_farther_by_nothing_and_another_by_the_square_of_its_distance_at_least():
    wish = {"AAPL": 0.5, "XOM": 0.25, "CVX": 0.25}
    nearest = {"AAPL": 0.2, "XOM": 0.15, "CVX": 0.15}
    assert farther_than_need_be(wish, nearest, LIMITS) == pytest.approx(0.0, abs=1e-17)
    # 0.3 * 0.2 + 0.1 * 0.15 + 0.1 * 0.15 can be reached, of which 0.3 * 0.2 + 0.05 * 0.2 + 0.15 * 0.1 are.
    other = {"AAPL": 0.2, "XOM": 0.2, "CVX": 0.1}
    assert farther_than_need_be(wish, other, LIMITS) == pytest.approx(0.15 * 0.2 + 0.05 * 0.1 - 0.05 * 0.2 - 0.15 * 0.1)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.floats(-1.0, 1.0), min_size=4, max_size=4), st.integers(0, 2**32 - 1))
def test_no_weights_inside_the_limits_gain_more_than_the_gap_says(wish, seed):
    symbols, rng = ["AAPL", "CVX", "XOM", "KO"], np.random.default_rng(seed)
    inside = [drawn * 0.85 / max(0.85, drawn.sum()) for drawn in rng.uniform(0.0, [0.2, 0.15, 0.15, 0.2], (200, 4))]
    at = inside[0]
    gap = farther_than_need_be(
        dict(zip(symbols, wish, strict=True)), dict(zip(symbols, at.tolist(), strict=True)), LIMITS
    )
    assert max(float((wish - at) @ (other - at)) for other in inside) <= gap + 1e-15
