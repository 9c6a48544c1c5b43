"""A walk forward through ten years: mean-CVaR chosen anew every day, against skfolio.

    python -m benchmarks.walk_forward [--full]

Twenty shipped stocks; each day's weights maximise mean' w - CVaR_95 of the 504 days before it, long-only, fully
invested, no weight above 0.2, and are traded at that day's close for 10 basis points a side (`array_backtest`). Each
search begins at the weights of the day before. The quick tier walks one year.

Every day is certified: its objective, computed again by a sort over the window, is within 1e-6 of the bound that no
weights fall below. skfolio answers every fiftieth day, in turn with ours, and must have found the same objective; its
time for the whole walk is not measured but that of these days times their distance.
"""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

from benchmarks import machine, peers
from benchmarks.mean_cvar import GAP, PEER_GAP, objective, timed
from benchmarks.scenario_sets import shipped_days
from ordinis.evaluation import statistics
from ordinis.evaluation.array_backtest import array_backtest
from ordinis.optimize.region import Region
from ordinis.optimize.scenarios import Scenarios
from ordinis.optimize.tail_solver import Optimum, TailSolver
from ordinis.ports import FloatArray

DAYS, YEAR, WINDOW, EVERY = 2_520, 252, 504, 50
CAP, COST_BPS = 0.2, 10.0
GOAL, QUICK = 10.0, 3.0
"""Seconds for ten years; the quick tier allows three times as many for its part: it runs beside other work."""


def long_only(count: int) -> Region:
    return Region(np.zeros(count), np.full(count, CAP), np.ones((1, count)), np.ones(1), np.ones(1))


def certified(window: FloatArray, found: Optimum) -> float:
    """The gap of a day, from its weights and its bound alone."""
    value = objective(window, found.weights)
    return (value - found.bound) / abs(value)


def walk(returns: FloatArray) -> tuple[FloatArray, dict[str, Any]]:
    """(days, N) weights and what they took; `returns` begin a window before the first day."""
    region, chosen, near = long_only(returns.shape[1]), [], None
    taken, theirs, gaps, apart = [], [], [], []
    for day in range(WINDOW, len(returns)):
        window = returns[day - WINDOW : day]
        seconds, found = timed(lambda window=window, near=near: _choose(window, near, region))  # type: ignore[misc]
        near = found.weights
        taken.append(seconds)
        chosen.append(near)
        gaps.append(certified(window, found))
        if (day - WINDOW) % EVERY == 0:
            seconds, weights = timed(lambda window=window: peers.skfolio(window, CAP))  # type: ignore[misc]
            theirs.append(seconds)
            inside = np.clip(weights, 0.0, CAP)
            apart.append(objective(window, inside / inside.sum()) / objective(window, near) - 1.0)
    assert max(gaps) <= GAP, f"a day is off by {max(gaps):.1e}"
    assert np.abs(apart).max() <= PEER_GAP, f"skfolio is {np.abs(apart).max():.1e} away"
    days = len(taken)
    return np.array(chosen), {
        "days": days, "seconds": sum(taken), "day_ms_p50": 1e3 * float(np.median(taken)),
        "day_ms_p99": 1e3 * float(np.percentile(taken, 99)), "largest_gap": max(gaps),
        "skfolio_seconds_extrapolated": float(np.mean(theirs)) * days, "skfolio_days_measured": len(theirs),
        "skfolio_largest_difference": float(np.abs(apart).max()),
    }  # fmt: skip


def _choose(window: FloatArray, near: FloatArray | None, region: Region) -> Optimum:
    return TailSolver(Scenarios(window), near).solve(region, window.mean(axis=0), tolerance=GAP)


def evaluated(returns: FloatArray, weights: FloatArray) -> dict[str, float]:
    """What the walk earned; a day's weights are traded at its close and earn from the next day on."""
    # A solver's zero may be a rounding below it.
    inside = np.clip(weights, 0.0, CAP)
    prices = np.cumprod(1.0 + returns, axis=0, dtype=np.float64)
    seconds, found = timed(lambda: array_backtest(prices, inside, COST_BPS))
    return {
        "backtest_seconds": seconds,
        "annual_return": statistics.annualised_return(found.returns),
        "sharpe": statistics.sharpe(found.returns),
        "annual_turnover": statistics.turnover_summary(found.turnover).annual,
        "costs_of_opening_cash": float(found.costs.sum()),
    }


def main() -> None:
    full = "--full" in sys.argv
    days = DAYS if full else YEAR
    returns = shipped_days(days + WINDOW)
    _choose(returns[:WINDOW], None, long_only(returns.shape[1]))
    weights, figures = walk(returns)
    figures |= evaluated(returns[WINDOW:], weights)
    figures["ratio"] = figures["skfolio_seconds_extrapolated"] / figures["seconds"]
    print(f"walk-forward: {figures}")
    if full:
        machine.write("walk_forward", figures)
    most = GOAL * days / DAYS * (1.0 if full else QUICK)
    if figures["seconds"] > most:
        sys.exit(f"{figures['seconds']:.1f} s for {days} days, asked {most:.1f}")


if __name__ == "__main__":
    main()
