"""Limits that conflict are named: none too few, none too many."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from ordinis.errors import InfeasibleLimits
from ordinis.optimize.conflicts import conflict, have_a_point, named_limits, require_a_point
from ordinis.optimize.region import Region
from tests.optimize.programs import a_program


def a_book(cap: float = 0.2, total: float = 0.9, sector: float = 1.0, **more: object) -> Region:
    """Five symbols, the first three of one sector."""
    rows = np.array([np.ones(5), [1.0, 1.0, 1.0, 0.0, 0.0]])
    region = Region(np.zeros(5), np.full(5, cap), rows, np.array([total, -np.inf]), np.array([total, sector]))
    return replace(region, **more)  # type: ignore[arg-type]


SYMBOLS, ROWS = ["A", "B", "C", "D", "E"], ["invested", "sector Energy"]


def test_limits_with_a_point_pass() -> None:
    for region in (a_book(), a_book(sector=0.5, turnover=0.9, leverage=0.9)):
        require_a_point(region, SYMBOLS, ROWS)
        assert conflict(region, named_limits(region, SYMBOLS, ROWS)) == ()


@pytest.mark.parametrize(
    ("region", "named"),
    [
        (a_book(cap=0.1), {"each position at most 0.1000", "invested at least 0.9000"}),
        (
            a_book(sector=0.4),
            {"each position at most 0.2000", "invested at least 0.9000", "sector Energy at most 0.4000"},
        ),
        (a_book(leverage=0.8), {"invested at least 0.9000", "leverage at most 0.8000"}),
        (a_book(turnover=0.5), {"invested at least 0.9000", "turnover at most 0.5000"}),
        (
            a_book(lower=np.array([0.3, 0.0, 0.0, 0.0, 0.0])),
            {"A at least 0.3000", "each position at most 0.2000"},
        ),
        (
            a_book(held=np.array([0.0, 0.0, 0.9, 0.0, 0.0]), turnover=0.1),
            {"each position at most 0.2000", "turnover at most 0.1000"},
        ),
    ],
)
def test_the_limits_that_conflict_are_named_with_their_values(region: Region, named: set[str]) -> None:
    with pytest.raises(InfeasibleLimits) as told:
        require_a_point(region, SYMBOLS, ROWS)
    assert set(told.value.conflict) == named


def test_a_conflict_has_no_point_and_every_part_of_it_has_one() -> None:
    found = 0
    for seed in range(80):
        program, rng = a_program(seed), np.random.default_rng(seed)
        region = program.region
        # One wish too many: a row that asks for what another limit denies.
        row = rng.choice([0.0, 1.0], size=region.size, p=[0.4, 0.6])
        wanted = float(np.maximum(row * region.upper, row * region.lower).sum()) * rng.uniform(0.5, 1.5) + 0.02
        region = replace(
            region,
            rows=np.vstack([region.rows, row]),
            row_lower=np.append(region.row_lower, wanted),
            row_upper=np.append(region.row_upper, np.inf),
        )
        symbols, rows = [f"S{i}" for i in range(region.size)], [f"row {i}" for i in range(len(region.rows))]
        limits = named_limits(region, symbols, rows)
        try:
            require_a_point(region, symbols, rows)
        except InfeasibleLimits as refused:
            found += 1
            named = {name: limits[name] for name in refused.conflict}
            assert not have_a_point(region, named)
            # Without any one of them the others have a point.
            for name in named:
                rest = {other: limit for other, limit in named.items() if other != name}
                assert have_a_point(region, rest)
        else:
            assert have_a_point(region, limits)
    assert 16 <= found <= 72


def test_names_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="4 symbols and 2 rows named, of 5 and 2"):
        require_a_point(a_book(), SYMBOLS[:4], ROWS)
