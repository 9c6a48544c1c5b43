"""From a wish to feasible weights with their certificate: our own method beside the library's.

    python -m benchmarks.projection

Five hundred positions in eleven sectors, wishes of which about half are above a limit. A request is the projection and
both measurements that share no code with it: every limit, and that no feasible weights are nearer. The goal is a
millisecond for all three. Clarabel is asked for the nearest weights alone, by the same rows, without the measurements.
Fails above the goal, or where both do not find the same point.
"""

from __future__ import annotations

import sys

import numpy as np

from benchmarks import machine
from benchmarks.allocations import measure
from ordinis.domain.limits import Limits
from ordinis.optimize.certificate import certify, farther_than_need_be
from ordinis.optimize.constraints import sector_rows
from ordinis.optimize.mean_variance import quadratic
from ordinis.optimize.projection import project
from ordinis.optimize.region import Region
from ordinis.ports import FloatArray

SIZES = (100, 500, 2_000)
GOAL_MS, GOAL_SIZE = 1.0, 500
TIMES = 500
SAME = 1e-9
"""Squared distances from the wish, ours and the library's."""


def request(wish: FloatArray, symbols: list[str], limits: Limits) -> tuple[bool, float]:
    """Whether the projection keeps all limits, and the square of how far it may be from the nearest."""
    weights = dict(zip(symbols, project(wish, symbols, limits).tolist(), strict=True))
    asked = dict(zip(symbols, wish.tolist(), strict=True))
    return certify(weights, limits).holds, farther_than_need_be(asked, weights, limits)


def main() -> None:
    figures: dict[str, dict[str, float]] = {}
    for count in SIZES:
        rng, symbols = np.random.default_rng(count), [f"S{i}" for i in range(count)]
        cap = 5.0 / count
        limits = Limits(cap, 0.9, 0.1, 0.09, {name: f"sector{i % 11}" for i, name in enumerate(symbols)})
        wish = rng.normal(scale=cap, size=count)
        rows = np.vstack([np.ones((1, count)), sector_rows(symbols, limits)])
        most = np.array([limits.invested_cap] + [limits.sector_cap] * (len(rows) - 1))
        region = Region(np.zeros(count), np.full(count, cap), rows, np.full(len(rows), -np.inf), most)
        holds, farther = request(wish, symbols, limits)
        both = project(wish, symbols, limits), quadratic(np.eye(count), -wish, region)
        ours, library = (float(((wish - weights) ** 2).sum()) for weights in both)
        if not (holds and farther <= 1e-14 and abs(ours - library) <= SAME):
            sys.exit(f"{count} positions: holds {holds}, may be {farther:.1e} nearer, {ours} and {library} away")
        whole = measure(lambda w=wish, s=symbols, x=limits: request(w, s, x), TIMES)  # type: ignore[misc]
        alone = measure(lambda w=wish, s=symbols, x=limits: project(w, s, x), TIMES)  # type: ignore[misc]
        theirs = measure(lambda n=count, w=wish, r=region: quadratic(np.eye(n), -w, r), 20)  # type: ignore[misc]
        figures[str(count)] = {
            "projection_ms": alone["p50_ms"],
            "with_certificate_ms": whole["p50_ms"],
            "with_certificate_p99_ms": whole["p99_ms"],
            "clarabel_ms": theirs["p50_ms"],
        }
        print(f"{count:>5} positions {figures[str(count)]}")
    machine.write("projection", figures)
    if figures[str(GOAL_SIZE)]["with_certificate_ms"] > GOAL_MS:
        sys.exit(f"{GOAL_SIZE} positions took more than {GOAL_MS:g} ms")


if __name__ == "__main__":
    main()
