"""From the ledger's events to executions that are kept: the one way in which feedback hears of orders.

The events of the ledger are an outbox that is written with what it tells of, in one transaction. Whatever happened to
an order since the last time has its execution made again, whole, from the order and its fills; so a fill that is told
late, or taken back a week after, corrects what was kept, and to read an event twice changes nothing. An event is known
by its place and its hash: a ledger that was restored, or begun anew, is read from its beginning.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Protocol

from ordinis.clock import TradingCalendar
from ordinis.domain.executions import Execution
from ordinis.feedback.executions import executions
from ordinis.ports import Ledger

logger = logging.getLogger(__name__)


class ExecutionRecords(Protocol):
    """Where executions are kept, with the place up to which the ledger was read."""

    def read_through(self, account: str) -> tuple[int, str]: ...

    def keep_executions(
        self, account: str, rows: Sequence[Execution], *, after: int, place: int, mark: str, anew: bool
    ) -> bool: ...


def gather(ledger: Ledger, records: ExecutionRecords, venue: str, calendar: TradingCalendar) -> int:
    """Keep what became of every order that something happened to since the last time; of how many, is returned."""
    while True:
        after, mark = records.read_through(ledger.account)
        with ledger.begin(write=False) as unit:
            found = unit.orders.touched_since(after, mark)
            fills = [fill for intent in found.orders for fill in unit.book.fills_of(intent.client_order_id)]
        if found.anew:
            logger.warning("account=%s: another ledger than was read before, all its orders are read", ledger.account)
        rows = executions(found.orders, fills, venue, calendar)
        # Another process that read further meanwhile has kept its part: what is left is found in another look.
        if records.keep_executions(
            ledger.account, rows, after=after, place=found.place, mark=found.mark, anew=found.anew
        ):
            logger.info("gathered account=%s orders=%d through=%d", ledger.account, len(rows), found.place)
            return len(rows)
