"""An interior point method for the average of the worst scenarios over a region, with costs.

With m scenarios a_s, each carrying at most the weight k = 1 / ((1 - beta) S), Rockafellar and Uryasev's program is

    minimise    t + k sum_s u_s - reward' w + sum_i f_i(p_i) + f_i(n_i)
    subject to  u_s - v_s = -a_s' w - t,   w in the region,   w - held = p - n,   u, v, p, n >= 0

where f(q) = linear q + power q^e + square q^2 is what a trade costs. Mehrotra's predictor and corrector (1992) follow
the central path, on which every x >= 0 and its multiplier z >= 0 have the same product mu. The multipliers y_s of v_s
are the mixture of `scenarios`, so each iterate carries its own lower bound.

Everything of length m is eliminated by hand: one Newton step costs one product A' D A of (N, N) and its Cholesky
factor. That product and a few vectors of length m are all that is done where the scenarios lie, on a GPU perhaps;
vectors of length N stay on this machine. Far from the optimum the product of a sample is enough (`blocks.Tail`): what
its direction does wrong the next one mends, since what is missing is measured anew; where that does not fall as it
should, the sample is given up. A sum of absolute values that is limited or costs (trades against what is
held, weights against zero) is split into a rise p and a fall n. Eliminated, it adds a diagonal to the (N, N) matrix
and, where the sum has a limit, one row to the border beside the region's own rows.
"""

from __future__ import annotations

import numpy as np
from scipy.linalg.lapack import dpotrf, dpotrs

from ordinis.errors import SolverFailed
from ordinis.optimize.blocks import Box, Pairs, Rows, Split, Tail
from ordinis.optimize.region import Prices, Region, TradingCosts
from ordinis.optimize.scenarios import host
from ordinis.ports import FloatArray

