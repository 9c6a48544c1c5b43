"""Thousands of mornings in virtual time: no fill lost, no order doubled, every limit kept, everything comes to rest."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from ordinis.execution.intents import OrderEngine
from tests.execution.broken import MUST_CATCH
from tests.execution.simulation import World, shrunk

SEEDS, MANY = 2_000, 20_000
BATCH = 25
ENOUGH = 400
"""Seeds within which a broken engine must show itself."""


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Every fault is logged, and there are thousands."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def mornings(first: int, last: int) -> tuple[int, int, list[tuple[int, list[str], list[str]]]]:
    """Crashes in all, crashes of the seed with the fewest, and what was wrong in which seed and by which faults."""
    logging.disable(logging.CRITICAL)
    crashes, wrong = [], []
    for seed in range(first, last):
        world = World(seed).run()
        crashes.append(len(world.crashes))
        if world.wrong:
            wrong.append((seed, world.wrong, shrunk(world)))
    return sum(crashes), min(crashes), wrong


def run(first: int, last: int) -> tuple[list[tuple[int, list[str], list[str]]], int, float]:
    """What was wrong in which seed, the crashes of the seed with the fewest, and the crashes of an average seed."""
    starts = range(first, last, BATCH)
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), get_context("spawn")) as pool:
        found = list(pool.map(mornings, starts, [min(start + BATCH, last) for start in starts]))
    wrong = [each for _, _, several in found for each in several]
    return wrong, min(fewest for _, fewest, _ in found), sum(crashes for crashes, _, _ in found) / (last - first)


@pytest.mark.processes
def test_no_morning_ends_wrong() -> None:
    wrong, fewest, usual = run(0, SEEDS)
    assert wrong == []
    assert fewest >= 5
    assert usual >= 7


@pytest.mark.slow
@pytest.mark.processes
def test_no_morning_of_many_ends_wrong() -> None:
    assert run(SEEDS, SEEDS + MANY)[0] == []


@pytest.mark.parametrize("engine", MUST_CATCH["simulation"], ids=lambda engine: engine.__name__)
def test_the_simulation_finds_an_engine_that_is_broken(engine: type[OrderEngine]) -> None:
    assert any(World(seed, engine).run().wrong for seed in range(ENOUGH))


def test_a_failing_morning_is_shrunk_to_the_faults_that_matter() -> None:
    [engine] = [engine for engine in MUST_CATCH["simulation"] if engine.__name__ == "CancelsOnce"]
    world = next(world for world in (World(seed, engine).run() for seed in range(ENOUGH)) if world.wrong)
    needed = shrunk(world)
    assert 0 < len(needed) < len(world.faults.struck) + len(world.crashes)
    assert World(world.seed, engine, needed).run().wrong
    for name in needed:
        assert not World(world.seed, engine, [other for other in needed if other != name]).run().wrong


def test_one_seed_is_one_morning() -> None:
    once, again = World(7).run(), World(7).run()
    assert (once.faults.struck, once.crashes) == (again.faults.struck, again.crashes)
    assert once.faults.struck
