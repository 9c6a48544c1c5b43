"""Attribution against books whose answer is known: what was put in as exposures comes out as exposures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from ordinis.clock import trading_calendar
from ordinis.data.factors import FACTOR_ETFS, MARKET, FactorTable, etf_factors, month_end
from ordinis.domain.canonical import to_decimal
from ordinis.domain.orders import Fill, Side
from ordinis.domain.portfolio import Movement, Valuation
from ordinis.errors import DataUnavailable
from ordinis.monitoring.attribution import SHOCKS, attribute
from ordinis.monitoring.attribution_reading import WINDOW, BookHistory, FactorHistory, read, valued
from ordinis.monitoring.findings import Night, night_of, nights, save, text_of
from ordinis.monitoring.report_trading import SessionIndex, Traded
from ordinis.persistence.engine import connect
from ordinis.persistence.records import Records
from ordinis.persistence.schema import upgrade
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import PriceHistory
from ordinis.risk.stress import EPISODES, Shock

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


SECTORS = {"AAPL": "technology", "KO": "consumer staples"}
FACTORS = ("market", *FACTOR_ETFS)


def night(ledger: SqlLedger, bars: Closes, session: date = LAST, table: FactorTable | None = None) -> Night:
    return attribute(looked_at(ledger, bars, session, table), SECTORS)


def looked_at(ledger: SqlLedger, bars: Closes, session: date = LAST, table: FactorTable | None = None) -> BookHistory:
    return read(ledger, bars, CALENDAR, session, etf_factors(bars, session) if table is None else table)


def test_the_exposures_that_made_the_returns_are_found(ledger: SqlLedger, bars: Closes) -> None:
    assert looked_at(ledger, bars).returns.shape == (WINDOW,)
    found = night(ledger, bars).factors
    assert found is not None
    assert found.factor_exposures == pytest.approx(EXPOSURES, abs=1e-6)
    assert found.alpha == pytest.approx(ALPHA, abs=1e-8)
    assert found.r_squared == pytest.approx(1.0, abs=1e-8)
    assert found.alpha + sum(found.contributions.values()) == pytest.approx(found.mean_return, abs=1e-12)


def test_the_parts_of_the_risk_sum_to_the_whole(ledger: SqlLedger, bars: Closes) -> None:
    found = night(ledger, bars)
    assert found.risk is not None
    assert found.factor_risk is not None
    assert found.losses is not None
    assert set(found.risk.parts) == set(STOCKS)
    assert sum(found.risk.parts.values()) == pytest.approx(found.risk.volatility, abs=1e-15)
    assert 0.001 < found.risk.volatility < 0.01
    parts = [*found.factor_risk.factors.values(), *found.factor_risk.specific.values()]
    assert sum(parts) == pytest.approx(found.factor_risk.volatility, abs=1e-10)
    assert sum(found.losses.parts.values()) == pytest.approx(found.losses.cvar, abs=1e-10)
    assert found.losses.cvar > found.losses.value_at_risk > 0.0
    assert found.losses.simulated_cvar > found.losses.simulated_value_at_risk > 0.0


def test_exposures_of_a_symbol_are_within_two_standard_errors_of_what_was_planted() -> None:
    """KO follows the factors with noise: over many markets nineteen of twenty exposures are that near."""
    planted, near = np.array([0.8, 0.0, 0.3, -0.2, 0.0, 0.5]), 0
    for seed in range(20):
        rng = np.random.default_rng(seed)
        factors = rng.normal(0.0, 0.01, (WINDOW, 6))
        stock = factors @ planted + rng.normal(0.0, 0.01, WINDOW)
        design = np.column_stack([np.ones(WINDOW), factors])
        error = 0.01 * np.sqrt(np.diag(np.linalg.inv(design.T @ design))[1:])
        known = dataclasses.replace(EMPTY.factors, names=FACTORS, in_window=factors)
        book = dataclasses.replace(EMPTY, symbols=("KO",), weights={"KO": 1.0}, held=stock[:, None], factors=known)
        found = np.array(list(attribute(book, SECTORS).exposures["KO"].values()))
        near += int((np.abs(found - planted) <= 2.0 * error).sum())
    assert near >= 0.9 * 120


EMPTY = BookHistory(
    session=LAST, traded=Traded(SessionIndex([]), [], [], [], [], {}), growth=np.ones(1), returns=np.zeros(0),
    factors=FactorHistory((), "planted", LAST, True, False, False, None, np.zeros((0, 6)), np.zeros((WINDOW, 0))),
    weights={}, symbols=(), held=np.zeros((WINDOW, 0)), others=(), not_held=np.zeros((WINDOW, 0)), before={}, now={},
    sessions=(), closes=np.zeros((0, 0)), remarks=(),
)  # fmt: skip


def test_what_may_be_held_has_exposures_too_and_no_part_in_the_risk(ledger: SqlLedger, bars: Closes) -> None:
    table = etf_factors(bars, LAST)
    whole = attribute(read(ledger, bars, CALENDAR, LAST, table, universe=("AAPL", "KO", "MTUM")), SECTORS)
    alone = night(ledger, bars)
    assert set(whole.exposures) == {"AAPL", "KO", "MTUM"}
    # The fund of a factor moves with the market and with its own factor, one for one.
    assert whole.exposures["MTUM"] == pytest.approx(
        {factor: float(factor in ("market", "momentum")) for factor in FACTORS}, abs=1e-9
    )
    assert whole.risk == alone.risk
    assert whole.exposures["KO"] == pytest.approx(alone.exposures["KO"], abs=1e-12)
    assert whole.factor_risk is not None
    assert set(whole.factor_risk.specific) == {"AAPL", "KO"}


def test_a_book_of_cash_has_the_exposures_of_what_it_may_hold(tmp_path: Path, bars: Closes) -> None:
    ledger = SqlLedger(f"sqlite:///{tmp_path / 'cash.db'}", "sim")
    with ledger.begin() as unit:
        for session in SESSIONS[-3:]:
            at = CALENDAR.closes(session)
            unit.book.value(Valuation("sim", session, at, Decimal(100), Decimal(100), Decimal(0), Decimal(100)))
        unit.commit()
    found = attribute(read(ledger, bars, CALENDAR, LAST, etf_factors(bars, LAST), universe=("AAPL", "KO")), SECTORS)
    assert set(found.exposures) == {"AAPL", "KO"}
    assert (found.risk, found.losses, found.stress) == (None, None, ())
    assert found.factor_risk is not None
    assert found.factor_risk.volatility == 0.0
    assert text_of(night_of(text_of(found))) == text_of(found)


def test_weights_are_those_of_the_close(ledger: SqlLedger, bars: Closes) -> None:
    with ledger.begin(write=False) as unit:
        equity = float(unit.book.valuations()[-1].equity)
    expected = {symbol: 1000 * bars.closes[-1, bars.symbols.index(symbol)] / equity for symbol in STOCKS}
    assert looked_at(ledger, bars).weights == pytest.approx(expected)


def test_nothing_after_the_session_changes_it(ledger: SqlLedger, bars: Closes) -> None:
    earlier = SESSIONS[-10]
    before = text_of(night(ledger, bars, earlier))
    table = etf_factors(bars, LAST)
    assert text_of(night(ledger, bars, earlier, table)) == before, "factors of later sessions are not looked at"
    bars.closes[-9:] *= 2.0
    assert text_of(night(ledger, bars, earlier)) == before


def test_a_night_done_again_finds_the_same_to_the_byte(ledger: SqlLedger, bars: Closes) -> None:
    first = text_of(night(ledger, bars))
    assert text_of(night(ledger, bars)) == first
    assert text_of(night_of(first)) == first


def test_where_the_ledger_skips_sessions_both_sides_span_the_gap(tmp_path: Path, bars: Closes) -> None:
    kept = [row for row in range(len(SESSIONS)) if row % 3]
    market = bars.closes[kept, 0]
    ledger = keep(
        SqlLedger(f"sqlite:///{tmp_path / 'gaps.db'}", "sim"), [SESSIONS[row] for row in kept], 1e6 * market / market[0]
    )
    found = night(ledger, bars, SESSIONS[kept[-1]]).factors
    assert found is not None
    assert found.factor_exposures["market"] == pytest.approx(1.0, abs=1e-3)


def test_a_book_of_fewer_than_42_returns_has_no_regression(ledger: SqlLedger, bars: Closes) -> None:
    early = looked_at(ledger, bars)

    def first(count: int) -> BookHistory:
        beside = dataclasses.replace(early.factors, beside=early.factors.beside[:count])
        return dataclasses.replace(early, returns=early.returns[:count], factors=beside)

    assert attribute(first(42), {}).factors
    short = first(41)
    assert attribute(short, {}).factors is None


def test_a_symbol_without_the_whole_past_is_left_out_of_the_risk(
    ledger: SqlLedger, bars: Closes, caplog: pytest.LogCaptureFixture
) -> None:
    bars.closes[200, bars.symbols.index("KO")] = np.nan
    book = looked_at(ledger, bars)
    assert book.symbols == ("AAPL",)
    assert "KO" in caplog.text
    assert "KO" in book.weights
    assert "KO: prices of 252 sessions are not all there" in attribute(book, SECTORS).remarks[0]


def test_a_session_without_a_factor_is_left_out_of_the_regression(ledger: SqlLedger, bars: Closes) -> None:
    bars.closes[200, 0] = np.nan
    assert len(looked_at(ledger, bars).returns) == WINDOW - 2


def test_a_holding_without_a_close_counts_at_its_last_as_in_the_ledger_and_that_is_said(
    ledger: SqlLedger, bars: Closes
) -> None:
    whole = looked_at(ledger, bars)
    bars.closes[-1, bars.symbols.index("KO")] = np.nan
    book = looked_at(ledger, bars)
    assert book.now == {**whole.now, "KO": whole.before["KO"]}
    found = attribute(book, SECTORS)
    assert f"KO: no close in {LAST}; it counts at its last one, or nothing where it has none." in found.remarks
    assert found.profit is not None
    assert found.profit.timing == {}
    assert found.risk is not None
    bars.closes[:, bars.symbols.index("KO")] = np.nan
    assert looked_at(ledger, bars).now["KO"] == 0


def test_a_book_whose_only_holding_is_halted_has_its_night(ledger: SqlLedger, bars: Closes) -> None:
    for symbol in STOCKS:
        bars.closes[-1, bars.symbols.index(symbol)] = np.nan
    table = etf_factors(bars, LAST)
    book = read(ledger, bars, CALENDAR, LAST, table, universe=(*STOCKS, "MTUM"))
    assert book.now == book.before
    assert f"AAPL, KO: no close in {LAST}" in " ".join(attribute(book, SECTORS).remarks)
    with pytest.raises(DataUnavailable, match=f"closes of {LAST}"):
        read(ledger, bars, CALENDAR, LAST, table, universe=STOCKS)


def test_a_session_whose_bars_are_still_to_come_is_an_error_that_says_so(ledger: SqlLedger, bars: Closes) -> None:
    bars.closes[-1] = np.nan
    with pytest.raises(DataUnavailable, match=f"closes of {LAST}"):
        looked_at(ledger, bars)


def test_a_session_that_was_not_valued(ledger: SqlLedger, bars: Closes) -> None:
    assert valued(ledger, LAST)
    assert not valued(ledger, date(2022, 6, 2))
    with pytest.raises(DataUnavailable, match="value of 2022-06-02"):
        read(ledger, bars, CALENDAR, date(2022, 6, 2), None, "none")


class TestDegraded:
    def test_late_factors_leave_the_plain_covariance_and_say_so(self, ledger: SqlLedger, bars: Closes) -> None:
        table = etf_factors(bars, SESSIONS[-4])
        found = night(ledger, bars, LAST, table)
        assert found.factors_through == SESSIONS[-4]
        assert found.factor_risk is None
        assert found.risk is not None
        assert found.risk == night(ledger, bars).risk
        assert found.factors is not None, "what was known explains the past"
        assert f"Factor returns of factor ETFs are late: the last are of {SESSIONS[-4]}" in found.remarks[0]
        assert found.profit is not None
        assert not found.profit.factors
        assert found.profit.held == night(ledger, bars).profit.held  # type: ignore[union-attr]

    def test_a_table_that_is_published_later_is_not_late(self, ledger: SqlLedger, bars: Closes) -> None:
        whole = etf_factors(bars, LAST)
        slow = dataclasses.replace(whole, lag=timedelta(days=45))
        found = night(ledger, bars, LAST, slow)
        assert found.factors_through == date(2022, 3, 31)
        assert found.factor_risk is not None
        assert found.remarks == ()
        assert found.profit is not None
        assert not found.profit.factors

    def test_without_any_factors_it_says_why(self, ledger: SqlLedger, bars: Closes) -> None:
        found = attribute(read(ledger, bars, CALENDAR, LAST, None, "factors.csv: no such file"), SECTORS)
        assert (found.factors, found.factor_risk, found.forecast) == (None, None, None)
        assert found.risk is not None
        assert found.stress
        assert "No factors: factors.csv: no such file" in found.remarks[0]

    def test_factors_that_are_copies_of_each_other_explain_nothing(self, ledger: SqlLedger, bars: Closes) -> None:
        table = etf_factors(bars, LAST)
        twice = dataclasses.replace(table, returns=np.column_stack([table.returns[:, :5], table.returns[:, 0]]))
        found = night(ledger, bars, LAST, twice)
        assert found.factor_risk is None
        assert found.factors is None
        assert sum("copy of others" in remark for remark in found.remarks) == 2

    def test_a_shock_of_a_sector_that_the_book_does_not_have(self, ledger: SqlLedger, bars: Closes) -> None:
        shocks = [*SHOCKS, Shock("oil", sectors={"energy": -0.3})]
        found = attribute(looked_at(ledger, bars), SECTORS, shocks)
        not_held = Shock("not held", symbols={"XOM": -0.5, "KO": -0.1})
        [told] = attribute(looked_at(ledger, bars), {**SECTORS, "XOM": "energy"}, [not_held]).stress[-1:]
        assert set(told.parts) == {"AAPL", "KO"}
        assert told.loss == pytest.approx(0.1 * looked_at(ledger, bars).weights["KO"])
        assert any("'oil' moves energy, which the book does not have" in remark for remark in found.remarks)
        assert len(found.stress) == len([each for each in EPISODES if each.last <= LAST]) + len(SHOCKS)


def test_monthly_factors_explain_the_book_s_months(tmp_path: Path) -> None:
    sessions = tuple(CALENDAR.between(date(2015, 1, 30), LAST))
    rng = np.random.default_rng(4)
    ends = [s for s in sessions if CALENDAR.next_session(s).month != s.month]
    monthly = rng.normal(0.005, 0.04, (len(ends) - 1, 2))
    growth = {end: 1.0 + 0.7 * row[0] - 0.3 * row[1] + 0.001 for end, row in zip(ends[1:], monthly, strict=True)}
    # Within a month the book wanders; at its end it stands where its factors put it.
    level, last, equity = 1e6, 1e6, []
    for session in sessions:
        level = level * (1.0 + rng.normal(0.0, 0.01))
        if session in growth:
            level = last = last * growth[session]
        equity.append(level if session != sessions[0] else last)
    bars = Closes(STOCKS, sessions, 100.0 * np.cumprod(1.0 + rng.normal(0.0, 0.01, (len(sessions), 2)), axis=0))
    book = keep(SqlLedger(f"sqlite:///{tmp_path / 'months.db'}", "sim"), sessions, np.array(equity))
    table = FactorTable(
        "French", "month", ("market", "size"), tuple(month_end(e.year, e.month) for e in ends[1:]), monthly,
        np.full(len(monthly), 0.001), timedelta(days=30),
    )  # fmt: skip
    found = night(book, bars, LAST, table)
    assert found.factors is not None
    assert found.factors.factor_exposures == pytest.approx({"market": 0.7, "size": -0.3}, abs=1e-6)
    assert found.factors.alpha == pytest.approx(0.0, abs=1e-6), "0.001 a month is the risk-free rate"
    assert found.factors.sessions == len([d for d in table.dates if d + timedelta(days=30) <= LAST])
    assert found.factor_risk is None
    assert not found.remarks


def test_what_was_saved_is_what_is_read(tmp_path: Path, ledger: SqlLedger, bars: Closes) -> None:
    engine = connect(f"sqlite:///{tmp_path / 'records.db'}")
    upgrade(engine, "records")
    records = Records(engine)
    assert nights(records, "sim", SESSIONS[0], LAST) == {}
    found = night(ledger, bars)
    save(records, "sim", found)
    again = nights(records, "sim", SESSIONS[0], LAST)
    assert list(again) == [LAST]
    assert text_of(again[LAST]) == text_of(found)
    assert again[LAST].profit == found.profit
    assert again[LAST].factors == found.factors
