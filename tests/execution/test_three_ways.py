"""One stretch of 250 sessions lived through three ways gives one ledger, to the byte.

In process; by the actor over HTTP, fed by a stream, with the simulated venue as a server of its own; and again from
the stored inputs. Every part is the real one: the FastAPI application under uvicorn, the venue under uvicorn with its
book in a file, the bar store on disk, the contracts.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import pytest
import uvicorn

from ordinis import bootstrap
from ordinis.clock import SystemClock, trading_calendar
from ordinis.data.ingest import ingest
from ordinis.domain.decisions import Source
from ordinis.errors import ReplayDiffers
from ordinis.evaluation.backtest import backtest
from ordinis.execution.canonical import canonical_ledger
from ordinis.execution.replaying import live_through, resume_session, start_clock
from ordinis.serving.app import create_app
from ordinis.settings import Settings

PROJECT = Path(__file__).resolve().parents[2]
FIRST = date(2019, 9, 3)
CALENDAR = trading_calendar()
SESSIONS = CALENDAR.between(FIRST, date(2022, 12, 28))[:250]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def served(app: object, port: int) -> Iterator[None]:
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="error"))  # type: ignore[arg-type]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not server.started:
            assert thread.is_alive()
        yield
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> tuple[Settings, str]:
    """Settings of a home in which the actor has lived through the stretch over HTTP, and its canonical ledger."""
    home = tmp_path_factory.mktemp("home")
    settings = Settings(
        home=home, project=PROJECT, broker="venue", venue_port=free_port(), serve_port=free_port(),
        allocator="managed-minimum-variance", replay_first=FIRST, replay_last=SESSIONS[-1], replay_seconds=0,
        request_timeout=30.0,
    )  # fmt: skip
    symbols = bootstrap.universe(settings)
    ingest(
        bootstrap.source(settings), bootstrap.bar_store(settings), bootstrap.records(settings), settings.contracts,
        symbols, CALENDAR.back(FIRST, 780), SESSIONS[-1], SystemClock(), bootstrap.instruments(settings),
    )  # fmt: skip
    service = create_app(bootstrap.advisor(settings), bootstrap.token(settings))
    with served(service, settings.serve_port), served(bootstrap.venue(settings), settings.venue_port):
        first = resume_session(bootstrap.ledger(settings), CALENDAR, FIRST)
        clock = start_clock(CALENDAR, first, bootstrap.venue_time(settings))
        actor = bootstrap.actor(settings, clock)
        live_through(actor, clock, bootstrap.source(settings).stream(symbols, first, SESSIONS[-1]))
    return settings, canonical_ledger(bootstrap.ledger(settings))


def test_every_session_was_decided_by_the_service(lived: tuple[Settings, str]) -> None:
    with bootstrap.ledger(lived[0]).begin(write=False) as unit:
        decisions = unit.decisions.all()
        fills = unit.book.fills()
        unit.verify()
    assert len(decisions) == 250
    assert {decision.source for decision in decisions} == {Source.MODEL}
    assert len(fills) > 100


def test_the_back_test_in_process_has_the_same_ledger(lived: tuple[Settings, str]) -> None:
    settings, text = lived
    rules = bootstrap.rulebook(settings)
    result = backtest(
        bootstrap.sample_market(settings),
        bootstrap.allocator(settings.allocator, rules.limits),
        bootstrap.allocator(settings.baseline, rules.limits),
        rules,
        bootstrap.costs(settings),
        first=FIRST,
        last=SESSIONS[-1],
    )
    assert canonical_ledger(result.ledger).splitlines() == text.splitlines()


def test_the_replay_from_stored_inputs_has_the_same_ledger(lived: tuple[Settings, str]) -> None:
    settings, text = lived
    seen = []
    assert bootstrap.replay_ledger(settings, seen.append) == text
    assert len(seen) == 250


def test_one_decision_is_recomputed_by_the_beginning_of_its_id(lived: tuple[Settings, str]) -> None:
    settings, _ = lived
    with bootstrap.ledger(settings).begin(write=False) as unit:
        stored = unit.decisions.all()[100]
    assert bootstrap.recompute(settings, stored.id[:12]).draft.decision == stored


def test_a_decision_made_under_other_limits_or_by_another_allocator_does_not_replay(
    lived: tuple[Settings, str], tmp_path: Path
) -> None:
    settings, _ = lived
    with bootstrap.ledger(settings).begin(write=False) as unit:
        stored = unit.decisions.all()[0]
    with pytest.raises(ReplayDiffers, match="other limits"):
        bootstrap.recompute(settings.model_copy(update={"profile": "configurations"}), stored.id)
    with pytest.raises(ReplayDiffers, match="it was made by exposure_"):
        bootstrap.recompute(settings.model_copy(update={"allocator": "equal-weight"}), stored.id)
