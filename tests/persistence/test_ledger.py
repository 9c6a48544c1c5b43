"""The ledger's doors, on SQLite and on PostgreSQL."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import StaticPool

from ordinis.domain.canonical import canonical, digest
from ordinis.domain.decisions import Decision, DecisionStatus, Source, Verdict, decision_id
from ordinis.domain.limits import TradingState
from ordinis.domain.orders import (
    Fill,
    OrderIntent,
    OrderState,
    OrderType,
    PlannedOrder,
    Side,
    TimeInForce,
    client_order_id,
)
from ordinis.domain.overrides import Override, OverrideKind
from ordinis.domain.portfolio import Movement, Valuation
from ordinis.errors import (
    AnotherWriter,
    ConfigurationError,
    IllegalTransition,
    LedgerConflict,
    NotFound,
    StoreUnavailable,
)
from ordinis.persistence.engine import connect
from ordinis.persistence.schema import Schema, _config, _current, migrate, newest, upgrade
from ordinis.persistence.tables import metadata
from ordinis.persistence.unit_of_work import SqlLedger, SqlUnitOfWork
from ordinis.ports import ControlRow, OrderEvent

NOW = datetime(2020, 3, 16, 19, 45, tzinfo=UTC)


@pytest.fixture
def ledger(database_url: str) -> SqlLedger:
    return SqlLedger(database_url, "sim")


def a_decision(as_of: datetime = NOW, symbols: tuple[str, ...] = ("AAPL",)) -> Decision:
    inputs = canonical({"as_of": as_of})
    orders = tuple(PlannedOrder(s, "buy", Side.BUY, Decimal("1.5"), Decimal("60.123")) for s in symbols)
    return Decision(
        id=decision_id("sim", as_of, Source.MODEL, digest(inputs), "l" * 64, "model"),
        account="sim",
        source=Source.MODEL,
        model_sha="model",
        inputs_sha=digest(inputs),
        limits_sha="l" * 64,
        as_of=as_of,
        expires_at=as_of + timedelta(minutes=15),
        weights=dict.fromkeys(symbols, 0.1),
        orders=orders,
        status=DecisionStatus.APPROVED,
        approved_by="rulebook",
        reason="",
    )


def an_intent(decision: Decision, symbol: str = "AAPL", attempt: int = 1) -> OrderIntent:
    return OrderIntent(
        client_order_id=client_order_id("sim", decision.id, symbol, "buy", attempt),
        decision_id=decision.id,
        account="sim",
        symbol=symbol,
        leg="buy",
        attempt=attempt,
        side=Side.BUY,
        quantity=Decimal("1.5"),
        type=OrderType.MARKET,
        limit_price=None,
        tif=TimeInForce.DAY,
        state=OrderState.INTENT,
        reference_price=Decimal("60.123"),
        reserved_notional=Decimal("90.1845"),
    )


def a_fill(intent: OrderIntent, number: int = 1, quantity: str = "1.5") -> Fill:
    return Fill(
        "sim",
        f"x{number}",
        intent.client_order_id,
        intent.symbol,
        intent.side,
        Decimal(quantity),
        Decimal("60.130001"),
        Decimal("0.05"),
        NOW,
    )


def event(key: str, **payload: str) -> OrderEvent:
    return OrderEvent(key, "local", NOW, NOW, payload)


def store(unit: SqlUnitOfWork, decision: Decision) -> None:
    verdicts = [Verdict("position cap", 0.2, 0.1, True), Verdict("cash", 0.1, 0.05, False, "shrunk")]
    unit.decisions.add(decision, canonical({"as_of": decision.as_of}), verdicts, [("model", "AAPL", 0.1)])


def wish(kind: OverrideKind, value: float | None = None, symbol: str = "KO", *, at: datetime = NOW) -> Override:
    return Override(symbol, kind, value, "anna", "a hunch", at, at + timedelta(hours=1))


def test_the_orders_that_something_happened_to_since_an_event(ledger: SqlLedger) -> None:
    decision = a_decision(symbols=("AAPL", "KO"))
    apple, coke = (an_intent(decision, symbol) for symbol in ("AAPL", "KO"))
    with ledger.begin() as unit:
        store(unit, decision)
        for intent in (apple, coke):
            unit.orders.add(intent, at=NOW, fence=1)
        unit.commit()
    with ledger.begin(write=False) as unit:
        begun = unit.orders.touched_since(0, "")
        assert ([intent.symbol for intent in begun.orders], begun.anew) == (["AAPL", "KO"], False)
        assert unit.orders.touched_since(begun.place, begun.mark) == replace(begun, orders=[])
    with ledger.begin() as unit:
        unit.book.fill(a_fill(coke), source="poll", received_at=NOW)
        unit.book.fill(a_fill(apple, 2), source="poll", received_at=NOW)
        unit.orders.move(coke.client_order_id, OrderState.DENIED, event("denied"))
        unit.commit()
    with ledger.begin(write=False) as unit:
        both = unit.orders.touched_since(begun.place, begun.mark)
        assert ([intent.symbol for intent in both.orders], both.place) == (["AAPL", "KO"], begun.place + 3)
        another = unit.orders.touched_since(begun.place, "0" * 64)
        assert ([intent.symbol for intent in another.orders], another.anew) == (["AAPL", "KO"], True)
        assert unit.orders.touched_since(begun.place + 9, begun.mark).anew
        assert [fill.exec_id for fill in unit.book.fills_of(coke.client_order_id)] == ["x1"]
        assert [fill.exec_id for fill in unit.book.fills_of(apple.client_order_id)] == ["x2"]


def test_an_override_comes_back_as_it_went_in_while_it_is_in_force(ledger: SqlLedger) -> None:
    rows = [wish(OverrideKind.MAX, 0.1), wish(OverrideKind.NO_TRADE), wish(OverrideKind.BASELINE, symbol="")]
    with ledger.begin() as unit:
        for row in rows:
            unit.control.override(row)
        unit.commit()
    with ledger.begin(write=False) as unit:
        unit.verify()
        assert sorted(unit.control.overrides(NOW), key=rows.index) == rows
        assert list(unit.control.overrides(NOW - timedelta(microseconds=1))) == []
        assert len(unit.control.overrides(NOW + timedelta(minutes=59))) == 3
        assert list(unit.control.overrides(NOW + timedelta(hours=1))) == []


def test_the_newest_override_of_a_symbol_and_kind_counts_and_one_that_has_ended_hides_those_before(
    ledger: SqlLedger,
) -> None:
    first, second, other = wish(OverrideKind.MAX, 0.1), wish(OverrideKind.MAX, 0.05), wish(OverrideKind.MIN, 0.01)
    lifted = replace(second, expires_at=NOW)
    with ledger.begin() as unit:
        unit.control.override(first)
        unit.control.override(other)
        unit.control.override(second)
        assert list(unit.control.overrides(NOW)) == [second, other]
        unit.control.override(lifted)
        assert list(unit.control.overrides(NOW)) == [other]


def test_overrides_of_another_account_are_not_ours(ledger: SqlLedger, database_url: str) -> None:
    with ledger.begin() as unit:
        unit.control.override(wish(OverrideKind.NO_TRADE))
        unit.commit()
    other = SqlLedger(database_url, "other")
    with other.begin(write=False) as unit:
        assert list(unit.control.overrides(NOW)) == []
    other.close()


def test_orders_are_counted_from_when_they_were_sent(ledger: SqlLedger) -> None:
    decision = a_decision(symbols=("AAPL", "KO"))
    intents = [an_intent(decision, symbol) for symbol in ("AAPL", "KO")]
    with ledger.begin() as unit:
        store(unit, decision)
        for intent in intents:
            unit.orders.add(intent, at=NOW, fence=1)
        sending = replace(event(f"{intents[0].client_order_id}:S", state="SENDING"), sent_at=NOW)
        unit.orders.move(intents[0].client_order_id, OrderState.SENDING, sending)
        assert [i.symbol for i in unit.orders.sent_since(NOW - timedelta(seconds=1))] == ["AAPL"]
        assert list(unit.orders.sent_since(NOW)) == []


def test_the_latest_decision_is_the_one_committed_last(ledger: SqlLedger) -> None:
    with ledger.begin() as unit:
        assert unit.decisions.latest() is None
        store(unit, a_decision(NOW))
        store(unit, a_decision(NOW + timedelta(days=1)))
        assert unit.decisions.latest() == a_decision(NOW + timedelta(days=1))


def test_what_is_not_committed_is_not_there(ledger: SqlLedger) -> None:
    with ledger.begin() as unit:
        store(unit, a_decision())
    with ledger.begin(write=False) as unit:
        assert unit.decisions.all() == []


def test_an_error_inside_the_block_rolls_back(ledger: SqlLedger) -> None:
    def half_done() -> None:
        with ledger.begin() as unit:
            store(unit, a_decision())
            unit.orders.move("nobody", OrderState.SENDING, event("k"))

    with pytest.raises(NotFound):
        half_done()
    with ledger.begin(write=False) as unit:
        assert unit.decisions.all() == []


def test_a_decision_comes_back_as_it_went_in(ledger: SqlLedger) -> None:
    decision = a_decision()
    with ledger.begin() as unit:
        store(unit, decision)
        unit.commit()
    with ledger.begin(write=False) as unit:
        assert unit.decisions.get(decision.id) == decision
        assert unit.decisions.latest() == decision
        assert unit.decisions.inputs(decision.inputs_sha) == canonical({"as_of": NOW})
        assert [v.rule for v in unit.decisions.verdicts(decision.id)] == ["position cap", "cash"]
        assert unit.decisions.verdicts(decision.id)[1] == Verdict("cash", 0.1, 0.05, False, "shrunk")
        unit.verify()


def test_the_same_decision_is_stored_once(ledger: SqlLedger) -> None:
    with ledger.begin() as unit:
        store(unit, a_decision())
        with pytest.raises(LedgerConflict, match="already stored"):
            store(unit, a_decision())


def test_a_symbol_has_one_live_order(ledger: SqlLedger) -> None:
    decision = a_decision()
    with ledger.begin() as unit:
        store(unit, decision)
        unit.orders.add(an_intent(decision), at=NOW, fence=1)
        unit.commit()
    with ledger.begin() as unit, pytest.raises(LedgerConflict, match="AAPL has a live order"):
        unit.orders.add(an_intent(decision, attempt=2), at=NOW, fence=1)


def test_a_finished_order_makes_room_for_the_next_attempt(ledger: SqlLedger) -> None:
    decision = a_decision()
    first = an_intent(decision)
    with ledger.begin() as unit:
        store(unit, decision)
        unit.orders.add(first, at=NOW, fence=1)
        unit.orders.move(first.client_order_id, OrderState.EXPIRED_UNSENT, event("expired"))
        unit.orders.add(an_intent(decision, attempt=2), at=NOW, fence=1)
        assert [i.attempt for i in unit.orders.live()] == [2]
        assert len(unit.orders.of(decision.id)) == 2


def test_only_legal_moves_are_made(ledger: SqlLedger) -> None:
    decision = a_decision()
    intent = an_intent(decision)
    with ledger.begin() as unit:
        store(unit, decision)
        unit.orders.add(intent, at=NOW, fence=1)
        with pytest.raises(IllegalTransition, match="from INTENT to FILLED"):
            unit.orders.move(intent.client_order_id, OrderState.FILLED, event("jump"))


def test_an_event_told_twice_is_kept_once(ledger: SqlLedger) -> None:
    decision = a_decision()
    intent = an_intent(decision)
    with ledger.begin() as unit:
        store(unit, decision)
        unit.orders.add(intent, at=NOW, fence=1)
        unit.orders.move(intent.client_order_id, OrderState.SENDING, replace(event("sent"), sent_at=NOW))
        accepted = replace(event("ack", status="new"), broker_order_id="b1")
        unit.orders.move(intent.client_order_id, OrderState.WORKING, accepted)
        again = unit.orders.move(intent.client_order_id, OrderState.WORKING, accepted)
        assert (again.state, again.broker_order_id, again.sent_at) == (OrderState.WORKING, "b1", NOW)
        assert [e["event_key"] for e in unit.orders.events(intent.client_order_id)][1:] == ["sent", "ack"]


def test_a_fill_is_booked_once_and_moves_cash_and_units_exactly(ledger: SqlLedger) -> None:
    decision = a_decision()
    intent = an_intent(decision)
    with ledger.begin() as unit:
        store(unit, decision)
        unit.orders.add(intent, at=NOW, fence=1)
        unit.book.movement(Movement("sim", "deposit-1", "deposit", Decimal("100.10"), NOW))
        assert unit.book.fill(a_fill(intent), source="poll", received_at=NOW)
        assert not unit.book.fill(a_fill(intent), source="stream", received_at=NOW)
        unit.commit()
    with ledger.begin(write=False) as unit:
        # 100.10 - 1.5 * 60.130001 - 0.05
        assert unit.book.cash() == Decimal("9.8549985")
        assert unit.book.holdings() == {"AAPL": Decimal("1.5")}
        assert unit.book.last_traded() == {"AAPL": NOW.date()}
        found = unit.orders.get(intent.client_order_id)
        assert found is not None
        assert found.filled_quantity == Decimal("1.5")
        unit.verify()


def test_an_execution_id_with_other_numbers_is_a_conflict(ledger: SqlLedger) -> None:
    intent = an_intent(a_decision())
    with ledger.begin() as unit:
        unit.book.fill(a_fill(intent), source="poll", received_at=NOW)
        with pytest.raises(LedgerConflict, match="other numbers"):
            unit.book.fill(a_fill(intent, quantity="2"), source="poll", received_at=NOW)


def test_a_movement_is_booked_once(ledger: SqlLedger) -> None:
    deposit = Movement("sim", "deposit-1", "deposit", Decimal("100.10"), NOW)
    with ledger.begin() as unit:
        assert unit.book.movement(deposit)
        assert not unit.book.movement(deposit)
        assert unit.book.cash() == Decimal("100.1")
        assert unit.book.movements() == [deposit]


def test_valuations_are_kept_once_a_session(ledger: SqlLedger) -> None:
    first = Valuation("sim", date(2020, 3, 16), NOW, Decimal(100), Decimal(10), Decimal(90), Decimal(100))
    with ledger.begin() as unit:
        assert unit.book.value(first)
        assert not unit.book.value(replace(first, equity=Decimal(99)))
        assert unit.book.last_valuation() == first


def test_a_valuation_keeps_which_fills_and_movements_it_holds(ledger: SqlLedger) -> None:
    bought = Fill("sim", "x1", None, "AAPL", Side.BUY, Decimal(3), Decimal(60), Decimal(0), NOW)
    with ledger.begin() as unit:
        assert (unit.book.last_event(), unit.book.places_of_fills()) == (0, {})
        unit.book.fill(bought, source="poll", received_at=NOW)
        held = unit.book.last_event()
        row = Valuation("sim", date(2020, 3, 16), NOW, Decimal(0), Decimal(-180), Decimal(180), Decimal(0), 0, held)
        assert unit.book.value(row)
        unit.book.fill(replace(bought, exec_id="x2"), source="poll", received_at=NOW)
        unit.commit()
    with ledger.begin(write=False) as unit:
        assert unit.book.valuations() == [row]
        assert unit.book.places_of_fills() == {"x1": 1, "x2": 2}
        assert (held, unit.book.last_event()) == (1, 2)


def test_who_values_the_book_holds_it_still_until_the_value_is_kept(ledger: SqlLedger, database_url: str) -> None:
    """A person's command books what the broker told while the actor values: it waits, and is in no value by half."""
    told = Fill("sim", "x9", None, "AAPL", Side.BUY, Decimal(3), Decimal(60), Decimal(0), NOW)
    moved = Movement("sim", "deposit-9", "deposit", Decimal(5), NOW)
    booked: list[str] = []

    def book(what: str) -> None:
        with SqlLedger(database_url, "sim").begin() as unit:
            if what == "fill":
                unit.book.fill(told, source="poll", received_at=NOW)
            else:
                unit.book.movement(moved)
            unit.commit()
        booked.append(what)

    others = [threading.Thread(target=book, args=(what,)) for what in ("fill", "movement")]
    with ledger.begin() as unit:
        unit.book.hold_still()
        for other in others:
            other.start()
        time.sleep(0.5)
        assert (unit.book.cash(), unit.book.last_event(), unit.book.last_movement(), booked) == (0, 0, 0, [])
        unit.commit()
    for other in others:
        other.join(30)
    with ledger.begin(write=False) as unit:
        assert (sorted(booked), unit.book.last_event(), unit.book.last_movement()) == (["fill", "movement"], 1, 1)
        assert unit.book.cash() == -175


