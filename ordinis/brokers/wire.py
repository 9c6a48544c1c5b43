"""How the simulated venue's answers look on the wire: canonical JSON, money as strings.

The server writes with `canonical`; the functions here read it back into the domain's words. An answer that cannot
be read is an error of its own, never an empty answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

from ordinis.domain.canonical import parse_instant
from ordinis.domain.market import Quote
from ordinis.domain.orders import BrokerOrder, Fill, OrderRequest, OrderState, OrderType, Side, TimeInForce
from ordinis.domain.portfolio import Movement
from ordinis.ports import BrokerAccount, Capabilities

Json = Mapping[str, Any]


def account(body: Json) -> BrokerAccount:
    return BrokerAccount(body["account"], Decimal(body["cash"]), body["paper"], body["suspended"])


def positions(body: Json) -> dict[str, Decimal]:
    return {symbol: Decimal(units) for symbol, units in body.items()}


def order(body: Json) -> BrokerOrder:
    return BrokerOrder(
        broker_order_id=body["broker_order_id"],
        client_order_id=body["client_order_id"],
        symbol=body["symbol"],
        side=Side(body["side"]),
        quantity=Decimal(body["quantity"]),
        filled_quantity=Decimal(body["filled_quantity"]),
        state=OrderState(body["state"]),
        submitted_at=parse_instant(body["submitted_at"]),
    )


def fill(body: Json) -> Fill:
    return Fill(
        account=body["account"],
        exec_id=body["exec_id"],
        client_order_id=body["client_order_id"],
        symbol=body["symbol"],
        side=Side(body["side"]),
        quantity=Decimal(body["quantity"]),
        price=Decimal(body["price"]),
        fee=Decimal(body["fee"]),
        at=parse_instant(body["at"]),
        reverses=body["reverses"],
    )


def movement(body: Json) -> Movement:
    return Movement(
        account=body["account"],
        activity_id=body["activity_id"],
        kind=body["kind"],
        cash=Decimal(body["cash"]),
        at=parse_instant(body["at"]),
        symbol=body["symbol"],
        quantity=Decimal(body["quantity"]),
    )


def quote(body: Json) -> Quote:
    bid, ask = body["bid"], body["ask"]
    return Quote(
        symbol=body["symbol"],
        price=Decimal(body["price"]),
        at=parse_instant(body["at"]),
        bid=None if bid is None else Decimal(bid),
        ask=None if ask is None else Decimal(ask),
        halted=body["halted"],
    )


def capabilities(body: Json) -> Capabilities:
    return Capabilities(body["fractional"], body["dedupes_client_ids"], body["lookups_are_current"])


def request(body: Json) -> OrderRequest:
    limit = body["limit_price"]
    return OrderRequest(
        client_order_id=body["client_order_id"],
        symbol=body["symbol"],
        side=Side(body["side"]),
        quantity=Decimal(body["quantity"]),
        type=OrderType(body["type"]),
        limit_price=None if limit is None else Decimal(limit),
        tif=TimeInForce(body["tif"]),
    )
