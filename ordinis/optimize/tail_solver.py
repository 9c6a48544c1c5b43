"""The least of CVaR minus reward plus costs over a region, from the few scenarios that matter, with a proof.

Of a million scenarios only the worst few per cent enter CVaR, and near the optimum they are nearly always the same.
So the interior point method works on a working set, the worst one and a half times as many as the tail holds, and the
whole set is gone through only to find it and to certify:

    upper bound   the objective at the weights, over all scenarios
    lower bound   of the mixture of scenarios that the method ends with (`scenarios`, `bounds`)

Both hold whatever the method did; their relative difference is the gap. Where the tail at the weights has scenarios
that the set lacks, they are added, and the method goes on from there or, where that is too far, begins anew. The first
set comes from a tenth of the scenarios where there are enough of them. A solver keeps set and weights for its next
request: another mean, aversion, limit or book moves the tail little, so that a frontier pays for its search once.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ordinis.errors import SolverFailed
from ordinis.optimize.blocks import Tail
from ordinis.optimize.bounds import lower_bound
from ordinis.optimize.interior import Interior
from ordinis.optimize.region import BoolArray, Prices, Region, TradingCosts
from ordinis.optimize.scenarios import Array, Scenarios, host
from ordinis.ports import FloatArray

SOLVER = "interior point"
MARGIN = 1.5
"""Scenarios in the working set, in units of those in the tail; N more are taken, which the optimum may tie."""
FEW = 4_000
"""So many scenarios are all taken where half of them would be."""
EVERY = 10
ENOUGH = 40
"""Scenarios that the tail of a thinned set must have, and N at least, to say where the tail of all of them is."""
ROUGH = 2e-2
"""Gap at which a thinned set has said enough, and at which the working set is looked at first."""
FAR = 1e-5
"""Gap above which the method's directions are rough where exact ones take long, while they lead where they should."""
AIMS = (1.0, 0.1, 0.01)
"""The method's own gap is driven to these shares of what is asked, until the bounds have met."""
NOTHING = 0.01
"""An objective smaller than this, in units of a typical loss, is all but zero."""
ITERATIONS, ITERATIONS_ON, ROUNDS = 60, 30, 10
"""At most, from a start and after going on with more scenarios; and sets of scenarios for one request."""
SNAP = 1e-6
"""A weight so near a bound, or so near what is held, in fractions of equity, may as well be there."""
LEFT_TO_TIDY = 0.5
"""Share of the gap that the search keeps to; the rest may go into weights at their bounds."""
OUTSIDE = 1e-9
"""How far weights may be outside a limit, in fractions of equity."""
TIDY = 1e-12
"""How far tidied weights may be outside a limit."""


@dataclass(frozen=True)
class Optimum:
    """(N,) weights with what is known of them; losses are positive, all in the unit of a return."""

    weights: FloatArray
    objective: float
    """CVaR - reward' w + costs, over all scenarios."""
    cvar: float
    bound: float
    """No weights in the region have a smaller objective."""
    least: float
    """What the gap is taken relative to where the objective is all but zero: a hundredth of a typical loss."""
    iterations: int = 0
    passes: int = 0
    """How often all scenarios were gone through."""

    @property
    def gap(self) -> float:
        """(objective - bound) / |objective|."""
        return (self.objective - self.bound) / max(abs(self.objective), self.least)


class WorkingSet:
    """The scenarios that the method works on, and the weights that it begins from."""

    def __init__(self, scenarios: Scenarios, scale: float, weights: FloatArray) -> None:
        self._scenarios, self._scale, self.weights = scenarios, scale, weights
        self.places: NDArray[np.int64] = np.zeros(0, dtype=np.int64)
        self.rows: Array = scenarios.rows(scenarios.module.asarray(self.places))
        """(m, N) returns in units of `scale`."""
        self.take(scenarios.losses(weights))

    def take(self, losses: Array, margin: float = MARGIN) -> None:
        """Add the worst scenarios by (S,) losses, so many times as many as the tail holds."""
        scenarios, xp = self._scenarios, self._scenarios.module
        wanted = int(margin * scenarios.tail) + scenarios.size
        if wanted > scenarios.count // 2 and scenarios.count <= FEW:
            wanted = scenarios.count
        fresh = np.setdiff1d(host(scenarios.worst(losses, wanted)), self.places)
        self.places = np.concatenate([self.places, fresh])
        self.rows = xp.concat([self.rows, scenarios.rows(xp.asarray(fresh)) / self._scale])

    def lacks(self, losses: Array) -> bool:
        """Whether the tail by (S,) losses has scenarios that are not here."""
        tail = host(self._scenarios.worst(losses, self._scenarios.tail))
        return not np.isin(tail, self.places).all()


