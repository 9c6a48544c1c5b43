"""The door to a broker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Protocol

from ordinis.domain.market import Quote
from ordinis.domain.orders import (
    BrokerOrder,
    Fill,
    OrderRequest,
    QueryOutcome,
    SubmitOutcome,
)
from ordinis.domain.portfolio import Movement


@dataclass(frozen=True)
class BrokerAccount:
    account: str
    cash: Decimal
    paper: bool
    suspended: bool = False


@dataclass(frozen=True)
class Capabilities:
    """What the adapter may rely on."""

    fractional: bool
    dedupes_client_ids: bool
    """A second order with a known client id is refused and the first is returned."""
    lookups_are_current: bool
    """An order that was accepted is found by the very next look-up."""


class Broker(Protocol):
    """The account is whatever the broker says it is. Queries answer Known, Unknown or Stale."""

    def account(self) -> QueryOutcome[BrokerAccount]: ...

    def positions(self) -> QueryOutcome[Mapping[str, Decimal]]: ...

    def order(self, client_order_id: str) -> QueryOutcome[BrokerOrder | None]: ...

    def open_orders(self) -> QueryOutcome[Sequence[BrokerOrder]]: ...

    def closed_orders(self, since: datetime) -> QueryOutcome[Sequence[BrokerOrder]]: ...

    def fills(self, since: datetime) -> QueryOutcome[Sequence[Fill]]:
        """Every execution at or after `since`, oldest first, all pages."""

    def movements(self, since: datetime) -> QueryOutcome[Sequence[Movement]]:
        """Every deposit, dividend, split and fee at or after `since`, oldest first, all pages."""

    def quotes(self, symbols: Sequence[str]) -> QueryOutcome[Mapping[str, Quote]]:
        """Symbols without a price are left out."""

    def submit(self, request: OrderRequest) -> SubmitOutcome: ...

    def cancel(self, client_order_id: str) -> SubmitOutcome: ...

    def cancel_all(self) -> QueryOutcome[int]:
        """How many open orders were cancelled."""

    def suspend_trading(self, suspended: bool) -> QueryOutcome[bool]:
        """Refuse every new order at the broker itself, or stop refusing."""

    def now(self) -> QueryOutcome[datetime]: ...

    def capabilities(self) -> Capabilities: ...
