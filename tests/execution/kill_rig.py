"""A rig that kills the actor with SIGKILL, again and again, and lets it go on from its files.

The venue is a program of its own with its book in its own file. The actor's lives are forked from one process that
has done its imports, so that a life starts in a moment; each is an ordinary process with its own connections, and its
death is the kernel's. Three ways to die, drawn at random: at a passing of one of the actor's own kill points, at a
random moment of time, or by the venue's hand after it has committed an order and before it replies.

    python -m tests.execution.kill_rig HOME KILLS SEED [BROKEN ENGINE]
"""

from __future__ import annotations

import json
import os
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass, field, replace
from datetime import date
from decimal import Decimal
from pathlib import Path

import httpx

from ordinis import bootstrap
from ordinis.clock import trading_calendar
from ordinis.execution.intents import OrderEngine
from ordinis.execution.killpoints import KillPoint
from ordinis.execution.replaying import live_through, resume_session, start_clock
from ordinis.settings import Settings
from tests.execution.broken import MUST_CATCH

PROJECT = Path(__file__).resolve().parents[2]
FIRST, LAST = date(2019, 9, 3), date(2020, 1, 31)
RULEBOOK = """
profiles:
  busy:  # trades everything every day, so that there is much to interrupt
    limits: {position_cap: 0.2, gross_cap: 0.9, cash_buffer: 0.1, sector_cap: 1.0, passive_excess: 0.02}
    breakers: {daily_loss: 0.02, drawdown_start: 0.1, drawdown_stop: 0.2, rejects_per_minute: 5,
               failed_reconciliations: 3, locks: 3, unexplained: 0.01, skew_seconds: 30}
    orders: {price_age_seconds: 5, spread_cap: 0.01, buy_collar: 0.05, sell_collar: 0.3, orders_per_minute: 30,
             bought_per_minute: 0.4, repeats_per_hour: 3, participation_cap: 0.05, day_trades: null,
             reconciled_within_seconds: 60, skew_seconds: 10, free_disk_mb: 0}
    trading: {calendar: day, absolute_band: null, relative_band: null, cooldown_days: 0, minimum_order: "1",
              minimum_invest_cash: "10", turnover_cap: null}
"""


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def the_settings(home: Path, port: int) -> Settings:
    home.mkdir(parents=True, exist_ok=True)
    (home / "rulebook.yaml").write_text(RULEBOOK)
    return Settings(
        home=home, project=PROJECT, broker="venue", venue_port=port, profile="busy", rulebook=home / "rulebook.yaml",
        allocator="inverse-volatility", replay_first=FIRST, replay_last=LAST, replay_seconds=0,
    )  # fmt: skip


def run_venue(home: Path, port: int) -> None:
    """The venue's program, which kills the process named in a file once it has committed an order."""
    import uvicorn

    order = home / "kill-after-commit"

    def on_committed() -> None:
        if order.exists():
            victim = int(order.read_text())
            order.unlink()
            os.kill(victim, signal.SIGKILL)

    uvicorn.run(bootstrap.venue(the_settings(home, port), on_committed), port=port, log_level="error")


def one_life(settings: Settings, die_at: int, engine_class: type[OrderEngine]) -> None:
    """Live until the end of the stretch, or until the kill point that is passed as the `die_at`-th."""
    passed = 0

    def kill_point(_: KillPoint) -> None:
        nonlocal passed
        passed += 1
        if passed == die_at:
            os.kill(os.getpid(), signal.SIGKILL)

    calendar = trading_calendar()
    book = bootstrap.ledger(settings)
    book.claim()
    first = resume_session(book, calendar, FIRST)
    if first > LAST:
        return
    clock = start_clock(calendar, first, bootstrap.venue_time(settings))
    actor = bootstrap.actor(settings, clock, book, remote=False, kill_point=kill_point)
    engine = actor.engine
    actor = replace(
        actor, engine=engine_class(engine.ledger, engine.broker, clock, engine.gates, kill_point=kill_point)
    )
    live_through(actor, clock, bootstrap.source(settings).stream(actor.symbols, first, LAST))


def bring_in(settings: Settings) -> None:
    """Fill the bar store with the sessions that the actor's window begins with."""
    from ordinis.clock import SystemClock
    from ordinis.data.ingest import ingest

    ingest(
        bootstrap.source(settings), bootstrap.bar_store(settings), bootstrap.records(settings), settings.contracts,
        bootstrap.universe(settings), trading_calendar().back(FIRST, 300), LAST, SystemClock(),
        bootstrap.instruments(settings),
    )  # fmt: skip


@dataclass
class Tally:
    kills: dict[str, int] = field(default_factory=dict)
    lives: int = 0
    too_early: set[str] = field(default_factory=set)
    """Orders that the venue had at a death while the ledger did not know them as sent."""


def run(home: Path, kills: int, seed: int, engine_class: type[OrderEngine]) -> Tally:
    """Kill the actor `kills` times on its way to the end of the stretch."""
    rng, port, tally = random.Random(seed), free_port(), Tally()
    settings = the_settings(home, port)
    module = "tests.execution.kill_rig"
    venue = subprocess.Popen([sys.executable, "-m", module, "venue", str(home), str(port)])
    try:
        await_venue(settings)
        # What every life needs is loaded before the first fork.
        trading_calendar()
        bring_in(settings)
        while True:
            left = kills - sum(tally.kills.values())
            how = rng.choice(["kill point", "moment", "venue"]) if left else "none"
            died = _life(settings, how, rng, engine_class)
            tally.lives += 1
            tally.too_early |= sent_before_saved(home)
            if died:
                tally.kills[how] = tally.kills.get(how, 0) + 1
            elif not left:
                return tally
            else:
                raise SystemExit(f"the stretch ended with {left} kills left: make it longer")
    finally:
        venue.terminate()
        venue.wait()


