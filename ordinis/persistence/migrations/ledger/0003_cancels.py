"""Cancels as rows of their own: who asked for the end of which order, why, and what came of it."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, ForeignKey, Integer, String, Text

from ordinis.persistence.engine import Instant

revision = "ledger_0003"
down_revision = "ledger_0001"


def upgrade() -> None:
    op.create_table(
        "order_cancel",
        Column("coid", String(48), ForeignKey("order_intent.coid"), primary_key=True),
        Column("number", Integer, primary_key=True),
        Column("reason", Text, nullable=False),
        Column("by", String, nullable=False),
        Column("requested_at", Instant, nullable=False),
        Column("state", String, nullable=False),
    )
