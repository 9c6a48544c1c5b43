"""A replay of a stretch in which people spoke: overrides, a halt that was lifted, a baseline, come out the same."""

from __future__ import annotations

from datetime import date, datetime, timedelta
from pathlib import Path

import pytest

from ordinis import bootstrap, governance
from ordinis.clock import SystemClock, trading_calendar
from ordinis.data.ingest import ingest
from ordinis.domain.decisions import Source
from ordinis.domain.limits import TradingState
from ordinis.domain.overrides import Override, OverrideKind
from ordinis.execution.canonical import canonical_ledger
from ordinis.execution.control import lift
from ordinis.execution.replay import _first_difference
from ordinis.execution.replaying import live_through, start_clock
from ordinis.governance.breakers import DRAWDOWN
from ordinis.ports import ControlRow, Ledger
from ordinis.settings import Settings

PROJECT = Path(__file__).resolve().parents[2]
CALENDAR = trading_calendar()
FIRST = date(2020, 2, 18)
SESSIONS = CALENDAR.between(FIRST, date(2020, 3, 20))
"""Through a fall in which the breakers speak too."""


STRICTER = {
    "drawdown_start: 0.10": "drawdown_start: 0.02",
    "drawdown_stop: 0.20": "drawdown_stop: 0.04",
    "calendar: null": "calendar: week",
    "absolute_band: 0.05": "absolute_band: null",
    "relative_band: 0.25": "relative_band: null",
}
"""A drawdown halts, and on most sessions nobody is asked but where a person wants the baseline."""


def say(ledger: Ledger, row: ControlRow | Override) -> None:
    with ledger.begin() as unit:
        if isinstance(row, Override):
            unit.control.override(row)
        else:
            unit.control.set(row)
        unit.commit()


def people(ledger: Ledger, session: date) -> None:
    """What is said in the evening of a session, on the clock of the session to come."""
    with ledger.begin(write=False) as unit:
        row = unit.control.state()
    day, at = SESSIONS.index(session), CALENDAR.opens(CALENDAR.next_session(session))
    ends = at + timedelta(days=30)

    def wish(symbol: str, kind: OverrideKind, value: float | None = None, until: datetime = ends) -> None:
        say(ledger, Override(symbol, kind, value, "anna", "a hunch", at, until))

    if day == 1:
        with ledger.begin(write=False) as unit:
            first, second = sorted(unit.book.holdings())[:2]
        wish(first, OverrideKind.MAX, 0.02)
        wish(second, OverrideKind.NO_TRADE)
    elif day == 3:
        say(ledger, ControlRow(TradingState.HALTED, "a look", "anna", at))
    elif day == 5:
        say(ledger, ControlRow(TradingState.ACTIVE, "looked", "anna", at))
    elif day == 6:
        wish("", OverrideKind.BASELINE, until=at + timedelta(days=5))
    elif day > 6 and row is not None and row.by == DRAWDOWN and row.state is not TradingState.ACTIVE:
        say(ledger, ControlRow(TradingState.ACTIVE, "the loss is accepted", "anna", at))
    elif day == 11:
        with ledger.begin(write=False) as unit:
            [capped] = [row.symbol for row in unit.control.overrides(at) if row.kind is OverrideKind.MAX]
        lift(ledger, capped, OverrideKind.MAX, reason="enough", by="bert", at=at)
        say(ledger, ControlRow(TradingState.REDUCING, "careful", "anna", at))
    elif day == 14:
        say(ledger, ControlRow(TradingState.ACTIVE, "bold", "anna", at))


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    home = tmp_path_factory.mktemp("home")
    rulebook = home / "rules.yaml"
    rules = (Path(governance.__file__).parent / "rulebook.yaml").read_text()
    for then, now in STRICTER.items():
        assert then in rules
        rules = rules.replace(then, now)
    rulebook.write_text(rules)
    settings = Settings(
        home=home, rulebook=rulebook, project=PROJECT, broker="simulated", allocator="managed-minimum-variance",
        replay_first=FIRST, replay_last=SESSIONS[-1], replay_seconds=0,
    )  # fmt: skip
    symbols = bootstrap.universe(settings)
    ingest(
        bootstrap.source(settings), bootstrap.bar_store(settings), bootstrap.records(settings), settings.contracts,
        symbols, CALENDAR.back(FIRST, 780), SESSIONS[-1], SystemClock(), bootstrap.instruments(settings),
    )  # fmt: skip
    clock = start_clock(CALENDAR, FIRST, None)
    actor = bootstrap.actor(settings, clock, remote=False)
    ledger = actor.engine.ledger
    events = bootstrap.source(settings).stream(symbols, FIRST, SESSIONS[-1])
    live_through(actor, clock, events, lambda session: people(ledger, session))
    return settings


def test_what_people_said_was_heard(lived: Settings) -> None:
    with bootstrap.ledger(lived).begin(write=False) as unit:
        decisions, history = unit.decisions.all(), unit.control.history()
        verdicts = [verdict for row in decisions for verdict in unit.decisions.verdicts(row.id)]
    assert len(decisions) < len(SESSIONS)
    assert {row.source for row in decisions} == {Source.MODEL, Source.BASELINE}
    assert any(verdict.rule == "overrides" and not verdict.passed for verdict in verdicts)
    assert {"anna", DRAWDOWN} <= {row.by for row in history}


def test_the_replay_is_the_same_to_the_byte(lived: Settings) -> None:
    text = canonical_ledger(bootstrap.ledger(lived))
    seen = []
    assert bootstrap.replay_ledger(lived, seen.append) == text
    assert len(seen) > 10


def test_a_difference_is_shown_from_where_it_begins(lived: Settings) -> None:
    text = canonical_ledger(bootstrap.ledger(lived))
    changed = text.replace('"fee":"', '"fee":"9', 1)
    [told] = _first_difference(changed, text)
    then, now = told.split(" then, ")
    assert '"fee":"9' in then
    assert '"fee":"9' not in now
    assert len(told) < 400
