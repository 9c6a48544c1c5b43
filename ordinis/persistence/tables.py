"""The ledger's tables.

`decision`, `order_event`, `order_cancel`, `movement`, `control`, `override`, `approval`, `valuation`, `valuation_mark`
and `valuation_told` are append-only and hash-chained: triggers refuse an update or a delete, and each row's hash
covers the one before it. "At most one live intent per symbol" is a partial unique index, so the database enforces it
and not the code.

Everything else follows from the chains and is compared with them at every start. A decision's `details_sha` covers its
verdicts and parts. An event's `change` says what it changed in its order's row, so that `order_intent` can be made
again from its events, column by column; a fill is its event's payload. `position` and `balance` are what fills and
movements give; the balance's `digest` covers the watermark, which follows from nothing.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    Boolean,
    Column,
    Date,
    Float,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from ordinis.domain.orders import LIVE
from ordinis.persistence.engine import Instant, Money

metadata = MetaData()
LIVE_STATES = ", ".join(f"'{state}'" for state in sorted(LIVE))


def _chained(name: str, *columns: Column[Any] | UniqueConstraint) -> Table:
    return Table(
        name,
        metadata,
        Column("seq", Integer, primary_key=True, autoincrement=True),
        *columns,
        Column("prev_hash", String(64), nullable=False),
        Column("hash", String(64), nullable=False),
    )


lease = Table(
    "lease",
    metadata,
    Column("name", String, primary_key=True),
    Column("holder", String, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("expires_at", Instant, nullable=False),
)
decision_input = Table(
    "decision_input",
    metadata,
    Column("sha", String(64), primary_key=True),
    Column("payload", Text, nullable=False),
)
decision = _chained(
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
    Column("details_sha", String(64), nullable=False),
    UniqueConstraint("account", "as_of"),
)
decision_part = Table(
    "decision_part",
    metadata,
    Column("decision_id", String(64), ForeignKey("decision.id"), primary_key=True),
    Column("source", String, primary_key=True),
    Column("symbol", String, primary_key=True),
    Column("share", Float, nullable=False),
)
risk_check = Table(
    "risk_check",
    metadata,
    Column("decision_id", String(64), ForeignKey("decision.id"), primary_key=True),
    Column("position", Integer, primary_key=True),
    Column("rule", String, nullable=False),
    Column("limit", Float, nullable=False),
    Column("value", Float, nullable=False),
    Column("passed", Boolean, nullable=False),
    Column("detail", Text, nullable=False),
)
order_intent = Table(
    "order_intent",
    metadata,
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
Index(
    "one_live_intent_per_symbol",
    order_intent.c.account,
    order_intent.c.symbol,
    unique=True,
    sqlite_where=text(f"state IN ({LIVE_STATES})"),
    postgresql_where=text(f"state IN ({LIVE_STATES})"),
)
# By time first: an index that began with the account would draw every other question about orders to itself.
Index("order_by_sending", order_intent.c.sent_at, order_intent.c.account)
order_event = _chained(
    "order_event",
    Column("coid", String(48), nullable=False, index=True),
    Column("source", String, nullable=False),
    Column("event_key", String, nullable=False, unique=True),
    Column("ts_event", Instant, nullable=False),
    Column("ts_recv", Instant, nullable=False),
    Column("payload", Text, nullable=False),
    Column("change", Text, nullable=False),
)
order_cancel = _chained(
    "order_cancel",
    Column("coid", String(48), ForeignKey("order_intent.coid"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", String, nullable=False),
    Column("requested_at", Instant, nullable=False),
    UniqueConstraint("coid", "number"),
)
fill = Table(
    "fill",
    metadata,
    Column("account", String, primary_key=True),
    Column("exec_id", String, primary_key=True),
    Column("coid", String(48), index=True),
    Column("symbol", String, nullable=False),
    Column("side", String, nullable=False),
    Column("qty", Money, nullable=False),
    Column("price", Money, nullable=False),
    Column("fee", Money, nullable=False),
    Column("ts", Instant, nullable=False),
    Column("reverses", String),
)
Index("fill_by_time", fill.c.account, fill.c.ts, fill.c.exec_id)
movement = _chained(
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
control = _chained(
    "control",
    Column("scope", String, nullable=False),
    Column("state", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("by", String, nullable=False),
    Column("at", Instant, nullable=False),
)
Index("control_by_scope", control.c.scope, control.c.seq)
override = _chained(
    "override",
    Column("account", String, nullable=False),
    Column("symbol", String, nullable=False),
    Column("kind", String, nullable=False),
    Column("value", Money),
    Column("by", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("expires_at", Instant, nullable=False),
)
Index("override_by_wish", override.c.account, override.c.symbol, override.c.kind, override.c.seq)
approval = _chained(
    "approval",
    Column("account", String, nullable=False),
    Column("sha", String(64), nullable=False),
    Column("limits", Text, nullable=False),
    Column("by", String, nullable=False),
    Column("reason", Text, nullable=False),
    Column("at", Instant, nullable=False),
    Column("expires_at", Instant),
)
Index("approval_by_account", approval.c.account, approval.c.seq)
position = Table(
    "position",
    metadata,
    Column("account", String, primary_key=True),
    Column("symbol", String, primary_key=True),
    Column("qty", Money, nullable=False),
    Column("last_fill", Instant),
)
balance = Table(
    "balance",
    metadata,
    Column("account", String, primary_key=True),
    Column("cash", Money, nullable=False),
    Column("watermark", Instant),
    Column("digest", String(64), nullable=False),
)
valuation = _chained(
    "valuation",
    Column("account", String, nullable=False),
    Column("session", Date, nullable=False),
    Column("at", Instant, nullable=False),
    Column("equity", Money, nullable=False),
    Column("cash", Money, nullable=False),
    Column("gross", Money, nullable=False),
    Column("peak_equity", Money, nullable=False),
    UniqueConstraint("account", "session"),
)
valuation_mark = _chained(
    "valuation_mark",
    Column("account", String, nullable=False),
    Column("session", Date, nullable=False),
    Column("movements", Integer, nullable=False),
    UniqueConstraint("account", "session"),
)
valuation_told = _chained(
    "valuation_told",
    Column("account", String, nullable=False),
    Column("session", Date, nullable=False),
    Column("events", Integer, nullable=False),
    UniqueConstraint("account", "session"),
)

CHAINED = (
    decision,
    order_event,
    order_cancel,
    movement,
    control,
    override,
    approval,
    valuation,
    valuation_mark,
    valuation_told,
)
APPEND_ONLY = (*CHAINED, decision_input, decision_part, risk_check, fill)
