"""An interior point method for the average of the worst scenarios over a region, with costs.

With m scenarios a_s, each carrying at most the weight k = 1 / ((1 - beta) S), Rockafellar and Uryasev's program is

    minimise    t + k sum_s u_s - reward' w + sum_i f_i(p_i) + f_i(n_i)
    subject to  u_s - v_s = -a_s' w - t,   w in the region,   w - held = p - n,   u, v, p, n >= 0

where f(q) = linear q + power q^(3/2) is what a trade costs. Mehrotra's predictor and corrector (1992) follow the
central path, on which every x >= 0 and its multiplier z >= 0 have the same product mu. The multipliers y_s of v_s are
the mixture of `scenarios`, so each iterate carries its own lower bound.

Everything of length m is eliminated by hand: one Newton step costs one product A' D A of (N, N) and its Cholesky
factor. That product and a few vectors of length m are all that is done where the scenarios lie, on a GPU perhaps;
vectors of length N stay on this machine. A sum of absolute values that is limited or costs (trades against what is
held, weights against zero) is split into a rise p and a fall n. Eliminated, it adds a diagonal to the (N, N) matrix
and, where the sum has a limit, one row to the border beside the region's own rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs

from ordinis.errors import SolverFailed
from ordinis.optimize.region import Prices, Region, TradingCosts
from ordinis.optimize.scenarios import Array, host
from ordinis.ports import FloatArray

TO_THE_WALL = 0.99
"""Share of the way to the nearest wall that a step goes."""
FIRST_MU = 10.0
"""The first mu, in units of k times the mean loss: from a much smaller one the path is not found."""
INSIDE = 0.05
"""A start keeps this share of its width away from each bound."""
REGULAR, TIE = 1e-13, 1e-12
"""Added to the matrix, relative, and to equalities, which may say the same twice."""
IDLE = 1e-11
"""What a trade costs at least, so that a rise and a fall of the same weight at once is never free."""
LEVEL_STEPS, LEVEL_TOLERANCE = 30, 0.02
NEVER = 1e-300


class Pairs:
    """Variables x > 0 with their multipliers z > 0, and where both are going."""

    def __init__(self, x: Array, z: Array, module: Any = np) -> None:
        self.x, self.z, self._xp = x, z, module
        self.dx: Array = None
        self.dz: Array = None

    def __len__(self) -> int:
        return int(np.prod(self.x.shape))

    def gap(self) -> float:
        return float(self._xp.sum(self.x * self.z))

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
        if not len(self):
            return 0.0, 0.0
        return float(-self._xp.min(self.dx / self.x)), float(-self._xp.min(self.dz / self.z))

    def gap_after(self, primal: float, dual: float) -> float:
        return float(self._xp.sum((self.x + primal * self.dx) * (self.z + dual * self.dz)))

    def step(self, primal: float, dual: float) -> None:
        self.x, self.z = self.x + primal * self.dx, self.z + dual * self.dz


class Tail:
    """The scenarios: u and v with their multipliers k - y and y, kept where the scenarios are."""

    def __init__(self, rows: Array, offset: Array | None, share: float, module: Any) -> None:
        """(m, N) `rows` of returns, (m,) `offset` returns of what is fixed; `share` is k."""
        self.rows, self.share, self._xp, self._offset = rows, share, module, offset
        self._signs = module.asarray([[-1.0], [1.0]], dtype=module.float64)

    def path(self, weights: FloatArray) -> Array:
        """(m,) returns."""
        path = self.rows @ self._xp.asarray(weights)
        return path if self._offset is None else path + self._offset

    def begin(self, weights: FloatArray, mu: float) -> float:
        """Put every scenario on the central path of `mu`; return the level t at which their y sum to about one."""
        xp, k = self._xp, self.share
        losses = -self.path(weights)
        low, high = float(xp.min(losses)) - mu * losses.shape[0], float(xp.max(losses))
        level = high
        for _ in range(LEVEL_STEPS):
            beyond = k * (losses - level)
            root = xp.sqrt(beyond * beyond + 4.0 * mu * mu)
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
        self.pairs = Pairs(xp.stack([u, v]), xp.stack([k - y, y]), xp)
        return level

    def pushed(self, weights: FloatArray, level: float) -> tuple[FloatArray, float]:
        """(N,) A'y and the sum of y."""
        y = self.pairs.z[1, :]
        u, v = self.pairs.x[0, :], self.pairs.x[1, :]
        self._missing = v - u - self.path(weights) - level
        return host(self.rows.T @ y), float(self._xp.sum(y))

    def matrix(self) -> FloatArray:
        """(N + 1, N + 1): A'DA with the column and the corner of t."""
        xp, count = self._xp, self.rows.shape[1]
        self._weight = 1.0 / xp.sum(self.pairs.x / self.pairs.z, axis=0)
        root = xp.sqrt(self._weight)
        scaled = self.rows * root[:, None]
        whole = np.empty((count + 1, count + 1))
        whole[:count, :count] = host(scaled.T @ scaled)
        whole[:count, count] = whole[count, :count] = host(scaled.T @ root)
        whole[count, count] = float(xp.sum(self._weight))
        return whole

    def aim(self, mu: float | None) -> tuple[FloatArray, float]:
        """Right-hand sides of w's equation, (N,), and of t's."""
        xp = self._xp
        self._pull = self._missing + xp.sum(self._signs * (self.pairs.aim(mu) / self.pairs.z), axis=0)
        pulled = self._weight * self._pull
        return host(self.rows.T @ pulled), float(xp.sum(pulled))

    def move(self, direction: FloatArray, level: float) -> None:
        dy = self._weight * (self._pull - self.rows @ self._xp.asarray(direction) - level)
        self.pairs.lead(self._signs * dy)

    def excess(self, weights: FloatArray, level: float) -> float:
        """k times the sum of what the losses have above `level`."""
        beyond = -self.path(weights) - level
        return self.share * float(self._xp.sum(self._xp.where(beyond > 0.0, beyond, 0.0)))

    def mixture(self) -> Array:
        """(m,) weights of the scenarios: at least zero, at most k, summing to one."""
        xp, y = self._xp, self.pairs.z[1, :]
        mixture = xp.minimum(y / xp.sum(y), xp.asarray(self.share, dtype=xp.float64))
        # What the limit took away goes to those below it, in proportion to their room.
        room = self.share - mixture
        return mixture + room * ((1.0 - xp.sum(mixture)) / xp.sum(room))


