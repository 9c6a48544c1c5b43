"""Where a crash can fall: one name for every commit and every write to the wire in the order path.

In production each point does nothing. A test passes a function that ends the process at the n-th passing of a
point, and another test fails when a commit or a send in this package lacks its point.
"""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum


class KillPoint(StrEnum):
    DECIDED = "decision committed"
    INTENT = "intent committed"
    UNSENT = "end of an order that was never sent committed"
    SENDING = "sending committed"
    RENEWED = "lease renewed before a send"
    WIRE = "about to write to the wire"
    REPLIED = "the broker replied"
    ACKNOWLEDGED = "acknowledgement committed"
    FILLED = "fills committed"
    CANCELLING = "cancel committed"
    CANCELLED = "the broker answered a cancel"
    MOVED = "movements committed"
    COMPARED = "comparison with the broker committed"
    RECONCILED = "ledger and broker agree"
    JUDGED = "trading state committed"
    VALUED = "valuation committed"


KillHook = Callable[[KillPoint], None]


def survive(_point: KillPoint) -> None:
    """The hook of production."""
