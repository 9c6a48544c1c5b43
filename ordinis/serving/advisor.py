"""The service's mind: a portfolio and an instant in, an allocation and the market view behind it out.

The view is cut from the history by `features.view`, the one place where the future is kept out, exactly as whoever
asked cut theirs: both hash it, and an answer about other data is recognised by its hash. The last view is kept,
because a closing window asks about the same instant many times.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import date, datetime
from threading import Lock

from ordinis.clock import TradingCalendar
from ordinis.domain.decisions import Allocation
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.errors import AllocationRefused
from ordinis.features.view import market_view
from ordinis.ports import Allocator, MarketView, PriceHistory

History = Callable[[datetime, date], PriceHistory]
"""The price history from which a view as of an instant, for a session, may be cut."""


class Advisor:
    """Answers one question at a time: allocators need not be safe for threads.

    `allocator` is asked for the one in force at each question.
    """

    def __init__(
        self,
        allocator: Callable[[], Allocator],
        history: History,
        calendar: TradingCalendar,
        symbols: Sequence[str],
        now: Callable[[], datetime],
    ) -> None:
        self.symbols = frozenset(symbols)
        self.calendar = calendar
        self.now = now
        self._allocator = allocator
        self._history = history
        self._asked: tuple[datetime, date] | None = None
        self._view: MarketView | None = None
        self._turn = Lock()

    def answer(self, portfolio: PortfolioSnapshot, session: date | None = None) -> tuple[Allocation, MarketView]:
        """What to hold at `portfolio.as_of`, for `session` or the one in which an order would trade then.

        Raises:
            DataUnavailable: the day is no session, or there is no price before it.
            StaleView: the last price is too old.
            AllocationRefused: the allocator answered about another view.
        """
        with self._turn:
            view = self._view_of(portfolio.as_of, session)
            allocation = self._allocator().allocate(view, portfolio)
        if not allocation.view_sha:
            allocation = replace(allocation, view_sha=view.sha)
        if allocation.view_sha != view.sha:
            raise AllocationRefused(f"{allocation.allocator} answered about view {allocation.view_sha}, not {view.sha}")
        return allocation, view

    def ready(self) -> MarketView:
        """The view as of now, or the error that would keep a question of now from being answered."""
        with self._turn:
            return self._view_of(self.now(), None)

    def _view_of(self, as_of: datetime, session: date | None) -> MarketView:
        if session is None:
            session = self.calendar.session_of(as_of)
        if self._view is None or self._asked != (as_of, session):
            self._view = market_view(self._history(as_of, session), as_of, session)
            self._asked = (as_of, session)
        return self._view
