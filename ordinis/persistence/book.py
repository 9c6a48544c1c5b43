"""Fills and movements as they are kept, and the balances that follow from them.

Balances are changed in the same transaction as the row that changes them, in Decimal arithmetic, and can be rebuilt
from the rows at any time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from sqlalchemy import Connection, RowMapping, insert, select, update

from ordinis.domain.canonical import canonical
from ordinis.domain.orders import Fill, Side
from ordinis.domain.portfolio import ZERO, Movement, Valuation
from ordinis.errors import LedgerConflict
from ordinis.persistence import chain
from ordinis.persistence.tables import balance, fill, movement, order_event, order_intent, position, valuation


class SqlBook:
    def __init__(self, connection: Connection, account: str) -> None:
        self._connection, self._account = connection, account

    # what happened

    def fill(self, row: Fill, *, source: str, received_at: datetime) -> bool:
        known = select(fill).where(fill.c.account == self._account, fill.c.exec_id == row.exec_id)
        existing = self._connection.execute(known).mappings().first()
        if existing is not None:
            if _fill(existing) != row:
                raise LedgerConflict(f"fill {row.exec_id}", "is booked with other numbers; the broker's book changed")
            return False
        values = {
            "account": self._account,
            "exec_id": row.exec_id,
            "coid": row.client_order_id,
            "symbol": row.symbol,
            "side": row.side.value,
            "qty": row.quantity,
            "price": row.price,
            "fee": row.fee,
            "ts": row.at,
            "reverses": row.reverses,
        }
        chain.append(
            self._connection,
            order_event,
            {
                "coid": row.client_order_id or "",
                "source": source,
                "event_key": f"fill:{self._account}:{row.exec_id}",
                "ts_event": row.at,
                "ts_recv": received_at,
                "payload": canonical(row),
            },
        )
        self._connection.execute(insert(fill).values(**values))
        self._change(row.symbol, row.units, row.cash, traded_at=row.at)
        if row.client_order_id is not None:
            self._count_filled(row)
        return True

    def fills(self, since: datetime | None = None) -> Sequence[Fill]:
        rows = select(fill).where(fill.c.account == self._account)
        if since is not None:
            rows = rows.where(fill.c.ts >= since)
        return [_fill(row) for row in self._connection.execute(rows.order_by(fill.c.ts, fill.c.exec_id)).mappings()]

    def movement(self, row: Movement) -> bool:
        known = select(movement.c.seq).where(
            movement.c.account == self._account, movement.c.activity_id == row.activity_id
        )
        if self._connection.execute(known).first() is not None:
            return False
        chain.append(
            self._connection,
            movement,
            {
                "account": self._account,
                "activity_id": row.activity_id,
                "kind": row.kind,
                "symbol": row.symbol,
                "qty": row.quantity,
                "cash": row.cash,
                "ts": row.at,
            },
        )
        self._change(row.symbol, row.quantity, row.cash, traded_at=None)
        return True

    def movements(self) -> Sequence[Movement]:
        rows = select(movement).where(movement.c.account == self._account).order_by(movement.c.seq)
        return [
            Movement(row["account"], row["activity_id"], row["kind"], row["cash"], row["ts"], row["symbol"], row["qty"])
            for row in self._connection.execute(rows).mappings()
        ]

    # worth

    def value(self, row: Valuation) -> bool:
        known = select(valuation.c.at).where(valuation.c.account == self._account, valuation.c.session == row.session)
        if self._connection.execute(known).first() is not None:
            return False
        self._connection.execute(
            insert(valuation).values(
                account=self._account,
                session=row.session,
                at=row.at,
                equity=row.equity,
                cash=row.cash,
                gross=row.gross,
                peak_equity=row.peak_equity,
            )
        )
        return True

    def valuations(self) -> Sequence[Valuation]:
        rows = select(valuation).where(valuation.c.account == self._account).order_by(valuation.c.session)
        return [Valuation(**row) for row in self._connection.execute(rows).mappings()]

    def last_valuation(self) -> Valuation | None:
        rows = select(valuation).where(valuation.c.account == self._account).order_by(valuation.c.session.desc())
        row = self._connection.execute(rows.limit(1)).mappings().first()
        return None if row is None else Valuation(**row)

    # balances

    def cash(self) -> Decimal:
        row = self._connection.execute(select(balance.c.cash).where(balance.c.account == self._account)).scalar()
        return ZERO if row is None else Decimal(row)

    def holdings(self) -> Mapping[str, Decimal]:
        return {row["symbol"]: row["qty"] for row in self._positions() if row["qty"] != ZERO}

    def last_traded(self) -> Mapping[str, date]:
        return {row["symbol"]: row["last_fill"].date() for row in self._positions() if row["last_fill"] is not None}

    def watermark(self) -> datetime | None:
        mark = select(balance.c.watermark).where(balance.c.account == self._account)
        found: datetime | None = self._connection.execute(mark).scalar()
        return found

    def set_watermark(self, at: datetime) -> None:
        self._open_balance()
        self._connection.execute(update(balance).where(balance.c.account == self._account).values(watermark=at))

    def rebuild(self) -> Sequence[str]:
        cash, units = ZERO, dict[str, Decimal]()
        for each in self.fills():
            cash += each.cash
            units[each.symbol] = units.get(each.symbol, ZERO) + each.units
        for moved in self.movements():
            cash += moved.cash
            if moved.symbol is not None:
                units[moved.symbol] = units.get(moved.symbol, ZERO) + moved.quantity
        held = dict(self.holdings())
        differences = [
            f"{symbol}: {held.get(symbol, ZERO)} kept, {units.get(symbol, ZERO)} by its fills"
            for symbol in sorted(held.keys() | units.keys())
            if held.get(symbol, ZERO) != units.get(symbol, ZERO)
        ]
        if cash != self.cash():
            differences.append(f"cash: {self.cash()} kept, {cash} by its fills and movements")
        return differences

    def _positions(self) -> Sequence[RowMapping]:
        rows = select(position).where(position.c.account == self._account).order_by(position.c.symbol)
        return self._connection.execute(rows).mappings().all()

    def _change(self, symbol: str | None, units: Decimal, cash: Decimal, traded_at: datetime | None) -> None:
        self._open_balance()
        self._connection.execute(
            update(balance).where(balance.c.account == self._account).values(cash=self.cash() + cash)
        )
        if symbol is None:
            return
        mine = (position.c.account == self._account) & (position.c.symbol == symbol)
        row = self._connection.execute(select(position).where(mine)).mappings().first()
        if row is None:
            self._connection.execute(
                insert(position).values(account=self._account, symbol=symbol, qty=units, last_fill=traded_at)
            )
            return
        changes: dict[str, Any] = {"qty": row["qty"] + units}
        if traded_at is not None and (row["last_fill"] is None or traded_at > row["last_fill"]):
            changes["last_fill"] = traded_at
        self._connection.execute(update(position).where(mine).values(**changes))

    def _open_balance(self) -> None:
        mine = select(balance.c.account).where(balance.c.account == self._account)
        if self._connection.execute(mine).first() is None:
            self._connection.execute(insert(balance).values(account=self._account, cash=ZERO))

    def _count_filled(self, row: Fill) -> None:
        mine = order_intent.c.coid == row.client_order_id
        filled = self._connection.execute(select(order_intent.c.filled_qty).where(mine)).scalar()
        if filled is not None:
            change = -row.quantity if row.reverses else row.quantity
            self._connection.execute(update(order_intent).where(mine).values(filled_qty=filled + change))


def _fill(row: RowMapping) -> Fill:
    return Fill(
        account=row["account"],
        exec_id=row["exec_id"],
        client_order_id=row["coid"],
        symbol=row["symbol"],
        side=Side(row["side"]),
        quantity=row["qty"],
        price=row["price"],
        fee=row["fee"],
        at=row["ts"],
        reverses=row["reverses"],
    )
