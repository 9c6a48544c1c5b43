"""Mean-CVaR against its peers: the same portfolio, how long each takes to find it, and how near each comes.

    python -m benchmarks.mean_cvar [--full] [--peers PYTHON]

Maximise mean' w - CVaR_95 of the loss, long-only, fully invested, no weight above the cap. The quick tier takes the
last 2,500 shipped days and 50 x 10,000 made scenarios and fails below a third of the goals; the full one adds the
sizes where peers take minutes, a frontier, a warm request, the growth with N and S, and the peers of another Python
(CVQP, Riskfolio-Lib) where one is named. Sides take turns in one process, five runs each or three where a run exceeds a
second, medians; numeric libraries have one thread.

Before a time counts both sides must have found the same: each objective is computed again from the weights by a sort
over all scenarios, and every gap is against the bound that no weights fall below.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from benchmarks import machine, peers
from benchmarks.scenario_sets import made, shipped_days
from ordinis.optimize.region import Region
from ordinis.optimize.scenarios import Scenarios
from ordinis.optimize.tail_solver import Optimum, TailSolver
from ordinis.ports import FloatArray
from ordinis.risk.measures import cvar

GAP = 1e-6
CAP = 0.1
PEER_GAP = 1e-4
"""What a peer's own tolerances must at least come to, for its time to count; CVQP's is printed beside it."""
RUNS, FEW_RUNS, LONG = 5, 3, 1.0
GOALS = {"50 x 10000": 100.0, "100 x 50000": 400.0}
"""Times faster than skfolio."""
FRONTIER_GOAL, CVQP_GOAL, LARGEST_GOAL = 300.0, 25.0, 15.0
"""Times faster than skfolio, times faster than CVQP, seconds."""
QUICK = 3.0
"""The quick tier asks for a third: it runs beside other work."""


def region(count: int) -> Region:
    cap = max(CAP, 2.0 / count)
    return Region(np.zeros(count), np.full(count, cap), np.ones((1, count)), np.ones(1), np.ones(1))


def ours(returns: np.ndarray, tolerance: float = GAP) -> Optimum:
    """A request from nothing: no scenario has been looked at before."""
    mean = returns.mean(axis=0, dtype=np.float64)
    return TailSolver(Scenarios(returns)).solve(region(returns.shape[1]), mean, tolerance=tolerance)


def objective(returns: np.ndarray, weights: FloatArray) -> float:
    path = returns @ weights
    return cvar(-path, peers.LEVEL) - float(path.mean())


def gap(returns: np.ndarray, weights: FloatArray, bound: float) -> float:
    """By weights made feasible, so that no peer gains by a weight that is outside a limit."""
    inside = np.clip(weights, 0.0, region(returns.shape[1]).upper[0])
    value = objective(returns, inside / inside.sum())
    return (value - bound) / abs(value)


def timed(work: Callable[[], Any]) -> tuple[float, Any]:
    began = time.perf_counter()
    done = work()
    return time.perf_counter() - began, done


def side_by_side(returns: np.ndarray, names: list[str]) -> dict[str, dict[str, float]]:
    """Medians of us and of the peers of this environment, taking turns."""
    cap = float(region(returns.shape[1]).upper[0])
    bound = ours(returns, 1e-9).bound
    sides: dict[str, Callable[[], FloatArray]] = {"ordinis": lambda: ours(returns).weights}
    sides |= {name: lambda name=name: peers.PEERS[name](returns, cap) for name in names}  # type: ignore[misc]
    taken: dict[str, list[float]] = {name: [] for name in sides}
    gaps: dict[str, float] = {}
    runs = RUNS
    while min(map(len, taken.values())) < runs:
        for name, solve in sides.items():
            seconds, weights = timed(solve)
            taken[name].append(seconds)
            gaps[name] = gap(returns, weights, bound)
            assert gaps[name] <= (GAP if name == "ordinis" else PEER_GAP), f"{name} is off by {gaps[name]:.1e}"
            runs = FEW_RUNS if seconds > LONG else runs
    return {name: {"seconds": median(taken[name]), "gap": gaps[name]} for name in sides}


def apart(returns: np.ndarray, python: Path, names: list[str]) -> dict[str, dict[str, float]]:
    """The same of peers that have an environment of their own, one process each."""
    bound, found = ours(returns, 1e-9).bound, {}
    with tempfile.TemporaryDirectory() as folder:
        problem = Path(folder) / "problem.npz"
        np.savez(problem, returns=returns, cap=region(returns.shape[1]).upper[0])
        for name in names:
            command = [str(python), "-m", "benchmarks.peers", name, str(problem), str(FEW_RUNS)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            told = json.loads(done.stdout.splitlines()[-1])
            reached = gap(returns, np.array(told["weights"]), bound)
            found[name] = {"seconds": median(told["seconds"]), "gap": reached}
    return found


def frontier(returns: np.ndarray, points: int, one: Callable[[float], object]) -> float:
    """Seconds for so many points between no mean at all and twice the mean."""
    return timed(lambda: [one(aversion) for aversion in np.linspace(0.0, 2.0, points)])[0]


def frontiers(returns: np.ndarray) -> dict[str, float]:
    """Thirty points here from one solver; three of skfolio's, whose points do not help each other, times ten."""
    mean, limits = returns.mean(axis=0), region(returns.shape[1])

    def ours_whole() -> float:
        solver = TailSolver(Scenarios(returns))
        return frontier(returns, 30, lambda c: solver.solve(limits, c * mean, tolerance=GAP))

    mine = median(ours_whole() for _ in range(FEW_RUNS))
    # Returns moved by a constant move mean and CVaR alike: by half of c - 1 means, the mean counts c times.
    theirs = 10.0 * frontier(returns, 3, lambda c: peers.skfolio(returns + (c - 1.0) / 2.0 * mean, CAP))
    same = peers.skfolio(returns + 0.5 * mean, CAP)
    best = TailSolver(Scenarios(returns)).solve(limits, 2.0 * mean, tolerance=GAP)
    value = cvar(-returns @ same, peers.LEVEL) - 2.0 * float(mean @ same)
    assert abs(value - best.objective) <= PEER_GAP * abs(best.objective), "skfolio was asked another problem"
    return {"seconds": mine, "skfolio_seconds": theirs, "ratio": theirs / mine}


