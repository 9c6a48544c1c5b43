"""The set that an optimiser chooses from, as plain numbers: bounds, rows, leverage, turnover, and what trading costs.

    lower <= w <= upper,   row_lower <= rows w <= row_upper,   sum |w_i| <= leverage,   sum |w_i - held_i| <= turnover

Costs are charged on trades q_i = |w_i - held_i|, fractions of equity:  linear_i q_i + power_i q_i^e + square_i q_i^2,
the spread with its fees, the law of temporary impact, whose exponent e is 3/2 for the square root, and permanent
impact.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ordinis.domain.limits import Limits
from ordinis.optimize.constraints import invested_target, sector_rows
from ordinis.ports import FloatArray

BoolArray = NDArray[np.bool_]
TIGHT = 1e-12
"""A row that can be met by less than this leaves no choice."""


@dataclass(frozen=True)
class Region:
    """N symbols and K rows; all in fractions of equity."""

    lower: FloatArray
    upper: FloatArray
    rows: FloatArray
    """(K, N)."""
    row_lower: FloatArray
    row_upper: FloatArray
    leverage: float | None = None
    """Largest sum of absolute weights; None for no such limit."""
    held: FloatArray | None = None
    """(N,) weights before the trade; None for an empty book."""
    turnover: float | None = None
    """Largest sum of absolute trades, both ways; None for no such limit."""

    def __post_init__(self) -> None:
        count = len(self.lower)
        shapes = {
            "upper": (self.upper, (count,)),
            "rows": (self.rows, (len(self.rows), count)),
            "row_lower": (self.row_lower, (len(self.rows),)),
            "row_upper": (self.row_upper, (len(self.rows),)),
            "held": (self.start, (count,)),
        }
        for name, (array, shape) in shapes.items():
            if array.shape != shape:
                raise ValueError(f"{name} of shape {array.shape}, expected {shape}")
        for name, array in {"lower": self.lower, "upper": self.upper, "rows": self.rows, "held": self.start}.items():
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds what is not finite")
        if np.isnan(self.row_lower).any() or np.isnan(self.row_upper).any():
            raise ValueError("a row's bound is not a number")

    @property
    def size(self) -> int:
        return len(self.lower)

    @property
    def start(self) -> FloatArray:
        return np.zeros(len(self.lower)) if self.held is None else self.held

    @property
    def long_only(self) -> bool:
        return bool((self.lower >= 0.0).all())

    @classmethod
    def of(cls, symbols: Sequence[str], limits: Limits, invested: float | None = None) -> Region:
        """The limits of a long-only book that invests `invested`, or all that they allow when it is None.

        Raises:
            InfeasibleLimits: `invested` is out of reach; names an irreducible set that conflicts.
        """
        total, count = invested_target(symbols, limits, invested), len(symbols)
        sectors = sector_rows(symbols, limits)
        return cls(
            lower=np.zeros(count),
            upper=np.full(count, limits.position_cap),
            rows=np.vstack([np.ones((1, count)), sectors]),
            row_lower=np.concatenate([[total], np.full(len(sectors), -np.inf)]),
            row_upper=np.concatenate([[total], np.full(len(sectors), limits.sector_cap)]),
        )

    def middle(self) -> FloatArray:
        """Weights inside the bounds that meet the first row, where one of its sign can; a place to begin."""
        width, middle = self.upper - self.lower, (self.lower + self.upper) / 2.0
        if not len(self.rows):
            return middle
        row = self.rows[0]
        wanted = np.clip(row @ middle, self.row_lower[0], self.row_upper[0])
        reach = float((row**2) @ width)
        moved = middle + row * width * (wanted - row @ middle) / (reach or 1.0)
        return np.asarray(np.clip(moved, self.lower, self.upper))

    def settled(self) -> Region:
        """The same set with every weight fixed that a row leaves no choice, so that what is free has an inside."""
        lower, upper = self.lower.copy(), self.upper.copy()
        if self.turnover is not None and self.turnover <= TIGHT:
            lower = upper = np.clip(self.start, lower, upper)
        while True:
            most = np.where(self.rows > 0.0, self.rows * upper, self.rows * lower).sum(axis=1)
            least = np.where(self.rows > 0.0, self.rows * lower, self.rows * upper).sum(axis=1)
            before = lower.copy(), upper.copy()
            for row in self.rows[self.row_lower >= most - TIGHT]:
                lower, upper = np.where(row > 0.0, upper, lower), np.where(row < 0.0, lower, upper)
            for row in self.rows[self.row_upper <= least + TIGHT]:
                lower, upper = np.where(row < 0.0, upper, lower), np.where(row > 0.0, lower, upper)
            if np.array_equal(before, (lower, upper)):
                return replace(self, lower=lower, upper=upper)

    def snapped(self, weights: FloatArray, near: float) -> FloatArray:
        """(N,) weights with those within `near` of a bound, or of what is held, put there.

        The others move a little, so that the rows still hold.
        """
        places = np.stack([self.lower, self.upper, np.clip(self.start, self.lower, self.upper)])
        apart = np.abs(weights - places)
        nearest = apart.argmin(axis=0)
        there = apart.min(axis=0) <= near
        snapped = np.where(there, places[nearest, np.arange(self.size)], weights)
        values = self.rows @ snapped
        wanted = np.clip(values, self.row_lower, self.row_upper)
        broken, inside = np.abs(wanted - values) > 0.0, ~there
        if broken.any() and inside.any():
            rows = self.rows[broken][:, inside]
            snapped[inside] += np.linalg.lstsq(rows, (wanted - values)[broken], rcond=None)[0]
        return snapped

    def part(self, free: BoolArray) -> Region:
        """The region of the weights that are `free`, the others being at their lower bounds."""
        fixed = np.where(free, 0.0, self.lower)
        taken, traded = self.rows @ fixed, np.where(free, 0.0, np.abs(fixed - self.start))
        return Region(
            self.lower[free],
            self.upper[free],
            self.rows[:, free],
            self.row_lower - taken,
            self.row_upper - taken,
            None if self.leverage is None else self.leverage - float(np.abs(fixed).sum()),
            self.start[free],
            None if self.turnover is None else self.turnover - float(traded.sum()),
        )

    def violation(self, weights: FloatArray) -> float:
        """How far (N,) weights are outside, at the worst of all constraints; 0 inside."""
        value = self.rows @ weights
        worst: list[float] = [
            np.max(self.lower - weights, initial=0.0),
            np.max(weights - self.upper, initial=0.0),
            np.max(self.row_lower - value, initial=0.0),
            np.max(value - self.row_upper, initial=0.0),
        ]
        if self.leverage is not None:
            worst.append(float(np.abs(weights).sum()) - self.leverage)
        if self.turnover is not None:
            worst.append(float(np.abs(weights - self.start).sum()) - self.turnover)
        return float(max(worst))


@dataclass(frozen=True)
class Prices:
    """Multipliers of a region's limits: what relaxing each would be worth."""

    rows: FloatArray
    """(K,), positive where a lower bound pushes up and negative where an upper one pushes down."""
    leverage: float = 0.0
    turnover: float = 0.0


