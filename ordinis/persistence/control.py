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

    def state(self, symbol: str = "") -> ControlRow | None:
        # A kill waits for every order that is being sent, or comes before it; SQLite has one writer anyway.
        self._lock("pg_advisory_xact_lock_shared")
        mine = control.c.scope == self._scope(symbol)
        row = self._connection.execute(select(control).where(mine).order_by(control.c.seq.desc()).limit(1)).mappings()
        found = row.first()
        return None if found is None else self._control(found)

    def locks(self) -> Sequence[ControlRow]:
        symbols = control.c.scope.startswith(f"{self._account}/", autoescape=True)
        newest = select(func.max(control.c.seq)).where(symbols)
        rows = select(control).where(control.c.seq.in_(newest.group_by(control.c.scope))).order_by(control.c.scope)
        found = [self._control(row) for row in self._connection.execute(rows).mappings()]
        return [row for row in found if row.state is not TradingState.ACTIVE]

    def set(self, row: ControlRow) -> None:
        self._lock("pg_advisory_xact_lock")
        scope = self._scope(row.symbol)
        chain.append(
            self._connection,
            control,
            {"scope": scope, "state": row.state.value, "reason": row.reason, "by": row.by, "at": row.at},
        )

    def _scope(self, symbol: str) -> str:
        return f"{self._account}/{symbol}" if symbol else self._account

    def _control(self, row: RowMapping) -> ControlRow:
        symbol = row["scope"].removeprefix(self._account).removeprefix("/")
        return ControlRow(TradingState(row["state"]), row["reason"], row["by"], row["at"], symbol)

    def _lock(self, kind: str) -> None:
        if self._connection.dialect.name == "postgresql":
            self._connection.execute(select(getattr(func, kind)(func.hashtext(f"control {self._account}"))))

    def history(self) -> Sequence[ControlRow]:
        rows = select(control).where(control.c.scope == self._account).order_by(control.c.seq)
        return [self._control(row) for row in self._connection.execute(rows).mappings()]