def _life(settings: Settings, how: str, rng: random.Random, engine_class: type[OrderEngine]) -> bool:
    """Fork a life and end it in the way of `how`; True when it was killed."""
    die_at = rng.randrange(1, 60) if how == "kill point" else 0
    child = os.fork()
    if child == 0:
        try:
            one_life(settings, die_at, engine_class)
        except BaseException as error:
            sys.stderr.write(f"life ended: {error!r}\n")
            os._exit(3)
        os._exit(0)
    if how == "venue":
        time.sleep(rng.uniform(0.0, 0.3))
        (settings.home / "kill-after-commit").write_text(str(child))
    elif how == "moment":
        time.sleep(rng.uniform(0.02, 0.8))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    (settings.home / "kill-after-commit").unlink(missing_ok=True)
    if os.WIFEXITED(status) and os.WEXITSTATUS(status) != 0:
        raise SystemExit(f"a life ended by itself with status {os.WEXITSTATUS(status)}")
    return os.WIFSIGNALED(status)


def await_venue(settings: Settings) -> None:
    for _ in range(600):
        try:
            httpx.get(f"{settings.venue_url}/now")
            return
        except httpx.ConnectError:
            time.sleep(0.05)
    raise SystemExit("the venue did not start")


def check(home: Path) -> list[str]:
    """What is wrong, read from the two files alone; empty when nothing is."""
    ledger, venue = sqlite3.connect(home / "ledger.db"), sqlite3.connect(home / "venue.db")
    wrong = []
    columns = "exec_id, {} symbol, side, {}, price, fee"
    booked = ledger.execute(f"SELECT {columns.format('coid,', 'qty')} FROM fill ORDER BY exec_id").fetchall()
    done = venue.execute(
        f"SELECT {columns.format('client_order_id,', 'quantity')} FROM executions ORDER BY exec_id"
    ).fetchall()
    if booked != done:
        wrong.append(f"{len(set(done) - set(booked))} fills lost, {len(set(booked) - set(done))} invented")
    cash = Decimal(ledger.execute("SELECT cash FROM balance").fetchone()[0])
    theirs = Decimal(venue.execute("SELECT amount FROM cash").fetchone()[0])
    if abs(cash - theirs) > Decimal("0.01"):
        wrong.append(f"cash {cash} in the ledger, {theirs} at the venue")
    mine = {s: Decimal(q) for s, q in ledger.execute("SELECT symbol, qty FROM position") if Decimal(q)}
    other = {s: Decimal(q) for s, q in venue.execute("SELECT symbol, quantity FROM positions") if Decimal(q)}
    if mine != other:
        wrong.append(f"positions {mine} in the ledger, {other} at the venue")
    sent = [row[0] for row in venue.execute("SELECT client_order_id FROM orders")]
    if len(sent) != len(set(sent)):
        wrong.append("a client order id twice at the venue")
    known = {row[0] for row in ledger.execute("SELECT coid FROM order_intent")}
    if set(sent) - known:
        wrong.append(f"{len(set(sent) - known)} orders at the venue that the ledger never intended")
    wrong += _beyond_plan(ledger)
    return wrong


def sent_before_saved(home: Path) -> set[str]:
    """Orders at the venue that the ledger does not know as sent."""
    if not (home / "ledger.db").exists():
        return set()
    ledger, venue = sqlite3.connect(home / "ledger.db"), sqlite3.connect(home / "venue.db")
    if not ledger.execute("SELECT name FROM sqlite_master").fetchall():
        # A first life that died while it made its tables has traded nothing.
        return {row[0] for row in venue.execute("SELECT client_order_id FROM orders")}
    committed = {row[0] for row in ledger.execute("SELECT coid FROM order_intent WHERE sent_at IS NOT NULL")}
    return {row[0] for row in venue.execute("SELECT client_order_id FROM orders")} - committed


def _beyond_plan(ledger: sqlite3.Connection) -> list[str]:
    """Decisions of which more was executed than was decided."""
    decided: dict[tuple[str, str], Decimal] = {}
    for decision, orders in ledger.execute("SELECT id, orders FROM decision"):
        for order in json.loads(orders):
            decided[decision, order["symbol"]] = Decimal(order["quantity"])
    executed: dict[tuple[str, str], Decimal] = {}
    query = "SELECT decision_id, fill.symbol, fill.qty FROM fill JOIN order_intent ON order_intent.coid = fill.coid"
    for decision, symbol, quantity in ledger.execute(query):
        executed[decision, symbol] = executed.get((decision, symbol), Decimal(0)) + Decimal(quantity)
    return [f"{symbol} of {d[:8]}: too much executed" for (d, symbol), q in executed.items() if q > decided[d, symbol]]


def main() -> None:
    if sys.argv[1] == "venue":
        run_venue(Path(sys.argv[2]), int(sys.argv[3]))
        return
    home, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    started = time.monotonic()
    engines = {engine.__name__: engine for engine in (OrderEngine, *MUST_CATCH["SIGKILL"])}
    tally = run(home, kills, seed, engines[[*sys.argv[4:], "OrderEngine"][0]])
    wrong = check(home) + [f"order {name} was on the wire before it was committed" for name in tally.too_early]
    answer = {"kills": tally.kills, "lives": tally.lives, "wrong": wrong, "seconds": time.monotonic() - started}
    sys.stdout.write(json.dumps(answer) + "\n")


if __name__ == "__main__":
    main()
