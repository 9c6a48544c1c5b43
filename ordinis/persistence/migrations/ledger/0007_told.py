"""Which events of orders each valuation holds, as `valuation_mark` says of movements: a fill may be told after it."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Date, Integer, String, UniqueConstraint

revision = "ledger_0007"
down_revision = "ledger_0006"


def upgrade() -> None:
    op.create_table(
        "valuation_told",
        Column("seq", Integer, primary_key=True, autoincrement=True),
        Column("account", String, nullable=False),
        Column("session", Date, nullable=False),
        Column("events", Integer, nullable=False),
        Column("prev_hash", String(64), nullable=False),
        Column("hash", String(64), nullable=False),
        UniqueConstraint("account", "session"),
    )
    if op.get_bind().dialect.name == "sqlite":
        for verb in ("UPDATE", "DELETE"):
            op.execute(
                f"CREATE TRIGGER valuation_told_no_{verb.lower()} BEFORE {verb} ON valuation_told "
                "BEGIN SELECT RAISE(ABORT, 'valuation_told is append-only'); END"
            )
        return
    op.execute(
        "CREATE FUNCTION valuation_told_append_only() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN RAISE EXCEPTION 'valuation_told is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER valuation_told_append_only BEFORE UPDATE OR DELETE ON valuation_told "
        "FOR EACH ROW EXECUTE FUNCTION valuation_told_append_only()"
    )
