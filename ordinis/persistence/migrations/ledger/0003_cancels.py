"""Cancels as rows of their own: who asked for the end of which order, and why."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, ForeignKey, Integer, String, Text, UniqueConstraint

from ordinis.persistence.engine import Instant

revision = "ledger_0003"
down_revision = "ledger_0002"


def upgrade() -> None:
    op.create_table(
        "order_cancel",
        Column("seq", Integer, primary_key=True, autoincrement=True),
        Column("coid", String(48), ForeignKey("order_intent.coid"), nullable=False),
        Column("number", Integer, nullable=False),
        Column("reason", Text, nullable=False),
        Column("by", String, nullable=False),
        Column("requested_at", Instant, nullable=False),
        Column("prev_hash", String(64), nullable=False),
        Column("hash", String(64), nullable=False),
        UniqueConstraint("coid", "number"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER order_cancel_no_{verb.lower()} BEFORE {verb} ON order_cancel "
                "BEGIN SELECT RAISE(ABORT, 'order_cancel is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION order_cancel_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'order_cancel is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER order_cancel_append_only BEFORE UPDATE OR DELETE ON order_cancel "
        "FOR EACH ROW EXECUTE FUNCTION order_cancel_append_only()"
    )
