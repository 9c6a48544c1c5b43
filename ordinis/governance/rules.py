"""The rules: each takes target weights and gives back weights that are nowhere larger.

Position, sector and gross caps bind what is proposed. Prices alone may carry a held weight past a cap: while a
proposal adds nothing, such an excess up to `passive_excess` is left alone, beyond it the weight is cut to the cap.
The gross cap falls with the drawdown D in a straight line, from all of it at `start` to none at `stop`:

    scale = clip((stop - D) / (stop - start), 0, 1)

A factor cap binds the exposure of the book, E_f = sum_i w_i beta_if, whichever way it points, and held weights too:
exposures change overnight without a trade, so there is no excess that prices alone would have made. An optimiser knows
nothing of these caps: it proposes without them, and what it proposed is shrunk here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ordinis.domain.decisions import Verdict
from ordinis.domain.exposures import FactorExposures, exposure_of, why_guessed
from ordinis.domain.limits import TradingState
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.ports import RuleContext

ROUNDING = 1e-9
"""Weights closer than this are the same weight."""
ROUNDS = 500
"""Through all factors, before the whole book is scaled."""

Weights = Mapping[str, float]


@dataclass(frozen=True)
class PositionCap:
    cap: float
    passive_excess: float
    name: str = "position cap"

    def review(self, weights: Weights, portfolio: PortfolioSnapshot, context: RuleContext) -> tuple[Weights, Verdict]:
        held = portfolio.weights
        allowed = {
            symbol: weight
            if weight <= self.cap + ROUNDING or _passive(weight, held.get(symbol, 0.0), self.cap, self.passive_excess)
            else self.cap
            for symbol, weight in weights.items()
        }
        largest = max(weights.values(), default=0.0)
        cut = sorted(symbol for symbol in weights if allowed[symbol] < weights[symbol])
        return allowed, Verdict(self.name, self.cap, largest, not cut, f"cut {', '.join(cut)}" if cut else "")


@dataclass(frozen=True)
class SectorCap:
    cap: float
    passive_excess: float
    name: str = "sector cap"

    def review(self, weights: Weights, portfolio: PortfolioSnapshot, context: RuleContext) -> tuple[Weights, Verdict]:
        proposed = _by_sector(weights, context.sectors)
        held = _by_sector(portfolio.weights, context.sectors)
        scale = {
            sector: self.cap / total
            for sector, total in proposed.items()
            if total > self.cap + ROUNDING and not _passive(total, held.get(sector, 0.0), self.cap, self.passive_excess)
        }
        allowed = {
            symbol: weight * scale[context.sectors[symbol]] if context.sectors.get(symbol) in scale else weight
            for symbol, weight in weights.items()
        }
        detail = f"cut {', '.join(sorted(scale))}" if scale else ""
        return allowed, Verdict(self.name, self.cap, max(proposed.values(), default=0.0), not scale, detail)


@dataclass(frozen=True)
class GrossCap:
    """Sum of weights: the gross cap and the cash buffer, whichever is tighter."""

    cap: float
    passive_excess: float
    name: str = "gross exposure"

    def review(self, weights: Weights, portfolio: PortfolioSnapshot, context: RuleContext) -> tuple[Weights, Verdict]:
        total = sum(weights.values())
        held = sum(portfolio.weights.values())
        if total <= self.cap + ROUNDING or _passive(total, held, self.cap, self.passive_excess):
            return weights, Verdict(self.name, self.cap, total, True)
        return _scaled(weights, self.cap / total), Verdict(self.name, self.cap, total, False, "scaled to the cap")


@dataclass(frozen=True)
class DrawdownCurve:
    start: float
    stop: float
    cap: float
    """The gross exposure that is allowed while the drawdown is below `start`."""
    passive_excess: float
    name: str = "drawdown curve"

    def review(self, weights: Weights, portfolio: PortfolioSnapshot, context: RuleContext) -> tuple[Weights, Verdict]:
        drawdown = portfolio.drawdown
        scale = min(1.0, max(0.0, (self.stop - drawdown) / (self.stop - self.start)))
        allowed, total = self.cap * scale, sum(weights.values())
        carried = _passive(total, sum(portfolio.weights.values()), allowed, self.passive_excess)
        if scale >= 1.0 or total <= allowed + ROUNDING or (scale > 0.0 and carried):
            return weights, Verdict(self.name, self.start, drawdown, True)
        detail = f"drawdown {drawdown:.1%}: exposure {total:.1%} cut to {allowed:.1%}"
        return _scaled(weights, allowed / total), Verdict(self.name, self.start, drawdown, False, detail)


@dataclass(frozen=True)
class DailyLoss:
    """At the limit nothing may be added until the next session."""

    limit: float
    name: str = "daily loss"

    def review(self, weights: Weights, portfolio: PortfolioSnapshot, context: RuleContext) -> tuple[Weights, Verdict]:
        loss = -portfolio.daily_return
        if loss < self.limit:
            return weights, Verdict(self.name, self.limit, loss, True)
        held = portfolio.weights
        allowed = {symbol: min(weight, held.get(symbol, 0.0)) for symbol, weight in weights.items()}
        return allowed, Verdict(self.name, self.limit, loss, False, f"down {loss:.2%} today: nothing is added")


@dataclass(frozen=True)
class ReduceOnly:
    """While trading is REDUCING nothing may be added."""

    name: str = "trading state"

    def review(self, weights: Weights, portfolio: PortfolioSnapshot, context: RuleContext) -> tuple[Weights, Verdict]:
        if context.state is TradingState.ACTIVE:
            return weights, Verdict(self.name, 1.0, 1.0, True)
        held = portfolio.weights
        allowed = {symbol: min(weight, held.get(symbol, 0.0)) for symbol, weight in weights.items()}
        return allowed, Verdict(self.name, 1.0, 0.0, False, f"trading is {context.state}: nothing is added")


@dataclass(frozen=True)
class FactorExposure:
    """The book's exposure to each factor is at most its cap, either way.

    Where |E_f| is above its cap c, the positions that push E_f further out, P of it in all, are scaled by
    1 - (|E_f| - c) / P, which brings |E_f| to c. What is cut for one factor may have offset another, so the factors are
    gone through, by name, until all hold. Each round that finds |E_f| beyond its cap takes a weight of that excess over
    the largest |beta| off the book, so they converge, but perhaps slowly; after ROUNDS the whole book is scaled by the
    smallest c / |E_f|, which leaves every |E_f| at or below its cap. The gross cap stands before this rule: weights sum
    to two at most and exposures are below `LARGEST`, so that rounding is a thousand times below ROUNDING.
    """

    caps: Mapping[str, float]
    """The largest |E_f|, by factor."""
    name: str = "factor exposure"

    def review(self, weights: Weights, portfolio: PortfolioSnapshot, context: RuleContext) -> tuple[Weights, Verdict]:
        problem = why_guessed(context.exposures, context.exposures_age)
        known = None if problem else context.exposures
        betas = {factor: {symbol: exposure_of(known, symbol, factor) for symbol in weights} for factor in self.caps}
        # By name: two files that differ in the order of the caps only have one hash.
        factors = sorted(self.caps)
        allowed = _inside(weights, [(betas[factor], self.caps[factor]) for factor in factors])
        exposures = {factor: _exposure(weights, betas[factor]) for factor in factors}
        worst = max(factors, key=lambda factor: abs(exposures[factor]) - self.caps[factor])
        cut = sorted(symbol for symbol in weights if allowed[symbol] < weights[symbol])
        told = [", ".join(f"{factor} {exposures[factor]:.4f} of {self.caps[factor]:g}" for factor in factors)]
        told += [f"cut {', '.join(cut)}"] if cut else []
        told += [f"{problem}: all count as market 1"] if known is None else _guesses(known, weights, factors)
        return allowed, Verdict(self.name, self.caps[worst], abs(exposures[worst]), not cut, "; ".join(told))


@dataclass(frozen=True)
class MarketHours:
    """Nothing is traded while the exchange is closed."""

    name: str = "market hours"

    def review(self, weights: Weights, portfolio: PortfolioSnapshot, context: RuleContext) -> tuple[Weights, Verdict]:
        if context.session_open:
            return weights, Verdict(self.name, 1.0, 1.0, True)
        return {}, Verdict(self.name, 1.0, 0.0, False, f"the exchange is closed (session {context.session})")


def _passive(proposed: float, held: float, cap: float, excess: float) -> bool:
    """True when nothing is added and prices alone carried the weight a little past its cap."""
    return proposed <= held + ROUNDING and proposed <= cap + excess


def _scaled(weights: Weights, scale: float) -> dict[str, float]:
    return {symbol: weight * scale for symbol, weight in weights.items()}


def _exposure(weights: Weights, betas: Weights) -> float:
    return math.fsum(weight * betas[symbol] for symbol, weight in weights.items())


def _inside(weights: Weights, bounds: Sequence[tuple[Weights, float]]) -> Weights:
    """`weights` shrunk until, for each row of exposures and its cap, the book's exposure is at most the cap."""
    for _ in range(ROUNDS):
        before = weights
        for betas, cap in bounds:
            weights = _turned_down(weights, betas, cap)
        if weights is before:
            return weights
    totals = [(abs(_exposure(weights, betas)), cap) for betas, cap in bounds]
    return _scaled(weights, min((cap / total for total, cap in totals if total > cap + ROUNDING), default=1.0))