TO_THE_WALL = 0.99
"""Share of the way to the nearest wall that a step goes."""
LAGGING = 0.1
"""The gap falls to no less than this share of itself in a step while equations are further off than the gap."""
FIRST_MU = 0.3
"""The first mu, in units of k times the mean loss."""
INWARD = 0.3
"""Share of the way from where to begin to the region's middle that a start goes, away from the bounds."""
INSIDE = 1e-3
"""A start keeps this share of its width away from each bound."""
NEAR = 0.3
"""The gap, in units of the objective, above which a start is better than going on with more scenarios."""
WIDER = 3.0
"""With more scenarios the method goes on from so many times the mu of its gap."""
MISLED, MATTERS = 1.2, 0.1
"""So many times what a step promised to leave missing of the multipliers' equations is too much, once it is more than
this share of the gap."""
REGULAR = 1e-13
"""Added to the diagonal of the matrix, relative to it."""
SAME = 1e-14
"""Rows of the border whose difference is smaller than this, relative to them, are one."""
NEVER = 1e-300


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
        self._reward, self.tail = reward, tail
        self.iterations, self.gone_on = 0, False
        """With these scenarios, and whether others came before them."""
        edge = INSIDE * (region.upper - region.lower)
        inward = (1.0 - INWARD) * weights + INWARD * region.middle()
        self.weights = np.clip(inward, region.lower + edge, region.upper - edge)
        mu = FIRST_MU * tail.share * max(float(np.abs(host(tail.path(self.weights))).mean()), 1e-6)
        self.level = tail.begin(self.weights, mu)
        slope = -reward - tail.pushed()[0]
        self._rows = Rows(region, self.weights, mu, -slope)
        slope = slope + self._rows.matrix.T @ self._rows.multipliers
        self._box = Box(self.weights, region.lower, region.upper, mu, slope)
        self._trades = self._gross = None
        self._curved = costs is not None and costs.curved
        if costs is not None or region.turnover is not None:
            self._trades = Split(self.weights, region.start, costs, region.turnover, mu)
        if region.leverage is not None:
            self._gross = Split(self.weights, np.zeros(region.size), None, region.leverage, mu)
        self._splits = [split for split in (self._trades, self._gross) if split is not None]
        self.primal_missing = self.dual_missing = np.inf
        """The largest residual of the limits, in fractions of equity, and of the multipliers' equations."""
        self.misled = False
        """Whether a rough matrix had no factor, or its direction left more missing than it promised."""

    def go_on(self, tail: Tail) -> bool:
        """With the scenarios of `tail`, some of which are new, from where the method is; False where that is too far.

        Weights and the other multipliers stay; the scenarios' mu is some of what the gap is now, counting what the new
        ones lose. From a smaller one, weights that are next to a wall could not leave it.
        """
        unknown = tail.beyond(self.weights, self.level) - self.tail.beyond(self.weights, self.level)
        gap = self.tail.pairs.gap() + max(unknown, 0.0)
        if gap > NEAR * abs(self.objective):
            return False
        self.tail, self.level = tail, tail.begin(self.weights, WIDER * gap / (2.0 * tail.rows.shape[0]))
        self.iterations, self.gone_on, self.misled = 0, True, False
        self.dual_missing = np.inf
        return True

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
        return self.level + self.tail.excess - float(self._reward @ self.weights)

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
        # Where the limits have no point the numbers grow until they are none; that is looked at, not warned of.
        with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
            self._step()

    def _step(self) -> None:
        pairs, gap = self._pairs, self.gap
        try:
            self._factorise()
        except SolverFailed:
            if not self.tail.rough:
                raise
            self.tail.rough, self.misled = False, True
            self._factorise()
        self._direct(None)
        primal, dual = self._room(pairs, 1.0)
        left = sum(each.gap_after(primal, dual) for each in pairs)
        centred = (left / gap) ** 3
        if self._curved and self.dual_missing > gap:
            # Where the gap closes before the equations that a power bends, steps can no longer mend these.
            centred = max(centred, LAGGING)
        self._direct(centred * gap / sum(each.count for each in pairs))
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
        pushed, mass = self.tail.pushed()
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
            border.append(np.tile(split.border, (split.limit.count, 1)))
            corners.append(split.corner)
        diagonal *= 1.0 + REGULAR
        self.primal_missing = max([self._rows.missing(self.weights), *(split.primal_missing for split in splits)])
        promised = self.dual_missing
        self.dual_missing = max([float(np.abs(self._missing).max()), *(split.dual_missing for split in splits)])
        self.misled |= self.tail.rough and self.dual_missing > max(MISLED * promised, MATTERS * self.gap)
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

    def _shadow(self, right: FloatArray) -> FloatArray:
        """Multipliers of the border. Limits that meet in one sum make rows that say the same: the least will do."""
        if len(right) == 1 and self._schur[0, 0] > 0.0:
            # Most often there is the sum of weights alone; least squares of one number took a tenth of a small request.
            return np.asarray(right / self._schur[0], dtype=np.float64)
        scale = 1.0 / np.sqrt(np.abs(np.diag(self._schur)) + NEVER)
        even = scale[:, None] * self._schur * scale
        if not (np.isfinite(even).all() and np.isfinite(right).all()):
            raise SolverFailed("interior point", f"a row that is no number at iteration {self.iterations}")
        return np.asarray(scale * np.linalg.lstsq(even, scale * right, rcond=SAME)[0], dtype=np.float64)

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
        shadow = np.zeros(0)
        if len(self._border):
            shadow = self._shadow(np.concatenate(limits) - self._border @ moved)
            moved = moved + self._solved @ shadow
        if not np.isfinite(moved).all():
            raise SolverFailed("interior point", f"a step that is no number at iteration {self.iterations}")
        self._moved = moved
        self.tail.move(moved[:count], float(moved[count]))
        self._box.move(moved[:count])
        self._rows.move(-shadow[:rows])
        for split in self._splits:
            split.move(moved[:count], -shadow[rows : rows + split.limit.count])
            rows += split.limit.count

    def _room(self, pairs: list[Pairs], share: float) -> tuple[float, float]:
        """Lengths of the primal and the dual step, one for both where costs are curved."""
        rooms = [each.room() for each in pairs]
        primal, dual = (min(1.0, share / max(*each, NEVER)) for each in zip(*rooms, strict=True))
        return (min(primal, dual),) * 2 if self._curved else (primal, dual)
