"""The trading state as it is kept, of the account and of each symbol: a chain of rows of which the last counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Executable, bindparam, func, select, text

from ordinis.domain.limits import TradingState
from ordinis.persistence import chain
from ordinis.persistence.reading import read
from ordinis.persistence.statements import rows
from ordinis.persistence.tables import control
from ordinis.ports import ControlRow

OF_SCOPE = select(control).where(control.c.scope == bindparam("scope"))
HISTORY = OF_SCOPE.order_by(control.c.seq)
IN_FORCE = OF_SCOPE.order_by(control.c.seq.desc()).limit(1)
OF_SYMBOLS = func.substr(control.c.scope, 1, func.length(bindparam("prefix"))) == bindparam("prefix")
NEWEST = select(func.max(control.c.seq)).where(OF_SYMBOLS)
SYMBOLS = select(control).where(control.c.seq.in_(NEWEST.group_by(control.c.scope))).order_by(control.c.scope)
SHARE = text("SELECT pg_advisory_xact_lock_shared(hashtext(:name))")
OWN = text("SELECT pg_advisory_xact_lock(hashtext(:name))")


class SqlControl:
    def __init__(self, connection: Connection, account: str) -> None:
        self._connection, self._account = connection, account

    def state(self, symbol: str = "") -> ControlRow | None:
        # A kill waits for every order that is being sent, or comes before it; SQLite has one writer anyway.
        self._lock(SHARE)
        found = read(self._connection, IN_FORCE, self._control, scope=self._scope(symbol) if symbol else self._account)
        return found[0] if found else None

    def locks(self) -> Sequence[ControlRow]:
        found = read(self._connection, SYMBOLS, self._control, prefix=self._scope(""))
        return [row for row in found if row.state is not TradingState.ACTIVE]

    def set(self, row: ControlRow) -> None:
        self._lock(OWN)
        chain.append(
            self._connection,
            control,
            {
                "scope": self._scope(row.symbol) if row.symbol else self._account,
                "state": row.state.value,
                "reason": row.reason,
                "by": row.by,
                "at": row.at,
            },
        )

    def _lock(self, lock: Executable) -> None:
        if self._connection.dialect.name == "postgresql":
            [*rows(self._connection, lock, {"name": f"control {self._account}"})]

    def history(self) -> Sequence[ControlRow]:
        return read(self._connection, HISTORY, self._control, scope=self._account)

    def _scope(self, symbol: str) -> str:
        return f"{self._account}/{symbol}"

    def _control(self, row: dict[str, Any]) -> ControlRow:
        symbol = row["scope"].removeprefix(self._account).removeprefix("/")
        return ControlRow(TradingState(row["state"]), row["reason"], row["by"], row["at"], symbol)
