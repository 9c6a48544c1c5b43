"""Executions, how far the ledger was read for them, every version of the cost model, and findings as documents."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Boolean, Column, Date, Integer, String, Text

from ordinis.persistence.engine import Instant, Money

revision = "records_0002"
down_revision = "records_0001"


def upgrade() -> None:
    # What a night found is found again in seconds; nothing else was ever kept there.
    op.drop_table("attribution")
    op.create_table(
        "finding",
        Column("account", String, primary_key=True),
        Column("session", Date, primary_key=True),
        Column("topic", String, primary_key=True),
        Column("body", Text, nullable=False),
    )
    op.create_table(
        "execution",
        Column("account", String, primary_key=True),
        Column("order_id", String(48), primary_key=True),
        Column("symbol", String, nullable=False),
        Column("side", String, nullable=False),
        Column("venue", String, nullable=False),
        Column("session", Date, nullable=False),
        Column("asked", Money, nullable=False),
        Column("filled", Money, nullable=False),
        Column("arrival", Money, nullable=False),
        Column("price", Money),
        Column("fees", Money, nullable=False),
        Column("sent_at", Instant, nullable=False),
        Column("first_fill_at", Instant),
    )
    op.create_index("execution_by_time", "execution", ["account", "sent_at", "order_id"])
    op.create_table(
        "consumed",
        Column("account", String, primary_key=True),
        Column("topic", String, primary_key=True),
        Column("place", Integer, nullable=False),
        Column("mark", String(64), nullable=False),
    )
    op.create_table(
        "calibration",
        Column("account", String, primary_key=True),
        Column("session", Date, primary_key=True),
        Column("version", String(64), nullable=False),
        Column("promoted", Boolean, nullable=False),
        Column("reason", Text, nullable=False),
        Column("numbers", Text, nullable=False),
    )
