"""What the book has learned from its own orders: executions, and every version of the cost model.

Executions are kept in one transaction with the place up to which the ledger's events were read for them, so that each
event is heard at least once and counts once, whatever process was killed when. A session's calibration replaces what an
earlier run of the same night kept; versions of other nights are never touched.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from datetime import date
from typing import Any

from sqlalchemy import Row, Select, delete, func, insert, select, update

from ordinis.domain.executions import Execution
from ordinis.domain.orders import Side
from ordinis.persistence.record_database import RecordDatabase
from ordinis.persistence.record_tables import calibration, consumed, execution

ORDERS = "orders"
MANY = 500
"""Ids in one statement; SQLite allows about a thousand."""


@dataclass(frozen=True)
class CalibrationRecord:
    """A version of the cost model, as a night left it."""

    session: date
    version: str
    promoted: bool
    reason: str
    numbers: str
    """Canonical text; feedback knows what is in it."""


class FeedbackRecords(RecordDatabase):
    """Executions and calibrations of every account."""

    def read_through(self, account: str) -> tuple[int, str]:
        """Place and mark of the ledger's event up to which executions are kept; 0 before the first."""
        query = select(consumed).where(consumed.c.account == account, consumed.c.topic == ORDERS)
        return next(((int(row.place), str(row.mark)) for row in self._rows(query)), (0, ""))

    def keep_executions(
        self, account: str, rows: Sequence[Execution], *, after: int, place: int, mark: str = "", anew: bool = False
    ) -> bool:
        """Keep what became of some orders, in place of what was kept of them before, and how far that is.

        Args:
            after: the place after which the ledger was read.
            place: of the newest event that was read, with its mark.
            anew: these are all orders of another ledger: what was kept of the one before goes.

        Returns:
            False, and nothing is kept, where another process has read further meanwhile.
        """
        mine = (consumed.c.account == account) & (consumed.c.topic == ORDERS)
        with self._begin() as connection:
            found = connection.execute(select(consumed.c.place).where(mine).with_for_update()).scalar()
            if (found or 0) != after:
                return False
            if anew:
                connection.execute(delete(execution).where(execution.c.account == account))
            ids = [row.order_id for row in rows]
            for start in range(0, len(ids), MANY):
                old = execution.c.order_id.in_(ids[start : start + MANY])
                connection.execute(delete(execution).where(execution.c.account == account, old))
            if rows:
                connection.execute(insert(execution), [_execution_values(account, row) for row in rows])
            connection.execute(delete(consumed).where(mine))
            connection.execute(insert(consumed), {"account": account, "topic": ORDERS, "place": place, "mark": mark})
        return True

    def executions(self, account: str, last: date, first: date = date.min) -> list[Execution]:
        """Of orders sent in the sessions from `first` to `last`, oldest first."""
        table = execution.c
        query = (
            select(execution)
            .where(table.account == account, table.session >= first, table.session <= last)
            .order_by(table.sent_at, table.order_id)
        )
        return [_execution(row) for row in self._rows(query)]

    def keep_calibration(self, account: str, made: CalibrationRecord) -> None:
        table = calibration.c
        with self._begin() as connection:
            connection.execute(delete(calibration).where(table.account == account, table.session == made.session))
            connection.execute(insert(calibration), {"account": account, **vars(made)})

    def set_aside(self, account: str, after: date, reason: str) -> None:
        """Versions of the nights after `after` count as not promoted, and say why."""
        table = calibration.c
        later = (table.account == account) & (table.session > after) & table.promoted
        with self._begin() as connection:
            told = table.reason + f"; {reason}"
            connection.execute(update(calibration).where(later).values(promoted=False, reason=told))

    def calibrations(self, account: str) -> list[CalibrationRecord]:
        """Every night's, oldest first."""
        return self._calibrations(_of(account).order_by(calibration.c.session))

    def calibration(self, account: str, session: date) -> CalibrationRecord | None:
        """What the night of `session` made."""
        return next(iter(self._calibrations(_of(account).where(calibration.c.session == session))), None)

    def in_force(self, account: str, before: date | None = None) -> CalibrationRecord | None:
        """The newest that was promoted, on a night before `before` where that is given; None before the first."""
        promoted = _of(account).where(calibration.c.promoted)
        newest = select(func.max(calibration.c.session)).where(calibration.c.account == account, calibration.c.promoted)
        if before is not None:
            newest = newest.where(calibration.c.session < before)
        return next(iter(self._calibrations(promoted.where(calibration.c.session == newest.scalar_subquery()))), None)

    def _calibrations(self, query: Select[Any]) -> list[CalibrationRecord]:
        return [
            CalibrationRecord(row.session, row.version, row.promoted, row.reason, row.numbers)
            for row in self._rows(query)
        ]


def _of(account: str) -> Select[Any]:
    return select(calibration).where(calibration.c.account == account)


def _execution_values(account: str, row: Execution) -> dict[str, Any]:
    return {
        "account": account,
        **{field.name: getattr(row, field.name) for field in fields(row)},
        "side": row.side.value,
    }


def _execution(row: Row[Any]) -> Execution:
    values = {field.name: getattr(row, field.name) for field in fields(Execution)}
    return Execution(**{**values, "side": Side(row.side)})
