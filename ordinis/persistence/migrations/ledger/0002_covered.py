"""Every column under a hash: what decisions, orders and balances lacked, and valuations in a chain of their own.

Chains are checked as the first version wrote them before they are written anew, so that the migration blesses no
damage. Orders that exist get their row, as it stands, into the last of their events. Places in a chain become
gapless: PostgreSQL had left gaps where a transaction rolled back.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

from alembic import op
from sqlalchemy import (
    Column,
    Date,
    Integer,
    MetaData,
    RowMapping,
    String,
    Table,
    Text,
    UniqueConstraint,
    insert,
    select,
    update,
)

from ordinis.domain.canonical import canonical, digest, plain
from ordinis.errors import LedgerDamaged
from ordinis.persistence.engine import Instant, Money

revision = "ledger_0002"
down_revision = "ledger_0001"

GENESIS = "0" * 64
CHAIN = ("seq", "prev_hash", "hash")
# Each statement of a volatile function sees what was committed before it, so the head is read after the lock is held.
CHAIN_HEAD = """
CREATE FUNCTION chain_head(name text, OUT seq integer, OUT hash text) LANGUAGE plpgsql VOLATILE AS $$
BEGIN
    PERFORM pg_advisory_xact_lock(hashtext('chain ' || name));
    EXECUTE format('SELECT seq, hash FROM %I ORDER BY seq DESC LIMIT 1', name) INTO seq, hash;
END $$
"""
Content = dict[str, Any]


def upgrade() -> None:
    details, rows = _details(), _last_rows()
    op.add_column("decision", Column("details_sha", String(64), nullable=False, server_default=""))
    op.add_column("order_event", Column("change", Text, nullable=False, server_default=""))
    _rechain("decision", lambda row: {"details_sha": details(row["id"])}, new=("details_sha",))
    _rechain("order_event", lambda row: {"change": rows.get(row["seq"], "{}")}, new=("change",))
    for table in ("movement", "control", "override"):
        _rechain(table, lambda row: {})
    op.create_index("control_by_scope", "control", ["scope", "seq"])
    op.drop_index("ix_fill_ts", "fill")
    op.create_index("fill_by_time", "fill", ["account", "ts", "exec_id"])
    _chain_valuations()
    _digest_balances()
    if op.get_bind().dialect.name == "postgresql":
        op.execute(CHAIN_HEAD)


def _table(name: str) -> Table:
    return Table(name, MetaData(), autoload_with=op.get_bind())


def _rows(table: Table) -> list[RowMapping]:
    return list(op.get_bind().execute(select(table)).mappings())


def _details() -> Callable[[str], str]:
    checks: dict[str, list[Any]] = {}
    parts: dict[str, list[Any]] = {}
    for row in sorted(_rows(_table("risk_check")), key=lambda row: row["position"]):
        numbers = (float(row["limit"]) + 0.0, float(row["value"]) + 0.0)
        checks.setdefault(row["decision_id"], []).append([row["rule"], *numbers, bool(row["passed"]), row["detail"]])
    for row in _rows(_table("decision_part")):
        share = float(row["share"]) + 0.0
        parts.setdefault(row["decision_id"], []).append([row["source"], row["symbol"], share])
    return lambda decision: digest(
        canonical({"checks": checks.get(decision, []), "parts": sorted(parts.get(decision, []))})
    )


def _last_rows() -> Mapping[int, str]:
    """The order's row as it stands, by the place of the order's last event."""
    events = _table("order_event")
    last = {row["coid"]: row["seq"] for row in sorted(_rows(events), key=lambda row: row["seq"])}
    intents = {row["coid"]: canonical(dict(row)) for row in _rows(_table("order_intent"))}
    return {place: intents[coid] for coid, place in last.items() if coid in intents}


def _rechain(name: str, more: Callable[[RowMapping], Content], new: tuple[str, ...] = ()) -> None:
    table, bind = _table(name), op.get_bind()
    _allow_changes(name)
    before = after = GENESIS
    for place, row in enumerate(bind.execute(select(table).order_by(table.c.seq)).mappings().all(), start=1):
        content = {column: plain(value) for column, value in row.items() if column not in (*CHAIN, *new)}
        if row["prev_hash"] != before or row["hash"] != _hash(before, content):
            raise LedgerDamaged(name, str(row["seq"]), "its content does not match its hash")
        added = more(row)
        changed = {**added, "seq": place, "prev_hash": after, "hash": _hash(after, {**content, **added})}
        bind.execute(update(table).where(table.c.seq == row["seq"]).values(**changed))
        before, after = row["hash"], changed["hash"]
    _forbid_changes(name)


def _chain_valuations() -> None:
    columns = ("account", "session", "at", "equity", "cash", "gross", "peak_equity")
    kept = sorted(_rows(_table("valuation")), key=lambda row: (str(row["session"]), row["account"]))
    op.drop_table("valuation")
    op.create_table(
        "valuation",
        Column("seq", Integer, primary_key=True, autoincrement=True),
        Column("account", String, nullable=False),
        Column("session", Date, nullable=False),
        Column("at", Instant, nullable=False),
        Column("equity", Money, nullable=False),
        Column("cash", Money, nullable=False),
        Column("gross", Money, nullable=False),
        Column("peak_equity", Money, nullable=False),
        Column("prev_hash", String(64), nullable=False),
        Column("hash", String(64), nullable=False),
        UniqueConstraint("account", "session"),
    )
    table, previous = _table("valuation"), GENESIS
    for place, row in enumerate(kept, start=1):
        content = {column: row[column] for column in columns}
        here = _hash(previous, content)
        op.get_bind().execute(insert(table).values(seq=place, **content, prev_hash=previous, hash=here))
        previous = here
    _forbid_changes("valuation")


def _digest_balances() -> None:
    op.add_column("balance", Column("digest", String(64), nullable=False, server_default=""))
    table = _table("balance")
    for row in _rows(table):
        content = {name: row[name] for name in ("account", "cash", "watermark")}
        values = {"digest": digest(canonical(content))}
        op.get_bind().execute(update(table).where(table.c.account == row["account"]).values(**values))


def _hash(previous: str, content: Content) -> str:
    return hashlib.sha256(f"{previous}|{canonical(content)}".encode()).hexdigest()


def _allow_changes(table: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("update", "delete"):
            op.execute(f"DROP TRIGGER {table}_no_{verb}")
        return
    op.execute(f"DROP TRIGGER {table}_append_only ON {table}")


def _forbid_changes(table: str) -> None:
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_append_only()"
    )
