"""The doors between stations.

Each Protocol here is a door: what stands behind it may be a vendor, a file, a solver or a simulator, and one test
suite runs over everything behind each door. Array letters: T past sessions, N symbols.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ordinis.domain.decisions import Allocation, Decision, Verdict
from ordinis.domain.limits import TradingState
from ordinis.domain.market import MarketEvent, Quote, Regime
from ordinis.domain.orders import (
    BrokerOrder,
    CancelRequest,
    Fill,
    OrderIntent,
    OrderRequest,
    OrderState,
    QueryOutcome,
    SubmitOutcome,
)
from ordinis.domain.portfolio import Movement, PortfolioSnapshot, Valuation

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
        """Target weights inside the limits, with a certificate.

        Raises:
            InfeasibleLimits: no weights meet the limits together.
            AllocationUnavailable: a remote allocator gave no answer in time.
        """


class CostModel(Protocol):
    """One model for the optimiser, the simulator and the report: they cannot disagree."""

    def slippage(self, notional: float, participation: float, volatility: float) -> float:
        """Cost in the price, as a fraction of the traded notional.

        Args:
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


@dataclass(frozen=True)
class BrokerAccount:
    account: str
    cash: Decimal
    paper: bool
    suspended: bool = False


@dataclass(frozen=True)
class Capabilities:
    """What the adapter may rely on."""

    fractional: bool
    dedupes_client_ids: bool
    """A second order with a known client id is refused and the first is returned."""
    lookups_are_current: bool
    """An order that was accepted is found by the very next look-up."""


class Broker(Protocol):
    """The account is whatever the broker says it is. Queries answer Known, Unknown or Stale."""

    def account(self) -> QueryOutcome[BrokerAccount]: ...

    def positions(self) -> QueryOutcome[Mapping[str, Decimal]]: ...

    def order(self, client_order_id: str) -> QueryOutcome[BrokerOrder | None]: ...

    def open_orders(self) -> QueryOutcome[Sequence[BrokerOrder]]: ...

    def closed_orders(self, since: datetime) -> QueryOutcome[Sequence[BrokerOrder]]: ...

    def fills(self, since: datetime) -> QueryOutcome[Sequence[Fill]]:
        """Every execution at or after `since`, oldest first, all pages."""

    def movements(self, since: datetime) -> QueryOutcome[Sequence[Movement]]:
        """Every deposit, dividend, split and fee at or after `since`, oldest first, all pages."""

    def quotes(self, symbols: Sequence[str]) -> QueryOutcome[Mapping[str, Quote]]:
        """Symbols without a price are left out."""

    def submit(self, request: OrderRequest) -> SubmitOutcome: ...

    def cancel(self, client_order_id: str) -> SubmitOutcome: ...

    def cancel_all(self) -> QueryOutcome[int]:
        """How many open orders were cancelled."""

    def suspend_trading(self, suspended: bool) -> QueryOutcome[bool]:
        """Refuse every new order at the broker itself, or stop refusing."""

    def now(self) -> QueryOutcome[datetime]: ...

    def capabilities(self) -> Capabilities: ...


@dataclass(frozen=True)
class ControlRow:
    """The trading state in force, and who set it."""

    state: TradingState
    reason: str
    by: str
    at: datetime
    symbol: str = ""
    """Empty for the account; HALTED for a symbol is its lock."""


class Decisions(Protocol):
    """Decisions with what was asked, what the rules said and whose idea each share was; append-only."""

    def add(
        self, decision: Decision, inputs: str, verdicts: Sequence[Verdict], parts: Sequence[tuple[str, str, float]]
    ) -> None:
        """Store a decision with its inputs (canonical text), verdicts and (source, symbol, share) parts.

        Raises:
            LedgerConflict: the ledger already has a decision with this id.
        """

    def get(self, decision_id: str) -> Decision | None: ...

    def at(self, as_of: datetime) -> Decision | None:
        """The decision made as of `as_of`, if there is one: at most one an instant."""

    def all(self) -> Sequence[Decision]:
        """In the order in which they were committed."""

    def inputs(self, inputs_sha: str) -> str: ...

    def verdicts(self, decision_id: str) -> Sequence[Verdict]: ...

    def parts(self, decision_id: str) -> Sequence[tuple[str, str, float]]:
        """Source, symbol and share: whose idea each weight was."""


