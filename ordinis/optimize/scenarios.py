"""The average of the worst scenarios: its value, the direction in which it grows, and the scenarios that matter.

CVaR at confidence level beta of S equally likely losses l = -R w is a support function,

    CVaR(w) = max { -p' R w : sum p = 1, 0 <= p_s <= 1 / ((1 - beta) S) }

reached where p spreads over the worst (1 - beta) S scenarios. Any p in that set, one over a few of the scenarios too,
gives a lower bound -p' R w that holds for every w.

The scenarios stay where they are, in NumPy or in CuPy, in double or in single precision: the array module is an
argument, and so is the selection of the largest losses, which no array standard has. Single precision only selects:
what is averaged is computed again in double, over so many that rounding cannot have hidden one of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ordinis.ports import FloatArray

Array = Any
"""An array of whichever module the scenarios are in."""
Largest = Callable[[Array, int], Array]
"""(S,) values and k to the places of k largest, in any order."""
ROUNDING = 1e-9
EXACT = 1e-12
"""How far weights of scenarios may be from a mixture, relative to it."""
SAMPLE = 1_000
SPARE = 1.25
"""Losses in single precision are selected with so many more, of which the exact ones are then taken."""
ERRORS = 8.0
"""The rounding of a loss in single precision is taken for so many times the largest that was seen."""


def largest_by_partition(values: Array, count: int) -> Array:
    """Places of the `count` largest of (S,) values, by NumPy's or CuPy's own selection."""
    if count >= len(values):
        return values.argsort()
    return values.argpartition(len(values) - count)[len(values) - count :]


def largest_by_sort(values: Array, count: int) -> Array:
    """The same for any array module of the standard, by a full sort."""
    order = values.__array_namespace__().argsort(values)
    return order[order.shape[0] - count :]


@dataclass
class Scenarios:
    """One set of equally likely scenarios, and the tail of them that CVaR averages.

    Args:
        returns: (S, N) session returns, finite, in float64 or float32.
        confidence_level: CVaR at 0.95 averages the worst 5 %.
        module: the array module of `returns`, one of the Python array API standard: NumPy, or CuPy through
            `array_api_compat`.
        largest: selects the largest losses.
    """

    returns: Array
    confidence_level: float = 0.95
    module: Any = np
    largest: Largest = largest_by_partition
    passes: int = field(default=0, init=False)
    """How often all scenarios were gone through."""

    def __post_init__(self) -> None:
        if not 0.0 <= self.confidence_level < 1.0:
            raise ValueError(f"confidence level {self.confidence_level} is not in [0, 1)")
        if self.returns.ndim != 2 or self.returns.shape[0] == 0:
            raise ValueError(f"scenarios of shape {tuple(self.returns.shape)}; expected (S, N) with at least one")
        # One sum a symbol: no array of truths as large as the scenarios is made.
        sums = host(self.module.sum(self.returns, axis=0))
        if not np.isfinite(sums).all():
            symbol = int(np.flatnonzero(~np.isfinite(sums))[0])
            values = host(self.returns[:, symbol])
            holes = np.flatnonzero(~np.isfinite(values))
            where = f"in scenario {holes[0]} it is {values[holes[0]]}" if len(holes) else "their sum overflows"
            raise ValueError(f"scenarios of symbol {symbol} are not finite: {where}")

    @property
    def count(self) -> int:
        return int(self.returns.shape[0])

    @property
    def size(self) -> int:
        return int(self.returns.shape[1])

    @property
    def mass(self) -> float:
        """(1 - beta) S: how many scenarios the worst part holds, not always a whole number."""
        mass = (1.0 - self.confidence_level) * self.count
        near = abs(mass - round(mass)) < ROUNDING * self.count
        return float(round(mass)) if near and round(mass) else mass

    @property
    def tail(self) -> int:
        """Scenarios that carry weight where CVaR is taken."""
        return max(1, min(self.count, math.ceil(self.mass)))

    def thinned(self, every: int) -> Scenarios:
        """Every so-manieth scenario."""
        return Scenarios(self.returns[::every, :], self.confidence_level, self.module, self.largest)

    def scale(self) -> float:
        """A typical loss: the root mean square of a sample of the returns."""
        sample = self.module.astype(self.returns[:: max(1, self.count // SAMPLE), :], self.module.float64)
        return math.sqrt(float(self.module.mean(sample * sample)))

    def losses(self, weights: FloatArray) -> Array:
        """(S,) losses of (N,) weights, in the scenarios' own precision."""
        self.passes += 1
        return -(self.returns @ self.module.asarray(weights, dtype=self.returns.dtype))

    def worst(self, losses: Array, count: int) -> Array:
        """Places of the `count` largest losses."""
        return self.largest(losses, min(count, self.count))

    def rows(self, places: Array) -> Array:
        """(m, N) scenarios at `places`, in double precision."""
        return self.module.astype(self.module.take(self.returns, places, axis=0), self.module.float64)

    def may_mix(self, mixture: Array) -> bool:
        """Whether (m,) weights of scenarios are from zero to a scenario's share and sum to one, but for rounding."""
        xp, share = self.module, 1.0 / self.mass
        least, most, total = float(xp.min(mixture)), float(xp.max(mixture)), float(xp.sum(mixture))
        return least >= -EXACT * share and most <= share * (1.0 + EXACT) and abs(total - 1.0) <= EXACT

    def cvar(self, weights: FloatArray, losses: Array) -> float:
        """CVaR of (N,) weights, in double precision, from their `losses` in the scenarios' own."""
        xp = self.module
        if self.returns.dtype == xp.float64:
            known = xp.take(losses, self.worst(losses, self.tail))
        else:
            known = self._exact_tail(weights, losses)
        ranked = xp.sort(known)[known.shape[0] - self.tail :]
        # By rising loss: the least of them carries the part of a scenario that is left.
        part = self.mass - (self.tail - 1)
        return float(xp.sum(ranked[1:]) + part * ranked[0]) / self.mass

    def _exact_tail(self, weights: FloatArray, losses: Array) -> Array:
        """Losses in double precision among which the tail surely is, selected by losses in single."""
        xp, count = self.module, self.tail
        while True:
            count = min(self.count, int(count * SPARE) + 16)
            places = self.worst(losses, count)
            rough = xp.astype(xp.take(losses, places), xp.float64)
            exact = -(self.rows(places) @ xp.asarray(weights))
            # What was not selected is no worse than the mildest that was, give or take what rounding was seen to do.
            beyond = float(xp.min(rough)) + ERRORS * float(xp.max(xp.abs(exact - rough)))
            if count == self.count or float(xp.sort(exact)[count - self.tail]) >= beyond:
                return exact


def host(array: Array) -> Any:
    """`array` as a NumPy array on this machine."""
    if isinstance(array, np.ndarray):
        return array
    return array.get() if hasattr(array, "get") else np.asarray(array)