@dataclass(frozen=True)
class TradingCosts:
    """(N,) coefficients of the cost of a trade, a fraction of equity for a trade of a fraction of equity."""

    linear: FloatArray
    power: FloatArray
    exponent: float = 1.5
    """Above 1, at most 2."""
    square: FloatArray = field(default_factory=lambda: np.zeros(0))
    """Left out, it is zero for all."""

    def __post_init__(self) -> None:
        if not self.square.size:
            object.__setattr__(self, "square", np.zeros(len(self.linear)))
        for name in ("linear", "power", "square"):
            array = getattr(self, name)
            if array.shape != (len(self.linear),):
                raise ValueError(f"{name} costs of shape {array.shape}, expected {(len(self.linear),)}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} costs hold what is not finite")
            if (array < 0.0).any():
                raise ValueError(f"a coefficient of {name} costs is negative: the program would not be convex")
        if not 1.0 < self.exponent <= 2.0:
            raise ValueError(
                f"an exponent of {self.exponent}: impact grows faster than a trade and no faster than its square"
            )

    def part(self, free: BoolArray, scale: float) -> TradingCosts:
        """Of the symbols that are `free`, in units of `scale`."""
        linear, power, square = (array[free] / scale for array in (self.linear, self.power, self.square))
        return TradingCosts(linear, power, self.exponent, square)

    @property
    def curved(self) -> bool:
        return bool((self.power > 0.0).any() or (self.square > 0.0).any())

    def of(self, trades: FloatArray) -> float:
        """What (N,) trades cost, a fraction of equity."""
        size = np.abs(trades)
        return float(self.linear @ size + self.power @ size**self.exponent + self.square @ size**2)
