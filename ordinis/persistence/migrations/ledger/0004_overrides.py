"""Why a person overrode the model, and how many orders left within a minute, found without reading them all."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Text

revision = "ledger_0004"
down_revision = "ledger_0003"


def upgrade() -> None:
    # Nothing could write an override before, so no chained row lacks a reason.
    op.add_column("override", Column("reason", Text, nullable=False, server_default=""))
    op.create_index("override_by_wish", "override", ["account", "symbol", "kind", "seq"])
    op.create_index("order_by_sending", "order_intent", ["sent_at", "account"])
