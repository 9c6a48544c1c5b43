"""Now, and the exchange's days.

`now` comes from a Clock and nowhere else: the system's own, or one that a replay sets. Trading days come from the
exchange's calendar with its holidays and half days, never from the weekday.
"""

from __future__ import annotations

import time
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache

from ordinis.errors import DataUnavailable
from ordinis.trading_hours import trading_hours

CLOSING_WINDOW = timedelta(minutes=15)
"""How long before the close the actor trades."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)

    def monotonic(self) -> float:
        return time.monotonic()

    def wait(self, seconds: float) -> None:
        time.sleep(seconds)


class ReplayClock:
    """A clock that stands still until it is moved forward; it refuses to go back."""

    def __init__(self, start: datetime) -> None:
        self._now = _aware(start)

    def now(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._now.timestamp()

    def wait(self, seconds: float) -> None:
        """Nothing happens meanwhile: the market's next event is moved on by whoever replays it."""
        self.advance(self._now + timedelta(seconds=seconds))

    def advance(self, to: datetime) -> None:
        if _aware(to) < self._now:
            raise ValueError(f"a replayed clock cannot go back from {self._now.isoformat()} to {to.isoformat()}")
        self._now = to


def _aware(instant: datetime) -> datetime:
    if instant.tzinfo is None:
        raise ValueError(f"naive instant {instant!r}: every instant is aware UTC")
    return instant


class TradingCalendar:
    """The sessions of one exchange from 1990 on, with the instants of their open and close."""

    def __init__(self, exchange: str = "XNYS") -> None:
        hours = trading_hours(exchange, SystemClock().now().date())
        self.exchange = exchange
        self.sessions = hours.sessions
        self._opens, self._closes = hours.opens, hours.closes

    def is_session(self, day: date) -> bool:
        at = bisect_left(self.sessions, day)
        return at < len(self.sessions) and self.sessions[at] == day

    def opens(self, session: date) -> datetime:
        return self._opens[self._index(session)]

    def closes(self, session: date) -> datetime:
        return self._closes[self._index(session)]

    def trading_instant(self, session: date) -> datetime:
        """When the actor decides and trades: shortly before the close, on half days too."""
        return self.closes(session) - CLOSING_WINDOW

    def is_open(self, instant: datetime) -> bool:
        at = bisect_right(self._opens, instant) - 1
        return at >= 0 and instant <= self._closes[at]

    def between(self, first: date, last: date) -> Sequence[date]:
        """Sessions from `first` to `last`, both included where they are sessions."""
        return self.sessions[bisect_left(self.sessions, first) : bisect_right(self.sessions, last)]

    def next_session(self, day: date) -> date:
        """The first session after `day`."""
        return self._at(bisect_right(self.sessions, day), f"session after {day}")

    def previous_session(self, day: date) -> date:
        """The last session before `day`."""
        return self._at(bisect_left(self.sessions, day) - 1, f"session before {day}")

    def back(self, session: date, sessions: int) -> date:
        """The session that lies `sessions` sessions before `session`."""
        return self._at(self._index(session) - sessions, f"session {sessions} before {session}")

    def last_closed(self, instant: datetime) -> date:
        """The last session whose close is not after `instant`."""
        return self._at(bisect_right(self._closes, instant) - 1, f"session closed by {instant.isoformat()}")

    def session_of(self, instant: datetime) -> date:
        """The session in which an order given at `instant` trades: the running one, else the next."""
        return self._at(bisect_left(self._closes, instant), f"session at or after {instant.isoformat()}")

    def _index(self, session: date) -> int:
        at = bisect_left(self.sessions, session)
        if at == len(self.sessions) or self.sessions[at] != session:
            raise DataUnavailable(f"calendar {self.exchange}", f"session on {session}", "it is not a trading day")
        return at

    def _at(self, index: int, what: str) -> date:
        if not 0 <= index < len(self.sessions):
            raise DataUnavailable(f"calendar {self.exchange}", what, f"it covers {self.sessions[0]} on")
        return self.sessions[index]


def first_of_period(period: str, session: date, previous: date) -> bool:
    """True when `session`, which follows `previous`, is the first of its "day", "week", "month" or "quarter"."""
    match period:
        case "day":
            return session != previous
        case "week":
            return session.isocalendar()[:2] != previous.isocalendar()[:2]
        case "month":
            return (session.year, session.month) != (previous.year, previous.month)
        case "quarter":
            return (session.year, (session.month - 1) // 3) != (previous.year, (previous.month - 1) // 3)
    raise ValueError(f"{period!r} is not day, week, month or quarter")


@lru_cache(maxsize=4)
def trading_calendar(exchange: str = "XNYS") -> TradingCalendar:
    """The calendar of `exchange`, read once a process."""
    return TradingCalendar(exchange)
