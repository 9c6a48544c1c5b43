"""Which limits cannot be met together: sets of them with no point, each member of which is needed for that.

A region without a point helps nobody; a person must be told which wishes to give up. Whether limits have a point is a
linear program for HiGHS: the least sum of what they would have to give way, in fractions of equity. Its multipliers
say which limits stand against each other (Farkas); of these one after another is taken away, and one without which
there is still no point stays away. What is left has no point, and has one as soon as any of it goes: an irreducible set
(Chinneck 2008). What remains without it may conflict again, and is searched until it does not, so that whoever gives up
all that is named has a feasible request. Bounds that say the same of all symbols, as a position cap does, are one
limit, because a person set them as one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from scipy import sparse
from scipy.optimize import linprog

from ordinis.errors import InfeasibleLimits, SolverFailed
from ordinis.optimize.region import Region
from ordinis.ports import FloatArray

T = TypeVar("T")
OWN_NAMES = ("each position", "turnover", "leverage")
GIVES_WAY = 1e-8
"""Limits that need more than this, in fractions of equity, have no point."""
PRESSED = 1e-9
"""A multiplier below this is none; the largest is one."""


@dataclass(frozen=True)
class Limit:
    """matrix x <= bounds over the weights, then what they rise and fall by, then what they are long and short."""

    matrix: FloatArray
    bounds: FloatArray


def or_conflict(solve: Callable[[], T], region: Region, symbols: Sequence[str], rows: Sequence[str]) -> T:
    """What `solve` finds over `region`; where it fails because there is no point, the limits that conflict are named.

    Raises:
        InfeasibleLimits: the limits have no point; names irreducible sets that conflict.
        SolverFailed: they have one, and `solve` did not find the best.
    """
    try:
        return solve()
    except SolverFailed:
        require_a_point(region, symbols, rows)
        raise


def require_a_point(region: Region, symbols: Sequence[str], rows: Sequence[str]) -> None:
    """Raise InfeasibleLimits, with irreducible sets of limits that conflict, where `region` has no point.

    Args:
        symbols: N names, for people.
        rows: K names, of the region's rows; no name twice.
    """
    found = conflicts(region, named_limits(region, symbols, rows))
    if found:
        raise InfeasibleLimits(found[0], found[1:])


def conflicts(region: Region, limits: Mapping[str, Limit]) -> tuple[tuple[str, ...], ...]:
    """Names of `limits` that conflict, in irreducible sets of which no two share a limit; the rest have a point."""
    rest, found = dict(limits), []
    while named := conflict(region, rest):
        found.append(named)
        rest = {name: limit for name, limit in rest.items() if name not in named}
    return tuple(found)


def conflict(region: Region, limits: Mapping[str, Limit]) -> tuple[str, ...]:
    """Names of `limits` that have no point together, though all but any one of them have; none where all have one."""
    kept = _against_each_other(region, limits)
    for name in tuple(kept):
        without = {other: limit for other, limit in kept.items() if other != name}
        if not have_a_point(region, without):
            kept = without
    return tuple(kept)


def _against_each_other(region: Region, limits: Mapping[str, Limit]) -> dict[str, Limit]:
    """Those of `limits` that the linear program has a multiplier for, where these alone have no point; else all."""
    least, pressed = _gives_way(region, limits)
    if least <= GIVES_WAY:
        return {}
    few = {name: limit for name, limit in limits.items() if name in pressed}
    return dict(limits) if have_a_point(region, few) else few


def named_limits(region: Region, symbols: Sequence[str], rows: Sequence[str]) -> dict[str, Limit]:
    """Every limit of `region` by what a person would call it, with its value."""
    count, named = region.size, {}
    if len(symbols) != count or len(rows) != len(region.rows):
        raise ValueError(f"{len(symbols)} symbols and {len(rows)} rows named, of {count} and {len(region.rows)}")
    if len({*symbols, *rows, *OWN_NAMES}) != count + len(rows) + len(OWN_NAMES):
        raise ValueError(f"symbols and rows share a name, or have one of {', '.join(OWN_NAMES)}")
    eye = np.eye(count)
    for sign, bounds, word in ((1.0, region.upper, "at most"), (-1.0, region.lower, "at least")):
        values, places = np.unique(bounds, return_inverse=True)
        for place, value in enumerate(values.tolist()):
            group = np.flatnonzero(places == place)
            of = OWN_NAMES[0] if len(group) == count else ", ".join(symbols[int(i)] for i in group)
            named[f"{of} {word} {value:.4f}"] = Limit(sign * eye[group], np.full(len(group), sign * value))
    for row, name, low, high in zip(region.rows, rows, region.row_lower, region.row_upper, strict=True):
        if np.isfinite(high):
            named[f"{name} at most {high:.4f}"] = Limit(row[None, :], np.array([high]))
        if np.isfinite(low):
            named[f"{name} at least {low:.4f}"] = Limit(-row[None, :], np.array([-low]))
    if region.turnover is not None:
        named[f"turnover at most {region.turnover:.4f}"] = _sum_of_parts(count, 1, region.turnover)
    if region.leverage is not None:
        named[f"leverage at most {region.leverage:.4f}"] = _sum_of_parts(count, 3, region.leverage)
    return named


def _sum_of_parts(count: int, block: int, limit: float) -> Limit:
    matrix = np.zeros((1, 5 * count))
    matrix[0, block * count : (block + 2) * count] = 1.0
    return Limit(matrix, np.array([limit]))


def have_a_point(region: Region, limits: Mapping[str, Limit]) -> bool:
    """Whether some weights meet all of `limits`; trades are counted from what `region` says is held."""
    return _gives_way(region, limits)[0] <= GIVES_WAY


def _gives_way(region: Region, limits: Mapping[str, Limit]) -> tuple[float, set[str]]:
    """The least sum that `limits` must give way by to have a point, and the names of those that it presses on."""
    if not limits:
        return 0.0, set()
    count, width = region.size, 5 * region.size
    padded = [
        np.hstack([limit.matrix, np.zeros((len(limit.bounds), width - limit.matrix.shape[1]))])
        for limit in limits.values()
    ]
    matrix = sparse.csr_matrix(np.vstack(padded))
    bounds = np.concatenate([limit.bounds for limit in limits.values()])
    eye, none = sparse.identity(count), sparse.csr_matrix((count, count))
    parts = sparse.vstack([sparse.hstack([eye, -eye, eye, none, none]), sparse.hstack([eye, none, none, -eye, eye])])
    # One more column for each limit: what it gives way by.
    slack = sparse.identity(len(bounds))
    found = linprog(
        np.concatenate([np.zeros(width), np.ones(len(bounds))]),
        A_ub=sparse.hstack([matrix, -slack]),
        b_ub=bounds,
        A_eq=sparse.hstack([parts, sparse.csr_matrix((2 * count, len(bounds)))]),
        b_eq=np.concatenate([region.start, np.zeros(count)]),
        bounds=[(None, None)] * count + [(0.0, None)] * (4 * count + len(bounds)),
        method="highs",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if found.status != 0:
        raise SolverFailed("highs", f"could not say whether limits conflict: {found.message}")
    owners = np.repeat(np.arange(len(limits)), [len(limit.bounds) for limit in limits.values()])
    pressed = set(owners[np.abs(found.ineqlin.marginals) > PRESSED].tolist())
    return float(found.fun), {name for place, name in enumerate(limits) if place in pressed}
