"""The actor on a replayed market: where it goes on after a restart, and its loop.

The ledger says where it stopped: the session after the last one that was valued. The venue may have seen a later
instant of that same session, so its time, if it has one, is where the clock starts.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from datetime import date, datetime

from ordinis.clock import ReplayClock, TradingCalendar
from ordinis.domain.market import MarketEvent, SessionClosed
from ordinis.execution.actor import Actor
from ordinis.ports import Ledger


def resume_session(ledger: Ledger, calendar: TradingCalendar, first: date) -> date:
    """The first session that still has to be lived through."""
    with ledger.begin(write=False) as unit:
        last = unit.book.last_valuation()
    return first if last is None else calendar.next_session(last.session)


def start_clock(calendar: TradingCalendar, session: date, venue_time: datetime | None) -> ReplayClock:
    """A clock at the open of `session`, or at the venue's time where that is later."""
    opening = calendar.opens(session)
    return ReplayClock(opening if venue_time is None else max(opening, venue_time))


def live_through(
    actor: Actor,
    clock: ReplayClock,
    events: Iterable[MarketEvent],
    after_close: Callable[[date], None] = lambda session: None,
    before: Callable[[MarketEvent], None] = lambda event: None,
) -> None:
    """Start the actor and let it act on every event; `after_close` may hold up the market's next session."""
    actor.start()
    for event in events:
        clock.advance(max(event.at, clock.now()))
        before(event)
        actor.on(event)
        if isinstance(event, SessionClosed):
            after_close(event.session)


def pause(
    ledger: Ledger,
    seconds: float,
    sleep: Callable[[float], None] = time.sleep,
    monotonic: Callable[[], float] = time.monotonic,
) -> None:
    """Wait between two sessions, and keep the role of the trading process meanwhile."""
    until = monotonic() + seconds
    while (left := until - monotonic()) > 0:
        ledger.renew()
        sleep(min(left, 1.0))
