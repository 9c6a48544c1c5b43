"""Intents and their events as they are kept: the state machine is checked at the door of the database too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, exists, func, insert, select, text, update
from sqlalchemy.exc import IntegrityError

from ordinis.domain.canonical import canonical
from ordinis.domain.orders import (
    TRANSITIONS,
    CancelRequest,
    OrderIntent,
    OrderState,
    OrderType,
    Side,
    TimeInForce,
)
from ordinis.errors import IllegalTransition, LedgerConflict, NotFound
from ordinis.persistence import chain
from ordinis.persistence.reading import read
from ordinis.persistence.statements import write
from ordinis.persistence.tables import LIVE_STATES, order_cancel, order_event, order_intent
from ordinis.ports import OrderEvent, Touched

MINE = select(order_intent).where(order_intent.c.account == bindparam("account")).order_by(order_intent.c.seq)
BY_ID = MINE.where(order_intent.c.coid == bindparam("coid"))
OF_DECISION = MINE.where(order_intent.c.decision_id == bindparam("decision_id"))
OF_SYMBOL = OF_DECISION.where(order_intent.c.symbol == bindparam("symbol"))
# Written out, so that both databases see that the partial index of live orders answers it.
STILL_LIVE = MINE.where(text(f"order_intent.state IN ({LIVE_STATES})"))
# In the order of its index: asked for that of `seq`, SQLite would read the whole history along it.
SENT_SINCE = (
    select(order_intent)
    .where(order_intent.c.account == bindparam("account"), order_intent.c.sent_at > bindparam("sent_after"))
    .order_by(order_intent.c.sent_at, order_intent.c.coid)
)
LAST_PLACE = select(func.coalesce(func.max(order_intent.c.seq), 0).label("place"))
ADD = insert(order_intent)
MOVE = (
    update(order_intent)
    .where(order_intent.c.coid == bindparam("moved"), order_intent.c.version == bindparam("seen"))
    .values({name: bindparam(name) for name in ("state", "version", "broker_order_id", "sent_at", "fence")})
)
TOLD = exists().where(order_event.c.event_key == bindparam("event_key"))
MOVING = BY_ID.add_columns(TOLD.label("told"))
TOUCHED = MINE.where(order_intent.c.coid.in_(select(order_event.c.coid).where(order_event.c.seq > bindparam("place"))))
MARK = select(order_event.c.hash).where(order_event.c.seq == bindparam("place"))
EVENTS = select(order_event).where(order_event.c.coid == bindparam("coid")).order_by(order_event.c.seq)

CANCELS = select(order_cancel).where(order_cancel.c.coid == bindparam("coid")).order_by(order_cancel.c.number)


class SqlOrders:
    def __init__(self, connection: Connection, account: str) -> None:
        self._connection, self._account = connection, account

    def add(self, intent: OrderIntent, *, at: datetime, fence: int, reason: str = "") -> None:
        state = OrderState.DENIED if reason else intent.state
        row = {
            "coid": intent.client_order_id,
            "seq": read(self._connection, LAST_PLACE, _place)[0] + 1,
            "decision_id": intent.decision_id,
            "account": intent.account,
            "symbol": intent.symbol,
            "leg": intent.leg,
            "attempt": intent.attempt,
            "side": intent.side.value,
            "qty": intent.quantity,
            "type": intent.type.value,
            "limit_price": intent.limit_price,
            "tif": intent.tif.value,
            "state": state.value,
            "fence": fence,
            "broker_order_id": intent.broker_order_id,
            "ib_order_id": None,
            "filled_qty": intent.filled_quantity,
            "reference_price": intent.reference_price,
            "reserved_notional": intent.reserved_notional,
            "sent_at": intent.sent_at,
            "version": intent.version,
        }
        try:
            write(self._connection, ADD, row)
        except IntegrityError as error:
            raise LedgerConflict(
                f"order {intent.client_order_id}", f"{intent.symbol} has a live order or the id is taken"
            ) from error
        told = {"state": state.value} | ({"reason": reason} if reason else {})
        event = OrderEvent(f"{intent.client_order_id}:{state.value}", "local", at, at, told)
        self._append(intent.client_order_id, event, row)

    def move(self, client_order_id: str, state: OrderState, event: OrderEvent) -> OrderIntent:
        found = read(
            self._connection, MOVING, _moving, account=self._account, coid=client_order_id, event_key=event.key
        )
        if not found:
            raise NotFound("order", client_order_id)
        [(intent, told, fence)] = found
        if told:
            return intent
        if state != intent.state and state not in TRANSITIONS.get(intent.state, frozenset()):
            raise IllegalTransition(client_order_id, intent.state.value, state.value)
        moved = replace(
            intent,
            state=state,
            version=intent.version + 1,
            broker_order_id=event.broker_order_id or intent.broker_order_id,
            sent_at=event.sent_at or intent.sent_at,
        )
        change = {
            "state": moved.state.value,
            "version": moved.version,
            "broker_order_id": moved.broker_order_id,
            "sent_at": moved.sent_at,
            "fence": fence if event.fence is None else event.fence,
        }
        self._append(client_order_id, event, change)
        if write(self._connection, MOVE, {"moved": client_order_id, "seen": intent.version, **change}) != 1:
            raise LedgerConflict(f"order {client_order_id}", "was changed by another writer")
        return moved

    def cancel(self, client_order_id: str, *, reason: str, by: str, at: datetime) -> OrderIntent:
        number = len(self.cancels(client_order_id)) + 1
        key = f"{client_order_id}:{OrderState.PENDING_CANCEL}:{number}"
        told = {"state": OrderState.PENDING_CANCEL.value, "reason": reason, "by": by}
        intent = self.move(client_order_id, OrderState.PENDING_CANCEL, OrderEvent(key, "local", at, at, told))
        row = {"coid": client_order_id, "number": number, "reason": reason, "by": by, "requested_at": at}
        chain.append(self._connection, order_cancel, row)
        return intent

    def cancels(self, client_order_id: str) -> Sequence[CancelRequest]:
        return read(self._connection, CANCELS, _cancel, coid=client_order_id)

    def get(self, client_order_id: str) -> OrderIntent | None:
        rows = read(self._connection, BY_ID, _intent, account=self._account, coid=client_order_id)
        return rows[0] if rows else None

    def of(self, decision_id: str, symbol: str = "") -> Sequence[OrderIntent]:
        values = {"account": self._account, "decision_id": decision_id}
        if not symbol:
            return read(self._connection, OF_DECISION, _intent, **values)
        return read(self._connection, OF_SYMBOL, _intent, **values, symbol=symbol)

    def live(self) -> Sequence[OrderIntent]:
        return read(self._connection, STILL_LIVE, _intent, account=self._account)

    def sent_since(self, at: datetime) -> Sequence[OrderIntent]:
        return read(self._connection, SENT_SINCE, _intent, account=self._account, sent_after=at)

    def all(self) -> Sequence[OrderIntent]:
        return read(self._connection, MINE, _intent, account=self._account)

    def events(self, client_order_id: str) -> Sequence[Mapping[str, Any]]:
        return read(self._connection, EVENTS, _event, coid=client_order_id)

    def touched_since(self, place: int, mark: str) -> Touched:
        head = chain.head(self._connection, order_event)
        known = not place or read(self._connection, MARK, _mark, place=place) == [mark]
        orders = read(self._connection, TOUCHED, _intent, account=self._account, place=place if known else 0)
        return Touched(head.length, head.hash if head.length else "", orders, not known)

    def _append(self, client_order_id: str, event: OrderEvent, change: Mapping[str, Any]) -> None:
        chain.append(
            self._connection,
            order_event,
            {
                "coid": client_order_id,
                "source": event.source,
                "event_key": event.key,
                "ts_event": event.at,
                "ts_recv": event.received_at,
                "payload": canonical(event.payload),
                "change": canonical(change),
            },
        )


def _place(row: dict[str, Any]) -> int:
    return int(row["place"])


def _mark(row: dict[str, Any]) -> str:
    return str(row["hash"])


def _moving(row: dict[str, Any]) -> tuple[OrderIntent, bool, int]:
    return _intent(row), bool(row["told"]), row["fence"]


def _cancel(row: dict[str, Any]) -> CancelRequest:
    return CancelRequest(row["coid"], row["number"], row["reason"], row["by"], row["requested_at"])


def _event(row: dict[str, Any]) -> Mapping[str, Any]:
    return {**row, "payload": json.loads(row["payload"])}


def _intent(row: dict[str, Any]) -> OrderIntent:
    return OrderIntent(
        client_order_id=row["coid"],
        decision_id=row["decision_id"],
        account=row["account"],
        symbol=row["symbol"],
        leg=row["leg"],
        attempt=row["attempt"],
        side=Side(row["side"]),
        quantity=row["qty"],
        type=OrderType(row["type"]),
        limit_price=row["limit_price"],
        tif=TimeInForce(row["tif"]),
        state=OrderState(row["state"]),
        reference_price=row["reference_price"],
        reserved_notional=row["reserved_notional"],
        filled_quantity=row["filled_qty"],
        broker_order_id=row["broker_order_id"],
        sent_at=row["sent_at"],
        version=row["version"],
    )