class TailSolver:
    """Answers requests over one set of scenarios."""

    def __init__(self, scenarios: Scenarios, near: FloatArray | None = None, method: type[Interior] = Interior) -> None:
        """`near` are (N,) weights that are likely to be like the answer, yesterday's for one.

        `method` proposes weights and multipliers; nothing that it says of them is believed.
        """
        self.scenarios, self._near, self._method = scenarios, near, method
        self.scale = scenarios.scale() or 1.0
        """The method works in units of it."""
        self._set: WorkingSet | None = None

    def solve(
        self, region: Region, reward: FloatArray, costs: TradingCosts | None = None, tolerance: float = 1e-8
    ) -> Optimum:
        """The weights of `region` with the least CVaR - reward' w + costs.

        Args:
            region: the feasible set; has a point.
            reward: (N,) expected returns times how much they count.
            costs: of trades against what the region says is held.
            tolerance: relative gap at which the answer is good enough.

        Raises:
            SolverFailed: no answer with so small a gap was found.
        """
        if reward.shape != (self.scenarios.size,) or region.size != self.scenarios.size:
            raise ValueError(f"{self.scenarios.size} symbols in the scenarios, {region.size} in the region")
        request = _Request(self.scenarios, self.scale, region, reward, costs, tolerance, self._method)
        settled = region.settled()
        if not (settled.lower < settled.upper).any():
            return request.only(settled.lower)
        if self._set is None:
            near = self._first_guess(region, reward, costs) if self._near is None else self._near
            self._set = WorkingSet(self.scenarios, self.scale, near)
        best = request.tidied(request.search(settled, self._set))
        self._set.weights = best.weights
        return best

    def _first_guess(self, region: Region, reward: FloatArray, costs: TradingCosts | None) -> FloatArray:
        """Weights whose tail is about that of the optimum."""
        thinned = self.scenarios.count // EVERY * (1.0 - self.scenarios.confidence_level)
        if thinned < max(ENOUGH, self.scenarios.size):
            return region.middle()
        try:
            return (
                TailSolver(self.scenarios.thinned(EVERY), method=self._method)
                .solve(region, reward, costs, ROUGH)
                .weights
            )
        except SolverFailed:
            return region.middle()


