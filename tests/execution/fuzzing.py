"""Orders that nobody should send, by the thousand, through every door; and a watch that looks at the venue alone.

Three doors lead to an order: a decision that is handed to the engine, an answer that the actor's allocator parses, and
what people say (states, locks, overrides, the kill flag). A seed draws from all of them, sane and senseless alike. The
watch knows nothing of gates: it sees what arrives at the venue, what the venue holds, and what people have said.

    python -m tests.execution.fuzzing FIRST LAST
"""

from __future__ import annotations

import json
import logging
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from ordinis.allocation.naive import EqualWeight
from ordinis.allocation.remote import RemoteAllocator
from ordinis.brokers.book import VenueBook
from ordinis.brokers.simulated import Part, SimulatedBroker
from ordinis.brokers.tape import PriceTape
from ordinis.clock import ReplayClock
from ordinis.costs.models import ProportionalCost
from ordinis.data.live_window import LiveWindow
from ordinis.domain.canonical import canonical, digest
from ordinis.domain.decisions import Allocation, Decision, DecisionStatus, Rung, Source, decision_id
from ordinis.domain.limits import TradingState
from ordinis.domain.orders import OrderRequest, PlannedOrder, Side, SubmitOutcome
from ordinis.domain.overrides import Override, OverrideKind
from ordinis.domain.portfolio import PortfolioSnapshot
from ordinis.errors import BrokerUnavailable, NotReconciled, OverrideRefused
from ordinis.execution.actor import Actor, assemble
from ordinis.execution.prices import Prices
from ordinis.execution.reconcile import reconcile
from ordinis.governance.rulebook import load_rulebook
from ordinis.optimize.certificate import certify
from ordinis.persistence.unit_of_work import SqlLedger
from ordinis.ports import ControlRow, MarketView, PriceHistory
from ordinis.serving.schemas import answer
from tests.brokers.market import CALENDAR, SESSIONS, SYMBOLS, TODAY, history, instruments

SECTORS = {"AAPL": "technology", "KO": "staples", "XOM": "energy"}
RULES = load_rulebook("standard", SECTORS)
COSTS = ProportionalCost(10.0)
TAPE = PriceTape(history())
OPENING_CASH = Decimal(100_000)
STEPS = 60
"""Of one seed; about a hundred attempts at an order."""
SLACK = Decimal("0.002")
"""Of equity: slippage and fees, which a gate estimates before they are paid."""
ODD = ("0", "-5", "NaN", "Infinity", "1000000", "0.0004")
MINUTE = timedelta(minutes=1)


@dataclass
class Watched(SimulatedBroker):
    """The venue, which keeps what arrives."""

    def __init__(self, rng: random.Random, clock: ReplayClock) -> None:
        self.arrived: list[tuple[datetime, OrderRequest]] = []
        later = (Part(Fraction(1, 3), timedelta(seconds=20)), Part(Fraction(2, 3), timedelta(minutes=3)))
        ways: Sequence[Sequence[Part]] = ((Part(Fraction(1), timedelta(0)),), later, later[:1], ())
        super().__init__(
            VenueBook(":memory:", "sim"), TAPE, instruments(), COSTS, clock, CALENDAR,
            lambda _order: tuple(rng.choice(ways)),
        )  # fmt: skip
        self.open_account(OPENING_CASH, CALENDAR.opens(SESSIONS[0]))

    def submit(self, request: OrderRequest) -> SubmitOutcome:
        self.arrived.append((self._clock.now(), request))
        return super().submit(request)


