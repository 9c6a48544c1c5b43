"""Jobs by account: what is done for one account is not done for another."""

from __future__ import annotations

from alembic import op
from sqlalchemy import Column, Date, String, Text

from ordinis.persistence.engine import Instant

revision = "records_0003"
down_revision = "records_0002"


def upgrade() -> None:
    op.rename_table("job_run", "job_run_of_all")
    op.create_table(
        "job_run",
        Column("job", String, primary_key=True),
        Column("account", String, primary_key=True),
        Column("logical_date", Date, primary_key=True),
        Column("status", String, nullable=False),
        Column("started_at", Instant, nullable=False),
        Column("finished_at", Instant),
        Column("detail", Text, nullable=False),
    )
    # Of the market: nobody knows for which account the others were done, and to do them again changes nothing.
    op.execute(
        "INSERT INTO job_run (job, account, logical_date, status, started_at, finished_at, detail) "
        "SELECT job, '', logical_date, status, started_at, finished_at, detail FROM job_run_of_all WHERE job = 'ingest'"
    )
    op.drop_table("job_run_of_all")