class _Request:
    """One request: the bounds that have been proved so far, and the best weights."""

    def __init__(
        self,
        scenarios: Scenarios,
        scale: float,
        region: Region,
        reward: FloatArray,
        costs: TradingCosts | None,
        tolerance: float,
        method: type[Interior],
    ) -> None:
        self._make = method
        self._scenarios, self._scale, self._region, self._reward = scenarios, scale, region, reward
        self._costs, self._tolerance, self._before = costs, tolerance, scenarios.passes
        self._bound, self._iterations = -np.inf, 0
        self._exact = self._was_rough = False
        """Whether no direction may be rough, and whether one was."""
        self._best: Optimum | None = None

    def only(self, weights: FloatArray) -> Optimum:
        """The answer where the region leaves one at most."""
        if self._region.violation(weights) > OUTSIDE:
            raise SolverFailed(SOLVER, "no weights are inside the limits")
        found = self._measured(weights, self._scenarios.losses(weights))
        return replace(found, bound=found.objective)

    def search(self, settled: Region, working: WorkingSet) -> Optimum:
        """The answer to `settled`, which is the region without the weights that have no choice."""
        for self._exact in (False, True):
            failure = None
            try:
                self._rounds(settled, working)
            except SolverFailed as failed:
                failure = failed
            if self._best is not None and self._answer().gap <= self._tolerance:
                return self._answer()
            if not self._was_rough:
                break
        reached = "no weights inside the limits" if self._best is None else f"gap {self._answer().gap:.1e}"
        told = f"{reached} after {self._iterations} iterations, gap {self._tolerance:.1e} asked"
        raise failure or SolverFailed(SOLVER, told)

    def _rounds(self, settled: Region, working: WorkingSet) -> None:
        free = settled.lower < settled.upper
        method = self._method(settled, free, working, self._tail(settled, free, working))
        for number in range(ROUNDS):
            for goal in (ROUGH, *(aim * self._tolerance for aim in AIMS)):
                if not self._reached(method, goal) and method.gone_on:
                    method = self._method(settled, free, working, method.tail)
                    break
                weights = settled.lower.copy()
                weights[free] = method.weights
                losses = self._scenarios.losses(weights)
                # Where the method itself is further off than what is asked, only the set is looked at.
                if goal <= self._tolerance and self._certified(weights, losses, method, working):
                    return
                if working.lacks(losses):
                    # Near weights that risk nothing any scenario may be in the tail: the set grows faster each time.
                    working.take(losses, MARGIN * 2.0**number)
                    working.weights = weights
                    tail = self._tail(settled, free, working)
                    # After the rough goal: later the method is so close to walls that it cannot leave them.
                    if goal != ROUGH or not method.go_on(tail):
                        method = self._method(settled, free, working, tail)
                    break
            else:
                return

    def tidied(self, best: Optimum) -> Optimum:
        """The same with weights at the bounds that an interior point only comes near to, where that is as good."""
        weights = self._region.snapped(best.weights, SNAP)
        if self._region.violation(weights) > max(self._region.violation(best.weights), TIDY):
            return best
        tidied = replace(
            self._measured(weights, self._scenarios.losses(weights)),
            bound=best.bound,
            iterations=best.iterations,
            passes=best.passes + 1,
        )
        return tidied if tidied.gap <= self._tolerance else best

    def _method(self, settled: Region, free: BoolArray, working: WorkingSet, tail: Tail) -> Interior:
        costs = None if self._costs is None else self._costs.part(free, self._scale)
        return self._make(settled.part(free), costs, self._reward[free] / self._scale, tail, working.weights[free])

    def _tail(self, settled: Region, free: BoolArray, working: WorkingSet) -> Tail:
        xp = self._scenarios.module
        rows, offset = working.rows, None
        if not free.all():
            offset = rows @ xp.asarray(np.where(free, 0.0, settled.lower))
            rows = xp.take(rows, xp.asarray(np.nonzero(free)[0]), axis=1)
        return Tail(rows, offset, 1.0 / self._scenarios.mass, xp)

    def _reached(self, method: Interior, goal: float) -> bool:
        """Drive the method's own gap to `goal`; whether it came there."""
        begun, most = method.iterations, ITERATIONS_ON if method.gone_on else ITERATIONS
        outside = OUTSIDE if goal <= self._tolerance else goal
        try:
            while True:
                gap = method.gap / max(abs(method.objective), NOTHING)
                method.tail.rough = method.tail.large and gap > FAR and not (method.misled or self._exact)
                self._was_rough |= method.tail.rough
                if gap <= goal and method.dual_missing <= goal and method.primal_missing <= outside:
                    return True
                if method.iterations >= most:
                    return False
                method.iterate()
        except SolverFailed:
            if not method.gone_on:
                raise
            return False
        finally:
            self._iterations += method.iterations - begun

    def _certified(self, weights: FloatArray, losses: Array, method: Interior, working: WorkingSet) -> bool:
        """Better the bounds by what `method` has found; whether they have met."""
        self._bound = max(self._bound, self._lower(method, working))
        if self._region.violation(weights) <= OUTSIDE:
            found = self._measured(weights, losses)
            if self._best is None or found.objective < self._best.objective:
                self._best = found
        return self._best is not None and self._answer().gap <= LEFT_TO_TIDY * self._tolerance

    def _answer(self) -> Optimum:
        if self._best is None:
            raise SolverFailed(SOLVER, "no weights inside the limits")
        passes = self._scenarios.passes - self._before
        return replace(self._best, bound=self._bound, iterations=self._iterations, passes=passes)

    def _measured(self, weights: FloatArray, losses: Array) -> Optimum:
        cvar = self._scenarios.cvar(weights, losses)
        paid = 0.0 if self._costs is None else self._costs.of(weights - self._region.start)
        objective = cvar - float(self._reward @ weights) + paid
        return Optimum(weights, objective, cvar, -np.inf, NOTHING * self._scale)

    def _lower(self, method: Interior, working: WorkingSet) -> float:
        mixture = method.tail.mixture()
        if not self._scenarios.may_mix(mixture):
            return -np.inf
        gradient = -host(working.rows.T @ mixture) * self._scale - self._reward
        prices, scale = method.prices(), self._scale
        unscaled = Prices(prices.rows * scale, prices.leverage * scale, prices.turnover * scale)
        return lower_bound(gradient, self._region, self._costs, unscaled)
