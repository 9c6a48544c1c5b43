"""A night promotes another cost model while the book trades: it is planned by, stored, and replayed to the byte."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from ordinis import bootstrap
from ordinis.clock import SystemClock, trading_calendar
from ordinis.costs.models import CalibratedCost, SquareRootCost, publish
from ordinis.data.ingest import ingest
from ordinis.domain.market import MarketEvent, TradingWindow
from ordinis.errors import ConfigurationError
from ordinis.execution.canonical import canonical_ledger
from ordinis.execution.replaying import live_through, start_clock
from ordinis.settings import Settings

PROJECT = Path(__file__).resolve().parents[2]
CALENDAR = trading_calendar()
SESSIONS = CALENDAR.between(date(2019, 9, 3), date(2022, 12, 28))[:24]
DEAR = CalibratedCost("dear", SquareRootCost(4.0, 0.6), (SquareRootCost(9.0, 0.9),), {"AAPL": 0, "KO": 0})


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A home in which the model changed after the twelfth session; the allocator weighs costs too."""
    settings = Settings(
        home=tmp_path_factory.mktemp("home"), project=PROJECT, allocator="mean-cvar-after-costs",
        replay_first=SESSIONS[0], replay_last=SESSIONS[-1], replay_seconds=0,
    )  # fmt: skip
    symbols = bootstrap.universe(settings)
    ingest(
        bootstrap.source(settings), bootstrap.bar_store(settings), bootstrap.records(settings), settings.contracts,
        symbols, CALENDAR.back(SESSIONS[0], 780), SESSIONS[-1], SystemClock(), bootstrap.instruments(settings),
    )  # fmt: skip
    clock = start_clock(CALENDAR, SESSIONS[0], None)
    actor = bootstrap.actor(settings, clock, remote=False)

    def night(session: date) -> None:
        if session == SESSIONS[11]:
            publish(DEAR, settings.cost_model_path)

    def before(event: MarketEvent) -> None:
        if isinstance(event, TradingWindow):
            bootstrap.take_up_costs(settings, actor)

    live_through(
        actor, clock, bootstrap.source(settings).stream(symbols, *SESSIONS[:: len(SESSIONS) - 1]), night, before
    )
    return settings


def test_each_decision_says_which_model_it_was_made_by(lived: Settings) -> None:
    with bootstrap.ledger(lived).begin(write=False) as unit:
        told = [json.loads(unit.decisions.inputs(row.inputs_sha)) for row in unit.decisions.all()]
    kinds = [next(iter(body["costs"])) for body in told]
    assert kinds == ["SquareRootCost"] * 12 + ["CalibratedCost"] * 12
    assert told[-1]["costs"]["CalibratedCost"]["version"] == "dear"
    versions = {body["allocator"]["version"] for body in told if body["allocator"]["name"] == "mean_cvar"}
    assert len(versions) == 2, "the allocator weighs the model in force"


def test_the_venue_goes_on_charging_what_it_charges(lived: Settings) -> None:
    with bootstrap.ledger(lived).begin(write=False) as unit:
        planned = {row.client_order_id: row.reference_price for row in unit.orders.all()}
        fills = [fill for fill in unit.book.fills() if fill.client_order_id is not None]
        paid = [abs(float(fill.price / planned[fill.client_order_id or ""]) - 1.0) for fill in fills]
    assert max(paid) < 4e-4
    assert bootstrap.venue_costs(lived) == SquareRootCost()


def test_the_ledger_is_replayed_to_the_byte_by_the_models_of_then(lived: Settings) -> None:
    assert bootstrap.replay_ledger(lived) == canonical_ledger(bootstrap.ledger(lived))
    lived.cost_model_path.rename(lived.home / "gone")
    assert bootstrap.replay_ledger(lived) == canonical_ledger(bootstrap.ledger(lived)), "whatever is in force now"
    (lived.home / "gone").rename(lived.cost_model_path)


def test_a_person_may_keep_the_model_that_everything_starts_from(lived: Settings) -> None:
    assert bootstrap.costs(lived) == DEAR
    assert bootstrap.costs(lived.model_copy(update={"costs": "fixed"})) == SquareRootCost()


def test_a_published_model_that_cannot_be_read_stops_a_start_and_leaves_a_running_actor_its_own(
    lived: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    actor = bootstrap.actor(lived, start_clock(CALENDAR, SESSIONS[0], None), remote=False)
    whole = lived.cost_model_path.read_text(encoding="utf-8")
    lived.cost_model_path.write_text(whole[:40], encoding="utf-8")
    with pytest.raises(ConfigurationError, match=r"cost-model-\w+\.json.*cannot be read"):
        bootstrap.actor(lived, start_clock(CALENDAR, SESSIONS[0], None), remote=False)
    bootstrap.take_up_costs(lived, actor)
    assert actor.desk.planner.costs == DEAR
    assert "the cost model stays as it was" in caplog.text
    lived.cost_model_path.write_text(whole, encoding="utf-8")


def test_the_service_weighs_the_model_in_force_at_each_question(lived: Settings) -> None:
    service = bootstrap.advisor(lived)
    one = service._allocator().version
    lived.cost_model_path.rename(lived.home / "gone")
    other = service._allocator().version
    (lived.home / "gone").rename(lived.cost_model_path)
    assert one != other
    assert service._allocator().version == one
