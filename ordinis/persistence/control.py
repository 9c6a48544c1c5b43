"""What people and breakers said, as it is kept: trading states and overrides, chains of which the last row counts.

A transaction that sends an order reads the state, and one that kills writes it: either waits for the other to end, so
no order is committed as sent after a committed kill. SQLite has one writer anyway. On PostgreSQL no row can be locked
for that: the rows are append-only, and the lease's row must be free for a kill while the actor hangs or is dead. Both
take a lock on the account's name instead, which PostgreSQL keeps until their transactions end: senders share it, a
writer has it alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Executable, bindparam, func, select, text

from ordinis.domain.canonical import to_decimal
from ordinis.domain.limits import Approval, TradingState
from ordinis.domain.overrides import Override, OverrideKind
from ordinis.persistence import chain
from ordinis.persistence.reading import read
from ordinis.persistence.statements import rows
from ordinis.persistence.tables import approval, control, override
from ordinis.ports import ControlRow

OF_SCOPE = select(control).where(control.c.scope == bindparam("scope"))
HISTORY = OF_SCOPE.order_by(control.c.seq)
SPOKEN = select(func.max(control.c.seq)).where(control.c.scope == bindparam("scope"), control.c.by == bindparam("by"))
SINCE = HISTORY.where(control.c.seq >= SPOKEN.scalar_subquery())
IN_FORCE = OF_SCOPE.order_by(control.c.seq.desc()).limit(1)
OF_SYMBOLS = func.substr(control.c.scope, 1, func.length(bindparam("prefix"))) == bindparam("prefix")
NEWEST = select(func.max(control.c.seq)).where(OF_SYMBOLS)
SYMBOLS = select(control).where(control.c.seq.in_(NEWEST.group_by(control.c.scope))).order_by(control.c.scope)
END_OF_TIME = datetime(9999, 1, 1, tzinfo=UTC)
"""Only what never ends is in force then."""
SHARE = text("SELECT pg_advisory_xact_lock_shared(hashtext(:name))")
OWN = text("SELECT pg_advisory_xact_lock(hashtext(:name))")

SAME_WISH = func.max(override.c.seq)
OVERRIDES = (
    select(override)
    .where(
        override.c.seq.in_(
            select(SAME_WISH)
            .where(override.c.account == bindparam("account"))
            .group_by(override.c.symbol, override.c.kind)
        )
    )
    .order_by(override.c.symbol, override.c.kind)
)
APPROVED = (
    select(approval)
    .where(
        approval.c.account == bindparam("account"),
        approval.c.expires_at.is_(None) | (approval.c.expires_at > bindparam("at")),
    )
    .order_by(approval.c.seq.desc())
    .limit(1)
)


class SqlControl:
    def __init__(self, connection: Connection, account: str) -> None:
        self._connection, self._account = connection, account

    def state(self, symbol: str = "") -> ControlRow | None:
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

    def since(self, by: str) -> Sequence[ControlRow]:
        return read(self._connection, SINCE, self._control, scope=self._account, by=by)

    def override(self, row: Override) -> None:
        self._lock(OWN)
        chain.append(
            self._connection,
            override,
            {
                "account": self._account,
                "symbol": row.symbol,
                "kind": row.kind.value,
                "value": None if row.value is None else to_decimal(row.value),
                "by": row.by,
                "reason": row.reason,
                "at": row.at,
                "expires_at": row.expires_at,
            },
        )

    def overrides(self, at: datetime) -> Sequence[Override]:
        newest = read(self._connection, OVERRIDES, _override, account=self._account)
        return [row for row in newest if row.at <= at < row.expires_at]

    def approve(self, row: Approval) -> None:
        self._lock(OWN)
        chain.append(self._connection, approval, {"account": self._account, **vars(row)})

    def approval(self, at: datetime, *, for_good: bool = False) -> Approval | None:
        until = END_OF_TIME if for_good else at
        found = read(self._connection, APPROVED, _approval, account=self._account, at=until)
        return found[0] if found else None

    def _scope(self, symbol: str) -> str:
        return f"{self._account}/{symbol}"

    def _control(self, row: dict[str, Any]) -> ControlRow:
        symbol = row["scope"].removeprefix(self._account).removeprefix("/")
        return ControlRow(TradingState(row["state"]), row["reason"], row["by"], row["at"], symbol)


def _approval(row: dict[str, Any]) -> Approval:
    return Approval(row["sha"], row["limits"], row["by"], row["reason"], row["at"], row["expires_at"])


def _override(row: dict[str, Any]) -> Override:
    return Override(
        symbol=row["symbol"],
        kind=OverrideKind(row["kind"]),
        value=None if row["value"] is None else float(row["value"]),
        by=row["by"],
        reason=row["reason"],
        at=row["at"],
        expires_at=row["expires_at"],
    )
