"""What trading costs, fitted to the book's own fills: half spread, impact with its exponent, and what stays of it.

A fill paid y, the fraction of the arrival price that it was worse than the plan. With participation p (of the volume of
an average day) and session volatility sigma the cost model (`costs.models`) says

    y     = h + eta * sigma * p^delta + gamma / 2 * sigma * p + noise
    drift = gamma * sigma * p + the day's own move

where the drift is how far the price has gone the order's way by the session's close: temporary impact is over by then,
and the day's own move is of the size of sigma. The two right-hand sides of y grow nearly alike, so that what was paid
says much of their sum and little of gamma; the drift says gamma alone, but for the day's noise.

For one delta this is a linear model in (h, eta, gamma), whose prior and posterior are normal; delta runs over a grid,
each point weighted by its own prior and by how likely it makes the fills. So nothing is searched for, one set of fills
gives one answer, and intervals come from the mixture. The noise grows with the order, since the market wanders while
it is worked. Noise of ten basis points a fill hides an impact of two: few fills leave the prior where it was, which is
what a prior is for. All fills together move the prior; each liquidity bucket then starts from what all have said, as
widely as buckets may differ. Only delta is the book's for all of them: an optimiser has one exponent for all symbols.

Left out: that orders of one day share its moves, that what they paid has a part in them, and that prices also go where
a good forecast sent the order, which looks like impact. Almgren et al. (2005) fit eta 0.142 and delta 0.6 to a bank's
orders.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy import optimize, stats

from ordinis.costs.models import BASIS_POINT, SquareRootCost
from ordinis.ports import FloatArray

GRID = np.linspace(0.2, 1.0, 81)
"""Values of delta; above 1 a trade would cost more than in proportion to its square."""
LEVEL = 0.95
NOISE_FILLS = 100
"""A bucket's noise counts as if so many fills with the book's noise were among its own."""
NOISE_ROUNDS = 3
LEAST_NOISE = 1e-9
"""Executions are not reported finer."""
BUCKETS_DIFFER = 0.25
"""How widely liquidity buckets are expected to differ from the book, as a share of the prior's own width."""


@dataclass(frozen=True)
class CostPrior:
    """What is believed before any fill, with standard deviations."""

    half_spread: float = 1.0 * BASIS_POINT
    half_spread_sd: float = 2.0 * BASIS_POINT
    eta: float = 0.3
    eta_sd: float = 0.3
    delta: float = 0.5
    delta_sd: float = 0.15
    permanent: float = 0.1
    permanent_sd: float = 0.1
    """An eta of 0.3 leaves little of both impacts to the permanent one (`costs.models`). Believed more widely, fills
    without drifts would move what is paid between the two as they like."""


@dataclass(frozen=True)
class PaidCosts:
    """n fills in the order in which they happened."""

    paid: FloatArray
    """(n,) fraction of the arrival price, positive for a cost, fees left out."""
    participation: FloatArray
    """(n,) quantity of the order over the average day's volume."""
    volatility: FloatArray
    """(n,) of a session's return."""
    bucket: NDArray[np.int64]
    """(n,) liquidity bucket, 0 for the most liquid."""
    drift: FloatArray | None = None
    """(n,) side * (price at the session's close / arrival price - 1); NaN where it is not known, None where none is."""

    def __post_init__(self) -> None:
        drift = self.paid if self.drift is None else self.drift
        shapes = {array.shape for array in (self.paid, self.participation, self.volatility, self.bucket, drift)}
        if len(shapes) != 1 or self.paid.ndim != 1:
            raise ValueError(f"fills of shapes {sorted(shapes)}")
        numbers = (self.paid, self.participation, self.volatility)
        if not all(np.isfinite(array).all() for array in numbers):
            raise ValueError("costs, participations and volatilities must be finite: leave other fills out first")
        if (self.participation <= 0.0).any() or (self.volatility < 0.0).any():
            raise ValueError("a participation is above 0, a volatility at least 0")
        if np.isinf(drift).any():
            raise ValueError("a drift is a number, or NaN where it is not known")

    def __len__(self) -> int:
        return len(self.paid)

    def part(self, kept: NDArray[np.bool_] | slice) -> PaidCosts:
        drift = None if self.drift is None else self.drift[kept]
        return PaidCosts(self.paid[kept], self.participation[kept], self.volatility[kept], self.bucket[kept], drift)

    def drifts(self) -> tuple[FloatArray, FloatArray]:
        """(m,) known drifts in units of their noise, the session's volatility, and what gamma multiplies in them."""
        if self.drift is None:
            return np.zeros(0), np.zeros(0)
        known = np.isfinite(self.drift) & (self.volatility > 0.0)
        return self.drift[known] / self.volatility[known], self.participation[known]


