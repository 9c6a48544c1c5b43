"""Breakers on a real ledger: what lowers the trading state, to what, and what never raises it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest

from ordinis.domain.limits import Breakers, TradingState
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.governance.breakers import DAILY_LOSS, DRAWDOWN, a_new_day, judge_book, lower, restarted
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import ControlRow

NOW = datetime(2020, 3, 16, 19, 45, tzinfo=UTC)
OPENED = datetime(2020, 3, 16, 13, 30, tzinfo=UTC)
STATES = list(TradingState)


@pytest.fixture
def ledger() -> SqlLedger:
    return SqlLedger("sqlite://", "sim")


def a_book(equity: str, previous: str = "100", peak: str = "100", held: str = "50") -> PortfolioSnapshot:
    holdings = {"KO": Decimal(held)} if Decimal(held) else {}
    cash = Decimal(equity) - Decimal(held)
    return PortfolioSnapshot("sim", NOW, cash, holdings, {"KO": Decimal(1)}, Decimal(peak), Decimal(previous))


def judged(ledger: SqlLedger, book: PortfolioSnapshot, breakers: Breakers | None = None) -> ControlRow | None:
    with ledger.begin() as unit:
        judge_book(unit, breakers or Breakers(), book)
        unit.commit()
    return state(ledger)


def state(ledger: SqlLedger) -> ControlRow | None:
    with ledger.begin(write=False) as unit:
        return unit.control.state()


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
def test_a_machine_only_lowers_the_state(ledger: SqlLedger, before: TradingState, after: TradingState) -> None:
    with ledger.begin() as unit:
        unit.control.set(ControlRow(before, "so it was", "anna", NOW))
        lowered = lower(unit, after, "test", by="a machine", at=NOW)
        row = unit.control.state()
    further = STATES.index(after) > STATES.index(before)
    assert lowered is further
    assert row is not None
    assert (row.state, row.by) == ((after, "a machine") if further else (before, "anna"))


def test_the_first_word_of_a_machine_counts_from_active(ledger: SqlLedger) -> None:
    with ledger.begin() as unit:
        assert not lower(unit, TradingState.ACTIVE, "test", by="a machine", at=NOW)
        assert lower(unit, TradingState.REDUCING, "test", by="a machine", at=NOW)


@pytest.mark.parametrize(("equity", "reduces"), [("98.01", False), ("98", True), ("97", True), ("103", False)])
def test_a_day_that_lost_two_percent_reduces(ledger: SqlLedger, equity: str, reduces: bool) -> None:
    row = judged(ledger, a_book(equity))
    assert (row is not None) is reduces
    if row is not None:
        assert (row.state, row.by) == (TradingState.REDUCING, DAILY_LOSS)
        assert "since the last close, the limit is 2.00%" in row.reason


def test_the_daily_loss_ends_with_its_session_and_not_before(ledger: SqlLedger) -> None:
    judged(ledger, a_book("97"))
    with ledger.begin() as unit:
        assert not a_new_day(unit, OPENED, NOW + timedelta(minutes=5))
        assert a_new_day(unit, OPENED + timedelta(days=1), NOW + timedelta(days=1))
        row = unit.control.state()
    assert row is not None
    assert (row.state, row.by, row.reason) == (TradingState.ACTIVE, DAILY_LOSS, "a new session")


@pytest.mark.parametrize(("by", "said"), [("anna", TradingState.REDUCING), (DAILY_LOSS, TradingState.HALTED)])
def test_a_new_day_ends_nothing_else(ledger: SqlLedger, by: str, said: TradingState) -> None:
    with ledger.begin() as unit:
        unit.control.set(ControlRow(said, "test", by, NOW))
        assert not a_new_day(unit, OPENED + timedelta(days=1), NOW + timedelta(days=1))


def test_a_new_day_without_anything_said_is_nothing(ledger: SqlLedger) -> None:
    with ledger.begin() as unit:
        assert not a_new_day(unit, OPENED, NOW)


def test_a_drawdown_lets_the_book_be_sold_and_halts_when_nothing_is_held(ledger: SqlLedger) -> None:
    assert judged(ledger, a_book("80.1", previous="80.1")) is None
    row = judged(ledger, a_book("80", previous="80"))
    assert row is not None
    assert (row.state, row.by) == (TradingState.REDUCING, DRAWDOWN)
    assert row.reason == "20.00% below the peak, the limit is 20.00%"
    row = judged(ledger, a_book("80", previous="80", held="0"))
    assert row is not None
    assert (row.state, row.by) == (TradingState.HALTED, DRAWDOWN)


def test_a_day_that_breaks_both_does_not_end_with_the_day(ledger: SqlLedger) -> None:
    row = judged(ledger, a_book("79", previous="90"))
    assert row is not None
    assert (row.state, row.by) == (TradingState.REDUCING, DRAWDOWN)
    with ledger.begin() as unit:
        assert not a_new_day(unit, OPENED + timedelta(days=1), NOW + timedelta(days=1))
        assert [r.by for r in unit.control.history()] == [DAILY_LOSS, DRAWDOWN]


def test_judging_again_writes_nothing_new(ledger: SqlLedger) -> None:
    for _ in range(3):
        judged(ledger, a_book("79", previous="90"))
    with ledger.begin(write=False) as unit:
        assert len(unit.control.history()) == 2


def test_a_breaker_that_is_off_does_not_trip(ledger: SqlLedger) -> None:
    off = replace(Breakers(), daily_loss=None, drawdown=None)
    assert judged(ledger, a_book("50", previous="90"), off) is None


@pytest.mark.parametrize(
    ("before", "book", "lowers"),
    [
        (None, a_book("99"), False),
        (None, a_book("97"), True),
        (None, a_book("79", previous="79"), True),
        (None, a_book("79", previous="90"), True),
        (ControlRow(TradingState.REDUCING, "test", DAILY_LOSS, NOW), a_book("97"), False),
        (ControlRow(TradingState.REDUCING, "test", DAILY_LOSS, NOW), a_book("79", previous="90"), True),
        (ControlRow(TradingState.REDUCING, "test", DRAWDOWN, NOW), a_book("79", previous="90"), False),
        (ControlRow(TradingState.HALTED, "test", "anna", NOW), a_book("79", previous="90"), False),
    ],
    ids=[
        "nothing lost",
        "a day's loss",
        "a drawdown",
        "both",
        "that day's loss again",
        "and now the drawdown as well",
        "that drawdown again",
        "a person was there first",
    ],
)
def test_a_breaker_says_whether_it_lowered_the_state(
    ledger: SqlLedger, before: ControlRow | None, book: PortfolioSnapshot, lowers: bool
) -> None:
    with ledger.begin() as unit:
        if before is not None:
            unit.control.set(before)
        assert judge_book(unit, Breakers(), book) is lowers


def test_a_loss_at_the_very_open_belongs_to_the_new_session(ledger: SqlLedger) -> None:
    with ledger.begin() as unit:
        unit.control.set(ControlRow(TradingState.REDUCING, "test", DAILY_LOSS, OPENED))
        assert not a_new_day(unit, OPENED, NOW)
        assert a_new_day(unit, OPENED + timedelta(microseconds=1), NOW)


def test_a_peak_counts_from_the_first_resume_after_the_last_drawdown(ledger: SqlLedger) -> None:
    def restart(*rows: tuple[TradingState, str]) -> datetime | None:
        with ledger.begin() as unit:
            for minutes, (state, by) in enumerate(rows):
                unit.control.set(ControlRow(state, "test", by, NOW + timedelta(minutes=minutes)))
            return restarted(unit.control)

    down, halt, up = (TradingState.REDUCING, DRAWDOWN), (TradingState.HALTED, "ben"), (TradingState.ACTIVE, "anna")
    assert restart() is None
    assert restart(halt, up) is None
    assert restart(up, down, halt) is None
    assert restart(down, halt, up, halt, up) == NOW + timedelta(minutes=2)
    assert restart(down, up, halt, down, halt, up) == NOW + timedelta(minutes=5)
