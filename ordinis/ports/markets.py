"""The doors to data and to opinions: clock, source of bars, allocator, cost model, rule."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ordinis.domain.decisions import Allocation, Verdict
from ordinis.domain.exposures import FactorExposures
from ordinis.domain.limits import TradingState
from ordinis.domain.market import MarketEvent, Regime
from ordinis.domain.portfolio import PortfolioSnapshot

if TYPE_CHECKING:
    import pandas as pd

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class PriceHistory:
    """Sessions and closes as arrays: what a bar store or a live window hands to `features.view`.

    `closes` is (T, N), oldest first, in currency, NaN where a symbol had no bar; `volumes` is (T, N) in shares, or
    None where the source has none.
    """

    symbols: tuple[str, ...]
    sessions: tuple[date, ...]
    closes: FloatArray
    volumes: FloatArray | None = None


@dataclass(frozen=True)
class MarketView:
    """All that an allocator may know of the market at one instant; built by `features.view` from the past only.

    `closes` is (T, N), oldest first, C-contiguous, in currency; NaN where a symbol had no price. `volumes` is
    (T, N) in shares or None where the source has none. The last row is the last session that had closed and was
    known at `as_of`; `session` is the session in which a decision at `as_of` would trade.
    """

    as_of: datetime
    session: date
    symbols: tuple[str, ...]
    sessions: tuple[date, ...]
    closes: FloatArray
    volumes: FloatArray | None
    regime: Regime
    sha: str
    """sha256 of symbols, sessions, closes and volumes: two views with one sha are the same view."""

    @property
    def returns(self) -> FloatArray:
        """(T-1, N) simple returns from one session's close to the next."""
        return self.closes[1:] / self.closes[:-1] - 1.0


class Clock(Protocol):
    """The only source of now."""

    def now(self) -> datetime:
        """Aware UTC."""

    def monotonic(self) -> float:
        """Seconds that never go back; for durations only."""

    def wait(self, seconds: float) -> None:
        """Let time pass."""


class DataSource(Protocol):
    """A vendor of bars."""

    @property
    def name(self) -> str: ...

    def history(self, symbols: Sequence[str], first: date, last: date) -> pd.DataFrame:
        """One row per symbol and session, sorted by both; columns of the bars contract; null where it lacks one."""

    def stream(self, symbols: Sequence[str], first: date, last: date) -> Iterator[MarketEvent]:
        """Trading windows and closes in the order of time."""


class Allocator(Protocol):
    """Answers "what should I hold now?"."""

    @property
    def name(self) -> str: ...

    @property
    def version(self) -> str:
        """Changes whenever the same question could get another answer: code, parameters, weights."""

    def allocate(self, view: MarketView, portfolio: PortfolioSnapshot) -> Allocation:
        """Target weights inside the limits, with a certificate; or a hold, with its reason in the trace.

        Limits that cannot be met together are such a reason, and the trace names them under "conflicts".

        Raises:
            AllocationUnavailable: a remote allocator gave no answer in time.
        """


class CostModel(Protocol):
    """One model for the optimiser, the simulator and the report: they cannot disagree."""

    def slippage(self, symbol: str, notional: float, participation: float, volatility: float) -> float:
        """Cost in the price, as a fraction of the traded notional.

        Args:
            symbol: what is traded; a model may know some better than others.
            notional: traded amount in currency, positive.
            participation: traded quantity over average daily volume; NaN when the volume is unknown.
            volatility: of one session's return; NaN when unknown.
        """

    def fee(self, notional: Decimal) -> Decimal:
        """Commission in currency, positive, rounded up to the cent."""


class Rule(Protocol):
    """May shrink or refuse a proposal, never enlarge a position."""

    @property
    def name(self) -> str: ...

    def review(
        self, weights: Mapping[str, float], portfolio: PortfolioSnapshot, context: RuleContext
    ) -> tuple[Mapping[str, float], Verdict]:
        """The weights that may be held, and the verdict with its numbers."""


@dataclass(frozen=True)
class RuleContext:
    """What a rule may look at besides the proposal and the book."""

    session: date
    session_open: bool
    sectors: Mapping[str, str]
    state: TradingState = TradingState.ACTIVE
    exposures: FactorExposures | None = None
    """Those in force; None where there are none."""
    exposures_age: int = 0
    """Sessions from theirs to this one."""