def test_the_last_control_row_counts(ledger: SqlLedger) -> None:
    with ledger.begin() as unit:
        assert unit.control.state() is None
        unit.control.set(ControlRow(TradingState.KILLED, "drill", "anna", NOW))
        unit.control.set(ControlRow(TradingState.ACTIVE, "drill over", "anna", NOW))
        unit.commit()
    with ledger.begin(write=False) as unit:
        state = unit.control.state()
        assert state is not None
        assert state.state is TradingState.ACTIVE
        assert [row.reason for row in unit.control.history()] == ["drill", "drill over"]


def test_two_accounts_in_one_database_do_not_meet(database_url: str) -> None:
    mine, yours = SqlLedger(database_url, "mine"), SqlLedger(database_url, "yours")
    with mine.begin() as unit:
        unit.book.movement(Movement("mine", "d", "deposit", Decimal(5), NOW))
        unit.commit()
    with yours.begin(write=False) as unit:
        assert unit.book.cash() == 0


@pytest.mark.parametrize("statement", ["UPDATE movement SET cash = 0", "DELETE FROM movement"])
def test_history_cannot_be_changed(ledger: SqlLedger, statement: str) -> None:
    with ledger.begin() as unit:
        unit.book.movement(Movement("sim", "d", "deposit", Decimal(5), NOW))
        unit.commit()
    with pytest.raises(DBAPIError, match="append-only"), ledger.engine.begin() as connection:
        connection.execute(text(statement))


