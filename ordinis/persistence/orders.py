"""Intents and their events as they are kept: the state machine is checked at the door of the database too."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, RowMapping, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from ordinis.domain.canonical import canonical
from ordinis.domain.orders import (
    LIVE,
    TRANSITIONS,
    CancelRequest,
    CancelState,
    OrderIntent,
    OrderState,
    OrderType,
    Side,
    TimeInForce,
)
from ordinis.errors import IllegalTransition, LedgerConflict, NotFound
from ordinis.persistence import chain
from ordinis.persistence.tables import order_cancel, order_event, order_intent
from ordinis.ports import OrderEvent


class SqlOrders:
    def __init__(self, connection: Connection, account: str) -> None:
        self._connection, self._account = connection, account

    def add(self, intent: OrderIntent, *, at: datetime, fence: int, reason: str = "") -> None:
        state = OrderState.DENIED if reason else OrderState.INTENT
        place = self._connection.execute(select(func.coalesce(func.max(order_intent.c.seq), 0))).scalar_one() + 1
        row = insert(order_intent).values(
            coid=intent.client_order_id,
            seq=place,
            decision_id=intent.decision_id,
            account=intent.account,
            symbol=intent.symbol,
            leg=intent.leg,
            attempt=intent.attempt,
            side=intent.side.value,
            qty=intent.quantity,
            type=intent.type.value,
            limit_price=intent.limit_price,
            tif=intent.tif.value,
            state=state.value,
            fence=fence,
            filled_qty=intent.filled_quantity,
            reference_price=intent.reference_price,
            reserved_notional=intent.reserved_notional,
            version=intent.version,
        )
        try:
            self._connection.execute(row)
        except IntegrityError as error:
            raise LedgerConflict(
                f"order {intent.client_order_id}", f"{intent.symbol} has a live order or the id is taken"
            ) from error
        told = {"state": state.value} | ({"reason": reason} if reason else {})
        self._append(
            intent.client_order_id, OrderEvent(f"{intent.client_order_id}:{state.value}", "local", at, at, told)
        )

    def move(self, client_order_id: str, state: OrderState, event: OrderEvent) -> OrderIntent:
        intent = self.get(client_order_id)
        if intent is None:
            raise NotFound("order", client_order_id)
        known = select(order_event.c.seq).where(order_event.c.event_key == event.key)
        if self._connection.execute(known).first() is not None:
            return intent
        if state != intent.state and state not in TRANSITIONS.get(intent.state, frozenset()):
            raise IllegalTransition(client_order_id, intent.state.value, state.value)
        self._append(client_order_id, event)
        changes: dict[str, Any] = {"state": state.value, "version": intent.version + 1}
        if event.broker_order_id is not None:
            changes["broker_order_id"] = event.broker_order_id
        if event.sent_at is not None:
            changes["sent_at"] = event.sent_at
        written = self._connection.execute(
            update(order_intent)
            .where(order_intent.c.coid == client_order_id, order_intent.c.version == intent.version)
            .values(**changes)
        )
        if written.rowcount != 1:
            raise LedgerConflict(f"order {client_order_id}", "was changed by another writer")
        if intent.state is OrderState.PENDING_CANCEL:
            self._settle_cancel(client_order_id, state)
        return replace(
            intent,
            state=state,
            version=intent.version + 1,
            broker_order_id=event.broker_order_id or intent.broker_order_id,
            sent_at=event.sent_at or intent.sent_at,
        )

    def cancel(self, client_order_id: str, *, reason: str, by: str, at: datetime) -> OrderIntent:
        number = len(self.cancels(client_order_id)) + 1
        key = f"{client_order_id}:{OrderState.PENDING_CANCEL}:{number}"
        told = {"state": OrderState.PENDING_CANCEL.value, "reason": reason, "by": by}
        intent = self.move(client_order_id, OrderState.PENDING_CANCEL, OrderEvent(key, "local", at, at, told))
        self._connection.execute(
            insert(order_cancel).values(
                coid=client_order_id,
                number=number,
                reason=reason,
                by=by,
                requested_at=at,
                state=CancelState.REQUESTED.value,
            )
        )
        return intent

    def cancels(self, client_order_id: str) -> Sequence[CancelRequest]:
        rows = select(order_cancel).where(order_cancel.c.coid == client_order_id).order_by(order_cancel.c.number)
        return [
            CancelRequest(
                row["coid"],
                row["number"],
                row["reason"],
                row["by"],
                row["requested_at"],
                CancelState(row["state"]),
            )
            for row in self._connection.execute(rows).mappings()
        ]

    def _settle_cancel(self, client_order_id: str, state: OrderState) -> None:
        ended = CancelState.CONFIRMED if state is OrderState.CANCELED else CancelState.TOO_LATE
        self._connection.execute(
            update(order_cancel)
            .where(order_cancel.c.coid == client_order_id, order_cancel.c.state == CancelState.REQUESTED.value)
            .values(state=ended.value)
        )

    def get(self, client_order_id: str) -> OrderIntent | None:
        rows = self._select(order_intent.c.coid == client_order_id)
        return rows[0] if rows else None

    def of(self, decision_id: str) -> Sequence[OrderIntent]:
        return self._select(order_intent.c.decision_id == decision_id)

    def live(self) -> Sequence[OrderIntent]:
        return self._select(order_intent.c.state.in_(sorted(LIVE)))

    def all(self) -> Sequence[OrderIntent]:
        return self._select(order_intent.c.account == self._account)

    def events(self, client_order_id: str) -> Sequence[Mapping[str, Any]]:
        rows = select(order_event).where(order_event.c.coid == client_order_id).order_by(order_event.c.seq)
        return [{**row, "payload": json.loads(row["payload"])} for row in self._connection.execute(rows).mappings()]

    def _append(self, client_order_id: str, event: OrderEvent) -> None:
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
            },
        )

    def _select(self, condition: Any) -> list[OrderIntent]:
        rows = select(order_intent).where(condition, order_intent.c.account == self._account)
        return [_intent(row) for row in self._connection.execute(rows.order_by(order_intent.c.seq)).mappings()]


def _intent(row: RowMapping) -> OrderIntent:
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
