"""The records of the first version: job runs, batches, quarantine, attribution."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Date, Float, ForeignKey, Integer, String, Text

from ordinis.persistence.engine import Instant

revision = "records_0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "job_run",
        Column("job", String, primary_key=True),
        Column("logical_date", Date, primary_key=True),
        Column("status", String, nullable=False),
        Column("started_at", Instant, nullable=False),
        Column("finished_at", Instant),
        Column("detail", Text, nullable=False),
    )
    op.create_table(
        "batch",
        Column("id", String(64), primary_key=True),
        Column("contract", String, nullable=False),
        Column("source", String, nullable=False),
        Column("rows", Integer, nullable=False),
        Column("clean", Integer, nullable=False),
        Column("rejected", Integer, nullable=False),
        Column("reasons", Text, nullable=False),
        Column("at", Instant, nullable=False, index=True),
    )
    op.create_table(
        "quarantine",
        Column("batch_id", String(64), ForeignKey("batch.id"), primary_key=True),
        Column("row_no", Integer, primary_key=True),
        Column("symbol", String),
        Column("session", Date),
        Column("reasons", Text, nullable=False),
        Column("payload", Text, nullable=False),
    )
    op.create_table(
        "attribution",
        Column("account", String, primary_key=True),
        Column("session", Date, primary_key=True),
        Column("kind", String, primary_key=True),
        Column("name", String, primary_key=True),
        Column("value", Float, nullable=False),
    )
