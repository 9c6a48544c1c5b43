"""A book under factor caps: a night's exposures are taken up, grow old, are stored, and are replayed to the byte."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest

from ordinis import bootstrap
from ordinis.clock import trading_calendar
from ordinis.domain.decisions import Decision, Verdict
from ordinis.domain.exposures import FactorExposures, exposure_of
from ordinis.domain.market import MarketEvent, TradingWindow
from ordinis.errors import ConfigurationError, ReplayDiffers
from ordinis.execution.canonical import canonical_ledger
from ordinis.execution.replaying import live_through, start_clock
from ordinis.governance.exposures import exposures_in, publish, published
from ordinis.governance.rulebook import SHIPPED
from ordinis.monitoring import attribution
from ordinis.monitoring.findings import Night
from ordinis.settings import Settings

PROJECT = Path(__file__).resolve().parents[2]
CALENDAR = trading_calendar()
SESSIONS = CALENDAR.between(date(2019, 9, 3), date(2022, 12, 28))[:12]
CAPS = {"market": 0.5, "momentum": 0.04, "size": 0.3}
SAID = FactorExposures(SESSIONS[5], ("market", "momentum"), {"KO": {"market": 0.5, "momentum": -0.5}})
"""Published by hand in the evening of the sixth session; nothing after it."""
Made = list[tuple[Decision, dict[str, Any], Verdict]]


def attributed(settings: Settings, session: date) -> Night:
    """What the nightly attribution finds, without Ray."""
    ledger, bars = bootstrap.ledger(settings), bootstrap.bar_store(settings)
    book = attribution.read(ledger, bars, CALENDAR, session, *bootstrap.factors(settings, session))
    return attribution.attribute(book, bootstrap.sectors(settings))


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Three sessions without exposures, three by those that a night measured, five by others, and one on its own."""
    home = tmp_path_factory.mktemp("home")
    rules, first = SHIPPED.read_text(), "      passive_excess: 0.02 "
    assert first in rules
    (home / "rules.yaml").write_text(
        rules.replace(first, f"      factor_exposure_caps: {json.dumps(CAPS)}\n{first}", 1)
    )
    settings = Settings(
        home=home, project=PROJECT, rulebook=home / "rules.yaml",
        replay_first=SESSIONS[0], replay_last=SESSIONS[-1], replay_seconds=0,
    )  # fmt: skip
    bootstrap.backfill(settings, SESSIONS[-1])
    clock = start_clock(CALENDAR, SESSIONS[0], None)
    actor = bootstrap.actor(settings, clock, remote=False)

    def night(session: date) -> None:
        if session == SESSIONS[2]:
            bootstrap.keep_exposures(settings, attributed(settings, session))
        elif session == SESSIONS[5]:
            publish(SAID, settings.exposures_path)

    def before(event: MarketEvent) -> None:
        if isinstance(event, TradingWindow):
            bootstrap.take_up_exposures(settings, actor)

    events = bootstrap.source(settings).stream(bootstrap.universe(settings), SESSIONS[0], SESSIONS[-1])
    live_through(actor, clock, events, night, before)
    return settings


@pytest.fixture(scope="module")
def made(lived: Settings) -> Made:
    """Each decision with what was asked and the verdict on its factor exposures, oldest first."""
    with bootstrap.ledger(lived).begin(write=False) as unit:
        rows = unit.decisions.all()
        asked = [json.loads(unit.decisions.inputs(row.inputs_sha)) for row in rows]
        verdicts = [[v for v in unit.decisions.verdicts(row.id) if v.rule == "factor exposure"] for row in rows]
    return [(row, body, verdict) for row, body, [verdict] in zip(rows, asked, verdicts, strict=True)]


def test_each_decision_stores_what_it_was_judged_by_and_says_of_which_session_it_is(made: Made) -> None:
    assert len(made) == 12
    stored = [None if body["exposures"] is None else exposures_in(body["exposures"]) for _, body, _ in made]
    assert [row and row.session for row in stored] == [None] * 3 + [SESSIONS[2]] * 3 + [SESSIONS[5]] * 6
    assert stored[6:] == [SAID] * 6
    told = [verdict.detail for *_, verdict in made]
    assert all("no exposures are known: all count as market 1" in detail for detail in told[:3])
    assert all(f"; exposures of {SESSIONS[2]}" in detail for detail in told[3:6])
    assert all(f"; exposures of {SESSIONS[5]}; " in detail for detail in told[6:11])
    assert all(detail.endswith("guessed as market 1; nothing is known of size") for detail in told[6:11])
    assert told[11].endswith(f"exposures of {SESSIONS[5]} are 6 sessions old: all count as market 1")


def test_what_may_be_held_is_inside_the_caps_by_what_was_known(made: Made) -> None:
    for number, (decision, body, _) in enumerate(made):
        known = None if number < 3 or number == 11 else exposures_in(body["exposures"])
        for factor, cap in CAPS.items():
            parts = (weight * exposure_of(known, symbol, factor) for symbol, weight in decision.weights.items())
            assert abs(math.fsum(parts)) <= cap + 1e-9
    binding = [not verdict.passed for *_, verdict in made]
    assert all(binding[:3]), "the proposal is invested to nine tenths, which may be five"


def test_the_night_publishes_what_it_measured(lived: Settings, made: Made) -> None:
    night = attributed(lived, SESSIONS[2])
    found = exposures_in(made[3][1]["exposures"])
    assert (found.session, found.by_symbol) == (SESSIONS[2], night.exposures)
    assert found.factors[0] == "market"
    assert "momentum" in found.factors
    with bootstrap.ledger(lived).begin(write=False) as unit:
        held = {fill.symbol for fill in unit.book.fills() if CALENDAR.session_of(fill.at) <= SESSIONS[2]}
    assert found.by_symbol.keys() <= held
    assert len(found.by_symbol) > 5


