"""The feasible weights nearest to a wish.

    minimise |w - v|^2   subject to   0 <= w_i <= cap,   sum over a sector <= S,   sum over all <= G

The sums are nested: a sector lies inside the whole. With multipliers m_s and l the solution is w_i = clip(v_i -
max(t_s, l), 0, cap), where t_s is the level at which sector s alone meets its limit: where l >= t_s the sector is
slack, elsewhere it binds at t_s whatever l is. So no nested search is needed: settle each sector alone, giving u, and
then the whole with u as the upper bounds, because clip(v - max(t, l), 0, cap) = clip(v - l, 0, u).

Each step is a water level t >= 0 with sum clip(v_i - t, 0, u_i) = G. That sum is piecewise linear and falling in t
with corners at v_i - u_i and v_i, so sorting the corners finds t exactly, in N log N (Held, Wolfe and Crowder 1974
for the plain simplex). All sectors are sorted at once, each with its own level.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ordinis.domain.limits import Limits
from ordinis.errors import AllocationRefused
from ordinis.ports import FloatArray


def project(weights: FloatArray, symbols: Sequence[str], limits: Limits) -> FloatArray:
    """The Euclidean projection of (N,) weights, fractions of equity by `symbols`, onto the limits.

    Raises:
        AllocationRefused: a weight is not finite; there is no nearest point to nothing.
    """
    wish = np.asarray(weights, dtype=np.float64)
    if wish.shape != (len(symbols),):
        raise ValueError(f"weights of shape {wish.shape} for {len(symbols)} symbols")
    if not np.isfinite(wish).all():
        bad = [symbol for symbol, weight in zip(symbols, wish, strict=True) if not np.isfinite(weight)]
        raise AllocationRefused(f"weight of {', '.join(bad)} is not finite")
    upper = np.full(len(wish), limits.position_cap)
    numbers: dict[str, int] = {}
    sectors = [limits.sectors.get(symbol) for symbol in symbols]
    group = np.array(
        [-1 if sector is None else numbers.setdefault(sector, len(numbers)) for sector in sectors], np.int64
    )
    # Symbols in no sector make one more group, the last, which has no limit of its own.
    totals = np.append(np.full(len(numbers), limits.sector_cap), np.inf)
    group[group < 0] = len(numbers)
    settled = _fill(wish, upper, group, totals)
    return fill_to_level(wish, settled, limits.invested_cap)


def fill_to_level(wish: FloatArray, upper: FloatArray, total: float) -> FloatArray:
    """clip(wish - t, 0, upper) with the smallest t >= 0 for which its sum is at most `total`; all (N,)."""
    return _fill(wish, upper, np.zeros(len(wish), dtype=np.int64), np.array([total]))


def _fill(wish: FloatArray, upper: FloatArray, group: NDArray[np.int64], totals: FloatArray) -> FloatArray:
    """The same with a level for each of K groups, by (N,) group of each symbol and (K,) total of each group."""
    filled: FloatArray = np.clip(wish, 0.0, upper)
    above = np.bincount(group, filled, len(totals)) > totals
    over = above[group]
    if not over.any():
        return filled
    wish, upper, number = wish[over], upper[over], (np.cumsum(above) - 1)[group[over]]
    filled[over] = np.clip(wish - _levels(wish, upper, number, totals[above])[number], 0.0, upper)
    # A wish of a million rounds by 1e-10: whatever that leaves above the limit is scaled away.
    sums = np.bincount(group, filled, len(totals))
    return np.asarray(filled * (np.minimum(sums, totals) / np.where(sums > 0.0, sums, 1.0))[group], dtype=np.float64)


def _levels(wish: FloatArray, upper: FloatArray, group: NDArray[np.int64], totals: FloatArray) -> FloatArray:
    """(K,) levels of groups that are all above their totals."""
    corners, count = np.concatenate([wish - upper, wish]), len(totals)
    # Below wish - upper a weight stays at its bound, from there to wish it falls with the level, then it is 0.
    turns = np.repeat([-1.0, 1.0], len(wish))
    groups = np.tile(group, 2)
    order = np.lexsort((corners, groups))
    corners, groups = corners[order], groups[order]
    # As many turns down as up: a group ends with the slope at which the next begins, none.
    fallen = np.concatenate([[0.0], np.cumsum(np.cumsum(turns[order])[:-1] * np.diff(corners))])
    starts = np.searchsorted(groups, np.arange(count))
    ends = np.append(starts[1:], len(groups)) - 1
    sums = np.bincount(group, upper, count)[groups] + fallen - fallen[starts][groups]
    places = np.where(sums <= totals[groups], np.arange(len(groups)), len(groups))
    after = np.minimum(np.minimum.reduceat(places, starts), ends)
    # Between two corners the sets of bounded and falling weights do not change: solve for the level among them.
    middle = (corners[after - 1] + corners[after]) / 2.0
    bounded, under = wish - upper >= middle[group], wish > middle[group]
    falling = under & ~bounded
    number = np.bincount(group, falling, count)
    left = np.bincount(group, np.where(falling, wish, np.where(bounded, upper, 0.0)), count) - totals
    return np.where(number > 0.0, left / np.maximum(number, 1.0), middle)


def sector_members(symbols: Sequence[str], limits: Limits) -> dict[str, list[int]]:
    """Positions in `symbols` by sector, sectors in the order in which they first occur."""
    members: dict[str, list[int]] = {}
    for index, symbol in enumerate(symbols):
        sector = limits.sectors.get(symbol)
        if sector is not None:
            members.setdefault(sector, []).append(index)
    return members
