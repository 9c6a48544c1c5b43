"""Days of an order engine as a story that hypothesis tells: each rule is a sentence, after which the books are read.

The engine, its reconciliation, the ledger and the simulated venue are the real ones; the wire fails when a rule says
so. The engine is thrown away at crashes and made anew from the ledger. `Reference` reads every row as it is committed
and every request as it leaves, and knows what may be; the venue's own book says what was really executed. A story that
ends badly is shrunk and printed as the few sentences that matter.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import wraps
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule

from ordinis.brokers.book import VenueBook
from ordinis.brokers.faults import Faults, FaultyBroker
from ordinis.brokers.simulated import AMENDED, AT_ONCE, Part, SimulatedBroker
from ordinis.brokers.tape import PriceTape
from ordinis.clock import ReplayClock
from ordinis.costs.models import SquareRootCost
from ordinis.domain.canonical import canonical, digest, parse_instant
from ordinis.domain.decisions import Decision, DecisionStatus, Source, decision_id
from ordinis.domain.limits import Limits, TradingState
from ordinis.domain.orders import Accepted, Known, OrderRequest, PlannedOrder, Side, SubmitOutcome
from ordinis.errors import BrokerUnavailable, NotReconciled
from ordinis.execution.canonical import canonical_ledger
from ordinis.execution.control import Step, kill, resume, unlock
from ordinis.execution.gates import Gates
from ordinis.execution.intents import OrderEngine
from ordinis.execution.killpoints import KillPoint
from ordinis.execution.prices import Prices
from ordinis.execution.reconcile import reconcile
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import ControlRow
from tests.brokers.market import CALENDAR, SESSIONS, SYMBOLS, TODAY, history, instruments
from tests.execution import inspection
from tests.execution.reference import Reference
from tests.execution.world import PACED

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
COUNT = st.integers(1, 3)
SEVERITY = st.sampled_from([0.1, 0.5, 0.9])
SYMBOL = st.sampled_from(SYMBOLS)
P = KillPoint
ON_THE_WAY = (P.INTENT, P.SENDING, P.WIRE, P.REPLIED, P.ACKNOWLEDGED, P.FILLED, P.CANCELLING)
SHARES = st.dictionaries(SYMBOL, st.integers(1, 60), min_size=1, max_size=2)
WAY, IN_FORCE = st.sampled_from(sorted(WAYS)), st.sampled_from([1, 7])
FATES = {
    "lost": ("request lost",),
    "late": ("request late",),
    "late, and refused when sent again": ("request late", "refused"),
    "taken, and the reply is lost": ("reply lost",),
    "taken, and not found at first": ("reply lost", "not found at first"),
    "refused": ("refused",),
}
REPORTS = {"reported late": ("reported late",), "reported twice and out of order": ("reported twice", "reordered")}


class Crash(BaseException):
    """The process is gone."""


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


def sentence(**given: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """A rule, after which the books are looked at; a rule of its own for that would fill the printed story."""

    def told(act: Callable[..., None]) -> Callable[..., None]:
        @wraps(act)
        def then_look(self: OrderEngineStory, **drawn: Any) -> None:
            act(self, **drawn)
            self.look_at_the_books()

        looked: Callable[..., None] = rule(**given)(then_look)  # type: ignore[call-overload]
        return looked

    return told


class Overheard:
    """The broker's door, with the reference listening to every request and every answer."""

    def __init__(self, broker: FaultyBroker, story: OrderEngineStory) -> None:
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