def _turned_down(weights: Weights, betas: Weights, cap: float) -> Weights:
    """`weights` whose exposure is at most `cap` because those that push past it are scaled."""
    total = _exposure(weights, betas)
    if abs(total) <= cap + ROUNDING:
        return weights
    pushing = {symbol for symbol, weight in weights.items() if weight * betas[symbol] * total > 0.0}
    pushed = abs(_exposure({symbol: weights[symbol] for symbol in pushing}, betas))
    scale = 1.0 - (abs(total) - cap) / pushed
    return {symbol: weight * scale if symbol in pushing else weight for symbol, weight in weights.items()}


def _guesses(known: FactorExposures, weights: Weights, factors: Sequence[str]) -> list[str]:
    """Whose exposures a verdict rests on, and what they do not say."""
    guessed = sorted(symbol for symbol, weight in weights.items() if weight and symbol not in known.by_symbol)
    unknown = [factor for factor in factors if factor not in known.factors]
    told = [f"exposures of {known.session}"]
    told += [f"{', '.join(guessed)} guessed as market 1"] if guessed else []
    return told + ([f"nothing is known of {', '.join(unknown)}"] if unknown else [])


def _by_sector(weights: Weights, sectors: Mapping[str, str]) -> dict[str, float]:
    totals: dict[str, float] = {}
    for symbol, weight in weights.items():
        if symbol in sectors:
            totals[sectors[symbol]] = totals.get(sectors[symbol], 0.0) + weight
    return totals
