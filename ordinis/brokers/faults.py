"""A broker that misbehaves on purpose: every way in which a wire, a venue or a market has been seen to fail.

`FaultyBroker` stands between an actor and a `SimulatedBroker`. What it does wrong comes from a `Faults` schedule: one
seed gives one schedule, each fault has a name that does not depend on when it strikes, and a schedule can be run again
with some of its faults only, which is how a failing one is shrunk to the few that matter.

    on the wire   a request is lost, arrives late, or its reply is lost; a query fails, or its answer is old; an order
                  that was accepted is not found at first; executions are reported late, twice, in another order
    at the venue  an order is executed in parts, partly or not at all; it is refused, or ended; its symbol is halted
    afterwards    an execution is taken back or corrected; a split; a dividend
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import TypeVar

from ordinis.brokers.simulated import AMENDED, AT_ONCE, Part, SimulatedBroker
from ordinis.domain.market import Quote
from ordinis.domain.orders import (
    Accepted,
    Ambiguous,
    BrokerOrder,
    Fill,
    Known,
    OrderRequest,
    QueryOutcome,
    Refused,
    Stale,
    SubmitOutcome,
    Unknown,
)
from ordinis.domain.portfolio import Movement
from ordinis.ports import BrokerAccount, Capabilities, Clock

T = TypeVar("T")
LONGEST_DELAY = timedelta(seconds=60)
"""Of a late request and of a late report: half of the time after which an order counts as never arrived."""
LONGEST_LAG = timedelta(seconds=30)
"""For which an accepted order may not be found."""

USUAL: Mapping[str, float] = {
    "request lost": 0.06,
    "request late": 0.15,
    "reply lost": 0.08,
    "refused": 0.12,
    "query fails": 0.10,
    "answer is old": 0.05,
    "not found at first": 0.20,
    "reported late": 0.15,
    "reported twice": 0.10,
    "reordered": 0.10,
    "in parts": 0.35,
    "rest is left": 0.10,
    "ended by the venue": 0.15,
    "halted": 0.05,
    "busted": 0.02,
    "corrected": 0.02,
    "cancel lost": 0.20,
}
"""Probability of each fault whenever it could strike: many times those of any real broker."""
REASONS = (
    "insufficient buying power",
    "not shortable",
    "below the minimum notional",
    "not fractionable",
    "too many requests",
)


@dataclass
class Faults:
    """One schedule of faults, drawn from `seed`; none strikes after `until`, and with `only` none but those named."""

    seed: int
    rates: Mapping[str, float] = field(default_factory=lambda: USUAL)
    until: datetime | None = None
    only: Collection[str] | None = None
    struck: list[str] = field(default_factory=list)
    """Names of the faults that struck, in their order."""
    _passed: dict[tuple[str, str], int] = field(default_factory=dict)

    def strikes(self, kind: str, subject: str, now: datetime) -> float | None:
        """None, or a number in (0, 1) that says how badly."""
        self._passed[kind, subject] = number = self._passed.get((kind, subject), 0) + 1
        name = f"{kind}: {subject} #{number}"
        if (self.only is not None and name not in self.only) or (self.until is not None and now >= self.until):
            return None
        drawn, badly = self._draw(name)
        if drawn >= self.rates.get(kind, 0.0):
            return None
        self.struck.append(name)
        return badly

    def _draw(self, name: str) -> tuple[float, float]:
        digest = hashlib.sha256(f"{self.seed}|{name}".encode()).digest()
        return int.from_bytes(digest[:6]) / 2**48, (int.from_bytes(digest[6:12]) + 1) / (2**48 + 2)


class FaultyBroker:
    """The Broker door of `venue`, with the faults of a schedule. It outlives the engines that talk to it."""

    def __init__(self, venue: SimulatedBroker, clock: Clock, faults: Faults, *, dedupes: bool = True) -> None:
        self._venue, self._clock, self._faults, self._dedupes = venue, clock, faults, dedupes
        self._under_way: list[tuple[datetime, Callable[[], object]]] = []
        self._unseen_until: dict[str, datetime] = {}
        self._reported_at: dict[str, datetime] = {}
        self._decided: set[tuple[str, str]] = set()
        self.received: list[str] = []
        """Client order ids of the requests that reached the venue, in their order."""

    # queries

    def account(self) -> QueryOutcome[BrokerAccount]:
        return self._query("account", self._venue.account)

    def positions(self) -> QueryOutcome[Mapping[str, Decimal]]:
        return self._query("positions", self._venue.positions)

    def order(self, client_order_id: str) -> QueryOutcome[BrokerOrder | None]:
        def ask() -> Known[BrokerOrder | None]:
            found = self._venue.order(client_order_id)
            return Known(None) if found.value is not None and self._unseen(found.value) else found

        return self._query(f"order {client_order_id}", ask)

    def open_orders(self) -> QueryOutcome[Sequence[BrokerOrder]]:
        return self._query(
            "open orders", lambda: Known([o for o in self._venue.open_orders().value if not self._unseen(o)])
        )

    def closed_orders(self, since: datetime) -> QueryOutcome[Sequence[BrokerOrder]]:
        def ask() -> Known[Sequence[BrokerOrder]]:
            return Known([o for o in self._venue.closed_orders(since).value if not self._unseen(o)])

        return self._query("closed orders", ask)

    def fills(self, since: datetime) -> QueryOutcome[Sequence[Fill]]:
        return self._query("fills", lambda: Known(self._reports(self._venue.fills(since).value)))

    def movements(self, since: datetime) -> QueryOutcome[Sequence[Movement]]:
        return self._query("movements", lambda: self._venue.movements(since))

    def quotes(self, symbols: Sequence[str]) -> QueryOutcome[Mapping[str, Quote]]:
        return self._query("quotes", lambda: self._venue.quotes(symbols))

    def now(self) -> QueryOutcome[datetime]:
        return self._query("clock", self._venue.now)

    def capabilities(self) -> Capabilities:
        return Capabilities(fractional=True, dedupes_client_ids=self._dedupes, lookups_are_current=False)

    # commands

    def submit(self, request: OrderRequest) -> SubmitOutcome:
        self._deliver()
        name, now = request.client_order_id, self._clock.now()
        if self._strikes("request lost", name) is not None:
            return Ambiguous("no connection")
        late = self._strikes("request late", name)
        if late is not None:
            due = now + late * LONGEST_DELAY
            self._under_way.append((due, lambda: self._arrive(request, due)))
            return Ambiguous("no answer in time")
        refused = self._strikes("refused", name)
        if refused is not None and self._venue.order(name).value is None:
            return Refused(REASONS[int(refused * len(REASONS))])
        outcome = self._arrive(request, now)
        if self._strikes("reply lost", name) is not None:
            return Ambiguous("the connection broke after the request was sent")
        return outcome

    def cancel(self, client_order_id: str) -> SubmitOutcome:
        self._deliver()
        lost = self._strikes("cancel lost", client_order_id)
        if lost is not None and lost < 0.5:
            return Ambiguous("no connection")
        outcome = self._venue.cancel(client_order_id)
        return outcome if lost is None else Ambiguous("the connection broke after the request was sent")

    def cancel_all(self) -> QueryOutcome[int]:
        return self._query("cancel all", self._venue.cancel_all)

    def suspend_trading(self, suspended: bool) -> QueryOutcome[bool]:
        return self._query("suspend", lambda: self._venue.suspend_trading(suspended))

    # what happens by itself

    def afterwards(self) -> None:
        """Let orders be ended, and executions be taken back or corrected; the world calls it now and then."""
        self._deliver()
        for order in self._venue.open_orders().value:
            if order.filled_quantity and self._once("ended by the venue", order.client_order_id):
                self._venue.cancel(order.client_order_id)
        for fill in self._venue.fills(self._clock.now() - timedelta(hours=1)).value:
            if fill.exec_id.endswith(AMENDED):
                continue
            if self._once("busted", fill.exec_id):
                self._venue.bust(fill.exec_id)
            elif badly := self._once("corrected", fill.exec_id):
                off = Decimal(str(round(0.99 + 0.02 * badly, 4)))
                self._venue.bust(fill.exec_id, (fill.price * off).quantize(Decimal("0.000001")))

    def quiet(self) -> bool:
        """True when nothing is under way any more."""
        self._deliver()
        return not self._under_way

    def _query(self, name: str, ask: Callable[[], Known[T]]) -> QueryOutcome[T]:
        self._deliver()
        if self._strikes("query fails", name) is not None:
            return Unknown("the connection broke")
        answer = ask()
        if self._strikes("answer is old", name) is not None:
            return Stale(answer.value, self._clock.now() - timedelta(minutes=1))
        return answer

    def _once(self, kind: str, subject: str) -> float | None:
        """Like `_strikes`, for a subject that is looked at again and again."""
        if (kind, subject) in self._decided:
            return None
        self._decided.add((kind, subject))
        return self._strikes(kind, subject)

    def _strikes(self, kind: str, subject: str) -> float | None:
        return self._faults.strikes(kind, subject, self._clock.now())

    def _arrive(self, request: OrderRequest, at: datetime) -> SubmitOutcome:
        """The request is there since `at`, though nobody may have asked since: the lag counts from then."""
        known = self._venue.order(request.client_order_id).value
        self.received.append(request.client_order_id)
        outcome = self._venue.submit(request)
        if known is None and isinstance(outcome, Accepted):
            lag = self._strikes("not found at first", request.client_order_id)
            if lag is not None:
                self._unseen_until[request.client_order_id] = at + lag * LONGEST_LAG
        return outcome

    def _deliver(self) -> None:
        """Requests that were late arrive."""
        now = self._clock.now()
        arrived = [item for item in self._under_way if item[0] <= now]
        self._under_way = [item for item in self._under_way if item[0] > now]
        for _, arrive in sorted(arrived, key=lambda item: item[0]):
            arrive()

    def _unseen(self, order: BrokerOrder) -> bool:
        return self._clock.now() < self._unseen_until.get(order.client_order_id, self._clock.now())

    def _reports(self, fills: Sequence[Fill]) -> Sequence[Fill]:
        now = self._clock.now()
        told: list[Fill] = []
        for fill in fills:
            if fill.exec_id not in self._reported_at:
                late = self._strikes("reported late", fill.exec_id)
                self._reported_at[fill.exec_id] = fill.at + (late or 0.0) * LONGEST_DELAY
            if self._reported_at[fill.exec_id] > now:
                continue
            told.append(fill)
            if self._strikes("reported twice", fill.exec_id) is not None:
                told.append(fill)
        if told and self._strikes("reordered", "fills") is not None:
            told.reverse()
        return told


def parts_of(faults: Faults, clock: Clock) -> Callable[[OrderRequest], Sequence[Part]]:
    """How the venue executes orders under `faults`: in up to three parts over five minutes, perhaps not all of it."""

    def parts(request: OrderRequest) -> Sequence[Part]:
        now, name = clock.now(), request.client_order_id
        left = faults.strikes("rest is left", name, now)
        slow = faults.strikes("in parts", name, now)
        if left is None and slow is None:
            return AT_ONCE
        whole = Fraction(1) if left is None else Fraction(left).limit_denominator(1000)
        if slow is None:
            return (Part(whole),)
        count = 2 + (slow > 0.5)
        step = timedelta(seconds=round(300 * slow / count))
        return tuple(Part(whole / count, step * (number + 1)) for number in range(count))

    return parts


def halts_of(faults: Faults) -> Callable[[str, datetime], datetime | None]:
    """When the halt of a symbol ends, None when it is not halted: at most one halt of five minutes an hour."""

    def halted_until(symbol: str, at: datetime) -> datetime | None:
        hour = at.replace(minute=0, second=0, microsecond=0)
        begins = halts.get((symbol, hour))
        if (symbol, hour) not in halts:
            badly = faults.strikes("halted", f"{symbol} {hour.isoformat()}", hour)
            begins = None if badly is None else hour + timedelta(minutes=55 * badly)
            halts[symbol, hour] = begins
        if begins is None or not begins <= at < begins + timedelta(minutes=5):
            return None
        return begins + timedelta(minutes=5)

    halts: dict[tuple[str, datetime], datetime | None] = {}
    return halted_until
