"""The ledger as one text: what a back-test, a live run and a replay must agree on to the byte.

Decisions with their inputs and verdicts, intents, events, cancels, fills, movements and valuations, one JSON object a
line. Fence numbers, sequence numbers, times of receipt, an event's source, the broker's own names, the states between
sending and the end of an order, and the chain's hashes tell how a run went, not what it did, and are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from ordinis.domain.canonical import canonical, plain
from ordinis.domain.orders import OrderState
from ordinis.ports import Ledger, UnitOfWork

OPERATIONAL = frozenset({"version", "broker_order_id"})
ON_THE_WAY = frozenset({OrderState.WORKING, OrderState.PARTIAL, OrderState.SUSPENDED, OrderState.UNKNOWN})


def canonical_ledger(ledger: Ledger) -> str:
    """Every line of `ledger` that a repetition must reproduce."""
    with ledger.begin(write=False) as unit:
        return "".join(f"{canonical(line)}\n" for line in _lines(unit))


def _lines(unit: UnitOfWork) -> Iterator[dict[str, Any]]:
    for decision in unit.decisions.all():
        yield {"kind": "decision", **plain(decision)}
        yield {"kind": "inputs", "text": unit.decisions.inputs(decision.inputs_sha)}
        for verdict in unit.decisions.verdicts(decision.id):
            yield {"kind": "verdict", "decision": decision.id, **plain(verdict)}
    for intent in unit.orders.all():
        content = {name: value for name, value in plain(intent).items() if name not in OPERATIONAL}
        yield {"kind": "intent", **content}
        events = unit.orders.events(intent.client_order_id)
        for event in sorted(events, key=lambda row: str(row["event_key"])):
            if event["payload"].get("state") in ON_THE_WAY:
                continue
            yield {"kind": "event", "key": event["event_key"], "at": event["ts_event"], "payload": event["payload"]}
        for cancel in unit.orders.cancels(intent.client_order_id):
            yield {"kind": "cancel", **plain(cancel)}
    for fill in unit.book.fills():
        yield {"kind": "fill", **plain(fill)}
    for movement in unit.book.movements():
        yield {"kind": "movement", **_without(movement, "place")}
    for valuation in unit.book.valuations():
        yield {"kind": "valuation", **_without(valuation, "movements", "events")}


def _without(row: Any, *names: str) -> dict[str, Any]:
    """`row` as plain values, without the places that are its own ledger's."""
    return {key: value for key, value in plain(row).items() if key not in names}
