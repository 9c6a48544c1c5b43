"""Orders: who they are, the states they pass through, and what a broker may answer.

An order's id is computed from the decision that asked for it, never drawn, so a restart computes the same id and a
broker that knows the id refuses a second copy. The state machine:

    INTENT         -> SENDING | DENIED | EXPIRED_UNSENT
    SENDING        -> WORKING | PARTIAL | FILLED | REJECTED | UNKNOWN
    UNKNOWN        -> WORKING | PARTIAL | FILLED | REJECTED | CANCELED | EXPIRED | NEVER_ARRIVED
    WORKING        -> PARTIAL | FILLED | PENDING_CANCEL | CANCELED | EXPIRED | SUSPENDED | REJECTED
    PARTIAL        -> FILLED | PENDING_CANCEL | CANCELED | EXPIRED | SUSPENDED
    PENDING_CANCEL -> WORKING | PARTIAL | CANCELED | FILLED | EXPIRED
    SUSPENDED      -> WORKING | PARTIAL | CANCELED | EXPIRED

Ambiguity is a state of its own: UNKNOWN is left only when the broker itself has answered.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Generic, TypeVar

from ordinis.domain.portfolio import ZERO


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"


class OrderType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"


class TimeInForce(StrEnum):
    DAY = "day"


class OrderState(StrEnum):
    INTENT = "INTENT"
    SENDING = "SENDING"
    UNKNOWN = "UNKNOWN"
    WORKING = "WORKING"
    PARTIAL = "PARTIAL"
    PENDING_CANCEL = "PENDING_CANCEL"
    SUSPENDED = "SUSPENDED"
    FILLED = "FILLED"
    CANCELED = "CANCELED"
    REJECTED = "REJECTED"
    EXPIRED = "EXPIRED"
    DENIED = "DENIED"
    EXPIRED_UNSENT = "EXPIRED_UNSENT"
    NEVER_ARRIVED = "NEVER_ARRIVED"


_S = OrderState
TRANSITIONS: dict[OrderState, frozenset[OrderState]] = {
    _S.INTENT: frozenset({_S.SENDING, _S.DENIED, _S.EXPIRED_UNSENT}),
    _S.SENDING: frozenset({_S.WORKING, _S.PARTIAL, _S.FILLED, _S.REJECTED, _S.UNKNOWN}),
    _S.UNKNOWN: frozenset({_S.WORKING, _S.PARTIAL, _S.FILLED, _S.REJECTED, _S.CANCELED, _S.EXPIRED, _S.NEVER_ARRIVED}),
    _S.WORKING: frozenset(
        {_S.PARTIAL, _S.FILLED, _S.PENDING_CANCEL, _S.CANCELED, _S.EXPIRED, _S.SUSPENDED, _S.REJECTED}
    ),
    _S.PARTIAL: frozenset({_S.FILLED, _S.PENDING_CANCEL, _S.CANCELED, _S.EXPIRED, _S.SUSPENDED}),
    _S.PENDING_CANCEL: frozenset({_S.WORKING, _S.PARTIAL, _S.CANCELED, _S.FILLED, _S.EXPIRED}),
    _S.SUSPENDED: frozenset({_S.WORKING, _S.PARTIAL, _S.PENDING_CANCEL, _S.CANCELED, _S.EXPIRED}),
}
LIVE = frozenset(TRANSITIONS)
"""States in which an order may still trade: at most one such order per account and symbol."""


def client_order_id(account: str, decision_id: str, symbol: str, leg: str, attempt: int) -> str:
    """The order's name at every broker: "or1-" and 26 letters or digits, the same for the same question."""
    digest = hashlib.sha256(f"{account}|{decision_id}|{symbol}|{leg}|{attempt}".encode()).digest()
    return "or1-" + base64.b32encode(digest).decode().lower()[:26]


@dataclass(frozen=True)
class PlannedOrder:
    """One line of a decision's plan: what was decided, before any gate."""

    symbol: str
    leg: str
    """"sell" or "buy": sells of a decision come first."""
    side: Side
    quantity: Decimal
    reference_price: Decimal
    """The price at which the plan was made: the arrival price of its fills."""

    @property
    def notional(self) -> Decimal:
        return self.quantity * self.reference_price

    @property
    def signed(self) -> Decimal:
        return self.quantity if self.side is Side.BUY else -self.quantity


@dataclass(frozen=True)
class OrderIntent:
    """An order as the ledger knows it; committed before anything is sent."""

    client_order_id: str
    decision_id: str
    account: str
    symbol: str
    leg: str
    attempt: int
    side: Side
    quantity: Decimal
    type: OrderType
    limit_price: Decimal | None
    tif: TimeInForce
    state: OrderState
    reference_price: Decimal
    reserved_notional: Decimal
    filled_quantity: Decimal = ZERO
    broker_order_id: str | None = None
    sent_at: datetime | None = None
    version: int = 1

    @property
    def remaining(self) -> Decimal:
        return self.quantity - self.filled_quantity


@dataclass(frozen=True)
class CancelRequest:
    """A wish to end an order; a row of its own, committed before it is sent."""

    client_order_id: str
    number: int
    reason: str
    by: str
    requested_at: datetime


@dataclass(frozen=True)
class OrderRequest:
    """What is put on the wire."""

    client_order_id: str
    symbol: str
    side: Side
    quantity: Decimal
    type: OrderType = OrderType.MARKET
    limit_price: Decimal | None = None
    tif: TimeInForce = TimeInForce.DAY


@dataclass(frozen=True)
class BrokerOrder:
    """An order as the broker knows it."""

    broker_order_id: str
    client_order_id: str
    symbol: str
    side: Side
    quantity: Decimal
    filled_quantity: Decimal
    state: OrderState
    submitted_at: datetime


@dataclass(frozen=True)
class Fill:
    """One execution. `quantity` is positive; `side` says the direction; `fee` is in currency and positive."""

    account: str
    exec_id: str
    client_order_id: str | None
    symbol: str
    side: Side
    quantity: Decimal
    price: Decimal
    fee: Decimal
    at: datetime
    reverses: str | None = None
    """exec_id of the fill that this one takes back."""

    @property
    def units(self) -> Decimal:
        """Signed change of the position."""
        return self.quantity if self.side is Side.BUY else -self.quantity

    @property
    def cash(self) -> Decimal:
        """Signed change of the cash balance, fee included."""
        return -self.units * self.price - self.fee


@dataclass(frozen=True)
class Accepted:
    """Definitive yes: the broker has the order."""

    order: BrokerOrder


@dataclass(frozen=True)
class Refused:
    """Definitive no: the broker will not have this order."""

    reason: str


@dataclass(frozen=True)
class Ambiguous:
    """The broker may or may not have the order."""

    reason: str


SubmitOutcome = Accepted | Refused | Ambiguous


T = TypeVar("T")


@dataclass(frozen=True)
class Known(Generic[T]):
    """The broker answered; `value` may well be empty."""

    value: T


@dataclass(frozen=True)
class Unknown:
    """The query itself failed: nothing may be inferred."""

    reason: str


@dataclass(frozen=True)
class Stale(Generic[T]):
    """The broker answered with something that it says is old."""

    value: T
    as_of: datetime


QueryOutcome = Known[T] | Unknown | Stale[T]
