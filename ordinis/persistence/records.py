"""What the flows found, kept apart from the ledger: batches with their quarantine, findings.

Each method is a transaction of its own. Everything may be done again: a batch that is known is not written twice, and
what a session's job finds replaces what an earlier run found.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Protocol

from sqlalchemy import Row, delete, insert, select
from sqlalchemy.exc import IntegrityError

from ordinis.errors import NotFound
from ordinis.persistence.record_database import RecordDatabase
from ordinis.persistence.record_tables import batch, finding, quarantine


@dataclass(frozen=True)
class BatchRecord:
    id: str
    contract: str
    source: str
    rows: int
    clean: int
    rejected: int
    reasons: tuple[str, ...]
    """Why the batch as a whole was rejected; empty when it was not."""
    at: datetime


@dataclass(frozen=True)
class QuarantinedRow:
    batch_id: str
    row_no: int
    symbol: str | None
    session: date | None
    reasons: tuple[str, ...]
    payload: str
    """The row as it came, as canonical text."""


class RejectedRow(Protocol):
    """A row that a contract rejected, as `data.contracts` tells it."""

    @property
    def row_no(self) -> int: ...
    @property
    def symbol(self) -> str | None: ...
    @property
    def session(self) -> date | None: ...
    @property
    def reasons(self) -> tuple[str, ...]: ...
    @property
    def payload(self) -> str: ...


class Records(RecordDatabase):
    """Of every account."""

    def add_batch(
        self,
        batch_id: str,
        *,
        contract: str,
        source: str,
        rows: int,
        rejected: Sequence[RejectedRow],
        reasons: Sequence[str],
        at: datetime,
    ) -> bool:
        """Keep what a contract said of a batch; False when the batch is known already."""
        record = {
            "id": batch_id,
            "contract": contract,
            "source": source,
            "rows": rows,
            "clean": rows - len(rejected),
            "rejected": len(rejected),
            "reasons": _text(reasons),
            "at": at,
        }
        lines = [
            {
                "batch_id": batch_id,
                "row_no": row.row_no,
                "symbol": row.symbol,
                "session": row.session,
                "reasons": _text(row.reasons),
                "payload": row.payload,
            }
            for row in rejected
        ]
        try:
            with self._begin() as connection:
                if connection.execute(select(batch.c.id).where(batch.c.id == batch_id)).scalar():
                    return False
                connection.execute(insert(batch), record)
                if lines:
                    connection.execute(insert(quarantine), lines)
        except IntegrityError:
            # Another process wrote the same batch at this moment: its id is made from its content.
            if self._rows(select(batch.c.id).where(batch.c.id == batch_id)):
                return False
            raise
        return True

    def batches(self) -> Sequence[BatchRecord]:
        """The latest first."""
        return [_batch(row) for row in self._rows(select(batch).order_by(batch.c.at.desc(), batch.c.id))]

    def quarantined(self, batch_id: str) -> Sequence[QuarantinedRow]:
        """Rows of one batch that were not believed, in the order of the batch.

        Raises:
            NotFound: there is no such batch.
        """
        query = select(quarantine).where(quarantine.c.batch_id == batch_id).order_by(quarantine.c.row_no)
        found = [
            QuarantinedRow(
                row.batch_id, row.row_no, row.symbol, row.session, tuple(json.loads(row.reasons)), row.payload
            )
            for row in self._rows(query)
        ]
        if not found and not self._rows(select(batch.c.id).where(batch.c.id == batch_id)):
            raise NotFound("batch", batch_id, "`ordinis data quarantine` lists them")
        return found

    def keep_finding(self, account: str, session: date, topic: str, body: str) -> None:
        """Keep what was found out; it replaces what an earlier run found."""
        key = (finding.c.account == account) & (finding.c.session == session) & (finding.c.topic == topic)
        with self._begin() as connection:
            connection.execute(delete(finding).where(key))
            connection.execute(insert(finding), {"account": account, "session": session, "topic": topic, "body": body})

    def findings(self, account: str, topic: str, first: date, last: date) -> dict[date, str]:
        """Of the sessions from `first` to `last`, oldest first."""
        table = finding.c
        query = select(finding).where(
            table.account == account, table.topic == topic, table.session >= first, table.session <= last
        )
        return {row.session: row.body for row in self._rows(query.order_by(table.session))}


def _batch(row: Row[Any]) -> BatchRecord:
    reasons = tuple(json.loads(row.reasons))
    return BatchRecord(row.id, row.contract, row.source, row.rows, row.clean, row.rejected, reasons, row.at)


def _text(reasons: Sequence[str]) -> str:
    return json.dumps(list(reasons), ensure_ascii=False)
