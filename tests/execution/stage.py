"""Where stories of an order engine play: the engine, its ledger, the venue, the wire that fails when it is asked to.

The engine, its reconciliation, the ledger and the simulated venue are the real ones. The engine is thrown away at
crashes and made anew from the ledger. `Reference` reads every row as it is committed and every request as it leaves,
and knows what may be; the venue's own book says what was really executed.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

from hypothesis.stateful import RuleBasedStateMachine

from ordinis.brokers.book import VenueBook
from ordinis.brokers.faults import Faults, FaultyBroker
from ordinis.brokers.simulated import AT_ONCE, Part, SimulatedBroker
from ordinis.brokers.tape import PriceTape
from ordinis.clock import ReplayClock
from ordinis.costs.models import SquareRootCost
from ordinis.domain.canonical import canonical, digest, parse_instant
from ordinis.domain.decisions import Decision, DecisionStatus, Source, decision_id
from ordinis.domain.limits import Limits, TradingState
from ordinis.domain.orders import Accepted, Known, OrderRequest, PlannedOrder, Side, SubmitOutcome
from ordinis.errors import BrokerUnavailable, NotReconciled
from ordinis.execution.canonical import canonical_ledger
from ordinis.execution.gates import Gates
from ordinis.execution.intents import OrderEngine
from ordinis.execution.kill import Step, kill
from ordinis.execution.killpoints import KillPoint
from ordinis.execution.prices import Prices
from ordinis.execution.reconcile import reconcile
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import ControlRow
from tests.brokers.market import CALENDAR, SESSIONS, SYMBOLS, TODAY, history, instruments
from tests.execution import inspection
from tests.execution.reference import Reference
from tests.execution.world import PACED, Crash

LIMITS = Limits(
    position_cap=0.4, gross_cap=0.9, cash_buffer=0.1, sector_cap=0.6,
    sectors={"AAPL": "technology", "KO": "consumer", "XOM": "energy"},
)  # fmt: skip
COSTS = SquareRootCost(half_spread_bps=10.0)
TAPE = PriceTape(history())
INSTRUMENTS = instruments("1")
OPENING_CASH = Decimal(100_000)
BEGIN = CALENDAR.opens(TODAY) + timedelta(minutes=30)
MINUTE = timedelta(minutes=1)
WAYS: Mapping[str, Sequence[Part]] = {
    "at once": AT_ONCE,
    "in two halves": (Part(Fraction(1, 2), MINUTE), Part(Fraction(1, 2), 2 * MINUTE)),
    "half of it": (Part(Fraction(1, 2), MINUTE),),
    "late": (Part(Fraction(1), 4 * MINUTE),),
    "not at all": (),
}


@dataclass
class Asked(Faults):
    """Faults that strike when a rule has asked for them: by kind, the subjects they are for and how badly."""

    seed: int = 0
    waiting: dict[str, list[tuple[str, float]]] = field(default_factory=dict)

    def ask(self, kind: str, times: int = 1, badly: float = 0.5, subject: str = "") -> None:
        self.waiting.setdefault(kind, []).extend([(subject, badly)] * times)

    def strikes(self, kind: str, subject: str, now: datetime) -> float | None:
        waiting = self.waiting.get(kind, [])
        found = next((item for item in waiting if subject.startswith(item[0])), None)
        if found is None:
            return None
        waiting.remove(found)
        return found[1]


class Overheard:
    """The broker's door, with the reference listening to every request and every answer."""

    def __init__(self, broker: FaultyBroker, story: Stage) -> None:
        self._broker, self._story = broker, story

    def __getattr__(self, name: str) -> Any:
        return getattr(self._broker, name)

    def submit(self, request: OrderRequest) -> SubmitOutcome:
        self._story.about_to_send(request)
        outcome = self._broker.submit(request)
        if isinstance(outcome, Accepted):
            self._story.reference.heard(request.client_order_id)
        return outcome

    def order(self, client_order_id: str) -> Any:
        answer = self._broker.order(client_order_id)
        if isinstance(answer, Known) and answer.value is None:
            self._story.reference.not_found(client_order_id, self._story.clock.now())
        elif isinstance(answer, Known):
            self._story.reference.heard(client_order_id)
        return answer

    def fills(self, since: datetime) -> Any:
        answer = self._broker.fills(since)
        for fill in answer.value if isinstance(answer, Known) else ():
            self._story.reference.heard(fill.client_order_id or "")
        return answer


