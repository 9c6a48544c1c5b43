"""vectorbt's back-test of target weights, in an environment of its own, without a module of the project.

`python -m benchmarks.peer_backtest PROBLEM.npz RUNS` prints one line of JSON: seconds of each run, from frames to the
path of equity, and that path. A run before the first is not counted: numba compiles in it.
"""

from __future__ import annotations

import json
import sys
import time

import numpy as np


def main() -> None:
    import pandas as pd
    import vectorbt  # type: ignore[import-not-found]

    with np.load(sys.argv[1]) as kept:
        prices, weights = pd.DataFrame(kept["prices"]), pd.DataFrame(kept["weights"])
        cost, cash = float(kept["cost_bps"]) * 1e-4, float(kept["opening_cash"])

    def equity() -> np.ndarray:
        portfolio = vectorbt.Portfolio.from_orders(
            prices, weights, size_type="targetpercent", group_by=True, cash_sharing=True, call_seq="auto",
            fees=cost, init_cash=cash, freq="1D",
        )  # fmt: skip
        path: np.ndarray = portfolio.value().to_numpy()
        return path

    taken, path = [], equity()
    for _ in range(int(sys.argv[2])):
        began = time.perf_counter()
        path = equity()
        taken.append(time.perf_counter() - began)
    told = {"version": vectorbt.__version__, "seconds": taken, "equity": path.tolist()}
    sys.stdout.write(json.dumps(told) + "\n")


if __name__ == "__main__":
    main()
