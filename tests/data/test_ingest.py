"""Ingest: from a source through the contract into the store, once."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from ordinis.clock import ReplayClock
from ordinis.data.bar_store import BarStore
from ordinis.data.ingest import IngestReport, ingest
from ordinis.data.reference import SAMPLE_INSTRUMENTS, load_instruments
from ordinis.data.sample import SampleSource
from ordinis.errors import ContractBroken, DataUnavailable
from ordinis.persistence.engine import connect
from ordinis.persistence.records import Records
from ordinis.persistence.schema import upgrade
from tests.data.batches import (
    CALENDAR,
    CONTRACTS,
    INSTRUMENTS,
    NOW,
    SESSIONS,
    SYMBOLS,
    Given,
    folder_bytes,
    good_bars,
)


@pytest.fixture
def records() -> Records:
    engine = connect("sqlite://")
    upgrade(engine, "records")
    return Records(engine)


@pytest.fixture
def store(tmp_path: Path) -> BarStore:
    return BarStore(tmp_path / "lake")


def run(
    batch: pd.DataFrame,
    store: BarStore,
    records: Any,
    *,
    symbols: Sequence[str] = SYMBOLS,
    last: date = SESSIONS[-1],
    now: datetime = NOW,
    revision: bool = False,
) -> IngestReport:
    return ingest(
        Given(batch), store, records, CONTRACTS, symbols, SESSIONS[0], last, ReplayClock(now), INSTRUMENTS,
        revision=revision,
    )  # fmt: skip


def test_a_good_batch_is_stored_and_recorded(store: BarStore, records: Records) -> None:
    report = run(good_bars(), store, records)
    assert report.complete
    assert (report.rows, report.clean, report.new, report.rejected, report.missing) == (15, 15, 15, 0, ())
    assert len(store.read(SYMBOLS, SESSIONS[0], SESSIONS[-1])) == 15
    (kept,) = records.batches()
    assert (kept.id, kept.contract, kept.source, kept.rows, kept.clean, kept.rejected, kept.at) == (
        report.batch_id, "bars", "given", 15, 15, 0, NOW
    )  # fmt: skip


def test_doing_it_again_changes_nothing(store: BarStore, records: Records, tmp_path: Path) -> None:
    first = run(good_bars(), store, records)
    before = folder_bytes(tmp_path)
    again = run(good_bars(), store, records, now=NOW + timedelta(days=1))
    assert (again.new, again.batch_id) == (0, first.batch_id)
    assert folder_bytes(tmp_path) == before
    assert len(records.batches()) == 1


def test_each_row_is_known_from_its_sessions_close_on(store: BarStore, records: Records) -> None:
    run(good_bars(), store, records)
    for session in SESSIONS:
        seen = store.history(SYMBOLS, SESSIONS[0], SESSIONS[-1], CALENDAR.closes(session))
        assert seen.sessions[-1] == session


def test_what_was_asked_for_and_did_not_come_is_listed(store: BarStore, records: Records) -> None:
    bars = good_bars(["AAA", "BBB"])
    report = run(bars.drop(index=2), store, records, last=CALENDAR.next_session(SESSIONS[-1]))
    assert report.missing == (("AAA", SESSIONS[2]), *(("CCC", session) for session in SESSIONS))
    assert not report.complete


def test_a_rejected_row_is_missing_and_its_reason_is_counted_and_logged(
    store: BarStore, records: Records, caplog: pytest.LogCaptureFixture
) -> None:
    bars = good_bars()
    bars.loc[4, "volume"] = -1.0
    reason = "volume -1.0 is not a quantity: it must not be negative and must be finite"
    with caplog.at_level(logging.INFO, "ordinis"):
        report = run(bars, store, records)
    assert report.reasons == {reason: 1}
    assert report.missing == (("AAA", SESSIONS[4]),)
    (row,) = records.quarantined(report.batch_id)
    assert (row.row_no, row.symbol, row.session, row.reasons) == (5, "AAA", SESSIONS[4], (reason,))
    assert [record.levelname for record in caplog.records] == ["INFO", "WARNING"]
    assert reason in caplog.text


def test_a_batch_of_which_nothing_can_be_believed_is_an_error(store: BarStore, records: Records) -> None:
    with pytest.raises(ContractBroken, match="breaks contract bars: close is missing or NaN") as broken:
        run(good_bars().assign(close=float("nan")), store, records)
    assert len(records.quarantined(broken.value.batch)) == 15


def test_a_broken_batch_is_quarantined_once(store: BarStore, records: Records) -> None:
    for _ in range(2):
        with pytest.raises(ContractBroken):
            run(good_bars().assign(close="text"), store, records)
    assert len(records.batches()) == 1


def test_a_bar_that_came_too_early_is_a_new_batch_when_it_is_right(store: BarStore, records: Records) -> None:
    early = run(good_bars(), store, records, now=CALENDAR.closes(SESSIONS[-1]) - timedelta(minutes=1))
    assert (early.new, early.rejected) == (12, 3)
    right = run(good_bars(), store, records)
    assert (right.new, right.rejected) == (3, 0)
    assert [row.id for row in records.batches()] == [right.batch_id, early.batch_id]
    assert right.batch_id != early.batch_id


def test_a_correction_is_stored_only_when_it_is_declared(store: BarStore, records: Records) -> None:
    run(good_bars(), store, records)
    bars = good_bars()
    bars.loc[0, "close"] = 101.5
    refused = run(bars, store, records)
    assert (refused.new, refused.rejected) == (0, 1)
    april = datetime(2020, 4, 1, tzinfo=UTC)
    taken = run(bars, store, records, now=april, revision=True)
    assert (taken.new, taken.rejected) == (1, 0)
    closes = [
        store.history(["AAA"], SESSIONS[0], SESSIONS[-1], as_of).closes[0, 0]
        for as_of in (NOW, april - timedelta(microseconds=1), april)
    ]
    assert closes == [102.0, 102.0, 101.5]
    assert run(bars, store, records, now=april, revision=True).new == 0


def test_a_new_row_in_a_revision_is_known_from_its_close_on(store: BarStore, records: Records) -> None:
    run(good_bars(["AAA"]), store, records, symbols=["AAA"])
    run(good_bars(), store, records, now=datetime(2020, 4, 1, tzinfo=UTC), revision=True)
    found = store.read(["BBB"], SESSIONS[0], SESSIONS[0])
    assert found["known_at"].tolist() == [CALENDAR.closes(SESSIONS[0])]


def test_batches_of_other_content_or_another_source_have_other_names(store: BarStore, records: Records) -> None:
    class Another(Given):
        name = "another"

    bars = good_bars()
    names = {run(bars, store, records).batch_id, run(bars.iloc[:14], store, records).batch_id}
    told = (store, records, CONTRACTS, SYMBOLS, SESSIONS[0], SESSIONS[-1], ReplayClock(NOW), INSTRUMENTS)
    names.add(ingest(Another(bars), *told).batch_id)
    for column, value in (("volume", 7.0), ("open", 102.6), ("high", float("nan"))):
        changed = bars.copy()
        changed.loc[0, column] = value
        names.add(ingest(Given(changed), *told, revision=True).batch_id)
    assert len(names) == 6


def test_a_symbol_without_reference_data_is_not_fetched(store: BarStore, records: Records) -> None:
    with pytest.raises(DataUnavailable, match="reference data has no instrument ZZZ; add it to the instruments file"):
        run(good_bars(), store, records, symbols=["AAA", "ZZZ"])


class Forgetful:
    """Records of a process that is killed as it would write them."""

    def add_batch(self, *_: object, **__: object) -> bool:
        raise KeyboardInterrupt


def test_killed_between_store_and_records_the_next_run_arrives_at_the_same_end(
    store: BarStore, records: Records, tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        run(good_bars(), store, Forgetful())
    stored = folder_bytes(tmp_path / "lake")
    run(good_bars(), store, records)
    assert folder_bytes(tmp_path / "lake") == stored
    assert [row.clean for row in records.batches()] == [15]


def test_the_sample_goes_in_whole(store: BarStore, records: Records) -> None:
    source = SampleSource()
    symbols = source.symbols()[:20]
    first, last = date(2015, 1, 2), date(2022, 12, 28)
    clock = ReplayClock(datetime(2023, 1, 1, tzinfo=UTC))
    told = (CONTRACTS, symbols, first, last, clock, load_instruments(SAMPLE_INSTRUMENTS))
    report = ingest(source, store, records, *told)
    assert report.complete
    assert report.new == 20 * len(CALENDAR.between(first, last))
    assert ingest(source, store, records, *told).new == 0
