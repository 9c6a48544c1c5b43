"""The tables of the records: what the flows did, and what they found.

`job_run` says which job is done for which date, so a schedule that fires twice does the work once; its account is empty
for a job of the market. `batch` and `quarantine` keep every batch that was checked and every row that was not believed,
with the reasons. `finding` keeps what a night found out about an account, one document for each topic. `execution`
keeps what became of each order that was sent, and `consumed` how far its ledger was read for that; `calibration` keeps
every version of the cost model that a night has made, whether it was promoted or not.
"""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Date, ForeignKey, Index, Integer, MetaData, String, Table, Text

from ordinis.persistence.engine import Instant, Money

record_metadata = MetaData()

job_run = Table(
    "job_run",
    record_metadata,
    Column("job", String, primary_key=True),
    Column("account", String, primary_key=True),
    Column("logical_date", Date, primary_key=True),
    Column("status", String, nullable=False),
    Column("started_at", Instant, nullable=False),
    Column("finished_at", Instant),
    Column("detail", Text, nullable=False),
)
batch = Table(
    "batch",
    record_metadata,
    Column("id", String(64), primary_key=True),
    Column("contract", String, nullable=False),
    Column("source", String, nullable=False),
    Column("rows", Integer, nullable=False),
    Column("clean", Integer, nullable=False),
    Column("rejected", Integer, nullable=False),
    Column("reasons", Text, nullable=False),
    Column("at", Instant, nullable=False, index=True),
)
quarantine = Table(
    "quarantine",
    record_metadata,
    Column("batch_id", String(64), ForeignKey("batch.id"), primary_key=True),
    Column("row_no", Integer, primary_key=True),
    Column("symbol", String),
    Column("session", Date),
    Column("reasons", Text, nullable=False),
    Column("payload", Text, nullable=False),
)
finding = Table(
    "finding",
    record_metadata,
    Column("account", String, primary_key=True),
    Column("session", Date, primary_key=True),
    Column("topic", String, primary_key=True),
    Column("body", Text, nullable=False),
)
execution = Table(
    "execution",
    record_metadata,
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
Index("execution_by_time", execution.c.account, execution.c.sent_at, execution.c.order_id)
consumed = Table(
    "consumed",
    record_metadata,
    Column("account", String, primary_key=True),
    Column("topic", String, primary_key=True),
    Column("place", Integer, nullable=False),
    Column("mark", String(64), nullable=False),
)
calibration = Table(
    "calibration",
    record_metadata,
    Column("account", String, primary_key=True),
    Column("session", Date, primary_key=True),
    Column("version", String(64), nullable=False),
    Column("promoted", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    Column("numbers", Text, nullable=False),
)