class OrderEngineStory(RuleBasedStateMachine):
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
        self.dies_after: KillPoint | None = None
        """What happens at the engine's n-th next step: a crash, a kill, or nothing yet."""
        self._edit_limits(LIMITS)

    @initialize(dedupes=st.booleans())
    def the_account_is_opened(self, dedupes: bool) -> None:
        """`dedupes`: the broker knows a client order id again, so that a second copy is harmless."""
        self.dedupes = dedupes
        self.broker = FaultyBroker(self.venue, self.clock, self.faults, dedupes=dedupes)
        self.door = Overheard(self.broker, self)
        self._go_on(look=True)
        self._decide({"AAPL": 25, "KO": 25}, {}, MINUTE)
        assert self.reference.units["AAPL"] > 0

    # decisions and time

    @sentence(buy=SHARES, executed=WAY, minutes=IN_FORCE)
    def a_decision_to_buy(self, buy: dict[str, int], executed: str, minutes: int) -> None:
        """`buy` in percent of the opening cash: as much as three positions may be, and more."""
        self._trade(buy, {}, executed, minutes)

    @sentence(sell=SHARES, executed=WAY, minutes=IN_FORCE)
    def a_decision_to_sell(self, sell: dict[str, int], executed: str, minutes: int) -> None:
        """`sell` in percent of what is held."""
        self._trade({}, sell, executed, minutes)

    @sentence(sell=SHARES, buy=SHARES, executed=WAY, minutes=IN_FORCE)
    def a_decision_to_shift(self, sell: dict[str, int], buy: dict[str, int], executed: str, minutes: int) -> None:
        self._trade(buy, sell, executed, minutes)

    @sentence(seconds=st.sampled_from([1, 10, 35, 60, 150, 600]))
    def time_passes(self, seconds: int) -> None:
        self._pass(timedelta(seconds=seconds))
        self._go_on()

    @sentence()
    def two_minutes_pass_in_small_steps(self) -> None:
        for _ in range(6):
            self._pass(timedelta(seconds=25))
            self._go_on()

    @sentence()
    def the_exchange_closes_for_the_night(self) -> None:
        session = CALENDAR.session_of(self.clock.now())
        self._pass(CALENDAR.closes(session) + MINUTE - self.clock.now())
        self._go_on()
        self._pass(CALENDAR.opens(CALENDAR.next_session(session)) + 30 * MINUTE - self.clock.now())
        self._go_on()

    @sentence()
    def the_books_are_compared(self) -> None:
        self._go_on(look=True)

    # the venue

    @sentence(symbol=SYMBOL)
    def trading_in_a_symbol_is_halted(self, symbol: str) -> None:
        self.halts.append((symbol, self.clock.now(), self.clock.now() + 5 * MINUTE))

    @sentence(which=st.integers(0, 9))
    def the_venue_ends_an_order(self, which: int) -> None:
        working = self.venue.open_orders().value
        if working:
            self.venue.cancel(working[which % len(working)].client_order_id)

    @sentence(which=st.integers(0, 9), corrected=st.sampled_from([None, "0.99", "1.01"]))
    def an_execution_is_taken_back(self, which: int, corrected: str | None) -> None:
        done = [f for f in self.venue.fills(inspection.EPOCH).value if not f.exec_id.endswith(AMENDED)]
        if done:
            fill = done[-1 - which % len(done)]
            price = None if corrected is None else (fill.price * Decimal(corrected)).quantize(Decimal("0.000001"))
            self.venue.bust(fill.exec_id, price)

    @sentence(symbol=SYMBOL, ratio=st.sampled_from([None, "2", "1.5", "0.5"]))
    def a_split_or_a_dividend(self, symbol: str, ratio: str | None) -> None:
        """A dividend without a `ratio`."""
        self.number += 1
        if ratio is None:
            self.venue.dividend(f"dividend-{self.number}", symbol, Decimal("0.37"))
        else:
            self.venue.split(f"split-{self.number}", symbol, Decimal(ratio))

    # the wire

    @sentence(are=st.sampled_from(sorted(FATES)), times=COUNT, badly=SEVERITY)
    def the_next_orders(self, are: str, times: int, badly: float) -> None:
        for fault in FATES[are]:
            self.faults.ask(fault, times, badly)

    @sentence(times=COUNT, of=st.sampled_from(["", "order "]), old=st.booleans())
    def the_next_queries_fail(self, times: int, of: str, old: bool) -> None:
        """All queries, or those for orders; an `old` answer is no answer either."""
        self.faults.ask("answer is old" if old else "query fails", times, subject=of)

    @sentence(are=st.sampled_from(sorted(REPORTS)), times=COUNT, badly=SEVERITY)
    def the_next_executions(self, are: str, times: int, badly: float) -> None:
        for fault in REPORTS[are]:
            self.faults.ask(fault, times, badly)

    @sentence(times=COUNT, badly=SEVERITY)
    def the_next_cancels_are_lost(self, times: int, badly: float) -> None:
        self.faults.ask("cancel lost", times, badly)

    @sentence(buy=SHARES, executed=WAY, heard=st.booleans())
    def the_time_of_a_decision_ends_while_cancels_are_lost(
        self, buy: dict[str, int], executed: str, heard: bool
    ) -> None:
        """`heard`: by the venue, so that the answers alone are lost."""
        self._trade(buy, {}, executed, 1)
        self.faults.ask("cancel lost", len(buy), 0.9 if heard else 0.1)
        self._pass(MINUTE)
        self._go_on()

    # the process

    @sentence()
    def the_engine_is_started_anew(self) -> None:
        self.engine = None
        self._go_on()

    @sentence(steps=st.integers(1, 12))
    def the_process_will_die(self, steps: int) -> None:
        """At its `steps`-th kill point from now."""
        self.plans = [*[lambda: None] * (steps - 1), self._die]

    @sentence(after=st.sampled_from(ON_THE_WAY))
    def the_process_will_die_halfway(self, after: KillPoint) -> None:
        """The next time that an order has come so far."""
        self.dies_after = after

    # people

    @precondition(lambda self: self._busy())
    @sentence(steps=st.integers(0, 6))
    def somebody_kills_trading(self, steps: int) -> None:
        """At once, or at the engine's `steps`-th kill point from now."""
        if steps:
            self.plans = [*[lambda: None] * (steps - 1), self._kill]
        else:
            self._kill()

    @precondition(lambda self: self._busy() and self.reference.state == "ACTIVE")
    @sentence(state=st.sampled_from([TradingState.REDUCING, TradingState.HALTED]))
    def somebody_slows_trading_down(self, state: TradingState) -> None:
        self._control(state)

    @precondition(lambda self: self.reference.state != "ACTIVE")
    @sentence()
    def somebody_resumes_trading(self) -> None:
        steps = self._lift("", lambda look: resume(
            self.flag, self.ledger, self.broker, look, reason="looked", by="anna", at=self.clock.now()
        ))  # fmt: skip
        assert not all(step.done for step in steps) or (self.reference.state == "ACTIVE" and not self.flag.exists())

    @precondition(lambda self: self._busy() and not self.reference.locked)
    @sentence(symbol=SYMBOL)
    def somebody_locks_a_symbol(self, symbol: str) -> None:
        self._control(TradingState.HALTED, symbol)

    @precondition(lambda self: self.reference.locked)
    @sentence()
    def somebody_unlocks_a_symbol(self) -> None:
        symbol = min(self.reference.locked)
        self._lift(symbol, lambda look: unlock(
            symbol, self.ledger, look, reason="counted", by="anna", at=self.clock.now()
        ))  # fmt: skip

    @sentence(position_cap=st.sampled_from([0.2, 0.4]))
    def somebody_edits_the_limits(self, position_cap: float) -> None:
        """New limits come with a new start, and what was decided under the old ones is not sent any more."""
        self.revision += 1
        self._edit_limits(replace(LIMITS, position_cap=position_cap))
        self.engine = None
        self._go_on()

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
                liquidity = TAPE.liquidity(CALENDAR.session_of(self.clock.now()))
                prices = Prices(self.venue.quotes(SYMBOLS).value, self.reference.prices, liquidity)
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