class Box:
    """lower < w < upper."""

    def __init__(self, weights: FloatArray, lower: FloatArray, upper: FloatArray, mu: float, slope: FloatArray) -> None:
        """`slope` is the difference that the two multipliers must have."""
        x = np.stack([weights - lower, upper - weights])
        half = 0.5 * mu / x.min(axis=0)
        root = np.sqrt(slope * slope / 4.0 + half * half)
        self.pairs = Pairs(x, np.maximum(np.stack([root + slope / 2.0, root - slope / 2.0]), 1e-3 * half))

    @property
    def slope(self) -> FloatArray:
        return np.asarray(self.pairs.z[0] - self.pairs.z[1])

    @property
    def diagonal(self) -> FloatArray:
        return np.asarray((self.pairs.z / self.pairs.x).sum(axis=0))

    def aim(self, mu: float | None) -> FloatArray:
        pulled = self.pairs.aim(mu) / self.pairs.x
        return np.asarray(pulled[0] - pulled[1])

    def move(self, direction: FloatArray) -> None:
        self.pairs.follow(np.stack([direction, -direction]))


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
        self._bounds = np.concatenate(
            [
                region.row_upper[same],
                region.row_upper[above],
                -region.row_lower[below],
            ]
        )
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
    """w - reference = rise - fall, each >= 0 and costing linear q + power q^(3/2), their sum limited or not."""

    signs = np.array([[1.0], [-1.0]])

    def __init__(
        self,
        weights: FloatArray,
        reference: FloatArray,
        linear: FloatArray,
        power: FloatArray,
        limit: float | None,
        mu: float,
    ) -> None:
        self._reference, self._limit = reference, limit
        self._linear, self._power = np.maximum(linear, IDLE), power
        apart = weights - reference
        least = 0.5 / len(weights) * max(1.0, float(np.abs(apart).sum()))
        x = np.stack([np.maximum(apart, 0.0) + least, np.maximum(-apart, 0.0) + least])
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
        root = np.sqrt(x)
        self._dual = self._linear + 1.5 * self._power * root - self.signs * self.balance - z + self.price
        self._apart = weights - self._reference - x[0] + x[1]
        self._inverse = 1.0 / (0.75 * self._power / root + z / x)
        self._whole = self._inverse.sum(axis=0)
        self.diagonal = 1.0 / self._whole
        self._tilt = self._inverse[0] - self._inverse[1]
        self.border = self.diagonal * self._tilt

        self._over = 0.0 if self._limit is None else self._limit - float(x.sum() + self.limit.x.sum())

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
        self._shift = self._apart + eased[0] - eased[1]
        limited = self.limit.aim(mu)
        if self._limit is not None:
            limited = self._over - limited / self.limit.z + eased.sum() - self._shift @ self.border
        return -self.diagonal * self._shift, limited

    def move(self, direction: FloatArray, price: FloatArray) -> None:
        self.limit.lead(price)
        rise = price.sum()
        self._dbalance = self.diagonal * (direction + self._shift + rise * self._tilt)
        self.pairs.follow((self.signs * self._dbalance - self._pull - rise) * self._inverse)

    def step(self, dual: float) -> None:
        self.balance = self.balance + dual * self._dbalance