@dataclass(frozen=True)
class Estimate:
    """The value to use, and an interval of 95 % of the posterior."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class CostFit:
    """The parameters of one bucket, or of the book."""

    half_spread: Estimate
    eta: Estimate
    delta: Estimate
    permanent: Estimate
    noise: float
    """Standard deviation of a fill around the model, a fraction; the root of the mean of all fills' variances."""
    fills: int

    def predicted(self, participation: FloatArray, volatility: FloatArray) -> FloatArray:
        """(n,) fractions of the arrival price."""
        half_spread, eta, permanent = self._used
        temporary = eta * participation**self.delta.value
        return np.asarray(half_spread + volatility * (temporary + permanent / 2.0 * participation))

    @property
    def _used(self) -> tuple[float, float, float]:
        """No cost is below nothing, where noise puts the estimate of one that is nothing half the time."""
        half_spread, eta, permanent = (max(each.value, 0.0) for each in (self.half_spread, self.eta, self.permanent))
        return half_spread, eta, permanent

    def model(self, commission_bps: float) -> SquareRootCost:
        """What trades by it; a commission is agreed, not estimated."""
        half_spread, eta, permanent = self._used
        return SquareRootCost(half_spread / BASIS_POINT, eta, self.delta.value, commission_bps, permanent)


def fit(fills: PaidCosts, prior: CostPrior) -> CostFit:
    """All of `fills` under one set of parameters; without any, what is believed before."""
    return _fitted(fills, prior, None, GRID)[0]


def fit_buckets(fills: PaidCosts, prior: CostPrior, count: int) -> tuple[CostFit, tuple[CostFit, ...]]:
    """The book, and each of `count` buckets, which starts from the book and keeps its delta."""
    book, noise = _fitted(fills, prior, None, GRID)
    learned = CostPrior(
        book.half_spread.value,
        BUCKETS_DIFFER * prior.half_spread_sd,
        book.eta.value,
        BUCKETS_DIFFER * prior.eta_sd,
        book.delta.value,
        prior.delta_sd,
        book.permanent.value,
        BUCKETS_DIFFER * prior.permanent_sd,
    )
    shared = np.array([book.delta.value])
    own = (_fitted(fills.part(fills.bucket == bucket), learned, noise, shared)[0] for bucket in range(count))
    return book, tuple(replace(found, delta=book.delta) for found in own)


def _fitted(fills: PaidCosts, prior: CostPrior, usual: _Noise | None, grid: FloatArray) -> tuple[CostFit, _Noise]:
    """A fit and its noise.

    Args:
        usual: the book's noise, for a bucket whose own fills are too few to tell theirs.
        grid: (G,) values of delta; one where it is known.
    """
    noise = usual or _Noise(float(np.std(fills.paid)) if len(fills) else 0.0, 0.0)
    if not len(fills):
        return of_prior(prior), noise
    mixture = _mixture(fills, prior, noise.of(fills), grid)
    for _ in range(NOISE_ROUNDS):
        left = fills.paid - mixture.predicted(fills)
        noise = noise.told_by(left, fills) if usual is None else usual.scaled(left, fills)
        mixture = _mixture(fills, prior, noise.of(fills), grid)
    half_spread, eta, permanent = (mixture.normal(place) for place in range(3))
    typical = float(np.sqrt(np.mean(noise.of(fills) ** 2)))
    eta = replace(eta, value=mixture.eta())
    return CostFit(half_spread, eta, mixture.exponent(), permanent, typical, len(fills)), noise


@dataclass(frozen=True)
class _Noise:
    """Of a fill around the model: variance = base^2 + of_size^2 sigma^2 p.

    The longer an order is worked the further the market wanders meanwhile, and an order is worked for as long as its
    size takes at some share of the volume.
    """

    base: float
    of_size: float

    def of(self, fills: PaidCosts) -> FloatArray:
        """(n,) standard deviations."""
        return np.asarray(np.sqrt(max(self.base, LEAST_NOISE) ** 2 + self.of_size**2 * _wandering(fills)))

    def told_by(self, left: FloatArray, fills: PaidCosts) -> _Noise:
        """The noise that (n,) residuals speak of: their squares by least squares, each weighted by its own size."""
        weights = 1.0 / self.of(fills) ** 2
        terms = np.column_stack([np.ones(len(left)), _wandering(fills)])
        scale = np.maximum((weights[:, None] * terms).max(axis=0), np.finfo(float).tiny)
        found, _ = optimize.nnls(weights[:, None] * terms / scale, weights * left**2)
        base, of_size = np.sqrt(found / scale).tolist()
        return _Noise(base, of_size)

    def scaled(self, left: FloatArray, fills: PaidCosts) -> _Noise:
        """The same shape at the size that (n,) residuals speak of, among fills of the usual size."""
        squares = float(((left / self.of(fills)) ** 2).sum())
        by = float(np.sqrt((squares + NOISE_FILLS) / (len(left) + NOISE_FILLS)))
        return _Noise(by * self.base, by * self.of_size)


