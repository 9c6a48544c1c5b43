"""The back-test on arrays against vectorbt, and against a loop over sessions in NumPy.

    python -m benchmarks.array_backtest [--full --peers PYTHON]

Twenty shipped stocks over ten years, weights by inverse volatility of 63 days, 10 basis points a side. The loop is what
a researcher would write. Both take three turns of five runs each, as in a sweep, in one process; medians. vectorbt has
a Python of its own, so its turns are those of a process, which compiles before it measures. Before a time counts equity
must agree to 1e-12 in every session. vectorbt is asked only where cash covers all purchases: there the two mean the
same.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

import numpy as np

from benchmarks import machine
from benchmarks.mean_cvar import timed
from benchmarks.scenario_sets import made, shipped_days
from ordinis.evaluation.array_backtest import array_backtest
from ordinis.ports import FloatArray

SESSIONS, LOOKBACK, MONTH = 2_520, 63, 21
COST_BPS, CASH = 10.0, 1_000_000.0
INVESTED = 0.98
"""Enough cash is left for costs."""
CLOSE = 1e-12
RUNS, TURNS = 5, 3
GOAL, LOOP_GOAL, QUICK = 200.0, 60.0, 3.0
"""Times faster than vectorbt, and than the loop; the quick tier asks for a third: it runs beside other work."""
DAILY = "daily"


class Problem(NamedTuple):
    prices: FloatArray
    weights: FloatArray
    covered: bool
    """Cash covers every purchase."""


Backtest = Callable[[Problem], FloatArray]


def by_inverse_volatility(returns: FloatArray, invested: float, every: int = 1) -> Problem:
    """Prices and targets of the sessions that have `LOOKBACK` before them; NaN where nothing is traded."""
    before = np.lib.stride_tricks.sliding_window_view(returns[:-1], LOOKBACK, axis=0)
    raw = 1.0 / before.std(axis=-1)
    weights = invested * raw / raw.sum(axis=1, keepdims=True)
    weights[np.arange(len(weights)) % every > 0] = np.nan
    prices = 100.0 * np.cumprod(1.0 + returns[LOOKBACK:], axis=0, dtype=np.float64)
    return Problem(prices, weights, invested < 1.0)


def ours(problem: Problem) -> FloatArray:
    return array_backtest(problem.prices, problem.weights, COST_BPS, CASH).equity


def loop(problem: Problem) -> FloatArray:
    """One session after the other, in the order of the definition."""
    cost, cash, units, equity = COST_BPS * 1e-4, CASH, np.zeros(problem.prices.shape[1]), []
    for price, weights in zip(problem.prices, problem.weights, strict=True):
        if not np.isnan(weights[0]):
            trades = weights * (cash + units @ price) - units * price
            bought, sold = np.maximum(trades, 0.0), np.maximum(-trades, 0.0)
            there, needed = cash + sold.sum() * (1.0 - cost), bought.sum() * (1.0 + cost)
            share = min(1.0, there / needed) if needed > 0.0 else 1.0
            units = units + (share * bought - sold) / price
            cash = there - share * needed
        equity.append(cash + units @ price)
    return np.array(equity)


def agreed(mine: FloatArray, theirs: FloatArray, whose: str) -> float:
    apart = float(np.abs(mine / theirs - 1.0).max())
    assert apart <= CLOSE, f"{whose} is {apart:.1e} away"
    return apart


def against_loop(problem: Problem) -> dict[str, float]:
    apart = agreed(ours(problem), loop(problem), "the loop")
    taken: dict[Backtest, list[float]] = {ours: [], loop: []}
    for one in (ours, loop) * TURNS:
        taken[one] += [timed(lambda one=one: one(problem))[0] for _ in range(RUNS)]  # type: ignore[misc]
    mine, theirs = median(taken[ours]), median(taken[loop])
    return {"seconds": mine, "loop_seconds": theirs, "loop_ratio": theirs / mine, "loop_difference": apart}


def against_vectorbt(problem: Problem, python: Path) -> dict[str, Any]:
    mine, theirs, apart, version = [], [], 0.0, ""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "problem.npz"
        np.savez(kept, prices=problem.prices, weights=problem.weights, cost_bps=COST_BPS, opening_cash=CASH)
        for _ in range(TURNS):
            mine += [timed(lambda: ours(problem))[0] for _ in range(RUNS)]
            command = [str(python), "-m", "benchmarks.peer_backtest", str(kept), str(RUNS)]
            told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
            apart = max(apart, agreed(ours(problem), np.array(told["equity"]), "vectorbt"))
            theirs += told["seconds"]
            version = told["version"]
    return {
        "vectorbt": version, "vectorbt_seconds": median(theirs), "vectorbt_ratio": median(theirs) / median(mine),
        "vectorbt_difference": apart,
    }  # fmt: skip


def growth() -> dict[str, dict[int, float]]:
    """Seconds by sessions at 20 symbols, and by symbols at ten years."""

    def seconds(symbols: int, sessions: int) -> float:
        problem = by_inverse_volatility(made(symbols, sessions + LOOKBACK), INVESTED)
        return median(timed(lambda: ours(problem))[0] for _ in range(TURNS * RUNS))

    return {
        "seconds_by_sessions": {count: seconds(20, count) for count in (630, 2_520, 10_080)},
        "seconds_by_symbols": {count: seconds(count, SESSIONS) for count in (5, 20, 80, 320)},
    }


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--full", action="store_true")
    asked.add_argument("--peers", type=Path, help="a Python with vectorbt")
    options = asked.parse_args()
    returns = shipped_days(SESSIONS + LOOKBACK)
    problems = {
        DAILY: by_inverse_volatility(returns, INVESTED),
        "monthly": by_inverse_volatility(returns, INVESTED, MONTH),
        "daily, fully invested": by_inverse_volatility(returns, 1.0),
    }
    rows: dict[str, dict[str, Any]] = {}
    for name, problem in problems.items():
        rows[name] = against_loop(problem)
        if options.peers and problem.covered:
            rows[name] |= against_vectorbt(problem, options.peers)
        print(f"back-test on arrays, {name}: {rows[name]}")
    if options.full:
        grown = growth()
        print(f"growth: {grown}")
        machine.write("array_backtest", {"rows": rows, "growth": grown})
    share = 1.0 if options.full else QUICK
    goals = {"loop_ratio": LOOP_GOAL / share, "vectorbt_ratio": GOAL / share}
    reached = {name: rows[DAILY][name] for name in goals if name in rows[DAILY]}
    missed = [f"{name} {ratio:.0f}, asked {goals[name]:.0f}" for name, ratio in reached.items() if ratio < goals[name]]
    if missed:
        sys.exit("below the goal: " + "; ".join(missed))


if __name__ == "__main__":
    main()