class Wild:
    """An allocation service that answers as the seed wants, behind the real parser."""

    name, version = "wild", "1"

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._body = b""
        carry = httpx.MockTransport(lambda _request: httpx.Response(200, content=self._body))
        self._remote = RemoteAllocator("http://service", "t", RULES.limits, transport=carry)

    def allocate(self, view: MarketView, portfolio: PortfolioSnapshot) -> Allocation:
        rng = self._rng
        weights = {symbol: round(rng.uniform(0.0, rng.choice((0.2, 0.2, 0.6))), 6) for symbol in SYMBOLS}
        honest = Allocation(
            weights=weights,
            cash=1.0 - sum(weights.values()),
            allocator=self.name,
            version=self.version,
            rung=rng.choice(list(Rung)),
            certificate=certify(weights, RULES.limits),
            view_sha=view.sha,
        )
        self._body = self._spoilt(json.loads(answer(honest, portfolio, view, None)))
        return self._remote.allocate(view, portfolio)

    def _spoilt(self, body: dict[str, Any]) -> bytes:
        rng, symbol = self._rng, self._rng.choice(SYMBOLS)
        match rng.randrange(10):
            case 0:
                body["weights"][symbol] = rng.choice([-0.1, 5, "0.1", None, [], 0.9])
            case 1:
                body["weights"]["GONE"] = 0.1
            case 2:
                body["certificate"]["slacks"] = dict.fromkeys(body["certificate"]["slacks"], 1.0)
                body["weights"][symbol] = 0.85
            case 3:
                body[rng.choice(["session", "account", "view_sha", "as_of", "request_id"])] = "2019-01-02"
            case 4:
                return (
                    json.dumps(body)
                    .replace('"cash": ', f'"cash": {rng.choice(["NaN", "1e999", "-Infinity"])}, "x": ')
                    .encode()
                )
            case 5:
                text = json.dumps(body).encode()
                return text[: rng.randrange(len(text))]
            case 6:
                text = bytearray(json.dumps(body).encode())
                text[rng.randrange(len(text))] = rng.randrange(256)
                return bytes(text)
        return json.dumps(body).encode()


