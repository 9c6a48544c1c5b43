"""Fills and movements as they are kept, and the balances that follow from them.

Balances are changed in the same transaction as the row that changes them, in Decimal arithmetic; `integrity` makes
them again from the rows. An account's fills and movements are booked by one transaction after the other, also where a
person's command books beside the trading process.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date, datetime
from decimal import Decimal, localcontext
from typing import Any

from sqlalchemy import BindParameter, Connection, bindparam, insert, literal, select, update

from ordinis.domain.canonical import EXACT, canonical
from ordinis.domain.orders import Fill, Side
from ordinis.domain.portfolio import ZERO, Movement, Valuation
from ordinis.errors import FillChanged
from ordinis.persistence import chain
from ordinis.persistence.integrity import balance_digest
from ordinis.persistence.reading import read
from ordinis.persistence.statements import write
from ordinis.persistence.tables import (
    balance,
    fill,
    movement,
    order_event,
    order_intent,
    position,
    valuation,
    valuation_mark,
    valuation_told,
)

MINE: BindParameter[str] = bindparam("mine")
FILLS = select(fill).where(fill.c.account == MINE).order_by(fill.c.ts, fill.c.exec_id)
FILLS_SINCE = FILLS.where(fill.c.ts >= bindparam("since"))
FILLS_OF_ORDER = FILLS.where(fill.c.coid == bindparam("order"))
TOLD = (
    select(fill.c.exec_id, order_event.c.seq)
    .join(order_event, order_event.c.event_key == literal("fill:") + fill.c.account + ":" + fill.c.exec_id)
    .where(fill.c.account == MINE)
)
BY_EXEC_ID = select(fill).where(fill.c.account == MINE, fill.c.exec_id == bindparam("execution"))
ADD_FILL = insert(fill)
MOVEMENTS = select(movement).where(movement.c.account == MINE).order_by(movement.c.seq)
MOVEMENTS_AFTER = MOVEMENTS.where(movement.c.seq > bindparam("place"))
MOVEMENTS_SINCE = MOVEMENTS.where(movement.c.ts > bindparam("since"))
BY_ACTIVITY = select(movement.c.seq).where(movement.c.account == MINE, movement.c.activity_id == bindparam("activity"))
MARKED = (valuation_mark.c.account == valuation.c.account) & (valuation_mark.c.session == valuation.c.session)
HEARD = (valuation_told.c.account == valuation.c.account) & (valuation_told.c.session == valuation.c.session)
VALUATIONS = (
    select(valuation, valuation_mark.c.movements, valuation_told.c.events)
    .select_from(valuation.outerjoin(valuation_mark, MARKED).outerjoin(valuation_told, HEARD))
    .where(valuation.c.account == MINE)
    .order_by(valuation.c.session)
)
OF_SESSION = select(valuation.c.seq).where(valuation.c.account == MINE, valuation.c.session == bindparam("day"))
LAST_VALUATION = VALUATIONS.order_by(None).order_by(valuation.c.session.desc()).limit(1)
POSITIONS = select(position).where(position.c.account == MINE).order_by(position.c.symbol)
ADD_POSITION = insert(position)
SET_POSITION = (
    update(position)
    .where(position.c.account == MINE, position.c.symbol == bindparam("name"))
    .values(qty=bindparam("qty"), last_fill=bindparam("last_fill"))
)
BALANCE = select(balance.c.cash, balance.c.watermark).where(balance.c.account == MINE)
ADD_BALANCE = insert(balance)
SET_BALANCE = (
    update(balance)
    .where(balance.c.account == MINE)
    .values(cash=bindparam("cash"), watermark=bindparam("watermark"), digest=bindparam("digest"))
)
# What a fill or a movement changes, read at once: one row, with None for what is not there yet.
STANDING = select(
    balance.c.cash, balance.c.watermark, position.c.qty, position.c.last_fill, order_intent.c.filled_qty
).select_from(
    select(literal(1))
    .subquery()
    .outerjoin(balance, balance.c.account == MINE)
    .outerjoin(position, (position.c.account == MINE) & (position.c.symbol == bindparam("name")))
    .outerjoin(order_intent, order_intent.c.coid == bindparam("order"))
)
SET_FILLED = (
    update(order_intent).where(order_intent.c.coid == bindparam("order")).values(filled_qty=bindparam("filled_qty"))
)
VALUATION = [field.name for field in fields(Valuation)]


class SqlBook:
    def __init__(self, connection: Connection, account: str) -> None:
        self._connection, self._account = connection, account

    # what happened

    def fill(self, row: Fill, *, source: str, received_at: datetime) -> bool:
        self.hold_still()
        booked = read(self._connection, BY_EXEC_ID, _fill, mine=self._account, execution=row.exec_id)
        if booked:
            if booked[0] != row:
                raise FillChanged(row.exec_id)
            return False
        before = self._standing(row.symbol, row.client_order_id)
        change = {}
        if before["filled_qty"] is not None:
            change["filled_qty"] = before["filled_qty"] + (-row.quantity if row.reverses else row.quantity)
            write(self._connection, SET_FILLED, {"order": row.client_order_id, **change})
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
                "change": canonical(change),
            },
        )
        write(
            self._connection,
            ADD_FILL,
            {
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
            },
        )
        with localcontext(EXACT):
            self._change(before, row.symbol, row.units, row.cash, traded_at=row.at)
        return True

    def fills(self, since: datetime | None = None) -> Sequence[Fill]:
        if since is None:
            return read(self._connection, FILLS, _fill, mine=self._account)
        return read(self._connection, FILLS_SINCE, _fill, mine=self._account, since=since)

    def fills_of(self, client_order_id: str) -> Sequence[Fill]:
        return read(self._connection, FILLS_OF_ORDER, _fill, mine=self._account, order=client_order_id)

    def places_of_fills(self) -> Mapping[str, int]:
        return dict(read(self._connection, TOLD, _place, mine=self._account))

    def last_event(self) -> int:
        return chain.head(self._connection, order_event).length

    def movement(self, row: Movement) -> bool:
        self.hold_still()
        if read(self._connection, BY_ACTIVITY, _row, mine=self._account, activity=row.activity_id):
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
        with localcontext(EXACT):
            self._change(self._standing(row.symbol, None), row.symbol, row.quantity, row.cash, traded_at=None)
        return True

    def movements(self, last: Valuation | None = None) -> Sequence[Movement]:
        if last is None:
            return read(self._connection, MOVEMENTS, _movement, mine=self._account)
        if last.movements is None:
            return read(self._connection, MOVEMENTS_SINCE, _movement, mine=self._account, since=last.at)
        return read(self._connection, MOVEMENTS_AFTER, _movement, mine=self._account, place=last.movements)

    def last_movement(self) -> int:
        return chain.head(self._connection, movement).length

    # worth

    def hold_still(self) -> None:
        # The chain that fills are appended to, so that whoever moves orders and books fills waits in one line.
        chain.hold(self._connection, order_event)

    def value(self, row: Valuation) -> bool:
        if read(self._connection, OF_SESSION, _row, mine=self._account, day=row.session):
            return False
        content = {**vars(row), "account": self._account}
        marks = ((valuation_mark, "movements"), (valuation_told, "events"))
        places = [(table, name, content.pop(name)) for table, name in marks]
        chain.append(self._connection, valuation, content)
        for table, name, place in places:
            if place is not None:
                mark = {"account": self._account, "session": row.session, name: place}
                chain.append(self._connection, table, mark)
        return True

    def valuations(self) -> Sequence[Valuation]:
        return read(self._connection, VALUATIONS, _valuation, mine=self._account)

    def last_valuation(self) -> Valuation | None:
        rows = read(self._connection, LAST_VALUATION, _valuation, mine=self._account)
        return rows[0] if rows else None

    # balances

    def cash(self) -> Decimal:
        return self._balance()[0]

    def holdings(self) -> Mapping[str, Decimal]:
        return {row["symbol"]: row["qty"] for row in self._positions() if row["qty"] != ZERO}

    def last_traded(self) -> Mapping[str, date]:
        return {row["symbol"]: row["last_fill"].date() for row in self._positions() if row["last_fill"] is not None}

    def watermark(self) -> datetime | None:
        return self._balance()[1]

    def set_watermark(self, at: datetime) -> None:
        self.hold_still()
        self._set_balance(self.cash(), at)

    def _positions(self) -> Sequence[dict[str, Any]]:
        return read(self._connection, POSITIONS, _row, mine=self._account)

    def _standing(self, symbol: str | None, order: str | None) -> dict[str, Any]:
        return read(self._connection, STANDING, _row, mine=self._account, name=symbol, order=order)[0]

    def _change(
        self, before: dict[str, Any], symbol: str | None, units: Decimal, cash: Decimal, traded_at: datetime | None
    ) -> None:
        self._set_balance((before["cash"] or ZERO) + cash, before["watermark"])
        if symbol is None:
            return
        if before["qty"] is None:
            values = {"account": self._account, "symbol": symbol, "qty": units, "last_fill": traded_at}
            write(self._connection, ADD_POSITION, values)
            return
        quantity, last = before["qty"] + units, before["last_fill"]
        latest = max((at for at in (last, traded_at) if at is not None), default=None)
        values = {"mine": self._account, "name": symbol, "qty": quantity, "last_fill": latest}
        write(self._connection, SET_POSITION, values)

    def _balance(self) -> tuple[Decimal, datetime | None]:
        rows = read(self._connection, BALANCE, _cash_and_watermark, mine=self._account)
        return rows[0] if rows else (ZERO, None)

    def _set_balance(self, cash: Decimal, watermark: datetime | None) -> None:
        digest = balance_digest(self._account, cash, watermark)
        values = {"mine": self._account, "cash": cash, "watermark": watermark, "digest": digest}
        if write(self._connection, SET_BALANCE, values) == 0:
            del values["mine"]
            write(self._connection, ADD_BALANCE, {"account": self._account, **values})


def _row(row: dict[str, Any]) -> dict[str, Any]:
    return row


def _place(row: dict[str, Any]) -> tuple[str, int]:
    return row["exec_id"], row["seq"]


def _cash_and_watermark(row: dict[str, Any]) -> tuple[Decimal, datetime | None]:
    return row["cash"], row["watermark"]


def _movement(row: dict[str, Any]) -> Movement:
    told = (row["account"], row["activity_id"], row["kind"], row["cash"], row["ts"], row["symbol"], row["qty"])
    return Movement(*told, row["seq"])


def _valuation(row: dict[str, Any]) -> Valuation:
    return Valuation(**{name: row[name] for name in VALUATION})


def _fill(row: dict[str, Any]) -> Fill:
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
