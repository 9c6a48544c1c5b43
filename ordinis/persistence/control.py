"""The trading state as it is kept: a chain of rows of which the last counts."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, RowMapping, func, select

from ordinis.domain.limits import TradingState
from ordinis.persistence import chain
from ordinis.persistence.tables import control
from ordinis.ports import ControlRow


class SqlControl:
    def __init__(self, connection: Connection, account: str) -> None:
        self._connection, self._account = connection, account

    def state(self) -> ControlRow | None:
        # A kill waits for every order that is being sent, or comes before it; SQLite has one writer anyway.
        self._lock("pg_advisory_xact_lock_shared")
        rows = select(control).where(control.c.scope == self._account).order_by(control.c.seq.desc()).limit(1)
        row = self._connection.execute(rows).mappings().first()
        return None if row is None else _control(row)

    def set(self, row: ControlRow) -> None:
        self._lock("pg_advisory_xact_lock")
        chain.append(
            self._connection,
            control,
            {"scope": self._account, "state": row.state.value, "reason": row.reason, "by": row.by, "at": row.at},
        )

    def _lock(self, kind: str) -> None:
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(select(getattr(func, kind)(func.hashtext(f"control {self._account}"))))

    def history(self) -> Sequence[ControlRow]:
        rows = select(control).where(control.c.scope == self._account).order_by(control.c.seq)
        return [_control(row) for row in self._connection.execute(rows).mappings()]


def _control(row: RowMapping) -> ControlRow:
    return ControlRow(TradingState(row["state"]), row["reason"], row["by"], row["at"])
