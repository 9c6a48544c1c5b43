"""The last sessions' prices in memory, for a process that decides every day and opens no store.

Bars come with each session's close: some late, some twice, some never. The first value told for a symbol and session
stays; a second value is reported and not believed. A session that the calendar has and nobody told of is a row of
NaN, so a return never spans two sessions unseen. Rows lie in a buffer of twice the window's length: when it is full
the last rows move to its beginning, so a session costs the same however long the process runs.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum

import numpy as np

from ordinis.clock import TradingCalendar
from ordinis.domain.market import Bar, SessionClosed
from ordinis.errors import DataUnavailable
from ordinis.ports import FloatArray, PriceHistory


class Irregularity(StrEnum):
    MISSING = "missing"
    """No bar came with the session's close."""
    LATE = "late"
    """A bar came after its session's close had been told, and filled the gap."""
    REPEATED = "repeated"
    """The same bar came again: counted, not reported."""
    CONTRADICTED = "contradicted"
    """Another value came for a bar that is there; the first stays."""
    TOO_LATE = "too late"
    """A bar came for a session that the window no longer has."""
    PREMATURE = "premature"
    """A bar came for a session that has not closed."""
    STRANGE = "strange"
    """A bar came for a symbol or a day that the window does not have."""
    UNUSABLE = "unusable"
    """A bar's close is not above zero and finite, or its volume is negative or infinite."""


@dataclass(frozen=True)
class Notice:
    """Something that was not as it should be, for the log and the counters."""

    kind: Irregularity
    symbol: str
    session: date
    detail: str = ""


