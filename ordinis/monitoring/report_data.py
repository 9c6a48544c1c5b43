"""What the report says, as numbers: no ledger and no picture.

Arrays run over the T sessions that the ledger has valued; money is in the account's currency. The returns are
time-weighted: cash that people brought or took during session t is taken to have come before its trading, so

    r_t = equity_t / (equity_{t-1} + flow_t) - 1

and the first session's return counts from the opening deposit. NaN says that a number could not be derived, and a
remark says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from enum import StrEnum

import numpy as np

from ordinis.costs.models import BASIS_POINT
from ordinis.evaluation import statistics
from ordinis.evaluation.statistics import SESSIONS_A_YEAR, SharpeDifference
from ordinis.monitoring.findings import Night
from ordinis.ports import FloatArray
from ordinis.risk import measures

NO_SECTOR = "no sector"
ROUNDING = 1e-9
SHORTEST_YEAR = 63
"""Sessions below which a number a year would be invention: a quarter."""


@dataclass(frozen=True)
class Track:
    """A path of returns, of the book or of something it is compared with."""

    name: str
    sessions: tuple[date, ...]
    returns: FloatArray
    """(T,) of each session."""
    turnover: FloatArray | None = None
    """(T,) one-way, as a fraction of the equity before trading; None where only returns are known."""
    cost: FloatArray | None = None
    """(T,) slippage and fees as a fraction of the equity before trading."""
    against_book: SharpeDifference | None = None
    """Sharpe ratio of the book minus that of this track, with its interval."""

    @property
    def growth(self) -> FloatArray:
        """(T,) value at each close of 100 at the open of the first session."""
        return 100.0 * statistics.equity_path(self.returns)[1:]

    @property
    def drawdown(self) -> FloatArray:
        """(T,) fraction of the peak that is lost; a loss on the first session counts."""
        return measures.drawdown(statistics.equity_path(self.returns))[1:]

    @property
    def key_numbers(self) -> KeyNumbers:
        annual = len(self.returns) >= SHORTEST_YEAR
        calmar, turnover, cost = np.nan, np.nan, np.nan
        if annual:
            calmar = statistics.calmar(self.returns)
        if annual and self.turnover is not None:
            turnover = statistics.turnover_summary(self.turnover).annual
        if annual and self.cost is not None:
            cost = float(self.cost.mean()) * SESSIONS_A_YEAR / BASIS_POINT
        return KeyNumbers(
            name=self.name,
            sessions=len(self.returns),
            total_return=float(np.prod(1.0 + self.returns) - 1.0),
            annual_return=statistics.annualised_return(self.returns) if annual else np.nan,
            volatility=statistics.annualised_volatility(self.returns) if annual else np.nan,
            sharpe=statistics.sharpe(self.returns) if annual else np.nan,
            max_drawdown=statistics.max_drawdown(self.returns),
            calmar=calmar if np.isfinite(calmar) else np.nan,
            turnover=turnover,
            cost_bps=cost,
        )


@dataclass(frozen=True)
class KeyNumbers:
    """One line of the table at the top; NaN where the history is too short or the number is not known."""

    name: str
    sessions: int
    total_return: float
    annual_return: float
    volatility: float
    sharpe: float
    max_drawdown: float
    calmar: float
    """NaN for a path that never fell, too."""
    turnover: float
    """One-way, as a fraction of equity a year."""
    cost_bps: float
    """Slippage and fees, in basis points of equity a year."""


@dataclass(frozen=True)
class Costs:
    """What trading cost, by session, in currency; a cost is positive."""

    slippage: FloatArray
    """(T,) price paid against the price at which the order was planned."""
    fees: FloatArray
    """(T,) commissions of the fills, and fees that the broker charged apart."""
    expected: FloatArray | None
    """(T,) by the cost model, of the same orders; None without a model."""

    @property
    def paid(self) -> FloatArray:
        return self.slippage + self.fees


class Effect(StrEnum):
    """What a limit did to a decision or an order."""

    BOUND = "bound"
    """The decision sits on the limit."""
    PASSED = "carried past"
    """Prices alone carried the book past the limit, within the rulebook's allowance."""
    CUT = "cut"
    DENIED = "denied"


