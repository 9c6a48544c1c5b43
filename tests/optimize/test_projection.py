"""The projection is feasible, nearest, and agrees with a convex solver that shares nothing with it."""

from __future__ import annotations

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ordinis.domain.limits import Limits
from ordinis.errors import AllocationRefused
from ordinis.optimize.certificate import certify, farther_than_need_be
from ordinis.optimize.mean_variance import quadratic
from ordinis.optimize.projection import fill_to_level, project
from ordinis.optimize.region import Region

FREE = Limits(position_cap=1.0, gross_cap=1.0, cash_buffer=0.0, sector_cap=1.0)


def names(count: int) -> list[str]:
    return [f"S{i}" for i in range(count)]


@st.composite
def problems(draw):
    """Wishes with any sign and size, and limits with up to four sectors; every third symbol in none."""
    count = draw(st.integers(1, 12))
    wish = draw(hnp.arrays(np.float64, count, elements=st.floats(-3.0, 3.0)))
    sectors = {
        name: f"sector{draw(st.integers(0, 3))}" for i, name in enumerate(names(count)) if i % 3 or draw(st.booleans())
    }
    fraction = st.floats(0.0, 1.0)
    limits = Limits(
        position_cap=draw(fraction),
        gross_cap=draw(fraction),
        cash_buffer=draw(fraction),
        sector_cap=draw(fraction),
        sectors=sectors,
    )
    return wish, limits


def oracle(wish, limits):
    symbols = names(len(wish))
    w = cp.Variable(len(wish))
    constraints = [w >= 0, w <= limits.position_cap, cp.sum(w) <= limits.invested_cap]
    for sector in set(limits.sectors.values()):
        members = [i for i, name in enumerate(symbols) if limits.sectors.get(name) == sector]
        if members:
            constraints.append(cp.sum(w[members]) <= limits.sector_cap)
    tight = {"tol_gap_abs": 1e-12, "tol_gap_rel": 1e-12, "tol_feas": 1e-12}
    cp.Problem(cp.Minimize(cp.sum_squares(w - wish)), constraints).solve(solver=cp.CLARABEL, **tight)
    return w.value


def test_a_wish_inside_the_limits_is_left_alone():
    wish = np.array([0.1, 0.2, 0.0])
    np.testing.assert_array_equal(project(wish, names(3), Limits()), wish)


def test_two_wishes_beyond_one_lose_the_same_amount():
    np.testing.assert_allclose(project(np.array([0.9, 0.5]), names(2), FREE), [0.7, 0.3])


def test_a_wish_below_the_level_is_dropped_and_a_short_one_is_zero():
    np.testing.assert_allclose(project(np.array([1.5, 0.3, -2.0]), names(3), FREE), [1.0, 0.0, 0.0])


def test_a_cap_binds_before_the_level_falls_on_the_others():
    limits = Limits(position_cap=0.4, gross_cap=0.6, cash_buffer=0.0, sector_cap=1.0)
    np.testing.assert_allclose(project(np.array([2.0, 0.3, 0.1]), names(3), limits), [0.4, 0.2, 0.0], atol=1e-15)


def test_a_sector_is_settled_before_the_whole():
    limits = Limits(1.0, 0.7, 0.0, 0.4, {"S0": "energy", "S1": "energy"})
    # energy alone: level 0.1 gives 0.3 + 0.1; with S2 at 0.4 the whole is 0.8, so a level of 0.1 on S2 and of 0.05 more
    # than its sector asks on nobody: max(0.1, l) with clip sums 0.4 + 0.4 - l = 0.7
    np.testing.assert_allclose(project(np.array([0.4, 0.2, 0.4]), names(3), limits), [0.3, 0.1, 0.3])


def test_a_level_above_that_of_a_sector_leaves_the_sector_slack():
    limits = Limits(1.0, 0.45, 0.0, 0.4, {"S0": "energy", "S1": "energy"})
    # at level 0.2 for all: 0.2, 0.05, 0.2
    np.testing.assert_allclose(project(np.array([0.4, 0.25, 0.4]), names(3), limits), [0.2, 0.05, 0.2])


def test_what_is_no_number_is_refused():
    for bad in (np.nan, np.inf, -np.inf):
        with pytest.raises(AllocationRefused, match="S1"):
            project(np.array([0.1, bad]), names(2), FREE)


def test_wishes_of_a_million_still_come_out_inside():
    limits = Limits(sectors={"S0": "a", "S1": "a", "S2": "b"})
    wish = np.array([1e6, 1e6 + 0.1, -3e5, 7e5])
    assert certify(dict(zip(names(4), project(wish, names(4), limits), strict=True)), limits).holds


@settings(max_examples=300, deadline=None)
@given(problems())
def test_the_projection_is_inside_the_limits(problem):
    wish, limits = problem
    certificate = certify(dict(zip(names(len(wish)), project(wish, names(len(wish)), limits), strict=True)), limits)
    assert certificate.worst >= -1e-12