def test_the_migrations_make_the_tables_that_the_code_uses(ledger: SqlLedger) -> None:
    with ledger.engine.connect() as connection:
        differences = compare_metadata(
            MigrationContext.configure(connection, opts={"version_table": "ledger_version", "compare_type": False}),
            metadata,
        )
    assert differences == []


def test_a_ledger_of_a_newer_version_is_refused(ledger: SqlLedger, database_url: str) -> None:
    with ledger.engine.begin() as connection:
        connection.execute(text("UPDATE ledger_version SET version_num = 'ledger_9999'"))
    with pytest.raises(StoreUnavailable, match="newer than this code"):
        SqlLedger(database_url, "sim")


def test_sqlite_keeps_what_it_committed(tmp_path: object) -> None:
    engine = connect(f"sqlite:///{tmp_path}/p.db")
    for _ in range(3):
        with engine.connect() as connection:
            assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
            assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 1
            assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 5000


def test_one_process_at_a_time_may_trade_on_a_ledger(ledger: SqlLedger, database_url: str) -> None:
    ledger.claim()
    second = SqlLedger(database_url, "sim")
    with pytest.raises(AnotherWriter):
        second.claim()
    ledger.close()
    second.claim()
    second.close()


@pytest.mark.parametrize(
    "url", ["mysql://x", "nonsense", "oracle://x/y", "postgresql:/u:canary@h/x", "postgresql://u:canary@h:p/x"]
)
def test_other_databases_are_refused_and_no_password_is_repeated(url: str) -> None:
    with pytest.raises(ConfigurationError) as refused:
        connect(url)
    assert "canary" not in str(refused.value)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["AAPL", "KO"]),
            st.sampled_from(list(Side)),
            st.decimals("0.000001", "1000", places=6),
            st.decimals("0.001", "500", places=3),
            st.decimals("0", "9", places=2),
        ),
        max_size=12,
    )
)
def test_cash_and_units_are_conserved_to_the_last_digit(
    trades: list[tuple[str, Side, Decimal, Decimal, Decimal]],
) -> None:
    ledger = SqlLedger("sqlite://", "sim")
    with ledger.begin() as unit:
        for number, (symbol, side, quantity, price, fee) in enumerate(trades):
            unit.book.fill(
                Fill("sim", f"x{number}", None, symbol, side, quantity, price, fee, NOW), source="poll", received_at=NOW
            )
        sign = {Side.BUY: 1, Side.SELL: -1}
        assert unit.book.cash() == sum((-sign[s] * q * p - f for _, s, q, p, f in trades), Decimal(0))
        for symbol in ("AAPL", "KO"):
            units = sum((sign[s] * q for name, s, q, _, _ in trades if name == symbol), Decimal(0))
            assert unit.book.holdings().get(symbol, Decimal(0)) == units
        unit.verify()


