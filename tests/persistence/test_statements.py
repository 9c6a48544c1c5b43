"""A statement run by the driver says and raises what the library would, on both databases."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import bindparam, insert, select, update
from sqlalchemy.exc import DBAPIError, IntegrityError

from ordinis.persistence.statements import CHUNK, rows, write
from ordinis.persistence.tables import position, valuation
from ordinis.persistence.unit_of_work import SqlLedger

NOON = datetime(2020, 3, 16, 12, 0, 0, 7, tzinfo=timezone(timedelta(hours=-4)))
ADD, ALL = insert(position), select(position).order_by(position.c.symbol)
FIRST = ALL.limit(1)
RENAME = update(position).where(position.c.symbol == bindparam("old")).values(symbol=bindparam("new"))
ADD_VALUATION, VALUATIONS = insert(valuation), select(valuation)


def held(symbol: str, units: str) -> dict[str, Any]:
    return {"account": "sim", "symbol": symbol, "qty": Decimal(units), "last_fill": NOON}


def test_values_go_in_and_come_out_as_through_the_library(database_url: str) -> None:
    day = {"seq": 1, "account": "sim", "session": date(2020, 3, 16), "at": NOON, "prev_hash": "0" * 64, "hash": "1"}
    money = dict.fromkeys(("equity", "cash", "gross", "peak_equity"), Decimal("0.10"))
    with SqlLedger(database_url, "sim").engine.connect() as connection:
        assert write(connection, ADD, held("KO", "12345678901234567890.123456789"), held("AAPL", "1E+2")) == 2
        write(connection, ADD_VALUATION, {**day, **money})
        for query in (ALL, FIRST, VALUATIONS):
            by_library = [dict(row) for row in connection.execute(query).mappings()]
            assert list(rows(connection, query, {})) == by_library
        [apple, coke] = rows(connection, ALL, {})
        assert (apple["qty"], coke["qty"]) == (Decimal(100), Decimal("12345678901234567890.123456789"))
        assert coke["last_fill"].tzinfo is UTC
        assert coke["last_fill"] == NOON


def test_a_change_says_how_many_rows_it_changed(database_url: str) -> None:
    with SqlLedger(database_url, "sim").engine.connect() as connection:
        write(connection, ADD, held("KO", "1"))
        assert write(connection, RENAME, {"old": "KO", "new": "PEP"}) == 1
        assert write(connection, RENAME, {"old": "KO", "new": "PEP"}) == 0


def test_more_rows_than_are_fetched_at_once_come_all(database_url: str) -> None:
    with SqlLedger(database_url, "sim").engine.connect() as connection:
        for count in (CHUNK, CHUNK + 1):
            write(connection, ADD, *(held(f"{count}-{n:05}", "1") for n in range(count)))
        assert len(list(rows(connection, ALL, {}))) == 2 * CHUNK + 1


def test_what_was_not_committed_is_rolled_back(database_url: str) -> None:
    ledger = SqlLedger(database_url, "sim")
    with ledger.engine.connect() as connection:
        write(connection, ADD, held("KO", "1"))
    with ledger.engine.connect() as connection:
        assert list(rows(connection, ALL, {})) == []


def test_the_drivers_error_is_raised_as_the_librarys(database_url: str) -> None:
    with SqlLedger(database_url, "sim").engine.connect() as connection:
        write(connection, ADD, held("KO", "1"))
        with pytest.raises(IntegrityError):
            write(connection, ADD, held("KO", "2"))
        connection.rollback()
        connection.exec_driver_sql("DROP TABLE position")
        with pytest.raises(DBAPIError, match="position"):
            list(rows(connection, ALL, {}))
