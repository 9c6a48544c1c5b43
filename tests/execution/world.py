"""A venue and a ledger that outlive engines, and what tests of the order path start from."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from ordinis.brokers.simulated import SimulatedBroker
from ordinis.costs.models import ProportionalCost
from ordinis.domain.canonical import canonical, digest
from ordinis.domain.decisions import Decision, DecisionStatus, Source, decision_id
from ordinis.domain.limits import Limits, OrderLimits
from ordinis.domain.orders import (
    Ambiguous,
    OrderRequest,
    OrderState,
    PlannedOrder,
    Side,
    SubmitOutcome,
    Unknown,
)
from ordinis.execution.gates import Gates
from ordinis.execution.intents import OrderEngine
from ordinis.execution.killpoints import KillPoint
from ordinis.execution.prices import Prices
from ordinis.execution.reconcile import reconcile
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import Broker, Capabilities
from tests.brokers.market import (
    CALENDAR,
    SESSIONS,
    SYMBOLS,
    TODAY,
    a_broker,
    at_the_window,
    history,
    instruments,
    prices_at,
)

LIMITS = Limits(position_cap=0.5, gross_cap=0.9, cash_buffer=0.1, sector_cap=1.0)
COSTS = ProportionalCost(10.0)
PRICES = dict(zip(SYMBOLS, (Decimal(str(p)) for p in history().closes[SESSIONS.index(TODAY)]), strict=True))
PACED = OrderLimits(bought_per_minute=None, reconciled_within_seconds=3600)
"""The pace of buys and the age of a comparison have tests of their own."""


class Crash(BaseException):
    """The process is gone."""


class World:
    """Its engines come and go; clock, venue and ledger stay."""

    def __init__(self, folder: Path) -> None:
        self.clock = at_the_window()
        self.venue: SimulatedBroker = a_broker(self.clock)
        self.ledger = SqlLedger(f"sqlite:///{folder / 'ledger.db'}", "sim")
        self.flag = folder / "KILLED-sim"

    def engine(self, broker: Broker | None = None, crash_at: tuple[KillPoint, int] | None = None) -> OrderEngine:
        seen: dict[KillPoint, int] = {}

        def kill_point(point: KillPoint) -> None:
            seen[point] = seen.get(point, 0) + 1
            if crash_at == (point, seen[point]):
                raise Crash(point)

        gates = Gates(CALENDAR, instruments(), LIMITS, "limits", COSTS, self.flag, PACED)
        return OrderEngine(self.ledger, broker or self.venue, self.clock, gates, kill_point=kill_point)

    def decide(
        self,
        *orders: tuple[str, Side, str],
        as_of: datetime | None = None,
        lasts: timedelta = timedelta(minutes=15),
    ) -> Decision:
        as_of = as_of or self.clock.now()
        with self.ledger.begin(write=False) as unit:
            inputs = canonical({"as_of": as_of, "overrides": unit.control.overrides(as_of)})
        decision = Decision(
            id=decision_id("sim", as_of, Source.MODEL, digest(inputs), "limits", "m"),
            account="sim",
            source=Source.MODEL,
            model_sha="m",
            inputs_sha=digest(inputs),
            limits_sha="limits",
            as_of=as_of,
            expires_at=as_of + lasts,
            weights={},
            orders=tuple(PlannedOrder(s, side.value, side, Decimal(q), PRICES[s]) for s, side, q in orders),
            status=DecisionStatus.APPROVED,
            approved_by="test",
            reason="",
        )
        with self.ledger.begin() as unit:
            unit.decisions.add(decision, inputs, [], [])
            unit.commit()
        return decision

    def prices(self) -> Prices:
        return prices_at(self.venue)

    def states(self) -> dict[str, OrderState]:
        with self.ledger.begin(write=False) as unit:
            return {intent.symbol: intent.state for intent in unit.orders.all()}

    def agree(self) -> None:
        """The ledger says what the venue says, and each order was sent once."""
        reconcile(self.engine(), finish=True)
        with self.ledger.begin(write=False) as unit:
            unit.verify()
            booked = unit.book.fills()
            intents = unit.orders.all()
        assert list(booked) == list(self.venue.fills(datetime(1990, 1, 1, tzinfo=self.clock.now().tzinfo)).value)
        assert len({i.client_order_id for i in intents}) == len(intents)


class Lossy:
    """The venue behind a line that loses the answer to every first order, or that no query gets through."""

    def __init__(self, venue: SimulatedBroker, *, swallow: int = 0, deaf: bool = False, dedupes: bool = True) -> None:
        self._venue, self._swallow, self._deaf, self._dedupes = venue, swallow, deaf, dedupes

    def __getattr__(self, name: str) -> Any:
        if self._deaf:
            return lambda *_: Unknown("the line is dead")
        return getattr(self._venue, name)

    def submit(self, request: OrderRequest) -> SubmitOutcome:
        outcome = self._venue.submit(request)
        self._swallow -= 1
        return Ambiguous("no answer in time") if self._swallow >= 0 else outcome

    def capabilities(self) -> Capabilities:
        return replace(self._venue.capabilities(), dedupes_client_ids=self._dedupes)
