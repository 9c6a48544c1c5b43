"""How fast the trading cycle runs in a back-test, and how fast the bar store reads: the figures behind every wait.

    python -m benchmarks.cycle

A session without orders is a reconciliation, a view, a decision with its verdicts and a valuation, each committed to
a ledger in memory; an order is four more commits. Three runs of each, medians.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from statistics import median

from benchmarks import machine
from ordinis import bootstrap
from ordinis.evaluation.backtest import Backtest, backtest
from ordinis.settings import Settings

FIRST, LAST = date(2020, 1, 2), date(2020, 12, 31)


def seconds(work: Callable[[], object], runs: int = 3) -> float:
    """Median wall time of `work`."""
    taken = []
    for _ in range(runs):
        started = time.perf_counter()
        work()
        taken.append(time.perf_counter() - started)
    return median(taken)


def main() -> None:
    figures: dict[str, dict[str, float]] = {}
    for profile in ("research", "standard"):
        settings = Settings(profile=profile, home=Path(tempfile.mkdtemp()))
        rules, market = bootstrap.rulebook(settings), bootstrap.sample_market(settings)
        allocator = bootstrap.allocator("inverse-volatility", rules.limits)
        costs = bootstrap.costs(settings)

        def run(rules=rules, market=market, allocator=allocator, costs=costs) -> Backtest:  # type: ignore[no-untyped-def]
            return backtest(market, allocator, allocator, rules, costs, first=FIRST, last=LAST)

        with run().ledger.begin(write=False) as unit:
            sessions, orders = len(unit.book.valuations()), len(unit.orders.all())
        taken = seconds(run)
        figures[f"back-test, profile {profile}"] = {
            "sessions": sessions,
            "orders": orders,
            "seconds": round(taken, 3),
            "ms_per_session": round(1e3 * taken / sessions, 3),
        }
    store_settings = Settings(home=Path(tempfile.mkdtemp()), project=Path(__file__).parents[1])
    bootstrap.backfill(store_settings, date(2022, 12, 28), date(2014, 1, 2))
    store, symbols = bootstrap.bar_store(store_settings), bootstrap.universe(store_settings)
    figures["bar store, 2014 to 2022, 20 symbols"] = {
        "seconds": round(seconds(lambda: store.history(symbols, date(2014, 1, 2), date(2022, 12, 28))), 4)
    }
    machine.write("cycle", figures)
    for name, row in figures.items():
        print(f"{name:36}", "  ".join(f"{key} {value}" for key, value in row.items()))


if __name__ == "__main__":
    main()