@settings(max_examples=300, deadline=None)
@given(problems(), st.integers(0, 2**32 - 1))
def test_no_feasible_point_lies_beyond_the_projection(problem, seed):
    """p is the nearest point exactly when (v - p)'(z - p) <= 0 for every feasible z."""
    wish, limits = problem
    symbols = names(len(wish))
    nearest = project(wish, symbols, limits)
    for other in np.random.default_rng(seed).normal(scale=0.5, size=(20, len(wish))):
        feasible = project(other, symbols, limits)
        assert (wish - nearest) @ (feasible - nearest) <= 1e-11


@settings(max_examples=100, deadline=None)
@given(problems())
def test_projecting_twice_changes_nothing(problem):
    wish, limits = problem
    once = project(wish, names(len(wish)), limits)
    np.testing.assert_allclose(project(once, names(len(wish)), limits), once, atol=1e-15)


@settings(max_examples=60, deadline=None)
@given(problems())
def test_a_convex_solver_finds_the_same_point(problem):
    wish, limits = problem
    if min(limits.position_cap, limits.invested_cap, limits.sector_cap) < 1e-3:
        return  # an interior point solver has no interior there
    # Where a cap only just binds the solver stops some millionths away; our own point is held to 1e-11 above.
    np.testing.assert_allclose(project(wish, names(len(wish)), limits), oracle(wish, limits), atol=1e-5)


def by_library(wish, symbols, limits):
    """The nearest by Clarabel; then, with what it says is at a limit held there, by least squares, which is exact."""
    names = sorted(set(limits.sectors.values()))
    rows = np.array([np.ones(len(wish)), *([float(limits.sectors.get(s) == name) for s in symbols] for name in names)])
    most = np.array([limits.invested_cap, *(limits.sector_cap for _ in names)])
    cap, none = np.full(len(wish), limits.position_cap), np.full(len(rows), -np.inf)
    region = Region(np.zeros(len(wish)), cap, rows, none, most)
    rough = quadratic(np.eye(len(wish)), -wish, region)
    found = [rough]
    for near in (1e-5, 1e-6, 1e-7, 1e-8):
        exact = np.where(rough < near, 0.0, np.where(rough > cap - near, cap, np.nan))
        free, full = np.isnan(exact), rows @ rough > most - near
        exact[free] = wish[free]
        over = rows[full] @ exact - most[full]
        exact[free] -= np.linalg.lstsq(rows[full][:, free], over, rcond=None)[0]
        if region.violation(exact) <= 1e-12:
            found.append(exact)
    return min(found, key=lambda weights: float(((wish - weights) ** 2).sum()))


def test_the_library_finds_the_same_point_over_random_regions_to_a_billionth():
    for seed in range(300):
        rng = np.random.default_rng(seed)
        count, sectors = int(rng.integers(2, 60)), int(rng.integers(1, 8))
        symbols = names(count)
        limits = Limits(
            position_cap=float(rng.uniform(0.02, 0.5)),
            gross_cap=float(rng.uniform(0.3, 1.0)),
            cash_buffer=float(rng.uniform(0.0, 0.5)),
            sector_cap=float(rng.uniform(0.05, 0.6)),
            sectors={name: f"sector{rng.integers(sectors)}" for name in symbols if rng.random() < 0.8},
        )
        wish = rng.normal(size=count) * rng.choice([0.01, 0.05, 0.3, 1.0]) + rng.choice([0.0, 0.05])
        ours, theirs = project(wish, symbols, limits), by_library(wish, symbols, limits)
        assert np.abs(ours - theirs).max() <= 1e-9, seed
        far = farther_than_need_be(
            dict(zip(symbols, wish.tolist(), strict=True)), dict(zip(symbols, ours.tolist(), strict=True)), limits
        )
        assert abs(far) <= 1e-14, seed


def test_five_hundred_names_in_eleven_sectors_agree_with_the_solver():
    rng = np.random.default_rng(0)
    wish = rng.normal(scale=0.01, size=500)
    symbols = names(500)
    limits = Limits(0.01, 0.9, 0.1, 0.09, {name: f"sector{i % 11}" for i, name in enumerate(symbols)})
    np.testing.assert_allclose(project(wish, symbols, limits), oracle(wish, limits), atol=1e-7)


@settings(max_examples=100, deadline=None)
@given(problems(), st.randoms(use_true_random=False))
def test_the_order_of_the_symbols_does_not_matter(problem, random):
    wish, limits = problem
    symbols = names(len(wish))
    order = list(range(len(wish)))
    random.shuffle(order)
    shuffled = project(wish[order], [symbols[i] for i in order], limits)
    np.testing.assert_allclose(shuffled, project(wish, symbols, limits)[order], atol=1e-12)


@settings(max_examples=200, deadline=None)
@given(hnp.arrays(np.float64, 8, elements=st.floats(-2.0, 2.0)), st.floats(0.0, 3.0))
def test_the_level_is_the_smallest_that_meets_the_total(wish, total):
    upper = np.linspace(0.0, 1.0, 8)
    filled = fill_to_level(wish, upper, total)
    assert filled.sum() == pytest.approx(min(total, np.clip(wish, 0.0, upper).sum()), abs=1e-12)
