"""The limits as rows of a program, and how much of equity they allow to invest.

Both optimisers solve over { w : 0 <= w <= cap, sum w = invested, sector sums <= S }. Without the equality the safest
portfolio would be cash, so an optimiser is asked to invest: by default as much as the limits allow,

    investable = min( invested cap, sum over sectors of min(S, n_s cap) + n_0 cap )

with n_s symbols in sector s and n_0 in none. Three symbols capped at 0.20 reach 0.60: that is an answer and no error.
Asked outright for more than can be reached, an irreducible set of limits is named: they cannot be met together, and
without any one of them the others can.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from ordinis.domain.limits import Limits
from ordinis.errors import InfeasibleLimits
from ordinis.optimize.projection import sector_members
from ordinis.ports import FloatArray

_ROUNDING = 1e-12


def sector_rows(symbols: Sequence[str], limits: Limits) -> FloatArray:
    """(K, N) of ones and zeros: row k sums the weights of the k-th sector that more than one cap could break."""
    binding = [
        members
        for members in sector_members(symbols, limits).values()
        if len(members) * limits.position_cap > limits.sector_cap
    ]
    rows = np.zeros((len(binding), len(symbols)))
    for row, members in zip(rows, binding, strict=True):
        row[members] = 1.0
    return rows


def investable(symbols: Sequence[str], limits: Limits) -> float:
    """The largest sum of weights inside the limits."""
    return min(limits.invested_cap, _reachable(symbols, limits))


def invested_target(symbols: Sequence[str], limits: Limits, invested: float | None) -> float:
    """What an optimiser must invest: `invested`, or all that the limits allow when it is None.

    Raises:
        InfeasibleLimits: `invested` is out of reach; names an irreducible set that conflicts.
    """
    most = investable(symbols, limits)
    if invested is None:
        return most
    if 0.0 <= invested <= most + _ROUNDING:
        return min(invested, most)
    raise InfeasibleLimits(_conflict(symbols, limits, invested))


def _reachable(symbols: Sequence[str], limits: Limits) -> float:
    return sum(_sector_reach(symbols, limits).values()) + _outside(symbols, limits) * limits.position_cap


def _sector_reach(symbols: Sequence[str], limits: Limits) -> dict[str, float]:
    return {
        sector: min(limits.sector_cap, len(members) * limits.position_cap)
        for sector, members in sector_members(symbols, limits).items()
    }


def _outside(symbols: Sequence[str], limits: Limits) -> int:
    return sum(symbol not in limits.sectors for symbol in symbols)


def _conflict(symbols: Sequence[str], limits: Limits, invested: float) -> list[str]:
    """An irreducible set of limits that no weights meet together: each one of it is needed for the conflict."""
    asked = f"invested {invested:.4f}"
    if invested < 0.0:
        return [asked, "long only"]
    if invested > limits.gross_cap + _ROUNDING:
        return [asked, f"gross {limits.gross_cap:.4f}"]
    if invested > limits.invested_cap + _ROUNDING:
        return [asked, f"cash {limits.cash_buffer:.4f}"]
    capped = f"position {limits.position_cap:.4f} on {len(symbols)} symbols"
    reach = len(symbols) * limits.position_cap
    if invested > reach + _ROUNDING:
        return [asked, capped]
    members = sector_members(symbols, limits)
    # A sector cap takes away what its members' caps would allow beyond it: take the dearest until it is too little.
    taken = {sector: len(held) * limits.position_cap - limits.sector_cap for sector, held in members.items()}
    named = [asked, capped]
    for sector in sorted(taken, key=lambda sector: (-taken[sector], sector)):
        named.append(_sector(sector, limits))
        reach -= taken[sector]
        if invested > reach + _ROUNDING:
            break
    sectors_alone = not _outside(symbols, limits) and invested > len(members) * limits.sector_cap + _ROUNDING
    if sectors_alone and len(members) + 1 < len(named):
        return [asked] + [_sector(sector, limits) for sector in members]
    return named


def _sector(sector: str, limits: Limits) -> str:
    return f"sector {sector} {limits.sector_cap:.4f}"
