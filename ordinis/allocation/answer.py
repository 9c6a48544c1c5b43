"""The one way out of every allocator: raw weights, projection, certificate, Allocation.

Whatever a model or solver wished for, what leaves is the nearest vector inside the limits, both measured by code that
the projection does not share, with the wish beside it in the trace. Two quantities are estimated here, for all alike:

    expected P&L of symbol i = weight_i * equity * horizon * mean of its last 252 session returns
    confidence               = share of the view's symbols that are usable over the allocator's lookback (`usable`)

A trailing mean is a poor forecast (its standard error is of its own size); it is the plain one against which feedback
measures a better. A symbol with fewer than 21 returns has no expectation and is left out of that mapping.

`hold` is the lowest rung: the weights of the book as they are. They are not projected: after drift they may exceed a
cap, and the certificate then says so.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ordinis.costs.conditions import MarketConditions
from ordinis.domain.canonical import canonical
from ordinis.domain.decisions import Allocation, Rung
from ordinis.domain.limits import Limits
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.errors import AllocationRefused
from ordinis.optimize.certificate import certify, farther_than_need_be
from ordinis.optimize.projection import project
from ordinis.ports import FloatArray, MarketView

EXPECTATION_SESSIONS = 252
LEAST_SESSIONS = 21
"""Returns below which a trailing mean says nothing at all."""
DEAD = 1e-8
"""Session volatility below which a price does not move: it would look like no risk at all."""

NEAREST = 1e-14
"""Squared distance from the nearest weights inside the limits, of the square of what was moved: both round alike."""

Nearest = Callable[[FloatArray, Sequence[str], Limits], FloatArray]
BoolArray = NDArray[np.bool_]


class Author(Protocol):
    """Who answers."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str: ...

    @property
    def limits(self) -> Limits: ...


def answer(
    author: Author,
    view: MarketView,
    portfolio: PortfolioSnapshot,
    weights: FloatArray,
    rung: Rung,
    *,
    confidence: float,
    trace: Mapping[str, object],
    horizon_sessions: int = 1,
    nearest: Nearest = project,
) -> Allocation:
    """Turn (N,) raw weights by `view.symbols` into an allocation inside the limits.

    What is held in a symbol outside the view gets weight 0 and is named in the trace as "outside_view".

    Args:
        nearest: moves raw weights inside the limits, and is not believed.

    Raises:
        AllocationRefused: a raw weight is not finite, the projected ones fail their certificate, or others inside the
            limits are nearer to the raw ones.
    """
    projected = nearest(weights, view.symbols, author.limits)
    outside = sorted(set(portfolio.holdings) - set(view.symbols))
    held = dict.fromkeys(outside, 0.0) | dict(zip(view.symbols, projected.tolist(), strict=True))
    certificate = certify(held, author.limits)
    if not certificate.holds:
        broken = min(certificate.slacks, key=lambda name: certificate.slacks[name])
        raise AllocationRefused(f"projected weights of {author.name} break {broken} by {-certificate.worst:.2e}")
    raw = dict(zip(view.symbols, np.asarray(weights, dtype=np.float64).tolist(), strict=True))
    moved = math.fsum(abs(wish - held[symbol]) for symbol, wish in raw.items())
    farther = farther_than_need_be(raw, {symbol: held[symbol] for symbol in raw}, author.limits)
    if not farther <= NEAREST * (1.0 + moved) ** 2:
        raise AllocationRefused(f"weights nearer to the wish of {author.name} are inside its limits")
    told: dict[str, object] = dict(trace)
    told["raw_weights"] = raw
    if outside:
        told["outside_view"] = outside
    return Allocation(
        weights=held,
        cash=1.0 - float(projected.sum()),
        allocator=author.name,
        version=author.version,
        rung=rung,
        certificate=certificate,
        expected_pnl=expected_pnl(view, portfolio, held, horizon_sessions),
        horizon_sessions=horizon_sessions,
        confidence=confidence,
        view_sha=view.sha,
        trace=told,
    )


