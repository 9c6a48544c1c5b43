"""Which limits were approved, by whom and until when: a chain of its own."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Integer, String, Text

from ordinis.persistence.engine import Instant

revision = "ledger_0005"
down_revision = "ledger_0004"


def upgrade() -> None:
    op.create_table(
        "approval",
        Column("seq", Integer, primary_key=True, autoincrement=True),
        Column("account", String, nullable=False),
        Column("sha", String(64), nullable=False),
        Column("limits", Text, nullable=False),
        Column("by", String, nullable=False),
        Column("reason", Text, nullable=False),
        Column("at", Instant, nullable=False),
        Column("expires_at", Instant),
        Column("prev_hash", String(64), nullable=False),
        Column("hash", String(64), nullable=False),
    )
    op.create_index("approval_by_account", "approval", ["account", "seq"])
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER approval_no_{verb.lower()} BEFORE {verb} ON approval "
                "BEGIN SELECT RAISE(ABORT, 'approval is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION approval_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'approval is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER approval_append_only BEFORE UPDATE OR DELETE ON approval "
        "FOR EACH ROW EXECUTE FUNCTION approval_append_only()"
    )