@dataclass(frozen=True)
class LimitEvent:
    session: date
    rule: str
    effect: Effect
    detail: str = ""


@dataclass(frozen=True)
class DecisionLine:
    session: date
    source: str
    """model, baseline or human."""
    allocator: str
    rung: str
    """Rung of the ladder that answered; empty where the ledger does not say."""
    invested: float
    """Sum of the decided weights."""
    sells: int
    buys: int
    cuts: tuple[str, ...]
    """Limits that cut it."""
    reason: str
    weights: Mapping[str, float]


@dataclass(frozen=True)
class Change:
    """A position at the last close and at the one before, and what was traded in it between them."""

    symbol: str
    before: float
    """Weight; likewise the next."""
    now: float
    units: Decimal
    """Bought less sold."""
    price: Decimal | None
    """Mean of the fills."""
    shortfall: Decimal | None
    """In currency, against the plan; None where no plan is known."""
    fees: Decimal


@dataclass(frozen=True)
class ReportData:
    account: str
    currency: str
    book: Track
    equity: FloatArray
    cash: FloatArray
    gross: FloatArray
    """(T,) sum of absolute position values over equity."""
    decided: FloatArray
    """(T,) sum of the weights last decided; NaN before the first decision."""
    gross_cap: FloatArray
    """(T,) limit in force, and likewise the next two; NaN where no verdict told it."""
    sector_cap: FloatArray
    position_cap: FloatArray
    symbols: tuple[str, ...]
    """Everything that was ever held or decided."""
    sectors: Mapping[str, str]
    weights: FloatArray
    """(T, N) at the close; the last decided ones where no closes were given."""
    weights_are_held: bool
    """False when `weights` are those decided."""
    costs: Costs
    decisions: tuple[DecisionLine, ...]
    limit_events: tuple[LimitEvent, ...]
    baselines: tuple[Track, ...]
    nights: Mapping[date, Night]
    """What nightly attributions found, oldest first."""
    changes: tuple[Change, ...]
    """Of the last session, what was traded first."""
    fills: int
    orders: Mapping[str, int]
    """Number of orders by the state they ended in."""
    remarks: tuple[str, ...]
    """What the ledger could not tell, and why."""

    @property
    def sessions(self) -> tuple[date, ...]:
        return self.book.sessions

    @property
    def night(self) -> Night | None:
        """That of the last session; None where there was none."""
        return self.nights.get(self.sessions[-1]) if self.sessions else None

    @property
    def tracks(self) -> tuple[Track, ...]:
        return (self.book, *self.baselines)

    def above_caps(self) -> list[tuple[str, int, float]]:
        """What was held above its cap at a close: its name, on how many sessions, and the largest share of equity.

        Prices and trading bands may carry the book there although every decision kept the limits.
        """
        held = [("gross exposure", self.gross, self.gross_cap)]
        if self.weights_are_held and self.symbols:
            held.append(("a position", self.weights.max(axis=1), self.position_cap))
            held += [
                (sector, path, self.sector_cap) for sector, path in self.by_sector().items() if sector != NO_SECTOR
            ]
        counted = [(name, int((path > cap + ROUNDING).sum()), float(path.max())) for name, path, cap in held]
        return [row for row in counted if row[1]]

    def by_sector(self) -> dict[str, FloatArray]:
        """(T,) weight of each sector, the largest on average first; symbols without one count as "no sector"."""
        totals: dict[str, FloatArray] = {}
        for column, symbol in enumerate(self.symbols):
            sector = self.sectors.get(symbol, NO_SECTOR)
            totals[sector] = totals.get(sector, np.zeros(len(self.sessions))) + self.weights[:, column]
        return dict(sorted(totals.items(), key=lambda item: (-float(item[1].sum()), item[0])))
