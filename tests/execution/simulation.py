"""A whole trading morning in virtual time, with every fault that a seed asks for, and a checker that trusts nobody.

The venue, the wire and the ledger outlive the engine; the engine is thrown away at crashes and made anew from the
ledger. The checker reads the two books, the ledger's and the venue's, never the engine's memory. Everything that goes
wrong has a name, so a schedule that breaks an engine can be shrunk to the few faults that matter:

    python -m tests.execution.simulation FIRST LAST [ENGINE]
"""

from __future__ import annotations

import logging
import random
import sys
import time
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal

from ordinis.brokers.book import VenueBook
from ordinis.brokers.faults import Faults, FaultyBroker, halts_of, parts_of
from ordinis.brokers.simulated import SimulatedBroker
from ordinis.brokers.tape import PriceTape
from ordinis.clock import ReplayClock
from ordinis.costs.models import ProportionalCost
from ordinis.domain.canonical import canonical, digest
from ordinis.domain.decisions import Decision, DecisionStatus, Source, decision_id
from ordinis.domain.limits import Limits, OrderLimits, TradingState
from ordinis.domain.orders import PlannedOrder, Side
from ordinis.domain.portfolio import ZERO
from ordinis.errors import BrokerUnavailable, NotReconciled
from ordinis.execution.gates import Gates
from ordinis.execution.intents import OrderEngine
from ordinis.execution.killpoints import KillPoint
from ordinis.execution.reconcile import reconcile
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import ControlRow
from tests.brokers.market import CALENDAR, SESSIONS, SYMBOLS, TODAY, history, instruments, prices_at
from tests.execution.broken import MUST_CATCH
from tests.execution.inspection import findings, lost_fills, read, repeated_orders

LIMITS = Limits(position_cap=0.4, gross_cap=0.9, cash_buffer=0.1, sector_cap=1.0)
COSTS = ProportionalCost(10.0)
TAPE = PriceTape(history())
PRICES = TAPE.prices(TODAY)
PACE = OrderLimits(bought_per_minute=0.4)
INSTRUMENTS = instruments("1")
OPENING_CASH = Decimal(100_000)
BEGIN = CALENDAR.opens(TODAY) + timedelta(minutes=30)
CALM = BEGIN + timedelta(minutes=25)
"""From here on no fault strikes; what is under way must come to rest."""
REST = CALM + timedelta(minutes=10)
DECISIONS, IN_FORCE = 3, timedelta(minutes=7)
STEPS = (2, 5, 10, 20, 30, 60)
"""Seconds between two looks of the engine."""
IDLE = timedelta(minutes=5)
"""The ledger is compared with the broker's book at least as often as this."""


class Crash(BaseException):
    """The process is gone."""


