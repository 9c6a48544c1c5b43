"""Stories of an order engine, told by hypothesis: whatever happens in whatever order, both books stay right.

How many stories it took to find each engine that is broken on purpose is in benchmarks/results/broken_engines.json.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from ordinis.execution.intents import OrderEngine
from tests.execution.broken import MUST_CATCH
from tests.execution.state_machine import OrderEngineStory

PATIENT = settings(deadline=None, database=None, suppress_health_check=list(HealthCheck))
QUICK = settings(PATIENT, max_examples=150, stateful_step_count=40, derandomize=True)
MANY = settings(PATIENT, max_examples=500, stateful_step_count=50, print_blob=True)
# The search for what is broken ends with the first find, mostly within a hundred stories; which ones are told changes
# with every word of the code, so that it needs room.
SEARCH = settings(MANY, max_examples=2_000, derandomize=True, phases=[Phase.generate])


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    """Every fault is logged, and there are thousands."""
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


def test_every_story_ends_well() -> None:
    run_state_machine_as_test(OrderEngineStory, settings=QUICK)


@pytest.mark.slow
def test_every_one_of_many_stories_ends_well() -> None:
    run_state_machine_as_test(OrderEngineStory, settings=MANY)


def until_caught(engine: type[OrderEngine]) -> tuple[int, str]:
    """After how many stories something is found wrong with `engine`, and what; zero when nothing is."""

    class Story(OrderEngineStory):
        engine_class = engine

    try:
        run_state_machine_as_test(Story, settings=SEARCH)
    except Exception as error:  # whatever shows: a rule that was broken, or an engine that fell over its own ledger
        return Story.told, str(error).strip() or repr(error)
    return 0, ""


@pytest.mark.slow
@pytest.mark.parametrize("engine", MUST_CATCH["state machine"], ids=lambda engine: engine.__name__)
def test_the_state_machine_finds_an_engine_that_is_broken(
    engine: type[OrderEngine], record_property: Callable[[str, object], None]
) -> None:
    stories, what = until_caught(engine)
    record_property("stories", stories)
    record_property("what", what)
    assert stories
