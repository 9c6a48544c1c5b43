"""Thousands of mornings in virtual time: no fill lost, no order doubled, every limit kept, everything comes to rest."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import pytest

from ordinis.execution.intents import OrderEngine
from tests.execution.broken import MUST_CATCH
from tests.execution.simulation import Lived, World, mornings, shrunk

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


def run(first: int, last: int, record: Callable[[str, object], None]) -> Lived:
    """Live through the mornings of some seeds, two at a time."""
    started, starts = time.monotonic(), range(first, last, BATCH)
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), get_context("spawn")) as pool:
        found = list(pool.map(mornings, starts, [min(start + BATCH, last) for start in starts]))
    lived = sum(found, Lived())
    record(
        "rig",
        f"simulation: seeds {first} to {last - 1}, {sum(lived.crashes)} crashes (at least {min(lived.crashes)} each), "
        f"{lived.counts['fills']} fills, {time.monotonic() - started:.0f} s, {lived.cpu_seconds:.0f} s of CPU",
    )
    return lived


@pytest.mark.processes
def test_no_morning_ends_wrong(record_property: Callable[[str, object], None]) -> None:
    lived = run(0, SEEDS, record_property)
    assert lived.wrong == []
    assert min(lived.crashes) >= 5
    assert sum(lived.crashes) >= 7 * SEEDS
    assert lived.counts["fills"] >= 3 * SEEDS


@pytest.mark.slow
@pytest.mark.processes
def test_no_morning_of_many_ends_wrong(record_property: Callable[[str, object], None]) -> None:
    lived = run(SEEDS, SEEDS + MANY, record_property)
    assert lived.wrong == []
    assert min(lived.crashes) >= 5


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


@pytest.mark.parametrize("seed", [1_003_800, 1_057_774])
def test_mornings_that_once_went_wrong_go_well(seed: int) -> None:
    """A request that arrived late; a fill that was taken back, sent for again, and then told as corrected."""
    assert World(seed).run().wrong == []