@dataclass
class World:
    """One seed's morning; with `only`, no other faults and crashes than those named."""

    seed: int
    engine_class: type[OrderEngine] = OrderEngine
    only: Collection[str] | None = None
    crashes: list[str] = field(default_factory=list)
    wrong: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.clock = ReplayClock(BEGIN)
        self.faults = Faults(self.seed, until=CALM, only=self.only)
        self.venue = SimulatedBroker(
            VenueBook(":memory:", "sim"), TAPE, INSTRUMENTS, COSTS, self.clock, CALENDAR,
            parts_of(self.faults, self.clock), halts_of(self.faults),
        )  # fmt: skip
        self.venue.open_account(OPENING_CASH, CALENDAR.opens(SESSIONS[0]))
        self.dedupes = self.rng.random() < 0.5
        self.broker = FaultyBroker(self.venue, self.clock, self.faults, dedupes=self.dedupes)
        self.ledger = SqlLedger("sqlite://", "sim")
        self.gates = Gates(CALENDAR, INSTRUMENTS, LIMITS, "limits", COSTS, None, PACE)
        self.engine: OrderEngine | None = None
        self.agreed, self.looked = False, BEGIN
        self.decision: Decision | None = None
        gap = (CALM - BEGIN) / DECISIONS
        self.due = [BEGIN + gap * n + timedelta(seconds=self.rng.randrange(60)) for n in range(DECISIONS)]
        self.die_idle = set(self.rng.sample(range(2, 40), 5))
        self.die_after = [self.rng.randrange(1, 11) for _ in range(8)]
        self.stops_at = BEGIN + timedelta(seconds=self.rng.randrange(1500)) if self.rng.random() < 0.15 else None
        self.stop = self.rng.choice([TradingState.REDUCING, TradingState.HALTED, TradingState.KILLED])
        self.amends_at = BEGIN + timedelta(seconds=self.rng.randrange(1500)) if self.rng.random() < 0.2 else None
        # Drawn beforehand, so that leaving out a fault does not change the rest of the morning.
        span = int((REST - BEGIN).total_seconds())
        self.steps = [(self.rng.choice(STEPS), self.rng.random() < 0.15) for _ in range(span // min(STEPS) + 1)]
        self.wishes = [
            [(self.rng.choice([Side.BUY, Side.BUY, Side.SELL]), self.rng.randrange(1, 100)) for _ in SYMBOLS]
            for _ in range(DECISIONS)
        ]

    def run(self) -> World:
        """Live through the morning and its aftermath, and note in `wrong` what should not have been."""
        for number, (pause, look) in enumerate(self.steps):
            if self.clock.now() >= REST:
                break
            self._die_idle(number)
            try:
                self._step(look)
            except Crash:
                self.engine = None
            except Exception as error:  # whatever an engine dies of is a finding, not the end of the run
                self.wrong.append(f"the engine failed with {error!r}")
                return self
            self.clock.advance(self.clock.now() + timedelta(seconds=pause))
        books = read(self.ledger, self.venue, self.broker.received)
        self.counts = {
            "orders": len(books.orders), "fills": len(books.executions), "lost_fills": lost_fills(books),
            "repeated_orders": repeated_orders(books, dedupes=self.dedupes),
        }  # fmt: skip
        self.wrong += findings(books, LIMITS, PRICES, dedupes=self.dedupes)
        self.ledger.close()
        return self

    # what happens

    def _die_idle(self, step: int) -> None:
        name = f"crash at step {step}"
        if step in self.die_idle and self.clock.now() < CALM and (self.only is None or name in self.only):
            self.crashes.append(name)
            self.engine = None

    def _step(self, look: bool) -> None:
        now = self.clock.now()
        self.broker.afterwards()
        if self.amends_at is not None and now >= self.amends_at:
            self._amend()
        if self.stops_at is not None and now >= self.stops_at:
            self._stop(now)
        if self.engine is None:
            self.engine, self.agreed, self.decision = self._new_engine(), False, self._last_decision()
        look = look or now - self.looked >= IDLE
        if not self.agreed or look or (self.due and now >= self.due[0]):
            self.agreed = False
            try:
                reconcile(self.engine, finish=True)
            except (BrokerUnavailable, NotReconciled):
                self.engine.follow_up()
                return
            self.agreed, self.looked = True, now
        if self.due and now >= self.due[0]:
            self.due.pop(0)
            self.decision = self._decide(now)
        if self.decision is not None:
            self.engine.execute(self.decision, prices_at(self.venue))
        self.engine.follow_up()

    def _new_engine(self) -> OrderEngine:
        left = self.die_after.pop(0) if self.die_after else 0

        def kill_point(point: KillPoint) -> None:
            nonlocal left
            left -= 1
            if left != 0:
                return
            name = f"crash {8 - len(self.die_after)}"
            if (self.only is None or name in self.only) and self.clock.now() < CALM:
                self.crashes.append(name)
                raise Crash(point)

        return self.engine_class(self.ledger, self.broker, self.clock, self.gates, kill_point=kill_point)

    def _decide(self, now: datetime) -> Decision:
        """A decision on some of the symbols: sells of what is held, buys that may be more than the limits allow."""
        with self.ledger.begin() as unit:
            held = unit.book.holdings()
            orders = []
            for symbol, (side, percent) in zip(SYMBOLS, self.wishes.pop(0), strict=True):
                most = held.get(symbol, ZERO) if side is Side.SELL else OPENING_CASH / 2 / PRICES[symbol]
                quantity = (most * percent / 100).to_integral_value(rounding="ROUND_DOWN")
                if quantity > 0:
                    orders.append(PlannedOrder(symbol, side.value, side, quantity, PRICES[symbol]))
            inputs = canonical({"as_of": now})
            decision = Decision(
                id=decision_id("sim", now, Source.MODEL, digest(inputs), "limits", "m"), account="sim",
                source=Source.MODEL, model_sha="m", inputs_sha=digest(inputs), limits_sha="limits", as_of=now,
                expires_at=now + IN_FORCE, weights={}, orders=tuple(sorted(orders, key=lambda o: o.leg, reverse=True)),
                status=DecisionStatus.APPROVED, approved_by="simulation", reason="",
            )  # fmt: skip
            unit.decisions.add(decision, inputs, [], [])
            unit.commit()
        return decision

    def _last_decision(self) -> Decision | None:
        with self.ledger.begin(write=False) as unit:
            return next(reversed(unit.decisions.all()), None)

    def _stop(self, now: datetime) -> None:
        self.stops_at = None
        with self.ledger.begin() as unit:
            unit.control.set(ControlRow(self.stop, "drill", "anna", now))
            unit.commit()

    def _amend(self) -> None:
        self.amends_at = None
        symbol = SYMBOLS[self.seed % len(SYMBOLS)]
        if self.seed // len(SYMBOLS) % 2:
            self.venue.split("split-1", symbol, Decimal("1.5"))
        else:
            self.venue.dividend("dividend-1", symbol, Decimal("0.37"))


def shrunk(world: World) -> list[str]:
    """The faults and crashes that are enough to make the run fail: each of them is needed."""
    needed = [*world.faults.struck, *world.crashes]
    size = len(needed)
    while size >= 1:
        place = 0
        while place < len(needed):
            fewer = needed[:place] + needed[place + size :]
            if World(world.seed, world.engine_class, fewer).run().wrong:
                needed = fewer
            else:
                place += size
        size //= 2
    return needed


@dataclass
class Lived:
    """What came of some mornings."""

    crashes: list[int] = field(default_factory=list)
    """Of each seed."""
    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[tuple[int, list[str], list[str]]] = field(default_factory=list)
    """Seed, what was wrong, and the faults that are enough for it."""
    cpu_seconds: float = 0.0

    def __add__(self, other: Lived) -> Lived:
        return Lived(
            self.crashes + other.crashes, self.counts + other.counts, self.wrong + other.wrong,
            self.cpu_seconds + other.cpu_seconds,
        )  # fmt: skip


def mornings(first: int, last: int, engine_class: type[OrderEngine] = OrderEngine) -> Lived:
    """Live through the mornings of the seeds from `first` up to `last`, quietly; shrink what fails."""
    logging.disable(logging.CRITICAL)
    lived, started = Lived(), time.process_time()
    for seed in range(first, last):
        world = World(seed, engine_class).run()
        lived.crashes.append(len(world.crashes))
        lived.counts.update(world.counts)
        if world.wrong:
            lived.wrong.append((seed, world.wrong, shrunk(world)))
    lived.cpu_seconds = time.process_time() - started
    return lived


def told(seed: int, wrong: Sequence[str], needed: Sequence[str]) -> str:
    """One failure, as a person wants to read it."""
    return "\n  ".join([f"seed {seed}:", *wrong[:10], "shrunk to:", *needed])


def main() -> None:
    first, last, asked = [*sys.argv[1:], OrderEngine.__name__][:3]
    engines: tuple[type[OrderEngine], ...] = (OrderEngine, *MUST_CATCH["simulation"])
    lived = mornings(int(first), int(last), next(engine for engine in engines if engine.__name__ == asked))
    for failure in lived.wrong:
        sys.stdout.write(f"{told(*failure)}\n")
    crashes, fewest = sum(lived.crashes), min(lived.crashes)
    sys.stdout.write(
        f"{len(lived.crashes)} seeds, {crashes} crashes (at least {fewest} each), {lived.cpu_seconds:.1f} s of CPU\n"
    )


if __name__ == "__main__":
    main()
