"""The blocks that the interior point method is made of: scenarios, bounds, rows, and sums of absolute values.

Each holds its variables x > 0 with their multipliers z > 0 (`Pairs`), adds its part to the (N, N) matrix or a row to
the border, and finds its own direction once that of the weights is known. Only the scenarios' block lies where the
scenarios lie; vectors of length N stay on this machine.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ordinis.optimize.region import Region, TradingCosts
from ordinis.optimize.scenarios import Array, host
from ordinis.ports import FloatArray

TIE = 1e-12
"""Added to equalities, which may say the same twice."""
IDLE = 1e-11
"""What a trade costs at least, so that a rise and a fall of the same weight at once is never free."""
LEVEL_STEPS, LEVEL_TOLERANCE = 30, 0.02
PART = 1 << 20
"""Numbers of the scenarios that are scaled at a time; where there are no more, no sample of them is taken."""
SAMPLED = 10
"""Rows, in units of N, that make the matrix of a rough direction."""
EDGE = 1e-6
"""The level is not looked for where every multiplier is nearer than this to its bound."""


class Pairs:
    """(n,) variables x > 0 with their multipliers z > 0, and where both are going."""

    def __init__(self, x: Array, z: Array, module: Any = np) -> None:
        self.x, self.z, self.count, self._xp = x, z, int(x.shape[0]), module
        self.dx: Array = None
        self.dz: Array = None

    def gap(self) -> float:
        return float(self.x @ self.z)

    def aim(self, mu: float | None) -> Array:
        """What x dz + z dx shall be: towards zero by the first order, or towards `mu` by the second."""
        self.target = -self.x * self.z if mu is None else mu - self.x * self.z - self.dx * self.dz
        return self.target

    def follow(self, dx: Array) -> None:
        self.dx, self.dz = dx, (self.target - self.z * dx) / self.x

    def lead(self, dz: Array) -> None:
        self.dx, self.dz = (self.target - self.x * dz) / self.z, dz

    def room(self) -> tuple[float, float]:
        """1 / how far x and z may go; at most zero where they may go for ever."""
        if not self.count:
            return 0.0, 0.0
        return float(-self._xp.min(self.dx / self.x)), float(-self._xp.min(self.dz / self.z))

    def gap_after(self, primal: float, dual: float) -> float:
        return float((self.x + primal * self.dx) @ (self.z + dual * self.dz))

    def step(self, primal: float, dual: float) -> None:
        self.x, self.z = self.x + primal * self.dx, self.z + dual * self.dz


class Tail:
    """The scenarios: u and v with their multipliers k - y and y, kept where the scenarios are."""

    def __init__(self, rows: Array, offset: Array | None, share: float, module: Any) -> None:
        """(m, N) `rows` of returns, (m,) `offset` returns of what is fixed; `share` is k."""
        self.rows, self.share, self._xp, self._offset = rows, share, module, offset
        self.rough = False
        """Whether the matrix is that of a sample, in single precision."""
        self._count = int(rows.shape[0])

    @property
    def large(self) -> bool:
        """Whether the matrix of all rows takes long, and a sample would be smaller."""
        count = self.rows.shape[1]
        return bool(self._count > max(SAMPLED * count, PART // count))

    def path(self, weights: FloatArray) -> Array:
        """(m,) returns."""
        path = self.rows @ self._xp.asarray(weights)
        return path if self._offset is None else path + self._offset

    def begin(self, weights: FloatArray, mu: float) -> float:
        """Put every scenario on the central path of `mu`; return the level t at which their y sum to about one.

        From here on u - v = -a' w - t: it is linear, so that each step keeps it, and nobody looks at it again.
        """
        xp, k = self._xp, self.share
        losses = -self.path(weights)
        low, high = float(xp.min(losses)) - mu / (k * EDGE), float(xp.max(losses)) + mu / (k * EDGE)
        # Here it would be if all losses were the same, and to a large mu, as the first is, they nearly are.
        even = 1.0 / losses.shape[0]
        level = float(xp.mean(losses)) + mu / even - mu / (k - even) if k > even else high
        for _ in range(LEVEL_STEPS):
            beyond = k * (losses - level)
            root = xp.sqrt(beyond * beyond + 4.0 * mu * mu)
            at = level
            # The larger root of u, from u (k - y) = v y = mu and u - v = loss - level; v is u without `beyond`.
            twice = root + xp.abs(beyond) + 2.0 * mu
            large, small = twice / (2.0 * k), 2.0 * mu * mu / k / (twice - 2.0 * mu) + mu / k
            u, v = xp.where(beyond > 0.0, large, small), xp.where(beyond > 0.0, small, large)
            y = mu / v
            excess = float(xp.sum(y)) - 1.0
            if abs(excess) < LEVEL_TOLERANCE:
                break
            low, high = (level, high) if excess > 0.0 else (low, level)
            step = level + excess / float(xp.sum(1.0 / (u / (k - y) + v / y)))
            level = step if low < step < high else (low + high) / 2.0
        self.pairs = Pairs(xp.concat([u, v]), xp.concat([k - y, y]), xp)
        return at

    @property
    def _y(self) -> Array:
        return self.pairs.z[self._count :]

    def _halves(self, both: Array) -> tuple[Array, Array]:
        """What concerns u, and what concerns v."""
        return both[: self._count], both[self._count :]

    def pushed(self) -> tuple[FloatArray, float]:
        """(N,) A'y and the sum of y."""
        return host(self.rows.T @ self._y), float(self._xp.sum(self._y))

    def matrix(self) -> FloatArray:
        """(N + 1, N + 1): A'DA with the column and the corner of t, of a sample of the rows where it may be rough."""
        xp, count = self._xp, self.rows.shape[1]
        of_u, of_v = self._halves(self.pairs.x / self.pairs.z)
        self._weight = 1.0 / (of_u + of_v)
        border, total = self.rows.T @ self._weight, float(xp.sum(self._weight))
        whole = np.empty((count + 1, count + 1))
        whole[:count, :count] = host(self._of_sample(border, total) if self.rough else self._of_all())
        whole[:count, count] = whole[count, :count] = host(border)
        whole[count, count] = total
        return whole

    def _of_all(self) -> Array:
        """(N, N) A'DA."""
        xp, count = self._xp, self.rows.shape[1]
        product: Array = xp.zeros((count, count), dtype=xp.float64)
        root, height = xp.sqrt(self._weight), max(1, PART // count)
        # In parts that stay near the processor: a scaled copy of all rows would be as large as they are.
        for begin in range(0, self._count, height):
            end = min(begin + height, self._count)
            scaled = self.rows[begin:end, :] * root[begin:end, None]
            product = product + scaled.T @ scaled
        return product

    def _of_sample(self, border: Array, total: float) -> Array:
        """About the same, positive semidefinite once t is eliminated.

        What is left then is a covariance of rows about their mean. The mean is known, and the rows of a sample are
        taken from it, before single precision can lose what they differ by.
        """
        xp, count = self._xp, self.rows.shape[1]
        chosen, weight = self._sampled(total)
        product: Array = xp.zeros((count, count), dtype=xp.float64)
        root, mean, height = xp.sqrt(weight), border / total, max(1, PART // count)
        for begin in range(0, chosen.shape[0], height):
            end = min(begin + height, chosen.shape[0])
            apart = xp.take(self.rows, chosen[begin:end], axis=0) - mean
            scaled = xp.astype(apart * root[begin:end, None], xp.float32)
            product = product + xp.astype(scaled.T @ scaled, xp.float64)
        return product + border[:, None] * mean[None, :]

    def _sampled(self, total: float) -> tuple[Array, Array]:
        """Places of rows by chance, half of it by their weights, and what each then weighs; the heavy ones surely."""
        xp, even = self._xp, 0.5 * SAMPLED * self.rows.shape[1]
        chance = xp.minimum(self._weight * (even / total) + even / self._count, xp.ones_like(self._weight))
        # One at each whole number that the sum of chances passes: no dice, and evenly over the rows.
        passed = xp.floor(xp.cumulative_sum(chance))
        before = xp.concat([xp.zeros((1,), dtype=xp.float64), passed[:-1]])
        chosen = xp.nonzero(passed > before)[0]
        return chosen, xp.take(self._weight / chance, chosen)

    def aim(self, mu: float | None) -> tuple[FloatArray, float]:
        """Right-hand sides of w's equation, (N,), and of t's."""
        of_u, of_v = self._halves(self.pairs.aim(mu) / self.pairs.z)
        self._pull = of_v - of_u
        pulled = self._weight * self._pull
        return host(self.rows.T @ pulled), float(self._xp.sum(pulled))

    def move(self, direction: FloatArray, level: float) -> None:
        dy = self._weight * (self._pull - self.rows @ self._xp.asarray(direction) - level)
        self.pairs.lead(self._xp.concat([-dy, dy]))

    def beyond(self, weights: FloatArray, level: float) -> float:
        """k times the sum of what the losses have above `level`."""
        beyond = -self.path(weights) - level
        return self.share * float(self._xp.sum(self._xp.where(beyond > 0.0, beyond, 0.0)))

    @property
    def excess(self) -> float:
        """k times the sum of u, which is what the losses have above the level once the gap is closed."""
        return self.share * float(self._xp.sum(self.pairs.x[: self._count]))

    def mixture(self) -> Array:
        """(m,) weights of the scenarios: at least zero, at most k, summing to one."""
        xp, y = self._xp, self._y
        mixture = xp.minimum(y / xp.sum(y), xp.asarray(self.share, dtype=xp.float64))
        # What the limit took away goes to those below it, in proportion to their room.
        room = self.share - mixture
        return mixture + room * ((1.0 - xp.sum(mixture)) / xp.sum(room))


class Box:
    """lower < w < upper."""

    def __init__(self, weights: FloatArray, lower: FloatArray, upper: FloatArray, mu: float, slope: FloatArray) -> None:
        """`slope` is the difference that the two multipliers must have."""
        above, below, self._count = weights - lower, upper - weights, len(weights)
        half = 0.5 * mu / np.minimum(above, below)
        root = np.sqrt(slope * slope / 4.0 + half * half)
        low, high = (np.maximum(root + side * slope / 2.0, 1e-3 * half) for side in (1.0, -1.0))
        self.pairs = Pairs(np.concatenate([above, below]), np.concatenate([low, high]))

    @property
    def slope(self) -> FloatArray:
        return np.asarray(self.pairs.z[: self._count] - self.pairs.z[self._count :])

    @property
    def diagonal(self) -> FloatArray:
        ratio = self.pairs.z / self.pairs.x
        return np.asarray(ratio[: self._count] + ratio[self._count :])

    def aim(self, mu: float | None) -> FloatArray:
        pulled = self.pairs.aim(mu) / self.pairs.x
        return np.asarray(pulled[: self._count] - pulled[self._count :])

    def move(self, direction: FloatArray) -> None:
        self.pairs.follow(np.concatenate([direction, -direction]))


class Rows:
    """The region's rows as E w = e and G w + slack = g."""

    def __init__(self, region: Region, weights: FloatArray, mu: float, slope: FloatArray) -> None:
        """`slope` is what the multipliers of the equalities shall take as much of as they can."""
        same = region.row_lower == region.row_upper
        above, below = np.isfinite(region.row_upper) & ~same, np.isfinite(region.row_lower) & ~same
        self._places = np.concatenate([np.nonzero(kind)[0] for kind in (same, above, below)])
        self._equal = int(same.sum())
        self._signs = np.where(np.arange(len(self._places)) < self._equal + above.sum(), 1.0, -1.0)
        self.matrix = region.rows[self._places] * self._signs[:, None]
        self._bounds = np.concatenate([region.row_upper[same], region.row_upper[above], -region.row_lower[below]])
        self._count = len(region.rows)
        slack = np.maximum((self._bounds - self.matrix @ weights)[self._equal :], 1e-2)
        self.pairs = Pairs(slack, mu / slack)
        self._equalities = np.zeros(self._equal)
        if self._equal:
            rest = slope - self.matrix[self._equal :].T @ self.pairs.z
            self._equalities = np.linalg.lstsq(self.matrix[: self._equal].T, rest, rcond=None)[0]

    @property
    def multipliers(self) -> FloatArray:
        """Positive where a row pushes down; those of equalities have either sign."""
        return np.asarray(np.concatenate([self._equalities, self.pairs.z]))

    @property
    def corner(self) -> FloatArray:
        return np.asarray(np.concatenate([np.full(self._equal, TIE), self.pairs.x / self.pairs.z]))

    def missing(self, weights: FloatArray) -> float:
        """The largest residual."""
        self._missing = self._bounds - self.matrix @ weights
        self._missing[self._equal :] -= self.pairs.x
        return float(np.abs(self._missing).max(initial=0.0))

    def aim(self, mu: float | None) -> FloatArray:
        target = np.concatenate([np.zeros(self._equal), self.pairs.aim(mu) / self.pairs.z])
        return np.asarray(self._missing - target)

    def move(self, multipliers: FloatArray) -> None:
        self._dequalities = multipliers[: self._equal]
        self.pairs.lead(multipliers[self._equal :])

    def step(self, dual: float) -> None:
        self._equalities = self._equalities + dual * self._dequalities

    def prices(self) -> FloatArray:
        """(K,) of the region's rows, positive where a lower bound pushes up."""
        prices = np.zeros(self._count)
        np.add.at(prices, self._places, -self.multipliers * self._signs)
        return prices


class Split:
    """w - reference = rise - fall, each >= 0 and costing linear q + power q^e + square q^2, in sum limited or not."""

    def __init__(
        self,
        weights: FloatArray,
        reference: FloatArray,
        costs: TradingCosts | None,
        limit: float | None,
        mu: float,
    ) -> None:
        zero = np.zeros(len(weights))
        linear, power, square = (zero,) * 3 if costs is None else (costs.linear, costs.power, costs.square)
        self._exponent = 2.0 if costs is None else costs.exponent
        self._reference, self._limit, self._count = reference, limit, len(weights)
        self._linear, self._power = np.tile(np.maximum(linear, IDLE), 2), np.tile(power, 2)
        self._square = np.tile(square, 2)
        apart = weights - reference
        least = 0.5 / len(weights) * max(1.0, float(np.abs(apart).sum()))
        x = np.maximum(_both(apart), 0.0) + least
        self.pairs = Pairs(x, mu / x)
        slack = np.array([] if limit is None else [max(limit - float(x.sum()), 0.1 * limit, 1e-3)])
        self.limit = Pairs(slack, mu / slack)
        self.balance = np.zeros(len(weights))
        """Multiplier of w - reference = rise - fall."""

    @property
    def price(self) -> float:
        """Of the limit."""
        return float(self.limit.z.sum())

    def prepare(self, weights: FloatArray) -> None:
        """The residuals of this point, and what elimination leaves: a diagonal, and a row of the border."""
        x, z = self.pairs.x, self.pairs.z
        # The derivatives of power x^e and of square x^2; the second ones are (e - 1) and 1 times these over x.
        bend, bow = self._exponent * self._power * x ** (self._exponent - 1.0), 2.0 * self._square * x
        self._dual = self._linear + bend + bow - _both(self.balance) - z + self.price
        self._apart = weights - self._reference - self._rise_less_fall(x)
        self._inverse = 1.0 / (((self._exponent - 1.0) * bend + bow + z) / x)
        self._tilt = self._rise_less_fall(self._inverse)
        self._whole = self._inverse[: self._count] + self._inverse[self._count :]
        self.diagonal = 1.0 / self._whole
        self.border = self.diagonal * self._tilt
        self._over = 0.0 if self._limit is None else self._limit - float(x.sum() + self.limit.x.sum())

    def _rise_less_fall(self, both: FloatArray) -> FloatArray:
        return both[: self._count] - both[self._count :]

    @property
    def primal_missing(self) -> float:
        return max(float(np.abs(self._apart).max()), abs(self._over))

    @property
    def dual_missing(self) -> float:
        return float(np.abs(self._dual).max())

    @property
    def corner(self) -> FloatArray:
        return np.asarray((self._whole - self.border * self._tilt).sum() + self.limit.x / self.limit.z)

    def aim(self, mu: float | None) -> tuple[FloatArray, FloatArray]:
        """Right-hand sides of w's equation, (N,), and of the limit's, (1,) or none."""
        self._pull = self._dual - self.pairs.aim(mu) / self.pairs.x
        eased = self._pull * self._inverse
        self._shift = self._apart + self._rise_less_fall(eased)
        limited = self.limit.aim(mu)
        if self._limit is not None:
            limited = self._over - limited / self.limit.z + eased.sum() - self._shift @ self.border
        return -self.diagonal * self._shift, limited

    def move(self, direction: FloatArray, price: FloatArray) -> None:
        self.limit.lead(price)
        dearer = float(price.sum())
        self._dbalance = self.diagonal * (direction + self._shift + dearer * self._tilt)
        self.pairs.follow((_both(self._dbalance) - self._pull - dearer) * self._inverse)

    def step(self, dual: float) -> None:
        self.balance = self.balance + dual * self._dbalance


def _both(of_rise: FloatArray) -> FloatArray:
    """(2 N,) for rise and fall, which move the weight in opposite directions."""
    return np.concatenate([of_rise, -of_rise])
