"""A thousand requests, a fifth of them impossible: each is answered, or told which limits conflict.

What is inside a region, what a name stands for, and whether limits can be met is worked out here again, by plain sums
and by a linear program that reads the names as a person would.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.optimize import linprog

from ordinis.errors import InfeasibleLimits
from ordinis.optimize.conflicts import named_limits, or_conflict
from ordinis.optimize.mean_variance import quadratic
from ordinis.optimize.region import Region
from ordinis.optimize.scenarios import Scenarios
from ordinis.optimize.tail_solver import TailSolver
from ordinis.ports import FloatArray
from tests.optimize.programs import a_program
from tests.optimize.requests import OPTIMISERS, SPOILED, a_request

SAID = re.compile(r"(.+) (at most|at least) (-?\d+\.\d{4})")


def names(region: Region) -> tuple[list[str], list[str]]:
    return [f"S{i}" for i in range(region.size)], [f"row {i}" for i in range(len(region.rows))]


def outside(region: Region, weights: FloatArray) -> float:
    """How far weights are outside the worst limit; infinite where one is no number."""
    values = [float(weight) for weight in weights]
    if len(values) != region.size or not np.isfinite(values).all():
        return np.inf
    broken = [low - weight for low, weight in zip(region.lower, values, strict=True)]
    broken += [weight - high for high, weight in zip(region.upper, values, strict=True)]
    for row, low, high in zip(region.rows, region.row_lower, region.row_upper, strict=True):
        total = sum(share * weight for share, weight in zip(row, values, strict=True))
        broken += [low - total, total - high]
    if region.leverage is not None:
        broken.append(sum(abs(weight) for weight in values) - region.leverage)
    if region.turnover is not None:
        held = [0.0] * region.size if region.held is None else region.held
        broken.append(sum(abs(weight - was) for weight, was in zip(values, held, strict=True)) - region.turnover)
    return float(max(broken))


def inequalities(region: Region, name: str) -> list[tuple[FloatArray, float]]:
    """Rows over (w, |w|, |w - held|), each at most a number, of the limit that `name` says."""
    told = SAID.fullmatch(name)
    assert told, name
    subject, sign, count = told[1], (1.0 if told[2] == "at most" else -1.0), region.size
    found = []
    if subject in ("leverage", "turnover"):
        bound = region.leverage if subject == "leverage" else region.turnover
        row = np.zeros(3 * count)
        row[count : 2 * count] = subject == "leverage"
        row[2 * count :] = subject == "turnover"
        found.append((row, bound))
    elif subject.startswith("row "):
        place = int(subject[4:])
        bound = region.row_upper[place] if sign > 0.0 else region.row_lower[place]
        found.append((sign * np.append(region.rows[place], np.zeros(2 * count)), sign * bound))
    else:
        places = range(count) if subject == "each position" else [int(symbol[1:]) for symbol in subject.split(", ")]
        for place in places:
            bound = region.upper[place] if sign > 0.0 else region.lower[place]
            found.append((sign * np.eye(3 * count)[place], sign * bound))
    # The number in the name is that of each limit it stands for, to the places that are shown.
    for _, bound in found:
        assert abs(sign * bound - float(told[3])) <= 5.1e-5, name
    return found


def can_be_met(region: Region, limits: Sequence[str]) -> bool:
    """Whether some weights meet the limits of these names."""
    count, held = region.size, np.zeros(region.size) if region.held is None else region.held
    eye, none = np.eye(count), np.zeros((count, count))
    # a >= |w| and q >= |w - held|.
    rows = [np.hstack([sign * eye, -eye, none]) for sign in (1.0, -1.0)]
    rows += [np.hstack([sign * eye, none, -eye]) for sign in (1.0, -1.0)]
    bounds = [np.zeros(2 * count), held, -held]
    for name in limits:
        for row, bound in inequalities(region, name):
            rows.append(row[None, :])
            bounds.append(np.array([bound]))
    matrix, right = np.vstack(rows), np.concatenate(bounds)
    # The last column is what the worst of them must give way by.
    found = linprog(
        np.append(np.zeros(3 * count), 1.0),
        A_ub=np.hstack([matrix, -np.ones((len(matrix), 1))]),
        b_ub=right,
        bounds=[(None, None)] * 3 * count + [(0.0, None)],
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10},
    )
    assert found.status == 0, found.message
    return bool(found.fun <= 1e-8)


def all_limits(region: Region) -> list[str]:
    """Every limit of the region, one for each number."""
    symbols, rows = names(region)
    found = [f"{name} at most {value:.4f}" for name, value in zip(symbols, region.upper, strict=True)]
    found += [f"{name} at least {value:.4f}" for name, value in zip(symbols, region.lower, strict=True)]
    found += [f"{n} at most {v:.4f}" for n, v in zip(rows, region.row_upper, strict=True) if np.isfinite(v)]
    found += [f"{n} at least {v:.4f}" for n, v in zip(rows, region.row_lower, strict=True) if np.isfinite(v)]
    found += [] if region.leverage is None else [f"leverage at most {region.leverage:.4f}"]
    return found + ([] if region.turnover is None else [f"turnover at most {region.turnover:.4f}"])


def of_each_number(region: Region, name: str) -> set[str]:
    """What `all_limits` calls the limits that a person set as one."""
    told = SAID.fullmatch(name)
    assert told
    whole = names(region)[0] if told[1] == "each position" else told[1].split(", ")
    return {f"{subject} {told[2]} {told[3]}" for subject in whole}


def the_conflict_is_one(region: Region, refused: InfeasibleLimits, seed: int) -> None:
    """Together they cannot be met, without any one they can; without all that is named the whole request can."""
    for conflict in refused.conflicts:
        assert not can_be_met(region, conflict), (seed, conflict)
        for name in conflict:
            assert can_be_met(region, [other for other in conflict if other != name]), (seed, conflict, name)
    named = [name for conflict in refused.conflicts for name in conflict]
    assert len(named) == len(set(named)), seed
    gone = set().union(*(of_each_number(region, name) for name in named))
    everything = all_limits(region)
    assert gone <= set(everything), seed
    assert not can_be_met(region, everything), seed
    assert can_be_met(region, [name for name in everything if name not in gone]), seed


@pytest.mark.parametrize("first", range(0, 1_000, 100))
def test_each_request_is_answered_inside_the_limits_or_told_what_conflicts(first: int) -> None:
    answered, refused = Counter[str](), Counter[str]()
    for seed in range(first, first + 100):
        request = a_request(seed, impossible=seed % 5 == 0)
        region = request.region
        try:
            weights = or_conflict(request.solve, region, *names(region))
        except InfeasibleLimits as told:
            the_conflict_is_one(region, told, seed)
            refused.update(request.spoiled)
            refused["all"] += 1
        else:
            assert outside(region, weights) <= 1e-6, (seed, request.optimiser)
            answered[request.optimiser] += 1
    assert (answered.total(), refused["all"]) == (80, 20)
    assert set(answered) == set(OPTIMISERS)
    assert len(refused) > len(SPOILED) - 2


def test_two_conflicts_that_have_nothing_in_common_are_both_named() -> None:
    rows = np.array([np.ones(4), [1.0, 0.0, 0.0, 0.0]])
    region = Region(np.zeros(4), np.full(4, 0.2), rows, np.array([0.9, 0.1]), np.array([0.9, 0.05]))
    with pytest.raises(InfeasibleLimits, match="nor these") as told:
        or_conflict(lambda: quadratic(np.eye(4), np.zeros(4), region), region, *names(region))
    assert {frozenset(conflict) for conflict in told.value.conflicts} == {
        frozenset({"each position at most 0.2000", "row 0 at least 0.9000"}),
        frozenset({"row 1 at most 0.0500", "row 1 at least 0.1000"}),
    }
    the_conflict_is_one(region, told.value, 0)


def test_a_name_that_could_be_two_limits_is_refused() -> None:
    region = a_program(0).region
    symbols, rows = names(region)
    for wrong in ([symbols[0], *symbols[:-1]], ["turnover", *symbols[1:]], [rows[0], *symbols[1:]]):
        with pytest.raises(ValueError, match="share a name"):
            named_limits(region, wrong, rows)


@pytest.mark.parametrize("rank", [0, 1])
def test_covariances_without_full_rank_are_answered(rank: int) -> None:
    loading = np.arange(1.0, 7.0)
    covariance = rank * np.outer(loading, loading) * 1e-4
    region = Region(np.zeros(6), np.full(6, 0.3), np.ones((1, 6)), np.ones(1), np.ones(1))
    weights = quadratic(covariance, np.zeros(6), region)
    assert region.violation(weights) <= 1e-7
    assert weights.sum() == pytest.approx(1.0)


def test_scenarios_with_holes_are_refused_by_name() -> None:
    returns = np.full((50, 3), 0.01)
    returns[7, 1] = np.nan
    region = Region(np.zeros(3), np.full(3, 0.5), np.ones((1, 3)), np.ones(1), np.ones(1))
    with pytest.raises(ValueError, match="scenarios of symbol 1 are not finite: in scenario 7 it is nan"):
        TailSolver(Scenarios(returns)).solve(region, np.zeros(3))
