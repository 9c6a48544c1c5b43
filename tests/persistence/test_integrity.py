"""Each kind of damage by its own name, on both databases; ledgers of the first version; pages, schema, references."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from sqlalchemy import Connection, Engine, MetaData, Table, insert, select, text

from ordinis.domain.canonical import canonical, digest
from ordinis.domain.limits import TradingState
from ordinis.domain.orders import OrderState
from ordinis.domain.portfolio import Movement, Valuation
from ordinis.errors import LedgerDamaged
from ordinis.persistence import integrity
from ordinis.persistence.engine import connect
from ordinis.persistence.schema import _config
from ordinis.persistence.tables import CHAINED, metadata
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import ControlRow, OrderEvent
from tests.persistence.test_ledger import NOW, a_decision, a_fill, an_intent, event, store


def trade(ledger: SqlLedger) -> None:
    """Two decisions, an order that was filled and one that was not sent, a deposit, two valuations, a kill."""
    first, second = a_decision(), a_decision(NOW + timedelta(days=1), ("KO",))
    bought, denied = an_intent(first), an_intent(second, "KO")
    with ledger.begin() as unit:
        unit.book.movement(Movement("sim", "d1", "deposit", Decimal("1000.10"), NOW))
        unit.book.movement(Movement("sim", "d2", "split", Decimal(0), NOW, "XOM", Decimal(3)))
        store(unit, first)
        store(unit, second)
        unit.orders.add(bought, at=NOW, fence=7)
        coid = bought.client_order_id
        sent = OrderEvent("sent", "local", NOW, NOW, {}, sent_at=NOW)
        unit.orders.move(coid, OrderState.SENDING, sent)
        unit.orders.move(coid, OrderState.WORKING, OrderEvent("ack", "poll", NOW, NOW, {}, broker_order_id="b1"))
        unit.book.fill(a_fill(bought, 1, "1"), source="poll", received_at=NOW)
        unit.book.fill(a_fill(bought, 2, "0.5"), source="poll", received_at=NOW)
        unit.orders.move(coid, OrderState.FILLED, event("filled"))
        unit.orders.add(denied, at=NOW, fence=7)
        unit.orders.move(denied.client_order_id, OrderState.DENIED, event("denied", reason="G3"))
        for day in (16, 17):
            unit.book.value(Valuation("sim", date(2020, 3, day), NOW, Decimal(9), Decimal(4), Decimal(5), Decimal(9)))
        unit.book.set_watermark(NOW)
        unit.control.set(ControlRow(TradingState.KILLED, "drill", "anna", NOW))
        unit.commit()


@pytest.fixture
def ledger(database_url: str) -> Iterator[SqlLedger]:
    made = SqlLedger(database_url, "sim")
    trade(made)
    yield made
    made.close()


@contextmanager
def unguarded(engine: Engine) -> Iterator[Connection]:
    """A connection on which neither triggers nor references stop a change; the triggers are back afterwards."""
    with engine.connect() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("SET session_replication_role = replica"))
            yield connection
            connection.execute(text("SET session_replication_role = DEFAULT"))
        else:
            found = text("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
            triggers = [tuple(row) for row in connection.execute(found)]
            for name, _ in triggers:
                connection.exec_driver_sql(f"DROP TRIGGER {name}")
            connection.exec_driver_sql("PRAGMA defer_foreign_keys = ON")
            yield connection
            for _, sql in triggers:
                connection.exec_driver_sql(sql)
        connection.commit()


def verify(ledger: SqlLedger) -> None:
    with ledger.begin(write=False) as unit:
        unit.verify()


def test_what_was_traded_verifies(ledger: SqlLedger) -> None:
    verify(ledger)


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE fill SET price = '60.13' WHERE exec_id = 'x1'", "fill, row sim, x1: price: 60.13 kept, 60.130001 by"),
        ("DELETE FROM fill WHERE exec_id = 'x2'", "fill, row sim, x2: it is missing; its events tell of it"),
        (
            "INSERT INTO fill SELECT account, 'x9', coid, symbol, side, qty, price, fee, ts, reverses FROM fill "
            "WHERE exec_id = 'x1'",
            "fill, row sim, x9: its events know nothing of it",
        ),
        ("UPDATE order_intent SET state = 'REJECTED' WHERE symbol = 'AAPL'", "state: REJECTED kept, FILLED by"),
        ("UPDATE order_intent SET qty = '2' WHERE symbol = 'AAPL'", "qty: 2 kept, 1.5 by its events"),
        ("UPDATE order_intent SET filled_qty = '1' WHERE symbol = 'AAPL'", "filled_qty: 1 kept, 1.5 by its events"),
        ("UPDATE order_intent SET fence = 8 WHERE symbol = 'KO'", "fence: 8 kept, 7 by its events"),
        ("UPDATE order_intent SET broker_order_id = 'b2' WHERE symbol = 'AAPL'", "broker_order_id: b2 kept, b1 by"),
        ("UPDATE order_intent SET sent_at = NULL WHERE symbol = 'AAPL'", "sent_at: None kept, 2020-03-16T19:45"),
        ("UPDATE risk_check SET passed = NOT passed WHERE position = 1", "they are not those of the decision"),
        ("UPDATE risk_check SET detail = '' WHERE position = 1", "they are not those of the decision"),
        ("DELETE FROM risk_check WHERE position = 1", "they are not those of the decision"),
        ("DELETE FROM risk_check WHERE position = 0", "risk_check, row .*, 0: it is missing"),
        ("UPDATE decision_part SET share = 0.2", "they are not those of the decision"),
        ("UPDATE decision_input SET payload = payload || ' '", "decision_input, row .* does not match its hash"),
        ("UPDATE decision SET approved_by = 'me'", "decision, row 1: its content does not match"),
        ("UPDATE valuation SET equity = '8' WHERE seq = 2", "valuation, row 2: its content does not match"),
        ("UPDATE control SET state = 'ACTIVE'", "control, row 1: its content does not match"),
        ("UPDATE movement SET kind = 'gift' WHERE seq = 2", "movement, row 2: its content does not match its hash"),
        ("UPDATE movement SET seq = 3 WHERE seq = 2", "movement, row 2: it is missing; the next is row 3"),
        ("DELETE FROM order_event WHERE seq = 4", "order_event, row 4: it is missing"),
        ("UPDATE position SET qty = '2' WHERE symbol = 'AAPL'", "position, row sim, AAPL: qty: 2 kept, 1.5 by"),
        ("UPDATE position SET last_fill = NULL WHERE symbol = 'AAPL'", "last_fill: None kept"),
        ("DELETE FROM position WHERE symbol = 'XOM'", "position, row sim, XOM: it is missing"),
        ("UPDATE balance SET cash = '6'", "balance, row sim: cash: 6 kept, 909.8049985 by its fills and movements"),
        ("UPDATE balance SET watermark = NULL", "balance, row sim: its content does not match its digest"),
        ("DELETE FROM balance", "balance, row sim: it is missing"),
    ],
)
def test_damage_is_told_by_table_and_row(ledger: SqlLedger, statement: str, told: str) -> None:
    with unguarded(ledger.engine) as connection:
        connection.execute(text(statement))
    with pytest.raises(LedgerDamaged, match=told):
        verify(ledger)


def test_what_follows_from_cut_events_shows_even_without_an_anchor(ledger: SqlLedger) -> None:
    with unguarded(ledger.engine) as connection:
        connection.execute(text("DELETE FROM order_event WHERE seq > 6"))
    with pytest.raises(LedgerDamaged, match=r"order_intent, row or1-\w+: it|state: DENIED kept"):
        verify(ledger)


def test_every_table_is_covered() -> None:
    chained = {table.name for table in CHAINED}
    derived = {"decision_part", "risk_check", "decision_input", "order_intent", "fill", "position", "balance"}
    of_no_money = {"lease"}
    assert chained | derived | of_no_money == set(metadata.tables)


def test_the_message_says_where_to_look_and_what_to_do(ledger: SqlLedger) -> None:
    with unguarded(ledger.engine) as connection:
        connection.execute(text("UPDATE fill SET fee = '0' WHERE exec_id = 'x1'"))
    with pytest.raises(LedgerDamaged) as damaged:
        verify(ledger)
    page = (Path(__file__).resolve().parents[2] / "docs" / "operating.md").read_text(encoding="utf-8")
    for needed in ("fill, row sim, x1", "ordinis restore PATH", "The broker still knows", "docs/operating.md"):
        assert needed in str(damaged.value)
    assert "## A damaged ledger" in page


def a_file(folder: Path) -> tuple[SqlLedger, Path]:
    ledger = SqlLedger(f"sqlite:///{folder / 'ledger.db'}", "sim")
    trade(ledger)
    return ledger, folder / "ledger.db"


@pytest.mark.parametrize("guard", ["one_live_intent_per_symbol", "fill"])
def test_a_guard_that_is_gone_is_noticed(ledger: SqlLedger, guard: str) -> None:
    sqlite = ledger.engine.dialect.name == "sqlite"
    trigger = "fill_no_update" if sqlite else "fill_append_only"
    statement = f"DROP INDEX {guard}" if guard != "fill" else f"DROP TRIGGER {trigger}" + ("" if sqlite else " ON fill")
    with ledger.engine.begin() as connection:
        connection.execute(text(statement))
    with pytest.raises(LedgerDamaged, match=f"schema, row {trigger if guard == 'fill' else guard}"):
        verify(ledger)


def test_an_index_of_an_operator_is_no_damage(tmp_path: Path) -> None:
    ledger, _ = a_file(tmp_path)
    with ledger.engine.begin() as connection:
        connection.execute(text("CREATE INDEX mine ON fill (symbol)"))
    verify(ledger)


def test_an_index_that_misses_a_row_is_noticed(tmp_path: Path) -> None:
    ledger, file = a_file(tmp_path)
    ledger.close()
    key = b"b1"
    pages = file.read_bytes()
    # The broker's id stands in the order's row, in its event's change, and in the index: the last is the index.
    assert pages.count(key) >= 3
    damaged = 0
    for place in [at for at in range(len(pages)) if pages.startswith(key, at)]:
        file.write_bytes(pages[:place] + b"b7" + pages[place + 2 :])
        with pytest.raises(LedgerDamaged):
            verify(SqlLedger(f"sqlite:///{file}", "sim"))
        damaged += 1
    assert damaged >= 3


def test_a_reference_to_nothing_is_noticed(tmp_path: Path) -> None:
    ledger, _ = a_file(tmp_path)
    with unguarded(ledger.engine) as connection:
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
    with closing(ledger.engine.raw_connection()) as raw:
        raw.driver_connection.execute("PRAGMA foreign_keys = OFF")
        for verb in ("update", "delete"):
            raw.driver_connection.execute(f"DROP TRIGGER decision_input_no_{verb}")
        raw.driver_connection.execute("DELETE FROM decision_input")
    with ledger.begin(write=False) as unit, pytest.raises(LedgerDamaged, match="the row of decision_input that it"):
        unit.verify()


# the first version


def first_version(url: str, source: SqlLedger) -> None:
    """The rows of `source` as the first version wrote them, with gaps in the places of the movements."""
    engine = connect(url)
    config = _config("ledger")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "ledger_0001")
        old = MetaData()
        old.reflect(connection)
        with source.engine.connect() as rows:
            for table in (t for t in metadata.sorted_tables if t.name in old.tables):
                _copy(rows, connection, table, old.tables[table.name])
    engine.dispose()


def _copy(source: Connection, target: Connection, table: Table, old: Table) -> None:
    chained, previous = table in CHAINED and "hash" in old.columns, "0" * 64
    order = [table.c.seq] if "seq" in table.c else []
    for row in source.execute(select(table).order_by(*order)).mappings():
        values: dict[str, Any] = {column.name: row[column.name] for column in old.columns}
        if chained:
            content = {name: value for name, value in values.items() if name not in ("seq", "prev_hash", "hash")}
            values |= {"prev_hash": previous, "hash": digest(f"{previous}|{canonical(content)}")}
            previous = values["hash"]
            values["seq"] = 2 * row["seq"] if table.name == "movement" else row["seq"]
        # Written with the types of today, which for these columns are those of then.
        typed = Table(old.name, MetaData(), *(table.c[name]._copy() for name in values))
        target.execute(insert(typed), values)


def test_a_ledger_of_the_first_version_is_brought_under_its_hashes(
    ledger: SqlLedger, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = another(ledger, tmp_path, request)
    first_version(url, ledger)
    migrated = SqlLedger(url, "sim")
    verify(migrated)
    with ledger.begin(write=False) as before, migrated.begin(write=False) as after:
        assert after.decisions.all() == before.decisions.all()
        assert after.orders.all() == before.orders.all()
        assert after.book.valuations() == before.book.valuations()
        assert after.book.watermark() == before.book.watermark()
    with unguarded(migrated.engine) as connection:
        connection.execute(text("UPDATE order_intent SET qty = '2' WHERE symbol = 'AAPL'"))
    with pytest.raises(LedgerDamaged, match=r"qty: 2 kept, 1\.5 by its events"):
        verify(migrated)


def test_a_migration_does_not_bless_damage(ledger: SqlLedger, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    url = another(ledger, tmp_path, request)
    first_version(url, ledger)
    engine = connect(url)
    with unguarded(engine) as connection:
        connection.execute(text("UPDATE control SET reason = 'gone'"))
    with pytest.raises(LedgerDamaged, match="control, row 1: its content does not match"):
        SqlLedger(url, "sim")
    with engine.connect() as connection:
        assert connection.execute(text("SELECT version_num FROM ledger_version")).scalar() == "ledger_0001"


def test_what_an_order_had_filled_in_the_first_version_must_follow_from_its_fills(
    ledger: SqlLedger, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = another(ledger, tmp_path, request)
    first_version(url, ledger)
    with connect(url).begin() as connection:
        connection.execute(text("UPDATE order_intent SET filled_qty = '1' WHERE symbol = 'AAPL'"))
    with pytest.raises(LedgerDamaged, match=r"filled_qty: 1 kept, 1\.5 by its fills"):
        verify(SqlLedger(url, "sim"))


def another(ledger: SqlLedger, tmp_path: Path, request: pytest.FixtureRequest) -> str:
    """An empty database of the same kind."""
    if ledger.engine.dialect.name == "sqlite":
        return f"sqlite:///{tmp_path / 'first.db'}"
    name = f"{ledger.engine.url.database}_first"
    with ledger.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    return ledger.engine.url.set(database=name).render_as_string(hide_password=False)


def test_verdicts_and_parts_have_one_digest_whatever_type_their_numbers_came_in() -> None:
    from ordinis.domain.decisions import Verdict

    plain = integrity.details_sha([Verdict("cap", 1.0, 0.0, True)], [("m", "KO", 1.0), ("m", "AAPL", 0.5)])
    other = integrity.details_sha([Verdict("cap", 1, -0.0, True)], [("m", "AAPL", 0.5), ("m", "KO", 1)])
    assert plain == other
    assert json.loads(canonical({"x": -0.0 + 0.0})) == {"x": 0.0}
