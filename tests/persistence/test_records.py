"""The records, on SQLite and on PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError

from ordinis.errors import NotFound, StoreUnavailable
from ordinis.persistence.engine import connect
from ordinis.persistence.record_tables import record_metadata
from ordinis.persistence.records import Records
from ordinis.persistence.schema import newest, upgrade

NOW = datetime(2020, 3, 16, 21, 0, 0, 123456, tzinfo=UTC)
MONDAY, TUESDAY = date(2020, 3, 16), date(2020, 3, 17)


@dataclass(frozen=True)
class Row:
    row_no: int
    symbol: str | None = "AAPL"
    session: date | None = MONDAY
    reasons: tuple[str, ...] = ("close -1.0 is not a price", 'Überraschung; "quoted"')
    payload: str = '{"close":-1.0}'


@pytest.fixture
def records(database_url: str) -> Iterator[Records]:
    engine = connect(database_url)
    upgrade(engine, "records")
    yield Records(engine)
    engine.dispose()


def add(records: Records, batch_id: str = "b1", at: datetime = NOW, *rejected: Row) -> bool:
    return records.add_batch(
        batch_id, contract="bars", source="sample", rows=10, rejected=rejected, reasons=("unsorted",), at=at
    )


def test_a_batch_is_kept_once_with_its_quarantine(records: Records) -> None:
    rows = (Row(3), Row(1, None, None, ("the symbol is missing",), "{}"))
    assert add(records, "b1", NOW, *rows)
    assert not add(records, "b1", NOW + timedelta(days=1), *rows)
    (kept,) = records.batches()
    assert (kept.id, kept.rows, kept.clean, kept.rejected, kept.reasons, kept.at) == (
        "b1", 10, 8, 2, ("unsorted",), NOW
    )  # fmt: skip
    found = records.quarantined("b1")
    assert [row.row_no for row in found] == [1, 3]
    assert [(row.symbol, row.session, row.reasons, row.payload) for row in found] == [
        (None, None, ("the symbol is missing",), "{}"),
        ("AAPL", MONDAY, rows[0].reasons, rows[0].payload),
    ]


def test_a_batch_is_there_with_all_its_rows_or_not_at_all(records: Records) -> None:
    with pytest.raises(IntegrityError):
        add(records, "b1", NOW, Row(1), Row(1))
    assert records.batches() == []


def test_the_latest_batch_comes_first(records: Records) -> None:
    for number in (1, 3, 2):
        add(records, f"b{number}", NOW + timedelta(days=number))
    assert [row.id for row in records.batches()] == ["b3", "b2", "b1"]


def test_a_batch_without_quarantine_is_not_an_unknown_batch(records: Records) -> None:
    add(records)
    assert records.quarantined("b1") == []
    with pytest.raises(NotFound, match="no batch 'b2'"):
        records.quarantined("b2")


def test_instants_are_kept_in_utc_to_the_microsecond(records: Records) -> None:
    add(records, "b1", NOW.astimezone(timezone(timedelta(hours=-4))))
    assert records.batches()[0].at == NOW
    assert records.batches()[0].at.tzinfo is UTC


def test_a_finding_is_kept_by_account_session_and_topic(records: Records) -> None:
    records.keep_finding("sim", TUESDAY, "attribution", '{"r":0.25,"s":"\u00fc"}')
    records.keep_finding("sim", MONDAY, "attribution", "{}")
    records.keep_finding("sim", MONDAY, "other", "[]")
    records.keep_finding("paper", MONDAY, "attribution", "null")
    found = records.findings("sim", "attribution", MONDAY, TUESDAY)
    assert list(found.items()) == [(MONDAY, "{}"), (TUESDAY, '{"r":0.25,"s":"\u00fc"}')]
    assert records.findings("sim", "attribution", TUESDAY, TUESDAY) == {TUESDAY: found[TUESDAY]}
    assert records.findings("sim", "nothing", MONDAY, TUESDAY) == {}


def test_a_finding_that_is_made_again_replaces_what_was_there(records: Records) -> None:
    records.keep_finding("sim", MONDAY, "attribution", "1")
    records.keep_finding("sim", MONDAY, "attribution", "2")
    assert records.findings("sim", "attribution", MONDAY, MONDAY) == {MONDAY: "2"}


def test_the_migrations_make_the_tables_that_the_code_uses(records: Records, database_url: str) -> None:
    with connect(database_url).connect() as connection:
        options = {"version_table": "records_version", "compare_type": False}
        assert compare_metadata(MigrationContext.configure(connection, opts=options), record_metadata) == []


def test_the_ledger_and_the_records_may_share_a_database(records: Records, database_url: str) -> None:
    engine = connect(database_url)
    upgrade(engine, "ledger")
    upgrade(engine, "records")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM records_version")).scalar() == newest("records")


def test_a_database_without_the_tables_says_so(database_url: str) -> None:
    with pytest.raises(StoreUnavailable):
        Records(connect(database_url)).batches()
