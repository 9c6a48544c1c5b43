"""Which limits were approved, by whom and until when; and which movements each valuation holds: chains of their own."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Date, Integer, String, Text, UniqueConstraint

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
    op.create_table(
        "valuation_mark",
        Column("seq", Integer, primary_key=True, autoincrement=True),
        Column("account", String, nullable=False),
        Column("session", Date, nullable=False),
        Column("movements", Integer, nullable=False),
        Column("prev_hash", String(64), nullable=False),
        Column("hash", String(64), nullable=False),
        UniqueConstraint("account", "session"),
    )
    for table in ("approval", "valuation_mark"):
        _forbid_changes(table)


def _forbid_changes(table: str) -> None:
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