class LiveWindow:
    """Closes and volumes of the last `long` sessions."""

    def __init__(
        self, symbols: Sequence[str], calendar: TradingCalendar, short: int = 21, mid: int = 63, long: int = 756
    ) -> None:
        """An empty window.

        Args:
            symbols: the columns of every history, in this order.
            calendar: says which sessions there are.
            short: sessions in the shortest stretch for which `coverage` answers.
            mid: sessions in the middle one.
            long: sessions in the longest one: how many are kept.
        """
        if not 0 < short <= mid <= long:
            raise ValueError(f"windows must grow: {short}, {mid}, {long}")
        self.symbols = tuple(symbols)
        self.lengths = (short, mid, long)
        self.counts: Counter[Irregularity] = Counter()
        self._calendar = calendar
        self._column = {symbol: at for at, symbol in enumerate(self.symbols)}
        self._closes = np.full((2 * long, len(self.symbols)), np.nan)
        self._volumes = np.full_like(self._closes, np.nan)
        self._sessions: list[date] = []
        """Session of each row of the buffer that is in use; the last `long` of them are the window."""

    @property
    def last_session(self) -> date | None:
        """The last session whose close was told."""
        return self._sessions[-1] if self._sessions else None

    @property
    def coverage(self) -> dict[int, FloatArray]:
        """(N,) fraction of the last short, mid and long sessions that have a close, by the number of sessions.

        Sessions from before the window's first count as having none.
        """
        closes = self._closes[self._first() : len(self._sessions)]
        return {length: np.isfinite(closes[-length:]).sum(axis=0) / length for length in self.lengths}

    def seed(self, history: PriceHistory) -> tuple[Notice, ...]:
        """Begin anew with stored prices; a symbol that they lack is NaN.

        Returns:
            Notices of the calendar's sessions that the history leaves out.
        """
        self._sessions.clear()
        chosen = [at for at, symbol in enumerate(history.symbols) if symbol in self._column]
        columns = [self._column[history.symbols[at]] for at in chosen]
        notices: list[Notice] = []
        for at in range(max(0, len(history.sessions) - self.lengths[-1]), len(history.sessions)):
            notices += self._open(history.sessions[at])
            row = len(self._sessions) - 1
            self._closes[row, columns] = history.closes[at, chosen]
            if history.volumes is not None:
                self._volumes[row, columns] = history.volumes[at, chosen]
        return self._counted(notices)

    def feed(self, event: SessionClosed) -> tuple[Notice, ...]:
        """Take a session's close; the same event again, or an older one, does no harm.

        Raises:
            DataUnavailable: the calendar has no such session.
        """
        new = self.last_session is None or event.session > self.last_session
        notices = self._open(event.session) if new else []
        placed = (self._place(bar, event.session, told_before=not new) for bar in event.bars)
        notices += [notice for notice in placed if notice]
        if new:
            notices += self._gaps(len(self._sessions) - 1)
        return tuple(n for n in self._counted(notices) if n.kind is not Irregularity.REPEATED)

    def history(self, depth: int | None = None) -> PriceHistory:
        """A copy of the last `depth` sessions, or of all that are kept; fewer where there are fewer."""
        first = self._first() if depth is None else max(self._first(), len(self._sessions) - depth)
        rows = slice(first, len(self._sessions))
        volumes = self._volumes[rows].copy()
        return PriceHistory(
            symbols=self.symbols,
            sessions=tuple(self._sessions[rows]),
            closes=self._closes[rows].copy(),
            volumes=None if np.isnan(volumes).all() else volumes,
        )

    def _first(self) -> int:
        return max(0, len(self._sessions) - self.lengths[-1])

    def _open(self, session: date) -> list[Notice]:
        """Add a row for `session`, and one for each session before it that was never told."""
        if not self._calendar.is_session(session):
            advice = "a close was told for it; check the source's dates"
            raise DataUnavailable(f"calendar {self._calendar.exchange}", f"session on {session}", advice)
        notices: list[Notice] = []
        if self.last_session is not None:
            for skipped in self._calendar.between(self._calendar.next_session(self.last_session), session)[:-1]:
                notices += self._gaps(self._append(skipped))
        self._append(session)
        return notices

    def _append(self, session: date) -> int:
        """Add an empty row and return its number in the buffer."""
        if len(self._sessions) == len(self._closes):
            first, kept = self._first(), self.lengths[-1]
            self._closes[:kept] = self._closes[first:]
            self._volumes[:kept] = self._volumes[first:]
            del self._sessions[:first]
        row = len(self._sessions)
        self._sessions.append(session)
        self._closes[row] = self._volumes[row] = np.nan
        return row

    def _gaps(self, row: int) -> list[Notice]:
        session, there = self._sessions[row], np.isfinite(self._closes[row])
        return [
            Notice(Irregularity.MISSING, s, session) for s, have in zip(self.symbols, there, strict=True) if not have
        ]

    def _place(self, bar: Bar, closed: date, *, told_before: bool) -> Notice | None:
        """Put a bar where it belongs, unless something is there; None when all is as it should be."""

        def notice(kind: Irregularity, detail: str = "") -> Notice:
            return Notice(kind, bar.symbol, bar.session, detail)

        close = float(bar.close)
        volume = math.nan if bar.volume is None else float(bar.volume)
        column = self._column.get(bar.symbol)
        if bar.session > closed:
            return notice(Irregularity.PREMATURE, f"came with the close of {closed}")
        if column is None or not self._calendar.is_session(bar.session):
            return notice(Irregularity.STRANGE)
        if not 0 < close < math.inf or volume < 0 or volume == math.inf:
            return notice(Irregularity.UNUSABLE, f"close {bar.close}, volume {bar.volume}")
        row = bisect_left(self._sessions, bar.session)
        if row < self._first() or self._sessions[row] != bar.session:
            return notice(Irregularity.TOO_LATE, f"the window begins at {self._sessions[self._first()]}")
        have = (float(self._closes[row, column]), float(self._volumes[row, column]))
        if not math.isnan(have[0]):
            if np.array_equal(have, (close, volume), equal_nan=True):
                return notice(Irregularity.REPEATED)
            return notice(Irregularity.CONTRADICTED, f"has close {have[0]}, volume {have[1]}; told {close}, {volume}")
        self._closes[row, column], self._volumes[row, column] = close, volume
        return (
            notice(Irregularity.LATE, f"came with the close of {closed}")
            if told_before or bar.session < closed
            else None
        )

    def _counted(self, notices: list[Notice]) -> tuple[Notice, ...]:
        self.counts.update(notice.kind for notice in notices)
        return tuple(notices)