def test_sums_of_more_than_28_digits_keep_their_last_and_verify_in_any_order(ledger: SqlLedger) -> None:
    small = Fill("sim", "e1", None, "BTC", Side.BUY, Decimal("1e-9"), Decimal("1e-9"), Decimal(0), NOW)
    with ledger.begin() as unit:
        unit.book.fill(small, source="poll", received_at=NOW)
        unit.book.movement(Movement("sim", "m1", "deposit", Decimal(10**13), NOW))
        unit.book.fill(replace(small, exec_id="e2"), source="poll", received_at=NOW)
        unit.commit()
    with ledger.begin(write=False) as unit:
        unit.verify()
        assert unit.book.cash() == Decimal("9999999999999.999999999999999998")


@pytest.mark.parametrize("schema", ["ledger", "records"])
def test_a_migration_is_numbered_by_its_file_and_the_last_is_what_an_empty_database_gets(
    schema: Schema, tmp_path: Path
) -> None:
    from alembic.script import ScriptDirectory

    scripts = ScriptDirectory.from_config(_config(schema))
    assert newest(schema) == scripts.get_current_head()
    for script in scripts.walk_revisions():
        assert script.revision == f"{schema}_{Path(script.path).name[:4]}"
    engine = connect(f"sqlite:///{tmp_path / 'new.db'}")
    upgrade(engine, schema)
    with engine.connect() as connection:
        assert _current(connection, schema)


@pytest.mark.parametrize("schema", ["ledger", "records"])
def test_the_script_of_a_new_database_makes_what_the_migrations_make(schema: Schema) -> None:
    by_script, by_migrations = (create_engine("sqlite://", poolclass=StaticPool) for _ in range(2))
    upgrade(by_script, schema)
    with by_migrations.begin() as connection:
        migrate(connection, schema)
    kept, made = (_contents(engine) for engine in (by_script, by_migrations))
    assert kept == made, "run `python scripts/schema.py`, and commit what it wrote"


def _contents(engine: Engine) -> tuple[set[tuple[object, ...]], list[tuple[object, ...]]]:
    """The definitions of everything in it, and the version that it says it is."""
    with engine.connect() as connection:
        defined = {tuple(row) for row in connection.exec_driver_sql("SELECT name, type, sql FROM sqlite_master")}
        [version] = (name for name, kind, _ in defined if kind == "table" and name.endswith("_version"))
        return defined, [tuple(row) for row in connection.exec_driver_sql(f"SELECT * FROM {version}")]