class Interior:
    """One program, from a start on the central path to as small a gap as is asked.

    Args:
        region: all weights free, lower < upper.
        costs: of trades, None for none.
        reward: (N,) expected returns, already weighted; like returns and costs in units of order one.
        tail: the scenarios.
        weights: (N,) where to begin; moved inside the bounds.
    """

    def __init__(
        self, region: Region, costs: TradingCosts | None, reward: FloatArray, tail: Tail, weights: FloatArray
    ) -> None:
        self._reward, self.tail, self.iterations = reward, tail, 0
        width, zero = region.upper - region.lower, np.zeros(region.size)
        self.weights = np.clip(weights, region.lower + INSIDE * width, region.upper - INSIDE * width)
        mu = FIRST_MU * tail.share * max(float(np.abs(host(tail.path(self.weights))).mean()), 1e-6)
        self.level = tail.begin(self.weights, mu)
        slope = -reward - tail.pushed(self.weights, self.level)[0]
        self._rows = Rows(region, self.weights, mu, -slope)
        slope = slope + self._rows.matrix.T @ self._rows.multipliers
        self._box = Box(self.weights, region.lower, region.upper, mu, slope)
        self._trades = self._gross = None
        self._curved = costs is not None and costs.curved
        if costs is not None or region.turnover is not None:
            linear, power = (zero, zero) if costs is None else (costs.linear, costs.power)
            self._trades = Split(self.weights, region.start, linear, power, region.turnover, mu)
        if region.leverage is not None:
            self._gross = Split(self.weights, zero, zero, zero, region.leverage, mu)
        self._splits = [split for split in (self._trades, self._gross) if split is not None]
        self.primal_missing = self.dual_missing = np.inf
        """The largest residual of the limits, in fractions of equity, and of the multipliers' equations."""

    @property
    def _pairs(self) -> list[Pairs]:
        own = [self.tail.pairs, self._box.pairs, self._rows.pairs]
        return own + [pairs for split in self._splits for pairs in (split.pairs, split.limit)]

    @property
    def gap(self) -> float:
        """What separates the two bounds once nothing is missing."""
        return sum(pairs.gap() for pairs in self._pairs)

    @property
    def objective(self) -> float:
        """Over the tail's scenarios and without costs: for its size only."""
        return self.level + self.tail.excess(self.weights, self.level) - float(self._reward @ self.weights)

    def prices(self) -> Prices:
        """What the limits are worth at this point."""
        leverage, turnover = (0.0 if split is None else split.price for split in (self._gross, self._trades))
        return Prices(self._rows.prices(), leverage, turnover)

    def iterate(self) -> None:
        """One predictor and one corrector.

        Raises:
            SolverFailed: the numbers have run out.
        """
        self.iterations += 1
        pairs, gap = self._pairs, self.gap
        self._factorise()
        self._direct(None)
        primal, dual = self._room(pairs, 1.0)
        left = sum(each.gap_after(primal, dual) for each in pairs)
        self._direct((left / gap) ** 3 * gap / sum(len(each) for each in pairs))
        primal, dual = self._room(pairs, TO_THE_WALL)
        self.weights = self.weights + primal * self._moved[:-1]
        self.level += primal * float(self._moved[-1])
        for each in pairs:
            each.step(primal, dual)
        self._rows.step(dual)
        for split in self._splits:
            split.step(dual)
        self.primal_missing *= 1.0 - primal
        self.dual_missing *= 1.0 - dual

    def _factorise(self) -> None:
        """The matrix of this point with its border, and what is missing in the equations of w and t."""
        count, splits = len(self.weights), self._splits
        pushed, mass = self.tail.pushed(self.weights, self.level)
        self._missing = np.append(self._reward + pushed - self._rows.matrix.T @ self._rows.multipliers, mass - 1.0)
        self._missing[:count] += self._box.slope
        whole = self.tail.matrix()
        diagonal = np.einsum("ii->i", whole)
        diagonal[:count] += self._box.diagonal
        border, corners = [self._rows.matrix], [self._rows.corner]
        for split in splits:
            split.prepare(self.weights)
            self._missing[:count] -= split.balance
            diagonal[:count] += split.diagonal
            border.append(np.tile(split.border, (len(split.limit), 1)))
            corners.append(split.corner)
        diagonal *= 1.0 + REGULAR
        self.primal_missing = max([self._rows.missing(self.weights), *(split.primal_missing for split in splits)])
        self.dual_missing = max([float(np.abs(self._missing).max()), *(split.dual_missing for split in splits)])
        self._factor, failed = dpotrf(whole, lower=1, overwrite_a=1, clean=0)
        if failed:
            raise SolverFailed("interior point", f"no factor at iteration {self.iterations}")
        rows = np.concatenate(border)
        self._border = np.concatenate([rows, np.zeros((len(rows), 1))], axis=1)
        self._solved = self._divide(self._border.T)
        self._schur = self._border @ self._solved + np.diag(np.concatenate(corners))

    def _divide(self, right: FloatArray) -> FloatArray:
        if not right.size:
            return right
        solved, _ = dpotrs(self._factor, right, lower=1)
        return np.asarray(solved)

    def _direct(self, mu: float | None) -> None:
        """Where everything goes: towards zero, or towards `mu`."""
        count, rows = len(self.weights), len(self._rows.matrix)
        to_weights, to_level = self.tail.aim(mu)
        right = self._missing + np.append(to_weights + self._box.aim(mu), to_level)
        limits = [self._rows.aim(mu)]
        for split in self._splits:
            of_weights, of_limit = split.aim(mu)
            right[:count] += of_weights
            limits.append(of_limit)
        moved = self._divide(right)
        if len(self._border):
            shadow = np.asarray(
                np.linalg.solve(self._schur, np.concatenate(limits) - self._border @ moved), dtype=np.float64
            )
            moved = moved + self._solved @ shadow
        else:
            shadow = np.zeros(0)
        if not np.isfinite(moved).all():
            raise SolverFailed("interior point", f"a step that is no number at iteration {self.iterations}")
        self._moved = moved
        self.tail.move(moved[:count], float(moved[count]))
        self._box.move(moved[:count])
        self._rows.move(-shadow[:rows])
        for split in self._splits:
            split.move(moved[:count], -shadow[rows : rows + len(split.limit)])
            rows += len(split.limit)

    def _room(self, pairs: list[Pairs], share: float) -> tuple[float, float]:
        """Lengths of the primal and the dual step, one for both where costs are curved."""
        rooms = [each.room() for each in pairs]
        primal, dual = (min(1.0, share / max(*each, NEVER)) for each in zip(*rooms, strict=True))
        return (min(primal, dual),) * 2 if self._curved else (primal, dual)
