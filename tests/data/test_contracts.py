"""Contracts: what is believed, what is not, and what a person is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from ordinis.clock import ReplayClock
from ordinis.data.bar_store import BarStore
from ordinis.data.contracts import Contract, inspect, load_contract
from ordinis.data.ingest import ingest
from ordinis.data.reference import SAMPLE_INSTRUMENTS, load_instruments
from ordinis.data.sample import SampleSource, factor_returns
from ordinis.errors import ConfigurationError, ContractBroken
from ordinis.persistence.engine import connect
from ordinis.persistence.records import Records
from ordinis.persistence.schema import upgrade
from tests.data.batches import (
    BARS,
    CALENDAR,
    CONTRACTS,
    INSTRUMENTS,
    NOW,
    SESSIONS,
    SYMBOLS,
    Given,
    background,
    folder_bytes,
    good_bars,
    known,
)

HIT = 7
"""Row of the good bars that is damaged: BBB on 2020-03-04, close 114."""
Damage = Callable[[pd.DataFrame], pd.DataFrame]


def cell(column: str, value: Any) -> Damage:
    def damage(bars: pd.DataFrame) -> pd.DataFrame:
        bars = bars.astype({column: object})
        bars.at[HIT, column] = value
        return bars if isinstance(value, (str, date)) else bars.astype({column: float})

    return damage


def again(**changes: Any) -> Damage:
    def damage(bars: pd.DataFrame) -> pd.DataFrame:
        copy = bars.iloc[[HIT]].assign(**changes)
        return pd.concat([bars.iloc[: HIT + 1], copy, bars.iloc[HIT + 1 :]], ignore_index=True)

    return damage


def swapped(bars: pd.DataFrame) -> pd.DataFrame:
    return bars.iloc[[*range(HIT), HIT + 1, HIT, *range(HIT + 2, len(bars))]].reset_index(drop=True)


def added(symbol: str, session: date) -> Damage:
    def damage(bars: pd.DataFrame) -> pd.DataFrame:
        return pd.concat([bars, bars.iloc[[-1]].assign(symbol=symbol, session=session)], ignore_index=True)

    return damage


ROW, BATCH = "row", "batch"
DAMAGES: dict[str, tuple[Damage, str, str]] = {
    "negative price": (cell("low", -3.2), ROW, "low -3.2 is not a price: it must be above zero and finite"),
    "zero price": (cell("close", 0.0), ROW, "close 0.0 is not a price: it must be above zero and finite"),
    "high below low": (cell("high", 112.0), ROW, "high 112.0 is below low 113.0"),
    "open outside the range": (cell("open", 120.0), ROW, "open 120.0 is above high 115.0"),
    "close outside the range": (cell("close", 112.0), ROW, "close 112.0 is below low 113.0"),
    "negative volume": (cell("volume", -1.0), ROW, "volume -1.0 is not a quantity: it must not be negative"),
    "NaN price": (cell("close", np.nan), ROW, "close is missing or NaN"),
    "infinite price": (cell("high", np.inf), ROW, "high inf is not a price: it must be above zero and finite"),
    "duplicate key": (again(), ROW, "duplicate: BBB 2020-03-04 is already in row 8"),
    "same key with another value": (again(close=113.9), ROW, "row 9 says otherwise of BBB 2020-03-04"),
    "missing column": (lambda bars: bars.drop(columns="low"), BATCH, "missing low; not asked for nothing"),
    "extra column": (lambda bars: bars.assign(vwap=1.0), BATCH, "missing nothing; not asked for vwap"),
    "wrong type": (cell("close", "114"), ROW, "close is the text '114', not a number"),
    "future date": (added("CCC", date(2020, 3, 9)), ROW, "session 2020-03-09 is in the future"),
    "naive timestamp": (cell("session", datetime(2020, 3, 4)), ROW, "session is a naive timestamp 2020-03-04 00:00:00"),  # noqa: DTZ001
    "not a session": (added("CCC", date(2020, 3, 7)), ROW, "2020-03-07 is not a session of the exchange"),
    "unknown symbol": (added("DDD", date(2020, 3, 6)), ROW, "unknown symbol DDD"),
    "10x jump": (lambda bars: bars.assign(**bars[["open", "high", "low", "close"]].mul(
        np.where(bars.index == HIT, 10.0, 1.0), axis=0)), ROW, "close 1140.0 is 10.09 times the close before it"),
    "unsorted rows": (swapped, BATCH, "not sorted by symbol and session: row 9 (BBB 2020-03-04) belongs before"),
    "empty batch": (lambda bars: bars.iloc[:0], BATCH, "the batch is empty"),
}  # fmt: skip


@pytest.fixture
def records() -> Records:
    engine = connect("sqlite://")
    upgrade(engine, "records")
    return Records(engine)


@pytest.fixture
def store(tmp_path: Path) -> BarStore:
    """A store that holds the good bars."""
    store = BarStore(tmp_path / "lake")
    store.append(known(good_bars()), "given")
    return store


def test_there_are_twenty_kinds_of_damage() -> None:
    assert len(DAMAGES) == 20


def test_good_bars_pass_as_they_came() -> None:
    found = inspect(BARS, good_bars(), background())
    assert (found.rejections, found.batch_reasons) == ((), ())
    pd.testing.assert_frame_equal(found.clean, good_bars().astype({"symbol": object}))


@pytest.mark.parametrize("kind", DAMAGES)
def test_damage_is_quarantined_with_its_reason_and_the_store_stays_as_it_is(
    kind: str, store: BarStore, records: Records, tmp_path: Path
) -> None:
    damage, scope, reason = DAMAGES[kind]
    before = folder_bytes(tmp_path)
    batch = damage(good_bars())

    def run() -> str:
        arguments = (CONTRACTS, SYMBOLS, SESSIONS[0], SESSIONS[-1], ReplayClock(NOW), INSTRUMENTS)
        if scope == ROW:
            return ingest(Given(batch), store, records, *arguments).batch_id
        with pytest.raises(ContractBroken, match=re.escape(reason)) as broken:
            ingest(Given(batch), store, records, *arguments)
        return broken.value.batch

    identity = run()
    assert run() == identity
    assert folder_bytes(tmp_path) == before
    (kept,) = records.batches()
    rows = records.quarantined(identity)
    if scope == BATCH:
        assert reason in kept.reasons[0]
        assert (len(rows), kept.clean) == (len(batch), 0)
        assert all(row.reasons == kept.reasons for row in rows)
    else:
        assert kept.reasons == ()
        assert [row for row in rows if any(reason in told for told in row.reasons)]
        # Nobody knows which of two contradicting rows is right; otherwise one row is damaged and one is rejected.
        assert len(rows) == (2 if kind == "same key with another value" else 1)


@pytest.mark.parametrize("kind", [kind for kind, (_, scope, _) in DAMAGES.items() if scope == ROW])
def test_the_other_rows_of_a_damaged_batch_are_stored(kind: str, tmp_path: Path, records: Records) -> None:
    store = BarStore(tmp_path / "lake")
    batch = DAMAGES[kind][0](good_bars())
    report = ingest(
        Given(batch), store, records, CONTRACTS, SYMBOLS, SESSIONS[0], SESSIONS[-1], ReplayClock(NOW), INSTRUMENTS
    )
    stored = store.read(SYMBOLS, SESSIONS[0], SESSIONS[-1])
    assert report.new == len(stored) == len(batch) - report.rejected
    assert not report.complete
    merged = stored.merge(good_bars(), on=list(good_bars().columns))
    assert len(merged) == len(stored)


def test_a_row_of_the_wrong_type_is_told_that_and_nothing_else() -> None:
    bars = cell("close", "114")(good_bars()).astype({"volume": object})
    bars.at[HIT, "volume"] = Decimal(-5)
    (rejection,) = inspect(BARS, bars, background()).rejections
    assert rejection.reasons == ("close is the text '114', not a number",)
    assert (rejection.row_no, rejection.symbol, rejection.session) == (HIT + 1, "BBB", date(2020, 3, 4))
    assert '"close":"114"' in rejection.payload
    assert '"volume":"-5"' in rejection.payload


def test_two_faults_of_one_row_are_both_told() -> None:
    bars = good_bars().astype({"volume": float})
    bars.loc[HIT, ["volume", "open"]] = [-1.0, 500.0]
    (rejection,) = inspect(BARS, bars, background()).rejections
    assert len(rejection.reasons) == 2


def test_a_source_may_lack_everything_but_the_close() -> None:
    bars = good_bars()
    bars[["open", "high", "low", "volume"]] = np.nan
    assert not inspect(BARS, bars, background()).rejections
    assert not inspect(BARS, bars.astype({"volume": object}).assign(volume=None), background()).rejections


def test_a_halted_day_has_a_volume_of_zero() -> None:
    assert not inspect(BARS, cell("volume", 0.0)(good_bars()), background()).rejections


def test_whole_numbers_and_decimals_are_numbers_and_truths_are_not() -> None:
    bars = good_bars()
    bars["volume"] = bars["volume"].astype(int)
    bars["close"] = [Decimal(str(close)) for close in bars["close"]]
    found = inspect(BARS, bars, background())
    assert not found.rejections
    assert found.clean["close"].tolist() == good_bars()["close"].tolist()
    assert len(inspect(BARS, bars.assign(volume=True), background()).rejections) == len(bars)


def test_after_a_spike_the_next_close_is_measured_against_the_last_believed_one() -> None:
    bars = DAMAGES["10x jump"][0](good_bars())
    found = inspect(BARS, bars, background())
    assert [row.row_no for row in found.rejections] == [HIT + 1]


def test_a_jump_against_the_store_is_seen_and_an_old_close_is_no_measure(store: BarStore) -> None:
    nxt, later = CALENDAR.next_session(SESSIONS[-1]), date(2020, 6, 1)
    stored = store.read(SYMBOLS, date(2020, 1, 1), date(2020, 12, 31))
    for session, rejected in ((nxt, 1), (later, 0)):
        bars = good_bars(["AAA"], [session])
        bars[["open", "high", "low", "close"]] *= 11
        found = inspect(BARS, bars, background(checked_at=datetime(2020, 7, 1, tzinfo=UTC), stored=stored))
        assert len(found.rejections) == rejected


def test_a_stored_key_with_another_value_needs_a_declared_revision(store: BarStore) -> None:
    bars = good_bars()
    bars.loc[HIT, "close"] = 113.5
    stored = store.read(SYMBOLS, SESSIONS[0], SESSIONS[-1])
    (rejection,) = inspect(BARS, bars, background(stored=stored)).rejections
    assert rejection.reasons == (
        "BBB 2020-03-04 is stored with close 114.0 from given; a correction must be ingested as a revision",
    )
    assert not inspect(BARS, bars, background(stored=stored, revision=True)).rejections


def test_a_session_that_has_not_closed_yet_is_in_the_future() -> None:
    before_close = background(checked_at=CALENDAR.closes(SESSIONS[-1]) - timedelta(seconds=1))
    found = inspect(BARS, good_bars(), before_close)
    assert [row.session for row in found.rejections] == [SESSIONS[-1]] * 3
    assert not inspect(BARS, good_bars(), background(checked_at=CALENDAR.closes(SESSIONS[-1]))).rejections


def test_a_date_beyond_the_calendar_is_in_the_future() -> None:
    found = inspect(BARS, added("CCC", date(2190, 1, 3))(good_bars()), background())
    assert found.rejections[0].reasons == (
        "session 2190-01-03 is in the future: it had not closed when the batch was checked",
    )


def test_a_column_that_comes_twice_is_a_column_nobody_asked_for() -> None:
    bars = good_bars()
    bars.insert(3, "close", 1.0, allow_duplicates=True)
    assert "not asked for close (again)" in inspect(BARS, bars, background()).batch_reasons[0]


def test_columns_may_come_in_any_order() -> None:
    bars = good_bars()
    found = inspect(BARS, bars[bars.columns[::-1]], background())
    assert list(found.clean.columns) == list(bars.columns)


def test_the_whole_sample_passes() -> None:
    source = SampleSource()
    for symbols, first in ((source.symbols()[:20], date(1990, 1, 2)), (source.symbols()[20:25], date(2014, 1, 2))):
        bars = source.history(symbols, first, date(2022, 12, 28))
        told = background(symbols=frozenset(symbols), checked_at=datetime(2023, 1, 1, tzinfo=UTC))
        assert len(inspect(BARS, bars, told).clean) == len(bars)


@settings(max_examples=20, deadline=None)
@given(
    row=st.integers(0, 14),
    column=st.sampled_from(["open", "high", "low", "close", "volume"]),
    value=st.one_of(
        st.floats(max_value=-1e-9), st.just(np.inf), st.text(max_size=3), st.booleans(), st.dates(), st.just([1])
    ),
)
def test_one_bad_cell_rejects_its_row_and_no_other(row: int, column: str, value: object) -> None:
    bars = good_bars().astype({column: object})
    bars.at[row, column] = value
    found = inspect(BARS, bars, background())
    assert [rejection.row_no for rejection in found.rejections] == [row + 1]
    assert len(found.clean) == len(bars) - 1
    assert all(rejection.reasons for rejection in found.rejections)


# the other contracts


def fills() -> pd.DataFrame:
    at = datetime(2020, 3, 4, 20, 45, tzinfo=UTC)
    row = ("sim", "x1", None, "AAA", "buy", Decimal("1.5"), Decimal("103.25"), Decimal("0.01"), at)
    names = ["account", "exec_id", "client_order_id", "symbol", "side", "quantity", "price", "fee", "at"]
    return pd.DataFrame([row, ("sim", "x2", "or1-abc", *row[3:])], columns=names)


def weights() -> pd.DataFrame:
    rows = [("sim", NOW, symbol, 0.3) for symbol in SYMBOLS]
    return pd.DataFrame(rows, columns=["account", "as_of", "symbol", "weight"])


def factors() -> pd.DataFrame:
    return factor_returns(date(1926, 7, 1), date(2018, 11, 30))


def reference() -> pd.DataFrame:
    found = load_instruments(SAMPLE_INSTRUMENTS).values()
    columns = [column.name for column in load_contract(CONTRACTS, "instruments").columns]
    return pd.DataFrame([{name: getattr(i, name) for name in columns} for i in found])


OTHERS = {"fills": fills, "allocation": weights, "factor_returns": factors, "instruments": reference}


@pytest.mark.parametrize("name", OTHERS)
def test_what_ordinis_itself_writes_keeps_its_contract(name: str) -> None:
    batch = OTHERS[name]()
    found = inspect(load_contract(CONTRACTS, name), batch, background())
    assert (found.batch_reasons, found.rejections) == ((), ())
    assert len(found.clean) == len(batch)


@pytest.mark.parametrize(
    ("name", "column", "value", "reason"),
    [
        ("fills", "at", datetime(2020, 3, 4, 20, 45), "at is a naive timestamp 2020-03-04 20:45:00"),  # noqa: DTZ001
        ("fills", "at", NOW + timedelta(days=1), "x1 is in the future"),
        ("fills", "side", "short", "x1: side short is neither buy nor sell"),
        ("fills", "quantity", Decimal(0), "quantity 0.0 is not above zero"),
        ("fills", "fee", Decimal(-1), "fee -1.0 is negative"),
        ("fills", "exec_id", "x2", "row 2 says otherwise of x2"),
        ("fills", "price", None, "price is missing or NaN"),
        ("allocation", "weight", -0.1, "AAA: weight -0.1 is not a fraction"),
        ("allocation", "weight", 0.5, "the weights of sim as of 2020-03-06 21:30:00+00:00 sum to 1.100000"),
        ("allocation", "weight", float("nan"), "weight is missing or NaN"),
        ("allocation", "symbol", "ZZZ", "unknown symbol ZZZ"),
        ("factor_returns", "mkt_rf", 2.96, "mkt_rf 2.96 is not a monthly return as a fraction; is it in percent?"),
        ("factor_returns", "month", date(1926, 7, 1), "1926-07-01 is not the last day of a month"),
        ("instruments", "tick", Decimal(0), "AAPL: tick 0.0 is not above zero"),
        ("instruments", "asset_class", "bond", "AAPL: asset class bond is none of"),
        ("instruments", "tradable", "yes", "tradable is the text 'yes', not a truth"),
        ("instruments", "symbol", "aapl", "aapl is not a ticker"),
    ],
)
def test_a_breach_of_another_contract_is_told(name: str, column: str, value: object, reason: str) -> None:
    batch = OTHERS[name]().astype({column: object})
    batch.at[0, column] = value
    found = inspect(load_contract(CONTRACTS, name), batch, background())
    assert reason in " / ".join(found.rejections[0].reasons)
    if name == "allocation":
        assert found.clean.empty


# contract files


def changed(folder: Path, **changes: Any) -> Path:
    content = yaml.safe_load((CONTRACTS / "bars.yaml").read_text(encoding="utf-8"))
    content.update(changes)
    (folder / "bars.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return folder


def expectation(**changes: Any) -> list[dict[str, Any]]:
    told = {"name": "e", "expect": "expect_column_values_to_be_null", "with": {"column": "open"}, "breach": "row"}
    return [{**told, "reason": "no", **changes}]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"key": ["symbol", "day"]}, "key 'day' is not a column"),
        ({"derived": {"mood": "of the market"}}, "derived column 'mood' is not one of wrong_type, contradicting_row"),
        ({"expectations": expectation(**{"with": {"column": "vwap"}})}, "expectation 'e' speaks of 'vwap'"),
        ({"expectations": expectation(reason="{vwap}")}, "the reason of expectation 'e' names 'vwap'"),
        ({"expectations": expectation(breach="cell")}, "expectations.0.breach: Input should be 'row' or 'batch'"),
        ({"version": "one"}, "version: Input should be a valid integer"),
        ({"colour": "red"}, "colour: Extra inputs are not permitted"),
    ],
)
def test_a_contract_file_that_cannot_be_meant_is_refused(tmp_path: Path, changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ConfigurationError, match=r"contract .*bars\.yaml") as error:
        load_contract(changed(tmp_path, **changes), "bars")
    assert words in str(error.value)


@pytest.mark.parametrize(
    "changes",
    [{"expect": "expect_column_values_to_sparkle"}, {"with": {"column": "open", "sparkle": 1}}, {"with": {}}],
)
def test_an_expectation_that_cannot_be_run_is_named(tmp_path: Path, changes: dict[str, Any]) -> None:
    contract = load_contract(changed(tmp_path, expectations=expectation(**changes)), "bars")
    with pytest.raises(ConfigurationError, match="contract bars: expectation 'e' cannot be run"):
        inspect(contract, good_bars(), background())


def test_a_missing_contract_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"bars\.yaml: cannot be read: No such file"):
        load_contract(tmp_path, "bars")


@pytest.mark.parametrize("name", ["bars", *OTHERS])
def test_every_contract_gives_its_columns_a_unit_or_none_and_a_meaning(name: str) -> None:
    contract: Contract = load_contract(CONTRACTS, name)
    assert contract.name == name
    assert all(column.meaning for column in contract.columns)
    assert all(column.unit for column in contract.columns if column.type in ("number", "date", "instant"))
