"""Whether a ledger is what was written: at every start, and of every backup.

In this order: the pages (SQLite's own check, indexes included) and references; the schema with its triggers and
indexes; the chains, which must pass through the ends that the anchor file has seen; and everything that follows from
the chains, made again from them and compared column by column. Orders follow from the changes in their events, fills
from their events' payloads, positions and cash from fills and movements, verdicts and parts from the digest in their
decision, inputs from their own hash. Only the lease, which says nothing of money, is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal, localcontext
from functools import cache
from typing import Any

from sqlalchemy import Connection, Table, create_engine, text

from ordinis.domain.canonical import EXACT, canonical, decimal_text, digest
from ordinis.domain.decisions import Verdict
from ordinis.errors import LedgerDamaged
from ordinis.persistence import chain, schema
from ordinis.persistence.chain import EMPTY, Head
from ordinis.persistence.reading import UNREADABLE, column_names, plain_rows
from ordinis.persistence.tables import (
    APPEND_ONLY,
    CHAINED,
    balance,
    decision,
    decision_input,
    decision_part,
    fill,
    metadata,
    movement,
    order_event,
    order_intent,
    position,
    risk_check,
)

Row = dict[str, Any]
Key = tuple[Any, ...]
RENAMED = {"coid": "client_order_id", "qty": "quantity", "ts": "at"}
FILL_FIELDS = tuple((column, RENAMED.get(column, column)) for column in column_names(fill))
"""Each column of a fill, and what its payload calls it."""


def verify(connection: Connection, anchored: Mapping[str, Head]) -> None:
    """Check all of the ledger.

    Args:
        anchored: by table, an end that its chain once had.

    Raises:
        LedgerDamaged: names the table, the row and what is wrong with it.
    """
    try:
        if connection.dialect.name == "sqlite":
            _pages(connection)
            _schema(connection)
        else:
            _guards(connection)
        for table in CHAINED:
            if table not in (decision, order_event, movement):
                _exhaust(chain.verified(connection, table, anchored.get(table.name, EMPTY)))
        _decisions(connection, anchored.get(decision.name, EMPTY))
        _book(connection, anchored)
    except UNREADABLE as error:
        raise LedgerDamaged("rows", "", f"a value cannot be read: {error}") from error


def details_sha(verdicts: Iterable[Verdict], parts: Iterable[tuple[str, str, float]]) -> str:
    """The digest of what is kept beside a decision: its verdicts in their order, its parts in that of their keys."""
    # Zero is added because SQLite keeps no negative zero.
    checks = [[v.rule, float(v.limit) + 0.0, float(v.value) + 0.0, bool(v.passed), v.detail] for v in verdicts]
    shares = sorted([source, symbol, float(share) + 0.0] for source, symbol, share in parts)
    return digest(canonical({"checks": checks, "parts": shares}))


def balance_digest(account: str, cash: object, watermark: object) -> str:
    """Covers the watermark, which nothing else in the ledger gives."""
    return digest(canonical({"account": account, "cash": cash, "watermark": watermark}))


# the database


def _pages(connection: Connection) -> None:
    found = connection.execute(text("PRAGMA integrity_check(1)")).scalar()
    if found != "ok":
        raise LedgerDamaged("pages", "", str(found))
    reference = connection.execute(text("PRAGMA foreign_key_check")).first()
    if reference is not None:
        raise LedgerDamaged(str(reference[0]), str(reference[1]), f"the row of {reference[2]} that it needs is missing")


def _schema(connection: Connection) -> None:
    kept, written = _definitions(connection), _written_schema()
    # What an operator added, such as an index or statistics, is no damage.
    for name in sorted(written):
        if kept.get(name) != written[name]:
            raise LedgerDamaged("schema", name, "it is not as this version defines it")


def _guards(connection: Connection) -> None:
    triggers = connection.execute(text("SELECT tgname FROM pg_trigger WHERE tgenabled = 'O'")).scalars()
    indexes = connection.execute(text("SELECT indexname FROM pg_indexes WHERE schemaname = current_schema()")).scalars()
    needed = {f"{table.name}_append_only" for table in APPEND_ONLY}
    needed |= {str(index.name) for table in metadata.tables.values() for index in table.indexes}
    for name in sorted(needed - {*triggers, *indexes}):
        raise LedgerDamaged("schema", name, "the trigger or index is missing or disabled")


def _definitions(connection: Connection) -> dict[str, tuple[Any, ...]]:
    rows = connection.execute(text("SELECT name, type, tbl_name, sql FROM sqlite_master"))
    return {name: tuple(rest) for name, *rest in rows}


@cache
def _written_schema() -> dict[str, tuple[Any, ...]]:
    engine = create_engine("sqlite://")
    schema.upgrade(engine, "ledger")
    with engine.connect() as connection:
        return _definitions(connection)


# what follows from the chains


def _decisions(connection: Connection, anchored: Head) -> None:
    checks: dict[str, list[Verdict]] = {}
    for row in plain_rows(connection, risk_check, "decision_id", "position"):
        mine = checks.setdefault(row["decision_id"], [])
        if row["position"] != len(mine):
            raise LedgerDamaged(risk_check.name, f"{row['decision_id']}, {len(mine)}", "it is missing")
        if row["passed"] not in (0, 1):
            raise LedgerDamaged(risk_check.name, f"{row['decision_id']}, {len(mine)}", "neither passed nor failed")
        mine.append(Verdict(row["rule"], row["limit"], row["value"], bool(row["passed"]), row["detail"]))
    parts: dict[str, list[tuple[str, str, float]]] = {}
    for row in plain_rows(connection, decision_part):
        parts.setdefault(row["decision_id"], []).append((row["source"], row["symbol"], row["share"]))
    asked = set()
    for row in chain.verified(connection, decision, anchored):
        asked.add(row["inputs_sha"])
        if row["details_sha"] != details_sha(checks.pop(row["id"], []), parts.pop(row["id"], [])):
            raise LedgerDamaged("risk_check or decision_part", row["id"], "they are not those of the decision")
    for name in (*checks, *parts):
        raise LedgerDamaged("risk_check or decision_part", name, "there is no such decision")
    for row in plain_rows(connection, decision_input):
        if digest(row["payload"]) != row["sha"]:
            raise LedgerDamaged(decision_input.name, row["sha"], "its content does not match its hash")
        if row["sha"] not in asked:
            raise LedgerDamaged(decision_input.name, row["sha"], "no decision was made from it")


def _book(connection: Connection, anchored: Mapping[str, Head]) -> None:
    intents: dict[Key, Row] = {}
    fills: dict[Key, Row] = {}
    for row in chain.verified(connection, order_event, anchored.get(order_event.name, EMPTY)):
        if row["change"] != "{}":
            intents.setdefault((row["coid"],), {}).update(json.loads(row["change"]))
        if row["event_key"].startswith("fill:"):
            body = json.loads(row["payload"])
            booked = {column: body[name] for column, name in FILL_FIELDS}
            fills[booked["account"], booked["exec_id"]] = booked
    moved = list(chain.verified(connection, movement, anchored.get(movement.name, EMPTY)))
    _compare(connection, order_intent, ("coid",), intents, "its events")
    _compare(connection, fill, ("account", "exec_id"), fills, "its events")
    _filled(intents, fills.values())
    with localcontext(EXACT):
        positions, cash = _sums(fills.values(), moved)
    _compare(connection, position, ("account", "symbol"), positions, "its fills and movements")
    _balances(connection, cash)


def _compare(connection: Connection, table: Table, key: Sequence[str], derived: Mapping[Key, Row], source: str) -> None:
    """Every row of `table` is the one that was derived, and none is missing."""
    left = dict(derived)
    for row in plain_rows(connection, table):
        name = tuple(row[column] for column in key)
        expected = left.pop(name, None)
        if expected is None:
            raise LedgerDamaged(table.name, _shown(name), f"{source} know nothing of it")
        for column, kept in row.items():
            if column not in expected or type(kept) is not type(expected[column]) or kept != expected[column]:
                raise LedgerDamaged(
                    table.name, _shown(name), f"{column}: {kept} kept, {expected.get(column)} by {source}"
                )
    for name in left:
        raise LedgerDamaged(table.name, _shown(name), f"it is missing; {source} tell of it")


def _filled(intents: Mapping[Key, Row], fills: Iterable[Row]) -> None:
    filled: dict[Key, Decimal] = {}
    for row in fills:
        units = Decimal(row["qty"])
        name = (row["coid"],)
        filled[name] = filled.get(name, Decimal(0)) + (-units if row["reverses"] else units)
    for name, row in intents.items():
        by_fills = decimal_text(filled.get(name, Decimal(0)))
        if row["filled_qty"] != by_fills:
            problem = f"filled_qty: {row['filled_qty']} kept, {by_fills} by its fills"
            raise LedgerDamaged(order_intent.name, _shown(name), problem)


def _sums(fills: Iterable[Row], moved: Iterable[Row]) -> tuple[dict[Key, Row], dict[str, Decimal]]:
    """Positions and cash by account, as fills and movements give them."""
    units: dict[Key, Decimal] = {}
    traded: dict[Key, str] = {}
    cash: dict[str, Decimal] = {}
    for row in fills:
        name = (row["account"], row["symbol"])
        signed = Decimal(row["qty"]) if row["side"] == "buy" else -Decimal(row["qty"])
        units[name] = units.get(name, Decimal(0)) + signed
        traded[name] = max(traded.get(name, ""), row["ts"])
        paid = -signed * Decimal(row["price"]) - Decimal(row["fee"])
        cash[row["account"]] = cash.get(row["account"], Decimal(0)) + paid
    for row in moved:
        cash[row["account"]] = cash.get(row["account"], Decimal(0)) + Decimal(row["cash"])
        if row["symbol"] is not None:
            name = (row["account"], row["symbol"])
            units[name] = units.get(name, Decimal(0)) + Decimal(row["qty"])
    positions = {
        name: {"account": name[0], "symbol": name[1], "qty": decimal_text(held), "last_fill": traded.get(name)}
        for name, held in units.items()
    }
    return positions, cash


def _balances(connection: Connection, cash: Mapping[str, Decimal]) -> None:
    left = dict(cash)
    for row in plain_rows(connection, balance):
        by_rows = decimal_text(left.pop(row["account"], Decimal(0)))
        if row["cash"] != by_rows:
            problem = f"cash: {row['cash']} kept, {by_rows} by its fills and movements"
            raise LedgerDamaged(balance.name, row["account"], problem)
        if row["digest"] != balance_digest(row["account"], row["cash"], row["watermark"]):
            raise LedgerDamaged(balance.name, row["account"], "its content does not match its digest")
    for account in left:
        raise LedgerDamaged(balance.name, account, "it is missing")


def _exhaust(rows: Iterable[Row]) -> None:
    for _ in rows:
        pass


def _shown(key: Key) -> str:
    return ", ".join(str(part) for part in key)