class Orders(Protocol):
    """Intents and what happened to them; the events are append-only and hash-chained."""

    def add(self, intent: OrderIntent, *, at: datetime, fence: int, reason: str = "") -> None:
        """Store an order as INTENT, or with the `reason` as DENIED.

        Raises:
            LedgerConflict: the symbol already has a live order, or the id is taken.
        """

    def move(self, client_order_id: str, state: OrderState, event: OrderEvent) -> OrderIntent:
        """Append an event and move the intent; an event key that is known changes nothing.

        Raises:
            IllegalTransition: the state machine does not join the two states.
        """

    def cancel(self, client_order_id: str, *, reason: str, by: str, at: datetime) -> OrderIntent:
        """Ask for the end of an order: a row of its own, and PENDING_CANCEL.

        Raises:
            IllegalTransition: the order is not working.
        """

    def cancels(self, client_order_id: str) -> Sequence[CancelRequest]: ...

    def get(self, client_order_id: str) -> OrderIntent | None: ...

    def of(self, decision_id: str) -> Sequence[OrderIntent]: ...

    def live(self) -> Sequence[OrderIntent]: ...

    def all(self) -> Sequence[OrderIntent]:
        """In the order in which they were written."""

    def events(self, client_order_id: str) -> Sequence[Mapping[str, Any]]: ...


@dataclass(frozen=True)
class OrderEvent:
    """One thing that happened to an order, as it is kept."""

    key: str
    """Unique: the same event told twice is kept once."""
    source: str
    """local, stream, poll or reconcile."""
    at: datetime
    received_at: datetime
    payload: Mapping[str, Any]
    broker_order_id: str | None = None
    sent_at: datetime | None = None


class Book(Protocol):
    """Cash and units: fills and movements as they happened, and the balances that follow from them."""

    def fill(self, fill: Fill, *, source: str, received_at: datetime) -> bool:
        """Book a fill once; False when its exec id is already booked.

        Raises:
            LedgerConflict: the same exec id is booked with other numbers.
        """

    def fills(self, since: datetime | None = None) -> Sequence[Fill]: ...

    def movement(self, movement: Movement) -> bool:
        """Book a movement once; False when its activity id is already booked."""

    def movements(self) -> Sequence[Movement]: ...

    def value(self, valuation: Valuation) -> bool:
        """Store a session's valuation once; False when the session already has one."""

    def valuations(self) -> Sequence[Valuation]: ...

    def last_valuation(self) -> Valuation | None: ...

    def cash(self) -> Decimal: ...

    def holdings(self) -> Mapping[str, Decimal]:
        """Units by symbol; symbols with none are left out."""

    def last_traded(self) -> Mapping[str, date]:
        """Session of the latest fill, by symbol."""

    def watermark(self) -> datetime | None:
        """Instant up to which the broker's book is known to be in the ledger."""

    def set_watermark(self, at: datetime) -> None: ...


class Control(Protocol):
    """The trading state in force, of the account and of each locked symbol; append-only, the last row counts."""

    def state(self, symbol: str = "") -> ControlRow | None: ...

    def locks(self) -> Sequence[ControlRow]:
        """The rows of the symbols that are locked now, by symbol."""

    def set(self, row: ControlRow) -> None: ...

    def history(self) -> Sequence[ControlRow]: ...


class UnitOfWork(Protocol):
    """One transaction: committed whole or not at all; leaving the block without `commit` rolls back."""

    @property
    def decisions(self) -> Decisions: ...

    @property
    def orders(self) -> Orders: ...

    @property
    def book(self) -> Book: ...

    @property
    def control(self) -> Control: ...

    def commit(self) -> None: ...

    def verify(self) -> None:
        """Check the database, the hash chains and all that follows from them; LedgerDamaged names what is wrong."""


class Ledger(Protocol):
    """Opens units of work on one account's ledger."""

    account: str

    def begin(self, *, write: bool = True) -> AbstractContextManager[UnitOfWork]: ...

    def anchor(self) -> None:
        """Write down outside the database how far it has come, so that a later `verify` notices a cut tail."""


__all__ = [
    "Allocator",
    "Book",
    "Broker",
    "BrokerAccount",
    "Capabilities",
    "Clock",
    "Control",
    "ControlRow",
    "CostModel",
    "DataSource",
    "Decisions",
    "FloatArray",
    "Ledger",
    "MarketView",
    "OrderEvent",
    "Orders",
    "PriceHistory",
    "Rule",
    "RuleContext",
    "UnitOfWork",
]
