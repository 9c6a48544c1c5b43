"""The feasible weights nearest to a wish.

    minimise |w - v|^2   subject to   0 <= w_i <= cap,   sum over a sector <= S,   sum over all <= G

The sums are nested: a sector lies inside the whole. With multipliers m_s and l the solution is w_i = clip(v_i -
max(t_s, l), 0, cap), where t_s is the level at which sector s alone meets its limit: where l >= t_s the sector is
slack, elsewhere it binds at t_s whatever l is. So no nested search is needed: settle each sector alone, giving u, and
then the whole with u as the upper bounds, because clip(v - max(t, l), 0, cap) = clip(v - l, 0, u).

Each step is a water level t >= 0 with sum clip(v_i - t, 0, u_i) = G. That sum is piecewise linear and falling in t
with corners at v_i - u_i and v_i, so sorting the corners finds t exactly, in N log N (Held, Wolfe and Crowder 1974
for the plain simplex).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

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
    settled = np.clip(wish, 0.0, upper)
    for members in sector_members(symbols, limits).values():
        if settled[members].sum() > limits.sector_cap:
            upper[members] = fill_to_level(wish[members], upper[members], limits.sector_cap)
    return fill_to_level(wish, upper, limits.invested_cap)


def fill_to_level(wish: FloatArray, upper: FloatArray, total: float) -> FloatArray:
    """clip(wish - t, 0, upper) with the smallest t >= 0 for which its sum is at most `total`; all (N,)."""
    free = np.clip(wish, 0.0, upper)
    if free.sum() <= total:
        return np.asarray(free, dtype=np.float64)
    corners = np.concatenate([wish - upper, wish])
    # Below wish - upper a weight stays at its bound, from there to wish it falls with the level, then it is 0.
    turns = np.concatenate([np.full(len(wish), -1.0), np.ones(len(wish))])
    order = np.argsort(corners, kind="stable")
    corners = corners[order]
    slopes = np.cumsum(turns[order])[:-1]
    sums = upper.sum() + np.concatenate([[0.0], np.cumsum(slopes * np.diff(corners))])
    after = int(np.searchsorted(-sums, -total, side="left"))
    middle = (corners[after - 1] + corners[min(after, len(corners) - 1)]) / 2.0
    # Between two corners the sets of bounded and falling weights do not change: solve for the level among them.
    bounded, falling = wish - upper >= middle, (wish - upper < middle) & (wish > middle)
    count = int(falling.sum())
    level = (wish[falling].sum() + upper[bounded].sum() - total) / count if count else middle
    filled = np.clip(wish - level, 0.0, upper)
    # A wish of a million rounds by 1e-10: whatever that leaves above the limit is scaled away.
    return np.asarray(filled * min(1.0, total / max(filled.sum(), np.finfo(np.float64).tiny)), dtype=np.float64)


def sector_members(symbols: Sequence[str], limits: Limits) -> dict[str, list[int]]:
    """Positions in `symbols` by sector, sectors in the order in which they first occur."""
    members: dict[str, list[int]] = {}
    for index, symbol in enumerate(symbols):
        sector = limits.sectors.get(symbol)
        if sector is not None:
            members.setdefault(sector, []).append(index)
    return members