class Stage(RuleBasedStateMachine):
    engine_class: type[OrderEngine] = OrderEngine
    told = 0
    """How many stories were told by this class."""

    def __init__(self) -> None:
        super().__init__()
        type(self).told += 1
        self.folder = tempfile.TemporaryDirectory()
        self.flag = Path(self.folder.name) / "KILLED-sim"
        self.clock, self.faults, self.way = ReplayClock(BEGIN), Asked(), "at once"
        self.halts: list[tuple[str, datetime, datetime]] = []
        self.venue = SimulatedBroker(
            VenueBook(":memory:", "sim"), TAPE, INSTRUMENTS, COSTS, self.clock, CALENDAR,
            lambda request: WAYS[self.way], self._halted_until,
        )  # fmt: skip
        self.venue.open_account(OPENING_CASH, CALENDAR.opens(SESSIONS[0]))
        self.ledger = SqlLedger("sqlite://", "sim")
        self.rows = self.ledger.engine.raw_connection()
        self.reference = Reference(LIMITS, CALENDAR.is_open)
        self.limits, self.revision = LIMITS, 0
        self.engine: OrderEngine | None = None
        self.decision: Decision | None = None
        self.agreed, self.number = False, 0
        self.plans: list[Callable[[], None]] = []
        """What happens at the engine's n-th next step: a crash, a kill, or nothing yet."""
        self.dies_after: KillPoint | None = None
        self._edit_limits(LIMITS)

    def connect(self, dedupes: bool) -> None:
        self.dedupes = dedupes
        self.broker = FaultyBroker(self.venue, self.clock, self.faults, dedupes=dedupes)
        self.door = Overheard(self.broker, self)

    # what must hold after every rule

    def look_at_the_books(self) -> None:
        self._catch_up()
        assert not self.reference.wrong, self.reference.wrong
        units = {s: Decimal(q) for s, q in self._read("SELECT symbol, qty FROM position") if Decimal(q)}
        told = {s: q for s, q in self.reference.units.items() if q}
        assert units == told, f"holdings are {units} in the ledger, by its events {told}"
        cash = [Decimal(c) for (c,) in self._read("SELECT cash FROM balance")]
        assert cash == [self.reference.cash], f"cash is {cash} in the ledger, by its events {self.reference.cash}"
        kept = {c: (s, Decimal(q)) for c, s, q in self._read("SELECT coid, state, filled_qty FROM order_intent")}
        heard = {coid: (order.state, order.filled) for coid, order in self.reference.orders.items()}
        assert kept == heard, f"ledger and events differ in {sorted(kept.items() ^ heard.items())}"
        theirs = self._executions()
        for name, booked in self.reference.fills.items():
            assert theirs.get(name) == booked, f"fill {name} is {booked} here and {theirs.get(name)} at the venue"

    def teardown(self) -> None:
        """Faults stop and time passes: everything comes to rest, and the two books tell the same."""
        try:
            if hasattr(self, "door") and not self.reference.wrong:
                self._come_to_rest()
        finally:
            self.rows.close()
            self.ledger.close()
            self.folder.cleanup()

    def _come_to_rest(self) -> None:
        self.faults.waiting.clear()
        self.plans, self.dies_after, self.way = [], None, "at once"
        if self.decision is not None:
            self._pass(max(timedelta(0), self.decision.expires_at - self.clock.now()))
        for _ in range(24):
            self._pass(timedelta(seconds=25))
            self._go_on(look=True)
            if self.agreed and self.broker.quiet() and not self._busy():
                break
        self.look_at_the_books()
        books = inspection.read(self.ledger, self.venue, self.broker.received)
        found = [
            *inspection.fills(books),
            *inspection.orders(books, dedupes=self.dedupes),
            *inspection.quantities(books),
            *inspection.transitions(books),
        ]
        assert not found, found
        assert self.agreed, "the two books were never found to agree"
        reconcile(self._running(), finish=True)
        once = canonical_ledger(self.ledger)
        reconcile(self._running(), finish=True)
        assert canonical_ledger(self.ledger) == once

    # how a story goes on

    def about_to_send(self, request: OrderRequest) -> None:
        self._catch_up()
        self.reference.on_the_wire(
            request.client_order_id, request.symbol, request.side.value, request.quantity, self.state_before,
            again=not self.dedupes and request.client_order_id in self.broker.received,
        )  # fmt: skip

    def _go_on(self, *, look: bool = False) -> None:
        """The engine does what it would do now: compare the books when it must, trade, follow up."""
        self.reference.prices = TAPE.prices(CALENDAR.session_of(self.clock.now()))
        self.state_before = self.reference.state
        try:
            engine = self._running()
            if look or not self.agreed:
                self.agreed = False
                try:
                    reconcile(engine, finish=True)
                except (BrokerUnavailable, NotReconciled):
                    engine.follow_up()
                    return
                self.agreed = True
            if self.decision is not None:
                conditions = TAPE.conditions(CALENDAR.session_of(self.clock.now()))
                prices = Prices(self.venue.quotes(SYMBOLS).value, self.reference.prices, conditions)
                engine.execute(self.decision, prices)
            engine.follow_up()
        except Crash:
            self.engine = None

    def _running(self) -> OrderEngine:
        if self.engine is None:
            gates = Gates(CALENDAR, INSTRUMENTS, self.limits, self.reference.limits_sha, COSTS, self.flag, PACED)
            self.engine = self.engine_class(self.ledger, self.door, self.clock, gates, kill_point=self._step)
            self.agreed = False
            with self.ledger.begin(write=False) as unit:
                unit.verify()
        return self.engine

    def _step(self, point: KillPoint) -> None:
        self._catch_up()
        if point is KillPoint.RECONCILED:
            self._compare()
        if point is self.dies_after:
            self._die()
        if self.plans:
            self.plans.pop(0)()

    def _die(self) -> None:
        self.dies_after = None
        raise Crash

    def _kill(self) -> None:
        kill(
            self.flag, lambda: self.ledger, lambda: self.broker, reason="drill", by="anna", at=self.clock.now()
        )  # fmt: skip
        self._catch_up()
        assert self.reference.state == "KILLED"

    def _compare(self) -> None:
        """A comparison that found no difference was right: what is not locked is the same in both books."""
        held, theirs = self.reference.units, self.venue.positions().value
        for symbol in set(SYMBOLS) - self.reference.locked:
            assert held[symbol] == theirs.get(symbol, 0), f"{symbol} was said to agree"
        assert abs(self.reference.cash - self.venue.account().value.cash) <= Decimal("0.01")

    def _busy(self) -> bool:
        return any(order.live for order in self.reference.orders.values())

    def _trade(self, buy: Mapping[str, int], sell: Mapping[str, int], executed: str, minutes: int) -> None:
        """As the actor does: the books are compared, and only when they agree a decision is made."""
        self._pass(timedelta(seconds=1))
        self.way = executed
        self._go_on(look=True)
        if self.agreed:
            self._decide(buy, sell, minutes * MINUTE)

    def _decide(self, buy: Mapping[str, int], sell: Mapping[str, int], in_force: timedelta) -> None:
        now, prices, orders = self.clock.now(), self.reference.prices, []
        for symbol, percent in sell.items():
            quantity = (self.reference.units[symbol] * percent / 100).to_integral_value(rounding="ROUND_DOWN")
            if quantity > 0:
                orders.append(PlannedOrder(symbol, "sell", Side.SELL, quantity, prices[symbol]))
        for symbol, percent in buy.items():
            quantity = (OPENING_CASH * percent / 100 / prices[symbol]).to_integral_value(rounding="ROUND_DOWN")
            if symbol not in sell and quantity > 0:
                orders.append(PlannedOrder(symbol, "buy", Side.BUY, quantity, prices[symbol]))
        inputs, limits_sha = canonical({"as_of": now}), self.reference.limits_sha
        decision = Decision(
            id=decision_id("sim", now, Source.MODEL, digest(inputs), limits_sha, "m"), account="sim",
            source=Source.MODEL, model_sha="m", inputs_sha=digest(inputs), limits_sha=limits_sha, as_of=now,
            expires_at=now + in_force, weights={}, orders=tuple(orders), status=DecisionStatus.APPROVED,
            approved_by="story", reason="",
        )  # fmt: skip
        with self.ledger.begin() as unit:
            unit.decisions.add(decision, inputs, [], [])
            unit.commit()
        self.reference.decisions[decision.id] = self.decision = decision
        self._go_on()

    def _control(self, state: TradingState, symbol: str = "") -> None:
        with self.ledger.begin() as unit:
            unit.control.set(ControlRow(state, "drill", "anna", self.clock.now(), symbol))
            unit.commit()

    def _lift(self, symbol: str, act: Callable[[Callable[[], str]], Sequence[Step]]) -> Sequence[Step]:
        """A person asks for more: the books are compared first, and the reference knows of the wish."""

        def look() -> str:
            reconcile(self._running(), lifting=symbol)
            return "agreed"

        plans, self.plans, dies, self.dies_after = self.plans, [], self.dies_after, None
        self.reference.lifting = {symbol}
        steps = act(look)
        self._catch_up()
        self.reference.lifting, self.plans, self.dies_after = set(), plans, dies
        return steps

    def _edit_limits(self, limits: Limits) -> None:
        self.limits = self.reference.limits = limits
        self.reference.limits_sha = f"limits-{self.revision}"

    def _pass(self, time: timedelta) -> None:
        self.clock.advance(self.clock.now() + time)

    def _halted_until(self, symbol: str, at: datetime) -> datetime | None:
        return max((end for name, begin, end in self.halts if name == symbol and begin <= at < end), default=None)

    def _executions(self) -> dict[str, tuple[str, ...]]:
        return {
            fill.exec_id: tuple(str(value) for value in (
                fill.client_order_id, fill.symbol, fill.side, fill.quantity, fill.price, fill.fee, fill.reverses
            ))
            for fill in self.venue.fills(inspection.EPOCH).value
        }  # fmt: skip

    def _catch_up(self) -> None:
        """Give the reference every row that was committed since it last looked."""
        reference, since = self.reference, self.reference.last_hash
        for table, columns in CHAINS.items():
            seq = since.get(table, (0, ""))[0]
            for row in self._read(
                f"SELECT seq, prev_hash, hash, {columns} FROM {table} WHERE seq > {seq} ORDER BY seq"
            ):
                reference.chained(table, *row[:3])
                if table == "movement":
                    reference.moved(row[3], Decimal(row[4]), Decimal(row[5]))
                elif table == "control":
                    reference.controlled(row[3].removeprefix("sim").removeprefix("/"), row[4])
                elif table == "order_event":
                    coid, key, payload, change, at = row[3:]
                    reference.told(coid, key, payload, change, parse_instant(at))

    def _read(self, query: str) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = self.rows.driver_connection.execute(query).fetchall()  # type: ignore[union-attr]
        return found


CHAINS = {
    "movement": "symbol, qty, cash",
    "order_event": "coid, event_key, payload, change, ts_event",
    "control": "scope, state",
}
"""What the reference reads of each chain."""
