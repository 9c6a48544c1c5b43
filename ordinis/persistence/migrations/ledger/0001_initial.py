"""The ledger of the first version: decisions, orders, fills, control; triggers guard history."""

from __future__ import annotations

from typing import Any

from alembic import op
from sqlalchemy import (
    Boolean,
    Column,
    Date,
    Float,
    ForeignKey,
    Integer,
    String,
    Text,
    UniqueConstraint,
    text,
)

from ordinis.persistence.engine import Instant, Money

revision = "ledger_0001"
down_revision = None

LIVE_STATES = "'INTENT', 'PARTIAL', 'PENDING_CANCEL', 'SENDING', 'SUSPENDED', 'UNKNOWN', 'WORKING'"
APPEND_ONLY = (
    "decision",
    "order_event",
    "movement",
    "control",
    "override",
    "decision_input",
    "decision_part",
    "risk_check",
    "fill",
    "valuation",
)


def upgrade() -> None:
    _decisions()
    _orders()
    _book()
    for table in APPEND_ONLY:
        _forbid_changes(table)


def _decisions() -> None:
    op.create_table(
        "lease",
        Column("name", String, primary_key=True),
        Column("holder", String, nullable=False),
        Column("fence", Integer, nullable=False),
        Column("expires_at", Instant, nullable=False),
    )
    op.create_table(
        "decision_input",
        Column("sha", String(64), primary_key=True),
        Column("payload", Text, nullable=False),
    )
    _chained(
        "decision",
        Column("id", String(64), nullable=False, unique=True),
        Column("account", String, nullable=False),
        Column("source", String, nullable=False),
        Column("model_sha", String, nullable=False),
        Column("inputs_sha", String(64), ForeignKey("decision_input.sha"), nullable=False),
        Column("limits_sha", String(64), nullable=False),
        Column("as_of", Instant, nullable=False),
        Column("expires_at", Instant, nullable=False),
        Column("weights", Text, nullable=False),
        Column("orders", Text, nullable=False),
        Column("status", String, nullable=False),
        Column("approved_by", String, nullable=False),
        Column("reason", Text, nullable=False),
        UniqueConstraint("account", "as_of"),
    )
    op.create_table(
        "decision_part",
        Column("decision_id", String(64), ForeignKey("decision.id"), primary_key=True),
        Column("source", String, primary_key=True),
        Column("symbol", String, primary_key=True),
        Column("share", Float, nullable=False),
    )
    op.create_table(
        "risk_check",
        Column("decision_id", String(64), ForeignKey("decision.id"), primary_key=True),
        Column("position", Integer, primary_key=True),
        Column("rule", String, nullable=False),
        Column("limit", Float, nullable=False),
        Column("value", Float, nullable=False),
        Column("passed", Boolean, nullable=False),
        Column("detail", Text, nullable=False),
    )


def _orders() -> None:
    op.create_table(
        "order_intent",
        Column("coid", String(48), primary_key=True),
        Column("seq", Integer, nullable=False, unique=True),
        Column("decision_id", String(64), ForeignKey("decision.id"), nullable=False),
        Column("account", String, nullable=False),
        Column("symbol", String, nullable=False),
        Column("leg", String, nullable=False),
        Column("attempt", Integer, nullable=False),
        Column("side", String, nullable=False),
        Column("qty", Money, nullable=False),
        Column("type", String, nullable=False),
        Column("limit_price", Money),
        Column("tif", String, nullable=False),
        Column("state", String, nullable=False),
        Column("fence", Integer, nullable=False),
        Column("broker_order_id", String, unique=True),
        Column("ib_order_id", Integer),
        Column("filled_qty", Money, nullable=False),
        Column("reference_price", Money, nullable=False),
        Column("reserved_notional", Money, nullable=False),
        Column("sent_at", Instant),
        Column("version", Integer, nullable=False),
        UniqueConstraint("decision_id", "symbol", "leg", "attempt"),
    )
    op.create_index(
        "one_live_intent_per_symbol",
        "order_intent",
        ["account", "symbol"],
        unique=True,
        sqlite_where=text(f"state IN ({LIVE_STATES})"),
        postgresql_where=text(f"state IN ({LIVE_STATES})"),
    )
    _chained(
        "order_event",
        Column("coid", String(48), nullable=False, index=True),
        Column("source", String, nullable=False),
        Column("event_key", String, nullable=False, unique=True),
        Column("ts_event", Instant, nullable=False),
        Column("ts_recv", Instant, nullable=False),
        Column("payload", Text, nullable=False),
    )
    op.create_table(
        "outbox",
        Column("id", String, primary_key=True),
        Column("topic", String, nullable=False),
        Column("payload", Text, nullable=False),
        Column("done_at", Instant),
    )


def _book() -> None:
    op.create_table(
        "fill",
        Column("account", String, primary_key=True),
        Column("exec_id", String, primary_key=True),
        Column("coid", String(48), index=True),
        Column("symbol", String, nullable=False),
        Column("side", String, nullable=False),
        Column("qty", Money, nullable=False),
        Column("price", Money, nullable=False),
        Column("fee", Money, nullable=False),
        Column("ts", Instant, nullable=False, index=True),
        Column("reverses", String),
    )
    _chained(
        "movement",
        Column("account", String, nullable=False),
        Column("activity_id", String, nullable=False),
        Column("kind", String, nullable=False),
        Column("symbol", String),
        Column("qty", Money, nullable=False),
        Column("cash", Money, nullable=False),
        Column("ts", Instant, nullable=False),
        UniqueConstraint("account", "activity_id"),
    )
    _chained(
        "control",
        Column("scope", String, nullable=False),
        Column("state", String, nullable=False),
        Column("reason", Text, nullable=False),
        Column("by", String, nullable=False),
        Column("at", Instant, nullable=False),
    )
    _chained(
        "override",
        Column("account", String, nullable=False),
        Column("symbol", String, nullable=False),
        Column("kind", String, nullable=False),
        Column("value", Money),
        Column("by", String, nullable=False),
        Column("at", Instant, nullable=False),
        Column("expires_at", Instant, nullable=False),
    )
    op.create_table(
        "position",
        Column("account", String, primary_key=True),
        Column("symbol", String, primary_key=True),
        Column("qty", Money, nullable=False),
        Column("last_fill", Instant),
    )
    op.create_table(
        "balance",
        Column("account", String, primary_key=True),
        Column("cash", Money, nullable=False),
        Column("watermark", Instant),
    )
    op.create_table(
        "valuation",
        Column("account", String, primary_key=True),
        Column("session", Date, primary_key=True),
        Column("at", Instant, nullable=False),
        Column("equity", Money, nullable=False),
        Column("cash", Money, nullable=False),
        Column("gross", Money, nullable=False),
        Column("peak_equity", Money, nullable=False),
    )


def _chained(name: str, *columns: Column[Any] | UniqueConstraint) -> None:
    op.create_table(
        name,
        Column("seq", Integer, primary_key=True, autoincrement=True),
        *columns,
        Column("prev_hash", String(64), nullable=False),
        Column("hash", String(64), nullable=False),
    )


def _forbid_changes(table: str) -> None:
    """History is corrected by a new row, never by changing an old one."""
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
                f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
            )
        return
    op.execute(
        f"CREATE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN RAISE EXCEPTION '{table} is append-only'; END $$"
    )
    op.execute(
        f"CREATE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE ON {table} "
        f"FOR EACH ROW EXECUTE FUNCTION {table}_append_only()"
    )