def _wandering(fills: PaidCosts) -> FloatArray:
    return np.asarray(fills.volatility**2 * fills.participation)


def of_prior(prior: CostPrior) -> CostFit:
    """What is believed before any fill, as a fit of none."""

    def around(value: float, deviation: float) -> Estimate:
        reach = float(stats.norm.ppf((1.0 + LEVEL) / 2.0)) * deviation
        return Estimate(value, value - reach, value + reach)

    return CostFit(
        around(prior.half_spread, prior.half_spread_sd),
        around(prior.eta, prior.eta_sd),
        around(prior.delta, prior.delta_sd),
        around(prior.permanent, prior.permanent_sd),
        float("nan"),
        0,
    )


@dataclass(frozen=True)
class _Mixture:
    """For each delta of the grid its weight, and mean and covariance of (h, eta, gamma)."""

    middle: float
    """Geometric mean of the participations."""
    grid: FloatArray
    """(G,)."""
    weights: FloatArray
    means: FloatArray
    """(G, 3)."""
    covariances: FloatArray
    """(G, 3, 3)."""

    def predicted(self, fills: PaidCosts) -> FloatArray:
        half_spread, _, permanent = self.weights @ self.means
        temporary = self.eta() * fills.participation ** float(self.weights @ self.grid)
        return np.asarray(half_spread + fills.volatility * (temporary + permanent / 2.0 * fills.participation))

    def eta(self) -> float:
        """The one that with the mean delta costs what the mixture costs at the middle participation.

        The mean eta would not: it is high where delta is high, and both together cost the same.
        """
        impact = float(self.weights @ (self.means[:, 1] * self.middle**self.grid))
        return float(impact / self.middle ** float(self.weights @ self.grid))

    def normal(self, place: int) -> Estimate:
        """Of h (0), eta (1) or gamma (2)."""
        means, deviations = self.means[:, place], np.sqrt(self.covariances[:, place, place])
        ends = float((means - 8.0 * deviations).min()), float((means + 8.0 * deviations).max())

        def quantile(level: float) -> float:
            def off(at: float) -> float:
                return float(self.weights @ stats.norm.cdf(at, means, deviations)) - level

            return float(optimize.brentq(off, *ends, xtol=1e-12))

        low, high = quantile((1.0 - LEVEL) / 2.0), quantile((1.0 + LEVEL) / 2.0)
        return Estimate(float(self.weights @ means), low, high)

    def exponent(self) -> Estimate:
        reached = np.cumsum(self.weights) - self.weights / 2.0
        levels = (1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0
        low, high = (float(np.interp(level, reached, self.grid)) for level in levels)
        return Estimate(float(self.weights @ self.grid), low, high)


def _mixture(fills: PaidCosts, prior: CostPrior, noise: FloatArray, grid: FloatArray) -> _Mixture:
    """Normal posteriors of (h, eta, gamma) by delta, with the evidence of each; `noise` is (n,)."""
    believed = np.array([prior.half_spread, prior.eta, prior.permanent])
    drift, moved_by = fills.drifts()
    # What is known before any fill was paid for: beliefs, and the drifts, which say the same whatever delta is.
    precision = np.diag([prior.half_spread_sd**-2, prior.eta_sd**-2, prior.permanent_sd**-2])
    precision[2, 2] += moved_by @ moved_by
    drifted = np.array([0.0, 0.0, moved_by @ (drift - believed[2] * moved_by)])
    logs = -0.5 * ((grid - prior.delta) / prior.delta_sd) ** 2
    means, covariances = np.empty((len(grid), 3)), np.empty((len(grid), 3, 3))
    participation = np.log(fills.participation)
    columns = np.ones((3, len(fills)))
    columns[2] = fills.volatility * fills.participation / 2.0
    for place, delta in enumerate(grid):
        columns[1] = fills.volatility * np.exp(delta * participation)
        # Of what the prior leaves unexplained, so that the evidence needs no differences of large sums.
        rest = (fills.paid - believed @ columns) / noise
        weighed = columns / noise
        pulls = weighed @ rest + drifted
        posterior = precision + weighed @ weighed.T
        moved = np.linalg.solve(posterior, pulls)
        means[place], covariances[place] = believed + moved, np.linalg.inv(posterior)
        logs[place] += 0.5 * (pulls @ moved - rest @ rest - np.linalg.slogdet(posterior)[1])
    weights = np.exp(logs - logs.max())
    return _Mixture(float(np.exp(participation.mean())), grid, weights / weights.sum(), means, covariances)