@dataclass
class Fuzz:
    seed: int
    folder: Path
    attempts: int = 0
    orders: int = 0
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = random.Random(self.seed)
        self.clock = ReplayClock(CALENDAR.trading_instant(TODAY))
        self.venue = Watched(self.rng, self.clock)
        self.ledger = SqlLedger("sqlite://", "sim")
        self.flag = self.folder / f"KILLED-{self.seed}"
        self.actor = self._actor()
        self.session = TODAY
        self.locked: set[str] = set()
        self.wishes: Sequence[Override] = ()

    def run(self) -> Fuzz:
        for _ in range(STEPS):
            self._people_speak()
            before, seen = dict(self.venue.positions().value), len(self.venue.arrived)
            stopped = self._state()
            self.rng.choice((self._decide, self._decide, self._answer))()
            self._watch(before, self.venue.arrived[seen:], stopped)
            self._time_passes()
        self.flag.unlink(missing_ok=True)
        self.ledger.close()
        return self

    # the doors

    def _decide(self) -> None:
        """A decision handed to the engine, sane or not, carried out as often as it likes."""
        engine, now = self.actor.engine, self.clock.now()
        try:
            if self.rng.random() < 0.8:
                reconcile(engine, finish=True)
        except (BrokerUnavailable, NotReconciled):
            return
        decision = self._decision(now)
        with self.ledger.begin() as unit:
            if unit.decisions.get(decision.id) is not None:
                return
            unit.decisions.add(decision, canonical({"as_of": now}), [], [])
            unit.commit()
        for _ in range(self.rng.randrange(1, 4)):
            quotes = self.venue.quotes(SYMBOLS).value
            if self.rng.random() < 0.1:
                symbol = self.rng.choice(SYMBOLS)
                price = Decimal(self.rng.choice(["0", "-1", "NaN", "1", "100000"]))
                quotes = {**quotes, symbol: replace(quotes[symbol], price=price)}
            closes = TAPE.prices(CALENDAR.previous_session(self.session))
            prices = Prices(quotes, closes, TAPE.conditions(self.session))
            engine.execute(decision, prices, last=self.rng.random() < 0.3)
            self.clock.advance(min(self.clock.now() + timedelta(seconds=5), CALENDAR.closes(self.session)))

    def _decision(self, now: datetime) -> Decision:
        rng, quotes = self.rng, self.venue.quotes(SYMBOLS).value
        orders = []
        for symbol in rng.sample([*SYMBOLS, "GONE"], rng.randrange(1, 4)):
            side = rng.choice(list(Side))
            held = self.venue.positions().value.get(symbol, Decimal(0))
            sane = str(held if side is Side.SELL and held else rng.randrange(1, 500))
            price = quotes[symbol].price if symbol in quotes else Decimal(1)
            quantity = Decimal(sane if rng.random() < 0.8 else rng.choice(ODD))
            reference = price if rng.random() < 0.9 else Decimal(rng.choice(ODD))
            orders.append(PlannedOrder(symbol, side.value, side, quantity, reference))
        self.attempts += len(orders)
        inputs = canonical({"as_of": now})
        sha = RULES.sha if rng.random() < 0.9 else "others"
        ends = min(now + timedelta(minutes=rng.choice((-1, 5, 5, 5))), CALENDAR.closes(self.session))
        return Decision(
            id=decision_id("sim", now, Source.MODEL, digest(inputs), sha, "m"), account="sim", source=Source.MODEL,
            model_sha="m", inputs_sha=digest(inputs), limits_sha=sha, as_of=now,
            expires_at=ends, weights={},
            orders=tuple(sorted(orders, key=lambda o: o.leg, reverse=True)),
            status=DecisionStatus.APPROVED if rng.random() < 0.9 else DecisionStatus.REFUSED,
            approved_by="fuzz", reason="",
        )  # fmt: skip

    def _answer(self) -> None:
        """The actor's own way: ask the service, parse, decide, trade; once a session."""
        self.attempts += len(SYMBOLS)
        self.actor.trade(self.session)

    def _people_speak(self) -> None:
        rng, at = self.rng, self.clock.now()
        active = self._state() is TradingState.ACTIVE
        if rng.random() < (0.06 if active else 0.4):
            self._say(ControlRow(rng.choice(list(TradingState)) if active else TradingState.ACTIVE, "fuzz", "anna", at))
        for symbol in sorted(self.locked) if rng.random() < 0.3 else ():
            self._say(ControlRow(TradingState.ACTIVE, "fuzz", "anna", at, symbol))
        if rng.random() < 0.05:
            self._say(ControlRow(TradingState.HALTED, "fuzz", "anna", at, rng.choice(SYMBOLS)))
        if rng.random() < 0.1:
            self._wish(at)
        if rng.random() < 0.03:
            self.flag.write_text("stop")
        elif rng.random() < 0.6:
            self.flag.unlink(missing_ok=True)

    def _say(self, row: ControlRow) -> None:
        with self.ledger.begin() as unit:
            unit.control.set(row)
            unit.commit()

    def _wish(self, at: datetime) -> None:
        rng = self.rng
        kind, value = rng.choice(list(OverrideKind)), rng.choice((None, 0.0, 0.1, 0.5, 1.0, 7.0, float("nan")))
        lasts = timedelta(minutes=rng.choice((-5, 0, 3, 10)))
        try:
            row = Override(rng.choice((*SYMBOLS, "")), kind, value, "anna", "fuzz", at, at + lasts)
        except OverrideRefused:
            return
        with self.ledger.begin() as unit:
            unit.control.override(row)
            unit.commit()

    def _time_passes(self) -> None:
        later = self.clock.now() + timedelta(seconds=self.rng.choice((1, 10, 40, 120)))
        if later < CALENDAR.closes(self.session):
            self.clock.advance(later)
            return
        # Orders that are minded while trading stands still may take it past the close.
        self.clock.advance(max(self.clock.now(), CALENDAR.closes(self.session)))
        self.session = CALENDAR.next_session(self.session)
        self.clock.advance(CALENDAR.trading_instant(self.session))
        self.actor = self._actor()

    def _actor(self) -> Actor:
        full, today = history(), CALENDAR.session_of(self.clock.now())
        rows = sum(session < today for session in full.sessions)
        window = LiveWindow(SYMBOLS, CALENDAR)
        window.seed(PriceHistory(SYMBOLS, full.sessions[:rows], full.closes[:rows]))
        return assemble(
            ledger=self.ledger, broker=self.venue, clock=self.clock, calendar=CALENDAR, instruments=instruments(),
            rulebook=RULES, costs=COSTS, allocator=Wild(self.rng), baseline=EqualWeight(RULES.limits), window=window,
            symbols=SYMBOLS, kill_flag=self.flag,
        )  # fmt: skip

    # the watch

    def _state(self) -> TradingState:
        """What people and machines have said so far; the flag says the most."""
        if self.flag.exists():
            return TradingState.KILLED
        with self.ledger.begin(write=False) as unit:
            row = unit.control.state()
            self.locked = {row.symbol for row in unit.control.locks()}
            self.wishes = unit.control.overrides(self.clock.now())
        return TradingState.ACTIVE if row is None else row.state

    def _watch(self, before: dict[str, Decimal], arrived: Sequence[tuple[datetime, OrderRequest]], state: str) -> None:
        self.orders += len(arrived)
        for at, request in arrived:
            what = f"{request.side} {request.quantity} {request.symbol} at {at.time()}"
            bought = request.side is Side.BUY
            if state in (TradingState.HALTED, TradingState.KILLED) or (state == TradingState.REDUCING and bought):
                self.wrong.append(f"{what} left while trading was {state}")
            if request.symbol in self.locked:
                self.wrong.append(f"{what} left while the symbol was locked")
            for wish in (w for w in self.wishes if w.symbol == request.symbol and at < w.expires_at):
                if wish.kind is OverrideKind.NO_TRADE or (wish.kind is OverrideKind.REDUCE_ONLY and bought):
                    self.wrong.append(f"{what} left against the override {wish.kind}")
            if not 0 < request.quantity < 1_000_000 or not CALENDAR.is_open(at):
                self.wrong.append(f"{what} is no order")
        now_held = self.venue.positions().value
        if state == TradingState.REDUCING and any(now_held.get(s, 0) > before.get(s, 0) for s in SYMBOLS):
            open_before = {request.symbol for _, request in self.venue.arrived if request.side is Side.BUY}
            grown = {s for s in SYMBOLS if now_held.get(s, 0) > before.get(s, 0)} - open_before
            self.wrong += [f"{symbol} grew while REDUCING" for symbol in grown]
        if any(units < 0 for units in now_held.values()) or self.venue.account().value.cash < 0:
            self.wrong.append("more was sold or spent than was there")
        self._worst_case([request.symbol for _, request in arrived if request.side is Side.BUY])
        self._pace()

    def _worst_case(self, bought: Sequence[str]) -> None:
        """Limits with every open buy executed, in the symbols that were just bought."""
        prices, cash = TAPE.prices(self.session), self.venue.account().value.cash
        worth = {s: units * prices[s] for s, units in self.venue.positions().value.items()}
        for order in (o for o in self.venue.open_orders().value if o.side is Side.BUY):
            left = (order.quantity - order.filled_quantity) * prices[order.symbol]
            worth[order.symbol] = worth.get(order.symbol, Decimal(0)) + left
            cash -= left
        equity = cash + sum(worth.values(), Decimal(0))
        for symbol in set(bought):
            if worth.get(symbol, Decimal(0)) > (Decimal("0.20") + SLACK) * equity:
                self.wrong.append(f"{symbol} may grow to {worth[symbol] / equity:.4f} of equity")
        if bought and sum(worth.values(), Decimal(0)) > (Decimal("0.90") + SLACK) * equity:
            self.wrong.append(f"the book may grow to {sum(worth.values(), Decimal(0)) / equity:.4f} of equity")

    def _pace(self) -> None:
        """No minute has too many orders, nor too much bought."""
        recent = [(at, r) for at, r in self.venue.arrived if at > self.clock.now() - MINUTE]
        notional = sum(
            (r.quantity * TAPE.prices(CALENDAR.session_of(at))[r.symbol] for at, r in recent if r.side is Side.BUY),
            Decimal(0),
        )
        if len(recent) > 30 or notional > Decimal("0.21") * OPENING_CASH * 2:
            self.wrong.append(f"{len(recent)} orders, {notional:.0f} bought within a minute")


def fuzzed(first: int, attempts: int, folder: Path) -> list[Fuzz]:
    """Seeds from `first` on, until there were so many attempts."""
    done: list[Fuzz] = []
    while sum(run.attempts for run in done) < attempts:
        done.append(Fuzz(first + len(done), folder).run())
    return done


def main() -> None:
    logging.disable(logging.CRITICAL)
    started = time.process_time()
    with TemporaryDirectory() as folder:
        runs = [Fuzz(seed, Path(folder)).run() for seed in range(int(sys.argv[1]), int(sys.argv[2]))]
    for run in (run for run in runs if run.wrong):
        sys.stdout.write(f"seed {run.seed}:\n  " + "\n  ".join(run.wrong[:5]) + "\n")
    attempts, orders = sum(run.attempts for run in runs), sum(run.orders for run in runs)
    sys.stdout.write(f"{attempts} attempts, {orders} orders left, {time.process_time() - started:.1f} s of CPU\n")


if __name__ == "__main__":
    main()
