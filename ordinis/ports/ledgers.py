"""The doors to what must survive: decisions, orders, the book and the trading state, in units of work."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Protocol

from ordinis.domain.decisions import Decision, Verdict
from ordinis.domain.limits import Approval, TradingState
from ordinis.domain.orders import (
    CancelRequest,
    Fill,
    OrderIntent,
    OrderState,
)
from ordinis.domain.overrides import Override
from ordinis.domain.portfolio import Movement, Valuation


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

    def latest(self) -> Decision | None:
        """The decision of the latest instant."""

    def all(self) -> Sequence[Decision]:
        """In the order in which they were committed."""

    def inputs(self, inputs_sha: str) -> str: ...

    def verdicts(self, decision_id: str) -> Sequence[Verdict]: ...

    def parts(self, decision_id: str) -> Sequence[tuple[str, str, float]]:
        """Source, symbol and share: whose idea each weight was."""


@dataclass(frozen=True)
class Touched:
    """Orders that something happened to, up to the newest event."""

    place: int
    """Of the newest event."""
    mark: str
    """Of the newest event: no other ledger has it there. Empty before the first."""
    orders: Sequence[OrderIntent]
    anew: bool
    """Whether these are all orders of a ledger that was not read before."""


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

    def of(self, decision_id: str, symbol: str = "") -> Sequence[OrderIntent]:
        """Orders of a decision, or of one symbol of it, in the order in which they were written."""

    def live(self) -> Sequence[OrderIntent]: ...

    def sent_since(self, at: datetime) -> Sequence[OrderIntent]:
        """Orders that were sent after `at`, oldest first."""

    def all(self) -> Sequence[OrderIntent]:
        """In the order in which they were written."""

    def events(self, client_order_id: str) -> Sequence[Mapping[str, Any]]: ...

    def touched_since(self, place: int, mark: str) -> Touched:
        """The orders that something happened to after the event at `place`, whose mark was `mark`; all orders, where
        this ledger has no such event there: it is another one than was read before, a backup or a new one.

        Whoever keeps the place in the transaction in which he writes what he made of the orders hears of each event at
        least once, and applies it once.
        """


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
    fence: int | None = None
    """Of the process that sends the order; None leaves it as it was."""


class Book(Protocol):
    """Cash and units: fills and movements as they happened, and the balances that follow from them."""

    def fill(self, fill: Fill, *, source: str, received_at: datetime) -> bool:
        """Book a fill once; False when its exec id is already booked.

        Raises:
            FillChanged: the same exec id is booked with other numbers.
        """

    def fills(self, since: datetime | None = None) -> Sequence[Fill]: ...

    def fills_of(self, client_order_id: str) -> Sequence[Fill]: ...

    def movement(self, movement: Movement) -> bool:
        """Book a movement once; False when its activity id is already booked."""

    def movements(self, last: Valuation | None = None) -> Sequence[Movement]:
        """In the order in which they were booked; with `last`, those that are not in it."""

    def places_of_fills(self) -> Mapping[str, int]:
        """Place in the chain of events of each fill, by execution id: the order in which they were told."""

    def last_event(self) -> int:
        """Place of the newest event of any order; 0 before the first."""

    def last_movement(self) -> int:
        """Place of the newest movement; 0 before the first."""

    def hold_still(self) -> None:
        """Let nobody else book a fill or a movement until this transaction ends: what is read now stays so."""

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
    """What people and breakers have said: the trading state of the account and of each symbol, and overrides.

    Append-only: the last row of an account, a symbol, or a symbol and a kind of override counts.
    """

    def state(self, symbol: str = "") -> ControlRow | None: ...

    def locks(self) -> Sequence[ControlRow]:
        """The rows of the symbols that are locked now, by symbol."""

    def set(self, row: ControlRow) -> None: ...

    def history(self) -> Sequence[ControlRow]: ...

    def since(self, by: str) -> Sequence[ControlRow]:
        """The newest row of the account that `by` wrote, and what was said after it; empty when `by` never spoke."""

    def override(self, row: Override) -> None: ...

    def overrides(self, at: datetime) -> Sequence[Override]:
        """Those in force at `at`, by symbol and kind."""

    def approve(self, row: Approval) -> None: ...

    def approval(self, at: datetime, *, for_good: bool = False) -> Approval | None:
        """The newest that has not ended at `at`, or that never ends; None before the first."""


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

    @property
    def folder(self) -> Path | None:
        """Where its file lies; None for one in memory or on a server."""

    @property
    def fence(self) -> int:
        """Rises whenever the role of the account's trading process changes hands; 0 while this one has not claimed it.

        Every unit of work that writes asserts it.
        """

    def holds(self) -> bool:
        """Whether the lease has time enough left to write to a broker; after a unit of work that writes, it has."""

    def renew(self) -> None:
        """Keep the lease through a time in which nothing else is written: to be called every few seconds.

        Raises:
            LeaseLost: another process has taken the role over.
        """

    def begin(self, *, write: bool = True) -> AbstractContextManager[UnitOfWork]:
        """Open a unit of work.

        Raises:
            LeaseLost: it writes, and another process has taken the role over from this one.
        """

    def anchor(self) -> None:
        """Write down outside the database how far it has come, so that a later `verify` notices a cut tail."""
