"""The chained events of orders are the outbox; the table that was to be one was never written."""

from __future__ import annotations

from alembic import op

revision = "ledger_0006"
down_revision = "ledger_0005"


def upgrade() -> None:
    op.drop_table("outbox")