def test_the_ledger_is_replayed_to_the_byte_by_the_exposures_of_then(lived: Settings) -> None:
    assert bootstrap.replay_ledger(lived) == canonical_ledger(bootstrap.ledger(lived))
    lived.exposures_path.rename(lived.home / "gone")
    assert bootstrap.replay_ledger(lived) == canonical_ledger(bootstrap.ledger(lived)), "whatever is in force now"
    (lived.home / "gone").rename(lived.exposures_path)


def test_one_decision_is_made_again_by_the_exposures_of_then_and_only_under_those_caps(
    lived: Settings, made: Made
) -> None:
    for decision in (made[0][0], made[4][0], made[9][0]):
        assert bootstrap.recompute(lived, decision.id).draft.decision == decision
    with pytest.raises(ReplayDiffers, match="made under other limits"):
        bootstrap.recompute(lived.model_copy(update={"rulebook": None}), made[4][0].id)


class TestTakenUp:
    def told(
        self, settings: Settings, caplog: pytest.LogCaptureFixture, session: date, home: Path | None = None
    ) -> tuple[Any, list[str]]:
        """The exposures that an actor takes up at the open of `session`, in `home`, and what it says of them."""
        actor = bootstrap.actor(settings, start_clock(CALENDAR, session, None), remote=False)
        caplog.clear()
        with caplog.at_level(logging.INFO, "ordinis.bootstrap.trading"):
            bootstrap.take_up_exposures(settings.model_copy(update={"home": home or settings.home}), actor)
        said = [r for r in caplog.records if r.name == "ordinis.bootstrap.trading"]
        assert all(r.levelno >= logging.WARNING for r in said)
        return actor.desk.exposures, [r.getMessage() for r in said]

    def test_none_and_old_ones_and_capped_factors_without_any_are_warned_of(
        self, lived: Settings, caplog: pytest.LogCaptureFixture, tmp_path: Path
    ) -> None:
        fresh, old = SESSIONS[10], SESSIONS[11]
        assert self.told(lived, caplog, fresh) == (
            SAID,
            [f"session={fresh}: nothing is known of the capped factors=size"],
        )
        aged = f"session={old}: exposures of {SESSIONS[5]} are 6 sessions old, so every symbol counts as market 1"
        assert self.told(lived, caplog, old) == (SAID, [aged])
        none = f"session={old}: no exposures are known, so every symbol counts as market 1"
        assert self.told(lived, caplog, old, tmp_path) == (None, [none])

    def test_a_file_that_cannot_be_read_leaves_those_that_the_actor_has(
        self, lived: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        actor = bootstrap.actor(lived, start_clock(CALENDAR, SESSIONS[6], None), remote=False)
        bootstrap.take_up_exposures(lived, actor)
        whole = lived.exposures_path.read_text(encoding="utf-8")
        lived.exposures_path.write_text(whole[:40], encoding="utf-8")
        with pytest.raises(ConfigurationError, match=r"exposures-sim\.json: cannot be read"):
            published(lived.exposures_path)
        bootstrap.take_up_exposures(lived, actor)
        assert actor.desk.exposures == SAID
        assert "the factor exposures stay as they were: exposures" in caplog.text
        lived.exposures_path.write_text(whole, encoding="utf-8")

    def test_where_nothing_is_capped_nothing_is_read_and_nothing_said(
        self, lived: Settings, caplog: pytest.LogCaptureFixture
    ) -> None:
        assert self.told(lived.model_copy(update={"rulebook": None}), caplog, SESSIONS[11]) == (None, [])


class TestKept:
    @pytest.fixture
    def night(self, lived: Settings) -> Night:
        return attributed(lived, SESSIONS[2])

    @pytest.fixture
    def settings(self, tmp_path: Path) -> Settings:
        return Settings(home=tmp_path)

    def test_an_earlier_night_done_again_does_not_replace_a_later_one(self, settings: Settings, night: Night) -> None:
        bootstrap.keep_exposures(settings, night)
        first = settings.exposures_path.read_bytes()
        bootstrap.keep_exposures(settings, night)
        assert settings.exposures_path.read_bytes() == first, "the same night, the same bytes"
        bootstrap.keep_exposures(settings, replace(night, session=SESSIONS[1]))
        assert settings.exposures_path.read_bytes() == first
        bootstrap.keep_exposures(settings, replace(night, session=SESSIONS[3]))
        kept = published(settings.exposures_path)
        assert kept is not None
        assert kept.session == SESSIONS[3]

    def test_what_cannot_be_read_is_replaced(self, settings: Settings, night: Night) -> None:
        settings.exposures_path.write_text("{")
        bootstrap.keep_exposures(settings, night)
        assert published(settings.exposures_path) is not None

    @pytest.mark.parametrize("without", [{"factor_risk": None}, {"exposures": {}}], ids=["late factors", "none held"])
    def test_a_night_that_measured_none_of_now_leaves_what_is_there(
        self, settings: Settings, night: Night, without: Mapping[str, Any]
    ) -> None:
        bootstrap.keep_exposures(settings, replace(night, **without))
        assert not settings.exposures_path.exists()

    def test_a_symbol_whose_exposures_are_no_numbers_is_left_out(self, settings: Settings, night: Night) -> None:
        symbol, other = sorted(night.exposures)[:2]
        broken = {symbol: dict.fromkeys(night.exposures[symbol], math.nan), other: night.exposures[other]}
        bootstrap.keep_exposures(settings, replace(night, exposures=broken))
        kept = published(settings.exposures_path)
        assert kept is not None
        assert kept.by_symbol == {other: night.exposures[other]}
        assert kept.factors == tuple(night.exposures[other])
