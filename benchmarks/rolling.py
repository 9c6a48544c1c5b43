"""Rolling regressions of all symbols at once against statsmodels, which takes them one by one.

    python -m benchmarks.rolling [--full]

500 symbols, 2,500 days, 6 factors, windows of 252 days, with t values and R squared. statsmodels does ten symbols in
the quick tier, whose time is multiplied by fifty, and all of them in the full one. Both take three turns in one
process, ours of five runs and theirs, which take over a second, of one; medians. Before a time counts, betas, t and R
squared must agree to ten digits.
"""

from __future__ import annotations

import sys
from statistics import median

import numpy as np
import statsmodels.api as sm
from statsmodels.regression.rolling import RollingOLS

from benchmarks import machine
from benchmarks.mean_cvar import timed
from ordinis.ports import FloatArray
from ordinis.risk.rolling import RollingRegression, rolling_regression

DAYS, SYMBOLS, FACTORS, WINDOW = 2_500, 500, 6, 252
QUICK_SYMBOLS, TURNS, RUNS = 10, 3, 5
GOAL, QUICK_GOAL = 200.0, 70.0
CLOSE = 1e-10


def statsmodels_does(returns: FloatArray, factors: FloatArray) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
    """Betas with alpha first, t and R squared of each symbol, from the first whole window on."""
    design, found = sm.add_constant(factors), []
    for column in returns.T:
        fit = RollingOLS(column, design, window=WINDOW).fit()
        found.append(tuple(np.asarray(each)[WINDOW - 1 :] for each in (fit.params, fit.tvalues, fit.rsquared)))
    return found  # type: ignore[return-value]


def agree(mine: RollingRegression, theirs: list[tuple[FloatArray, FloatArray, FloatArray]]) -> float:
    """The largest difference, t values relative to the largest of them."""
    worst = 0.0
    for symbol, (params, t, r_squared) in enumerate(theirs):
        worst = max(
            worst,
            float(np.abs(params[:, 0] - mine.alpha[:, symbol]).max()),
            float(np.abs(params[:, 1:] - mine.betas[:, :, symbol]).max()),
            float(np.abs(t - mine.t[:, :, symbol]).max() / np.abs(t).max()),
            float(np.abs(r_squared - mine.r_squared[:, symbol]).max()),
        )
    return worst


def main() -> None:
    full = "--full" in sys.argv
    rng = np.random.default_rng(0)
    factors = rng.standard_t(5, size=(DAYS, FACTORS)) * 0.01 + 2e-4
    returns = factors @ rng.normal(size=(FACTORS, SYMBOLS)) + rng.standard_t(5, size=(DAYS, SYMBOLS)) * 0.01 + 3e-4
    count = SYMBOLS if full else QUICK_SYMBOLS
    apart = agree(rolling_regression(returns, factors, WINDOW), statsmodels_does(returns[:, :QUICK_SYMBOLS], factors))
    assert apart < CLOSE, f"the two differ by {apart:.1e}"
    ours, theirs = [], []
    for _ in range(TURNS):
        ours += [timed(lambda: rolling_regression(returns, factors, WINDOW))[0] for _ in range(RUNS)]
        theirs.append(timed(lambda: statsmodels_does(returns[:, :count], factors))[0] * SYMBOLS / count)
    figures = {
        "ordinis_seconds": median(ours), "statsmodels_seconds": median(theirs), "measured_symbols": count,
        "ratio": median(theirs) / median(ours), "largest_difference": apart,
    }  # fmt: skip
    print(f"rolling regressions: {figures}")
    if full:
        machine.write("rolling", figures)
    least = GOAL if full else QUICK_GOAL
    if figures["ratio"] < least:
        sys.exit(f"{figures['ratio']:.0f} times statsmodels, asked {least:.0f}")


if __name__ == "__main__":
    main()
