"""What a decision or an order asks of the ledger is answered by an index, however long the history; writers queue."""

from __future__ import annotations

import threading
from decimal import Decimal

import pytest
from sqlalchemy import Executable
from sqlalchemy.dialects import sqlite

from ordinis.domain.portfolio import Movement
from ordinis.persistence import book, control, decisions, orders
from ordinis.persistence.unit_of_work import SqlLedger
from tests.persistence.test_ledger import NOW

ASKED = {
    f"{module.__name__.rpartition('.')[2]}.{name}": getattr(module, name)
    for module, names in {
        book: "BY_EXEC_ID STANDING BALANCE POSITIONS FILLS_SINCE BY_ACTIVITY OF_SESSION LAST_VALUATION SET_POSITION",
        orders: "BY_ID MOVING OF_DECISION OF_SYMBOL STILL_LIVE SENT_SINCE MOVE EVENTS",
        decisions: "BY_ID LATEST INPUTS VERDICTS",
        control: "IN_FORCE OVERRIDES",
    }.items()
    for name in names.split()
}


def plan(statement: Executable) -> list[str]:
    sql = str(statement.compile(dialect=sqlite.dialect()))  # type: ignore[attr-defined]
    with SqlLedger("sqlite://", "sim").engine.connect() as connection:
        found = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}", ("1",) * sql.count("?"))
        return [row[3] for row in found]


@pytest.mark.parametrize("name", ASKED)
def test_no_question_of_an_order_reads_the_whole_history(name: str) -> None:
    steps = plan(ASKED[name])
    assert [
        step for step in steps if step.startswith("SCAN") and step not in ("SCAN anon_1", "SCAN CONSTANT ROW")
    ] == []
    assert any("USING" in step for step in steps)


def test_live_orders_and_late_fills_are_found_without_the_rest() -> None:
    assert plan(orders.STILL_LIVE)[0] == "SEARCH order_intent USING INDEX one_live_intent_per_symbol (account=?)"
    assert plan(orders.SENT_SINCE)[0] == "SEARCH order_intent USING INDEX order_by_sending (sent_at>?)"
    assert plan(decisions.LATEST) == ["SEARCH decision USING INDEX sqlite_autoindex_decision_1 (account=?)"]
    for question in (orders.OF_DECISION, orders.OF_SYMBOL):
        assert "(decision_id=?" in plan(question)[0]
    assert plan(book.FILLS_SINCE) == ["SEARCH fill USING INDEX fill_by_time (account=? AND ts>?)"]


def test_two_writers_append_to_one_chain_in_turn(database_url: str) -> None:
    def deposit(account: str) -> None:
        ledger = SqlLedger(database_url, account)
        for number in range(15):
            with ledger.begin() as unit:
                unit.book.movement(Movement(account, f"a{number}", "deposit", Decimal(1), NOW))
                unit.book.movement(Movement(account, f"b{number}", "deposit", Decimal(1), NOW))
                unit.commit()
        ledger.close()

    SqlLedger(database_url, "one").close()
    writers = [threading.Thread(target=deposit, args=(account,)) for account in ("one", "two")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with SqlLedger(database_url, "one").begin(write=False) as unit:
        unit.verify()
        assert unit.heads()["movement"].length == 60
        assert unit.book.cash() == 30
