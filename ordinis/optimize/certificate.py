"""How far weights are inside each limit, and how near to what was wished, measured apart from whatever made them.

Plain sums over a mapping, in exactly rounded arithmetic (`math.fsum`), sharing no code with the projection or with a
solver: an error there cannot hide here. A slack is limit minus value, in fractions of equity; below minus the
tolerance the limit is broken. A weight that is no number has the constraint "finite SYMBOL" at -1 and stays out of
the sums, so that a certificate can always be written down.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from ordinis.domain.decisions import Certificate
from ordinis.domain.limits import Limits

ABSURD = 1e9
"""A weight beyond a billion times equity is no number either; sums of such would overflow."""


def certify(weights: Mapping[str, float], limits: Limits, tolerance: float = 1e-9) -> Certificate:
    """Slack of every limit: "long only", "position AAPL", "gross", "cash", "sector Energy", "finite AAPL"."""
    numbers = {symbol: weight for symbol, weight in weights.items() if abs(weight) <= ABSURD}
    slacks = {f"finite {symbol}": -1.0 for symbol in weights if symbol not in numbers}
    slacks["long only"] = min(numbers.values(), default=0.0)
    for symbol, weight in numbers.items():
        slacks[f"position {symbol}"] = limits.position_cap - weight
    slacks["gross"] = limits.gross_cap - math.fsum(abs(weight) for weight in numbers.values())
    slacks["cash"] = 1.0 - math.fsum(numbers.values()) - limits.cash_buffer
    by_sector: dict[str, list[float]] = {}
    for symbol, weight in numbers.items():
        if symbol in limits.sectors:
            by_sector.setdefault(limits.sectors[symbol], []).append(weight)
    for sector, held in sorted(by_sector.items()):
        slacks[f"sector {sector}"] = limits.sector_cap - math.fsum(held)
    binding = tuple(name for name, slack in slacks.items() if abs(slack) <= tolerance)
    return Certificate(slacks=slacks, binding=binding, tolerance=tolerance)


def farther_than_need_be(wish: Mapping[str, float], weights: Mapping[str, float], limits: Limits) -> float:
    """The square of how far `weights` inside the limits may be from those nearest to `wish`, of the same symbols.

    p is the nearest to v exactly where (v - p)' (z - p) is at most 0 for every z inside the limits, and the largest of
    these numbers is no less than the squared distance of p from the nearest. Sectors lie inside the whole, so that
    filling the symbols by falling v - p reaches it (Edmonds 1971).
    """
    pull = [(wish[symbol] - weight, symbol) for symbol, weight in weights.items()]
    left = min(limits.gross_cap, 1.0 - limits.cash_buffer)
    sectors = dict.fromkeys(limits.sectors.values(), limits.sector_cap)
    reached = []
    for gain, symbol in sorted([each for each in pull if each[0] > 0.0], reverse=True):
        if left <= 0.0:
            break
        sector = limits.sectors.get(symbol)
        room = min(limits.position_cap, left)
        if sector is not None:
            room = min(room, sectors[sector])
            sectors[sector] -= room
        left -= room
        reached.append(gain * room)
    return math.fsum(reached) - math.fsum([gain * weights[symbol] for gain, symbol in pull])
