"""A rig that kills the actor with SIGKILL, again and again, and lets it go on from its files.

The venue is a program of its own with its book in its own file. The actor's lives are forked from one process that
has done its imports, so that a life starts in a moment; each is an ordinary process with its own connections, and its
death is the kernel's. Three ways to die, drawn at random: at a passing of one of the actor's own kill points, at a
random moment of time, or by the venue's hand after it has committed an order and before it replies.

Kills come in rounds, each with a home and a seed of its own: a round ends with its kills, or with its stretch of
sessions, and then the last life lives on to the end. After each death nothing may be in the ledger that is not at the
venue, nor on the wire what is not in the ledger; at the end of a round the two must tell the same.

    python -m tests.execution.kill_rig FOLDER KILLS SEED [BROKEN ENGINE]
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
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
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
FIRST, LAST = date(2019, 9, 3), date(2019, 12, 31)
"""Of one round: twenty orders in each of 84 sessions, of which a kill takes about a quarter of one."""
A_ROUND = 200
"""Kills; in a longer life most of the time would go into reading the ledger again at every start."""
WAYS = ("kill point", "moment", "venue")
MEMORY = Path("/dev/shm") if os.access("/dev/shm", os.W_OK) else Path(tempfile.gettempdir())
"""Where a home is quick: the death of a process asks nothing of a disk."""
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


def quick_folder(name: str = "ordinis-kills") -> Path:
    """A new folder whose name begins so, in memory where the system has some."""
    return Path(tempfile.mkdtemp(prefix=f"{name}-", dir=MEMORY))


def run_venue(home: Path, port: int) -> None:
    """The venue's program, which kills the process named in a file once it has committed an order."""
    import uvicorn

    def end_with_the_rig() -> None:
        sys.stdin.read()
        os._exit(0)

    threading.Thread(target=end_with_the_rig, daemon=True).start()
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

    def kill_point(point: KillPoint) -> None:
        nonlocal passed
        passed += 1
        if passed == die_at:
            (settings.home / "died-at").write_text(point)
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
        actor,
        engine=engine_class(engine.ledger, engine.broker, clock, engine.gates, engine.breakers, kill_point=kill_point),
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
    points: dict[str, int] = field(default_factory=dict)
    """How often a life died at which of its own kill points."""
    lives: int = 0
    at_work: int = 0
    """Deaths of lives that had written to the ledger."""
    orders: int = 0
    """At the venue."""
    fills: int = 0
    lost_fills: int = 0
    repeated_orders: int = 0
    """At the venue, and unknown to the ledger: sent once more under another name."""
    wrong: list[str] = field(default_factory=list)

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            dict(Counter(self.kills) + Counter(other.kills)),
            dict(Counter(self.points) + Counter(other.points)),
            self.lives + other.lives, self.at_work + other.at_work, self.orders + other.orders,
            self.fills + other.fills, self.lost_fills + other.lost_fills,
            self.repeated_orders + other.repeated_orders, self.wrong + other.wrong,
        )  # fmt: skip


def rounds(folder: Path, kills: int, seed: int, engine_class: type[OrderEngine] = OrderEngine) -> Tally:
    """Kill so often in all, in rounds with homes 0, 1, 2, ... in `folder`; without a kill, one quiet life."""
    done = a_round(folder / "0", min(kills, A_ROUND), seed, engine_class)
    number = 1
    while not done.wrong and (left := kills - sum(done.kills.values())):
        done += a_round(folder / str(number), min(left, A_ROUND), seed + number, engine_class)
        number += 1
    return done


def a_round(home: Path, kills: int, seed: int, engine_class: type[OrderEngine] = OrderEngine) -> Tally:
    """Kill the actor up to `kills` times on its way to the end of the stretch."""
    rng, port, tally = random.Random(seed), free_port(), Tally()
    settings = the_settings(home, port)
    module = "tests.execution.kill_rig"
    venue = subprocess.Popen([sys.executable, "-m", module, "venue", str(home), str(port)], stdin=subprocess.PIPE)
    try:
        await_venue(settings)
        # What every life needs is loaded before the first fork.
        trading_calendar()
        bring_in(settings)
        parent = os.getppid()
        while _a_life(settings, tally, rng, kills, engine_class):
            if os.getppid() != parent:
                raise SystemExit("whoever asked for these kills is gone")
    finally:
        venue.terminate()
        venue.wait()
    tally.wrong += check(home)
    with both(home) as (ours, theirs):
        booked, done = _fills(ours, theirs)
        intended = {row[0] for row in ours.execute("SELECT coid FROM order_intent")}
        sent = {row[0] for row in theirs.execute("SELECT client_order_id FROM orders")}
    tally.orders, tally.fills = len(sent), len(done)
    tally.lost_fills, tally.repeated_orders = len(done - booked), len(sent - intended)
    return tally