def hold(
    author: Author,
    view: MarketView,
    portfolio: PortfolioSnapshot,
    reason: str,
    *,
    confidence: float = 0.0,
    trace: Mapping[str, object] | None = None,
    horizon_sessions: int = 1,
) -> Allocation:
    """Keep the book as it is, and say why; confidence 0 unless holding is what the allocator judged right."""
    weights = portfolio.weights
    return Allocation(
        weights=weights,
        cash=1.0 - sum(weights.values()),
        allocator=author.name,
        version=author.version,
        rung=Rung.HOLD,
        certificate=certify(weights, author.limits),
        expected_pnl=expected_pnl(view, portfolio, weights, horizon_sessions),
        horizon_sessions=horizon_sessions,
        confidence=confidence,
        view_sha=view.sha,
        trace=dict(trace or {}) | {"hold": reason},
    )


def expected_pnl(
    view: MarketView, portfolio: PortfolioSnapshot, weights: Mapping[str, float], horizon_sessions: int
) -> dict[str, float]:
    """Currency over the horizon, by symbol of the view that has a weight and enough returns."""
    closes = view.closes[-(EXPECTATION_SESSIONS + 1) :]
    with np.errstate(divide="ignore", invalid="ignore"):
        returns = closes[1:] / closes[:-1] - 1.0
    known = np.isfinite(returns)
    count = known.sum(axis=0)
    mean = np.where(known, returns, 0.0).sum(axis=0) / np.maximum(count, 1)
    equity = float(portfolio.equity)
    return {
        symbol: weights[symbol] * equity * horizon_sessions * float(mean[index])
        for index, symbol in enumerate(view.symbols)
        if count[index] >= LEAST_SESSIONS and symbol in weights
    }


def usable(view: MarketView, sessions: int) -> BoolArray:
    """(N,) whether a symbol has a positive close in each of the last `sessions` sessions; none has in a short view.

    What bars say that nobody has traded for a month is not usable: its closes stand still, which looks like no risk.
    """
    if len(view.closes) < sessions:
        return np.zeros(len(view.symbols), dtype=np.bool_)
    last = view.closes[-sessions:]
    return np.asarray((np.isfinite(last) & (last > 0.0)).all(axis=0) & ~dried_up(view))


def moving_returns(view: MarketView, lookback: int) -> tuple[FloatArray, BoolArray]:
    """(lookback, M) returns of the symbols that are usable and whose price moved, and (N,) which those are."""
    used = usable(view, lookback + 1)
    closes = view.closes[-(lookback + 1) :, used]
    returns = closes[1:] / closes[:-1] - 1.0
    if used.any():
        moved = returns.std(axis=0, ddof=1) > DEAD
        used[used], returns = moved, returns[:, moved]
    return returns, used


def dried_up(view: MarketView) -> BoolArray:
    """(N,) whether bars say that nobody traded a symbol in the last 21 sessions."""
    # A close of zero has no return after it; who asks for a close leaves such a symbol out by itself.
    with np.errstate(divide="ignore", invalid="ignore"):
        conditions = MarketConditions.measured(view)
    return np.array([conditions.dried_up(symbol) for symbol in view.symbols], dtype=np.bool_)


def left_out(view: MarketView, used: BoolArray) -> list[str]:
    """Names of the view's symbols that were not used, for the trace."""
    return [symbol for symbol, took in zip(view.symbols, used, strict=True) if not took]


def version_of(name: str, revision: int, parameters: Mapping[str, object]) -> str:
    """Revision of the method and a digest of its parameters: another parameter is another model.

    Limits are left out: a decision hashes them apart (`limits_sha`), and tightening one must not look like a new model.
    """
    digest = hashlib.sha256(canonical({"name": name, "parameters": parameters}).encode()).hexdigest()
    return f"{revision}-{digest[:12]}"
