"""Attribution against books whose answer is known: what was put in as exposures comes out as exposures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from ordinis.clock import trading_calendar
from ordinis.domain.canonical import to_decimal
from ordinis.domain.orders import Fill, Side
from ordinis.domain.portfolio import Movement, Valuation
from ordinis.errors import DataUnavailable
from ordinis.monitoring.attribution import (
    FACTOR_ETFS,
    FACTORS,
    LEAST_SESSIONS,
    MARKET,
    WINDOW,
    attribute,
    read,
    save,
    saved,
    valued,
)
from ordinis.persistence.engine import connect
from ordinis.persistence.records import Records
from ordinis.persistence.schema import upgrade
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import PriceHistory

CALENDAR = trading_calendar()
LAST = date(2022, 6, 1)
SESSIONS = tuple(CALENDAR.between(CALENDAR.back(LAST, 300), LAST))
STOCKS = ("AAPL", "KO")
EXPOSURES = {"market": 0.6, "momentum": 0.3, "quality": 0.0, "size": -0.2, "low volatility": 0.1, "value": 0.0}
ALPHA = 0.0002


@dataclasses.dataclass
class Closes:
    """Closes in an array, read as the bar store reads them."""

    symbols: tuple[str, ...]
    sessions: tuple[date, ...]
    closes: np.ndarray

    def history(self, symbols: Sequence[str], first: date, last: date) -> PriceHistory:
        rows = [row for row, session in enumerate(self.sessions) if first <= session <= last]
        columns = [self.symbols.index(symbol) for symbol in symbols]
        return PriceHistory(tuple(symbols), tuple(self.sessions[row] for row in rows), self.closes[rows][:, columns])


@pytest.fixture
def bars() -> Closes:
    rng = np.random.default_rng(11)
    symbols = (MARKET, *FACTOR_ETFS.values(), *STOCKS)
    returns = rng.normal(0.0003, 0.01, (len(SESSIONS), len(symbols)))
    return Closes(symbols, SESSIONS, 100.0 * np.cumprod(1.0 + returns, axis=0))


@pytest.fixture
def ledger(tmp_path: Path, bars: Closes) -> SqlLedger:
    """A book that returned ALPHA and its EXPOSURES to the factors in every session, to the last digit kept."""
    returns = bars.closes[1:, :6] / bars.closes[:-1, :6] - 1.0
    factors = np.column_stack([returns[:, 0], returns[:, 1:] - returns[:, :1]])
    equity = 1e6 * np.cumprod(np.concatenate([[1.0], 1.0 + ALPHA + factors @ np.array(list(EXPOSURES.values()))]))
    return keep(SqlLedger(f"sqlite:///{tmp_path / 'ledger.db'}", "sim"), SESSIONS, equity)


def keep(ledger: SqlLedger, sessions: Sequence[date], equity: np.ndarray) -> SqlLedger:
    """A deposit and two purchases on the first session, and a valuation at each close."""
    opening = CALENDAR.opens(sessions[0])
    with ledger.begin() as unit:
        unit.book.movement(Movement("sim", "open", "deposit", Decimal(1_000_000), opening))
        for number, symbol in enumerate(STOCKS):
            unit.book.fill(
                Fill("sim", f"x{number}", None, symbol, Side.BUY, Decimal(1000), Decimal(100), Decimal(0), opening),
                source="poll",
                received_at=opening,
            )
        for session, value in zip(sessions, equity, strict=True):
            worth = to_decimal(round(float(value), 6))
            unit.book.value(Valuation("sim", session, CALENDAR.closes(session), worth, Decimal(1), Decimal(1), worth))
        unit.commit()
    return ledger


def test_the_exposures_that_made_the_returns_are_found(ledger: SqlLedger, bars: Closes) -> None:
    book = read(ledger, bars, CALENDAR, LAST)
    assert book.returns.shape == (WINDOW,)
    numbers = attribute(book)["factors"]
    assert {factor: numbers[f"exposure {factor}"] for factor in FACTORS} == pytest.approx(EXPOSURES, abs=1e-6)
    assert numbers["alpha"] == pytest.approx(ALPHA, abs=1e-8)
    assert numbers["r_squared"] == pytest.approx(1.0, abs=1e-8)
    explained = numbers["alpha"] + sum(numbers[f"from {factor}"] for factor in FACTORS)
    assert explained == pytest.approx(numbers["mean_return"], abs=1e-12)


def test_the_parts_of_the_risk_sum_to_the_whole(ledger: SqlLedger, bars: Closes) -> None:
    found = attribute(read(ledger, bars, CALENDAR, LAST))
    assert set(found["risk_parts"]) == set(STOCKS)
    assert sum(found["risk_parts"].values()) == pytest.approx(found["risk"]["volatility"], abs=1e-15)
    assert 0.001 < found["risk"]["volatility"] < 0.01


def test_weights_are_those_of_the_close(ledger: SqlLedger, bars: Closes) -> None:
    with ledger.begin(write=False) as unit:
        equity = float(unit.book.valuations()[-1].equity)
    expected = {symbol: 1000 * bars.closes[-1, bars.symbols.index(symbol)] / equity for symbol in STOCKS}
    assert read(ledger, bars, CALENDAR, LAST).weights == pytest.approx(expected)


def test_nothing_after_the_session_changes_it(ledger: SqlLedger, bars: Closes) -> None:
    earlier = SESSIONS[-10]
    before = attribute(read(ledger, bars, CALENDAR, earlier))
    bars.closes[-9:] *= 2.0
    assert attribute(read(ledger, bars, CALENDAR, earlier)) == before


def test_where_the_ledger_skips_sessions_both_sides_span_the_gap(tmp_path: Path, bars: Closes) -> None:
    kept = [row for row in range(len(SESSIONS)) if row % 3]
    market = bars.closes[kept, 0]
    ledger = keep(
        SqlLedger(f"sqlite:///{tmp_path / 'gaps.db'}", "sim"), [SESSIONS[row] for row in kept], 1e6 * market / market[0]
    )
    numbers = attribute(read(ledger, bars, CALENDAR, SESSIONS[kept[-1]]))["factors"]
    assert numbers["exposure market"] == pytest.approx(1.0, abs=1e-6)


def test_a_book_of_fewer_than_42_returns_has_no_regression(ledger: SqlLedger, bars: Closes) -> None:
    assert LEAST_SESSIONS == 42
    assert "factors" in attribute(read(ledger, bars, CALENDAR, SESSIONS[42]))
    assert "factors" not in attribute(read(ledger, bars, CALENDAR, SESSIONS[41]))


def test_a_symbol_without_the_whole_past_is_left_out_of_the_risk(
    ledger: SqlLedger, bars: Closes, caplog: pytest.LogCaptureFixture
) -> None:
    bars.closes[200, bars.symbols.index("KO")] = np.nan
    book = read(ledger, bars, CALENDAR, LAST)
    assert book.symbols == ("AAPL",)
    assert "KO" in caplog.text
    assert "KO" in book.weights


def test_a_session_without_a_factor_is_left_out_of_the_regression(ledger: SqlLedger, bars: Closes) -> None:
    bars.closes[200, 0] = np.nan
    assert len(read(ledger, bars, CALENDAR, LAST).returns) == WINDOW - 2


def test_a_holding_without_a_close_is_an_error_that_names_it(ledger: SqlLedger, bars: Closes) -> None:
    bars.closes[-1, bars.symbols.index("KO")] = np.nan
    with pytest.raises(DataUnavailable, match="close of KO"):
        read(ledger, bars, CALENDAR, LAST)


def test_a_session_that_was_not_valued(ledger: SqlLedger, bars: Closes) -> None:
    assert valued(ledger, LAST)
    assert not valued(ledger, date(2022, 6, 2))
    with pytest.raises(DataUnavailable, match="value of 2022-06-02"):
        read(ledger, bars, CALENDAR, date(2022, 6, 2))


def test_what_was_saved_is_what_the_report_reads(tmp_path: Path, ledger: SqlLedger, bars: Closes) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'records.db'}")
    upgrade(engine, "records")
    records = Records(engine)
    assert saved(records, "sim", LAST) is None
    numbers = attribute(read(ledger, bars, CALENDAR, LAST))
    save(records, "sim", LAST, numbers)
    found = saved(records, "sim", LAST)
    assert found is not None
    assert found.factors is not None
    assert found.risk is not None
    assert found.factors.alpha == numbers["factors"]["alpha"]
    assert found.factors.sessions == WINDOW
    assert found.factors.factor_exposures == {f: numbers["factors"][f"exposure {f}"] for f in FACTORS}
    assert found.risk.parts == numbers["risk_parts"]
    save(records, "sim", LAST, {})
    assert saved(records, "sim", LAST) is None