def _a_life(settings: Settings, tally: Tally, rng: random.Random, kills: int, engine_class: type[OrderEngine]) -> bool:
    """One life more, and what its end has left behind; True when it was killed."""
    home = settings.home
    how = rng.choice(WAYS) if sum(tally.kills.values()) < kills else "none"
    before = _written(home)
    died = _live(settings, how, rng, engine_class)
    tally.lives += 1
    tally.wrong += at_death(home)
    if died:
        tally.kills[how] = tally.kills.get(how, 0) + 1
        tally.at_work += _written(home) > before
        if how == "kill point":
            point = (home / "died-at").read_text()
            tally.points[point] = tally.points.get(point, 0) + 1
    return died and not tally.wrong


def _live(settings: Settings, how: str, rng: random.Random, engine_class: type[OrderEngine]) -> bool:
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
    """What is wrong at the end of a round, read from the two files alone; empty when nothing is."""
    with both(home) as (ledger, venue):
        wrong = []
        booked, done = _fills(ledger, venue)
        if booked != done:
            wrong.append(f"{len(done - booked)} fills lost, {len(booked - done)} invented")
        cash = Decimal(ledger.execute("SELECT cash FROM balance").fetchone()[0])
        theirs = Decimal(venue.execute("SELECT amount FROM cash").fetchone()[0])
        if cash != theirs:
            wrong.append(f"cash {cash} in the ledger, {theirs} at the venue")
        mine = {s: Decimal(q) for s, q in ledger.execute("SELECT symbol, qty FROM position") if Decimal(q)}
        other = {s: Decimal(q) for s, q in venue.execute("SELECT symbol, quantity FROM positions") if Decimal(q)}
        if mine != other:
            wrong.append(f"positions {mine} in the ledger, {other} at the venue")
        return wrong + _beyond_plan(ledger)


def at_death(home: Path) -> list[str]:
    """What no death may leave behind, read from the two files alone."""
    with both(home) as (ledger, venue):
        sent = [row[0] for row in venue.execute("SELECT client_order_id FROM orders")]
        if not _made(ledger):
            return [f"order {name} was on the wire before there was a ledger" for name in sent]
        booked, done = _fills(ledger, venue)
        wrong = [f"fill {fill[0]} is not the venue's" for fill in booked - done]
        committed = {row[0] for row in ledger.execute("SELECT coid FROM order_intent WHERE sent_at IS NOT NULL")}
        wrong += [f"order {name} was on the wire before it was committed" for name in set(sent) - committed]
        wrong += [f"order {name} is twice at the venue" for name, times in Counter(sent).items() if times > 1]
        held: dict[str, Decimal] = {}
        for symbol, side, quantity in ledger.execute("SELECT symbol, side, qty FROM fill"):
            units = Decimal(quantity) if side == "buy" else -Decimal(quantity)
            held[symbol] = held.get(symbol, Decimal(0)) + units
        for symbol, quantity in ledger.execute("SELECT symbol, qty FROM position"):
            if held.get(symbol) != Decimal(quantity):
                wrong.append(f"{symbol}: {quantity} held, {held.get(symbol)} by its fills")
        return wrong


@contextmanager
def both(home: Path) -> Iterator[tuple[sqlite3.Connection, sqlite3.Connection]]:
    """The ledger's file and the venue's."""
    with closing(sqlite3.connect(home / "ledger.db")) as ledger, closing(sqlite3.connect(home / "venue.db")) as venue:
        # What a death left half written is rolled back by the first who reads it.
        yield ledger, venue


def _fills(ledger: sqlite3.Connection, venue: sqlite3.Connection) -> tuple[set[tuple[str, ...]], set[tuple[str, ...]]]:
    columns = "exec_id, {} symbol, side, {}, price, fee"
    booked = ledger.execute(f"SELECT {columns.format('coid,', 'qty')} FROM fill")
    done = venue.execute(f"SELECT {columns.format('client_order_id,', 'quantity')} FROM executions")
    return set(booked), set(done)


def _written(home: Path) -> int:
    """How many events the ledger has."""
    with closing(sqlite3.connect(home / "ledger.db")) as ledger:
        return int(
            ledger.execute("SELECT coalesce(max(seq), 0) FROM order_event").fetchone()[0] if _made(ledger) else 0
        )


def _made(ledger: sqlite3.Connection) -> bool:
    """False when a life died before it had made its tables."""
    return ledger.execute("SELECT 1 FROM sqlite_master WHERE name = 'order_event'").fetchone() is not None


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
    folder, kills, seed = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    started = time.monotonic()
    engines: tuple[type[OrderEngine], ...] = (OrderEngine, *MUST_CATCH["SIGKILL"])
    asked = [*sys.argv[4:], OrderEngine.__name__][0]
    tally = rounds(folder, kills, seed, next(engine for engine in engines if engine.__name__ == asked))
    spent = {"seconds": time.monotonic() - started, "cpu_seconds": sum(os.times()[:4])}
    sys.stdout.write(json.dumps({**vars(tally), **spent}) + "\n")


if __name__ == "__main__":
    main()