def growth() -> dict[str, Any]:
    """Seconds by S at 50 symbols and by N at 10,000 scenarios, with the exponent of a power law."""
    by_scenarios = {s: _ours_alone(made(50, s)) for s in (10_000, 30_000, 100_000, 300_000)}
    by_symbols = {n: _ours_alone(made(n, 10_000)) for n in (25, 50, 100, 200, 400)}
    return {
        "seconds_by_scenarios": by_scenarios,
        "exponent_of_scenarios": _exponent(by_scenarios),
        "seconds_by_symbols": by_symbols,
        "exponent_of_symbols": _exponent(by_symbols),
    }


def _ours_alone(returns: np.ndarray) -> float:
    return median(timed(lambda: ours(returns))[0] for _ in range(FEW_RUNS))


def _exponent(seconds: dict[int, float]) -> float:
    return float(np.polyfit(np.log(list(seconds)), np.log(list(seconds.values())), 1)[0])


def warm(returns: np.ndarray) -> float:
    """Milliseconds for the next request of a solver that has answered one: another mean on the same scenarios."""
    solver, limits, mean = TailSolver(Scenarios(returns)), region(returns.shape[1]), returns.mean(axis=0)
    solver.solve(limits, mean, tolerance=GAP)
    asked = np.linspace(0.5, 1.5, 50)
    return 1e3 * median(timed(partial(solver.solve, limits, c * mean, tolerance=GAP))[0] for c in asked)


def _print(row: str, sides: dict[str, dict[str, float]]) -> None:
    mine = sides["ordinis"]["seconds"]
    for name, figure in sides.items():
        times = "" if name == "ordinis" else f"{figure['seconds'] / mine:8.0f} times ours"
        print(f"{row:14} {name:14} {figure['seconds'] * 1e3:12.1f} ms   gap {figure['gap']:8.1e} {times}")


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    asked.add_argument("--full", action="store_true")
    asked.add_argument("--peers", type=Path, help="a Python with CVQP and Riskfolio-Lib")
    options = asked.parse_args()
    sizes: dict[str, tuple[np.ndarray, list[str]]] = {
        "20 x 2500": (shipped_days(), ["skfolio", "HiGHS"]),
        "50 x 10000": (made(50, 10_000), ["skfolio", "HiGHS"] if options.full else ["skfolio"]),
    }
    if options.full:
        sizes["392 x 10000"] = (made(392, 10_000), [])
        sizes["100 x 50000"] = (made(100, 50_000), ["skfolio"])
        sizes["500 x 100000"] = (made(500, 100_000, dtype=np.float32), [])
    rows: dict[str, dict[str, dict[str, float]]] = {}
    for row, (returns, names) in sizes.items():
        rows[row] = side_by_side(returns, names)
        if options.peers and row in GOALS:
            rows[row] |= apart(returns, options.peers, ["CVQP"] + (["Riskfolio-Lib"] if row == "50 x 10000" else []))
        _print(row, rows[row])
    figures: dict[str, Any] = {"rows": rows, "warm_ms": warm(sizes["20 x 2500"][0])}
    print(f"warm request   20 x 2500 {figures['warm_ms']:.2f} ms")
    few = {row: rows[row]["skfolio"]["seconds"] / rows[row]["ordinis"]["seconds"] for row in GOALS if row in rows}
    asked_for = {row: GOALS[row] / (1.0 if options.full else QUICK) for row in few}
    if options.full:
        figures["frontier"], figures["growth"] = frontiers(sizes["50 x 10000"][0]), growth()
        print(f"frontier of 30 points, 50 x 10000: {figures['frontier']}\ngrowth: {figures['growth']}")
        del sizes
        largest = made(500, 1_000_000, dtype=np.float32)
        seconds, found = timed(lambda: ours(largest))
        figures["500 x 1000000"] = {"seconds": seconds, "gap": found.gap}
        print(f"500 x 1000000  ordinis {seconds:.1f} s, gap {found.gap:.1e}")
        few |= {"frontier": figures["frontier"]["ratio"], "largest": LARGEST_GOAL / seconds}
        asked_for |= {"frontier": FRONTIER_GOAL, "largest": 1.0}
        if options.peers:
            for row in GOALS:
                few[f"CVQP {row}"] = rows[row]["CVQP"]["seconds"] / rows[row]["ordinis"]["seconds"]
                asked_for[f"CVQP {row}"] = CVQP_GOAL
        machine.write("mean_cvar", figures)
    missed = [f"{name}: {few[name]:.1f}, asked {least:.1f}" for name, least in asked_for.items() if few[name] < least]
    if missed:
        sys.exit("below the goal: " + "; ".join(missed))


if __name__ == "__main__":
    main()
