"""What an answer of the broker means for an order. Pure functions over the state machine: no clock, no store, no wire.

A broker says how many units it has executed and whether the order has ended. An order ends in the ledger only when
every execution that the broker counts is booked, so that what is left of it is known before anything follows from it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from ordinis.domain.orders import BrokerOrder, OrderIntent, OrderState

_S = OrderState
IN_DOUBT = frozenset({_S.SENDING, _S.UNKNOWN})
"""The broker may or may not have the order."""
OPEN = frozenset({_S.WORKING, _S.PARTIAL, _S.PENDING_CANCEL, _S.SUSPENDED})
RETRIED = frozenset({_S.CANCELED, _S.EXPIRED, _S.NEVER_ARRIVED})
"""An order that ended like this may be followed by another attempt for what is left."""
ENOUGH_LOOKS = 5
QUARANTINE = timedelta(seconds=120)


def told(intent: OrderIntent, order: BrokerOrder) -> tuple[OrderState, ...]:
    """The states through which `intent` goes when the broker says `order`; empty when nothing is new."""
    state, path = intent.state, list[OrderState]()
    booked = intent.filled_quantity >= order.filled_quantity
    if state in IN_DOUBT:
        if order.state is _S.REJECTED and not order.filled_quantity:
            return (_S.REJECTED,)
        state = _S.WORKING
        path.append(state)
    if state not in OPEN:
        return ()
    if order.state in (_S.CANCELED, _S.EXPIRED):
        path += [order.state] if booked else []
    elif order.state is _S.FILLED:
        # Part of a filled order may have been taken back since: what counts is that nothing is missing here.
        path += [_S.PARTIAL] if booked and state is _S.SUSPENDED else []
        path += [_S.FILLED] if booked else []
    elif order.state is _S.REJECTED:
        # What was executed before the refusal stays; the rest has ended.
        untouched = state is _S.WORKING and not intent.filled_quantity
        path += [_S.REJECTED if untouched else _S.CANCELED] if booked else []
    elif order.state is _S.SUSPENDED:
        path += [_S.SUSPENDED] if state in (_S.WORKING, _S.PARTIAL) else []
    elif state is _S.SUSPENDED:
        path.append(_S.PARTIAL if intent.filled_quantity else _S.WORKING)
    return tuple(path)


def executed(intent: OrderIntent) -> tuple[OrderState, ...]:
    """The states through which `intent` goes now that its executions are counted; empty when it had ended."""
    path = list[OrderState]()
    state = intent.state
    if state in IN_DOUBT:
        # The execution came before the acknowledgement: the broker has the order.
        state = _S.WORKING
        path.append(state)
    if state not in OPEN or intent.filled_quantity <= 0:
        return tuple(path)
    if state is _S.SUSPENDED or (state is _S.WORKING and intent.remaining > 0):
        state = _S.PARTIAL
        path.append(state)
    if intent.remaining <= 0:
        path.append(_S.FILLED)
    return tuple(path)


@dataclass
class Quarantine:
    """How often, and over how long, the broker has been asked for orders in doubt and had none.

    Kept in memory: a restart begins it anew, which only makes it longer.
    """

    looks: dict[str, list[datetime]] = field(default_factory=dict)
    refused: set[str] = field(default_factory=set)
    """Orders of which a second copy was refused: the first may still arrive, and a third would not help."""

    def not_found(self, client_order_id: str, at: datetime) -> None:
        """A look-up that succeeded and found nothing."""
        seen = self.looks.setdefault(client_order_id, [])
        if not seen or at > seen[-1]:
            seen.append(at)

    def begin(self, client_order_id: str) -> None:
        """Count from now: the order was found, or sent once more."""
        self.looks.pop(client_order_id, None)

    def passed(self, client_order_id: str) -> bool:
        seen = self.looks.get(client_order_id, [])
        return len(seen) >= ENOUGH_LOOKS and seen[-1] - seen[0] >= QUARANTINE
