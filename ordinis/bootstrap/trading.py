"""The ledger, the broker and the execution actor."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ordinis.bootstrap.deciding import allocator_for, allocators, costs, rulebook, venue_costs
from ordinis.bootstrap.market import history, instruments, universe, venue_history
from ordinis.bootstrap.process import token
from ordinis.errors import ConfigurationError, NotFound

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ordinis.brokers.simulated import SimulatedBroker
    from ordinis.clock import ReplayClock
    from ordinis.domain.limits import Approval
    from ordinis.domain.portfolio import Movement
    from ordinis.execution.actor import Actor
    from ordinis.execution.intents import OrderEngine
    from ordinis.execution.killpoints import KillHook
    from ordinis.governance.rulebook import Rulebook
    from ordinis.persistence.unit_of_work import SqlLedger
    from ordinis.ports import Allocator, Broker, Clock, Ledger, PriceHistory
    from ordinis.settings import Settings

logger = logging.getLogger(__name__)
TRIES = 5
"""How often ledger and broker are compared for a person while a replayed market moves on."""


def ledger(settings: Settings) -> SqlLedger:
    from ordinis.persistence.unit_of_work import SqlLedger

    # A SQLite ledger has its anchor beside the file; a server's files are not ours to write beside.
    server = not settings.ledger_url.startswith("sqlite")
    anchor = settings.home.absolute() / f"ledger-{settings.account}.anchor" if server else None
    return SqlLedger(settings.ledger_url, settings.account, anchor)


def backup_ledger(settings: Settings, path: Path) -> None:
    """Copy the SQLite ledger that is there to the new file `path`."""
    from ordinis.persistence.backups import backup

    backup(ledger_for_control(settings), path)


def restore_ledger(settings: Settings, path: Path, at: datetime) -> Path | None:
    """Put the backup at `path` back; where the old ledger is kept, if there was one."""
    from ordinis.persistence.backups import restore

    return restore(settings.ledger_url, settings.account, path, at)


def simulated_broker(settings: Settings, clock: Clock, book: str = "") -> SimulatedBroker:
    """The venue in this process, with its book in a file of its own, or at `book`."""
    from ordinis.brokers.book import VenueBook
    from ordinis.brokers.simulated import SimulatedBroker
    from ordinis.brokers.tape import PriceTape
    from ordinis.clock import trading_calendar

    calendar = trading_calendar()
    venue_book = VenueBook(book or settings.home.absolute() / "venue.db", settings.account)
    tape = PriceTape(venue_history(settings))
    broker = SimulatedBroker(venue_book, tape, instruments(settings), venue_costs(settings), clock, calendar)
    broker.open_account(settings.opening_cash, calendar.opens(settings.replay_first))
    return broker


def venue(settings: Settings, on_committed: Callable[[], None] = lambda: None) -> FastAPI:
    """The simulated venue as an application; its time is the latest that it was told."""
    from ordinis.brokers.venue import create_venue
    from ordinis.clock import ReplayClock

    clock = ReplayClock(datetime(1990, 1, 1, tzinfo=UTC))
    return create_venue(simulated_broker(settings, clock), clock, on_committed)


def venue_time(settings: Settings) -> datetime | None:
    """How far the replayed market has come at the venue, when the venue is a program of its own."""
    if settings.broker != "venue":
        return None
    from ordinis.brokers.venue_client import market_time

    return market_time(settings.venue_url)


def broker(settings: Settings, clock: Clock) -> Broker:
    if settings.broker == "simulated":
        return simulated_broker(settings, clock)
    from ordinis.brokers.venue_client import VenueClient

    return VenueClient(settings.venue_url, clock)


def ledger_for_control(settings: Settings) -> SqlLedger:
    """The ledger as the kill switch sees it: one that is not there is not made.

    Raises:
        NotFound: there is no ledger where the settings point, so nothing trades on it.
    """
    _must_exist(settings, settings.ledger_url.removeprefix("sqlite:///"), "ledger", settings.ledger_url)
    return ledger(settings)


def broker_for_control(settings: Settings) -> Broker:
    """The broker as the kill switch sees it: neither ledger nor market is asked for the time.

    Raises:
        NotFound: the venue's book is not where the settings point.
        BrokerUnavailable: the venue does not answer.
    """
    if settings.broker == "venue":
        from ordinis.brokers.venue_client import VenueClient

        # The market may move on at any moment, and the venue refuses a request of an earlier one.
        venue_time(settings)
        return VenueClient(settings.venue_url, None)
    from ordinis.clock import ReplayClock, trading_calendar

    _must_exist(settings, str(settings.home.absolute() / "venue.db"), "venue", "sqlite:///")
    return broker(settings, ReplayClock(trading_calendar().opens(settings.replay_first)))


def _must_exist(settings: Settings, path: str, kind: str, url: str) -> None:
    if url.startswith("sqlite:///") and not Path(path).exists():
        raise NotFound(kind, path, f"ORDINIS_HOME is {settings.home.absolute()}: is that where Ordinis runs?")


def reconcile_now(settings: Settings, *, lifting: str = "") -> str:
    """Compare ledger and broker without trading; what was put right. `lifting` is a symbol about to be unlocked."""
    from ordinis.errors import ClocksDiffer
    from ordinis.execution.reconcile import reconcile

    engine = _looking_on(settings)
    for left in reversed(range(TRIES)):
        try:
            found = reconcile(engine, lifting=lifting)
            break
        except ClocksDiffer:
            # A replayed market may have moved on between two questions.
            if not left:
                raise
    return f"ledger and broker agree; {found.fills} fills and {found.movements} movements were missing"


def _looking_on(settings: Settings) -> OrderEngine:
    """An engine for a person's commands, beside the trading process and without its role."""
    asked = allocator_for(settings, settings.baseline)
    book = ledger_for_control(settings)
    if settings.broker == "venue":
        from ordinis.brokers.venue_client import VenueClock

        door = broker_for_control(settings)
        return _assembled(settings, VenueClock(settings.venue_url), book, door, asked, None).engine
    clock = _market_clock(settings)
    return _assembled(settings, clock, book, broker(settings, clock), asked, None).engine


def adopt_now(settings: Settings, symbol: str, kind: str, *, reason: str, by: str) -> Movement:
    """Book the broker's units of `symbol`, or its cash where that is empty, as a movement of this kind."""
    from ordinis.execution.reconcile import adopt

    return adopt(_looking_on(settings), symbol, kind, reason=reason, by=by)


def loosened_limits(settings: Settings, rules: Rulebook, *, for_good: bool = False) -> dict[str, tuple[Any, Any]]:
    """Limits in `rules` that are looser than those approved now, or for good: both values, by name.

    Empty while nothing was ever traded.
    """
    from ordinis.governance.approvals import loosened

    try:
        book = ledger_for_control(settings)
    except NotFound:
        return {}
    with book.begin(write=False) as unit:
        known = unit.control.approval(market_now(settings), for_good=for_good)
    return {} if known is None else loosened(json.loads(known.limits), rules.values)


def approve_limits(settings: Settings, rules: Rulebook, *, reason: str, by: str, days: int) -> Approval:
    """Approve the limits of `rules` for `days` calendar days."""
    from ordinis.domain.canonical import canonical
    from ordinis.domain.limits import Approval

    now = market_now(settings)
    row = Approval(rules.sha, canonical(rules.values), by, reason, now, now + timedelta(days=days))
    with ledger_for_control(settings).begin() as unit:
        unit.control.approve(row)
        unit.commit()
    return row


def market_now(settings: Settings) -> datetime:
    """What time it is on the replayed market; the open of the session to come where the venue does not say."""
    from ordinis.clock import trading_calendar
    from ordinis.errors import BrokerUnavailable
    from ordinis.execution.replaying import resume_session

    try:
        return _market_clock(settings).now()
    except BrokerUnavailable:
        calendar = trading_calendar()
        return calendar.opens(resume_session(ledger_for_control(settings), calendar, settings.replay_first))


def traded_symbol(settings: Settings, symbol: str) -> str:
    """`symbol` as it is written in the universe or the book.

    Raises:
        NotFound: neither has it.
    """
    with ledger_for_control(settings).begin(write=False) as unit:
        known = {*universe(settings), *unit.book.holdings()}
    if symbol.upper() not in known:
        raise NotFound("symbol", symbol, f"there are {', '.join(sorted(known))}")
    return symbol.upper()


def _market_clock(settings: Settings) -> ReplayClock:
    from ordinis.clock import trading_calendar
    from ordinis.execution.replaying import resume_session, start_clock

    calendar = trading_calendar()
    first = resume_session(ledger_for_control(settings), calendar, settings.replay_first)
    return start_clock(calendar, first, venue_time(settings))


def actor(
    settings: Settings,
    clock: Clock,
    book: Ledger | None = None,
    *,
    remote: bool = True,
    kill_point: KillHook | None = None,
) -> Actor:
    """The execution actor; it asks the allocation service over HTTP, or with `remote=False` an allocator of its own.

    Args:
        book: the ledger on which the role of the trading process was claimed; without one it may not send.
    """
    from ordinis.allocation.remote import RemoteAllocator
    from ordinis.clock import trading_calendar

    calendar = trading_calendar()
    asked: Allocator = (
        RemoteAllocator(settings.serve_url, token(settings), rulebook(settings).limits, settings.request_timeout)
        if remote
        else allocator_for(settings, settings.allocator)
    )
    past = history(settings, clock.now(), calendar.session_of(clock.now()))
    return _assembled(settings, clock, book or ledger(settings), broker(settings, clock), asked, past, kill_point)


def take_up_costs(settings: Settings, actor: Actor) -> None:
    """Let the actor, and those that answer it in this process, go by the cost model that is in force now.

    One that cannot be read leaves the model that the actor has.
    """
    from ordinis.allocation.remote import RemoteAllocator

    try:
        model = costs(settings)
    except ConfigurationError as problem:
        logger.error("the cost model stays as it was: %s", problem)
        return
    if model == actor.desk.planner.costs:
        return
    actor.believe(model)
    asked = allocators(settings)
    if not isinstance(actor.allocator, RemoteAllocator):
        actor.allocator = asked(settings.allocator, model)
    actor.baseline = asked(settings.baseline, model)


def take_up_exposures(settings: Settings, actor: Actor) -> None:
    """Let the actor judge factor exposures by those in force now; nothing is read where the rulebook caps none.

    A file that cannot be read leaves the exposures that the actor has, for as long as these count.
    """
    from ordinis.domain.exposures import why_guessed
    from ordinis.governance.exposures import published

    caps = actor.desk.rulebook.factor_caps
    if not caps:
        return
    try:
        actor.measure_by(published(settings.exposures_path))
    except ConfigurationError as error:
        logger.error("the factor exposures stay as they were: %s", error)
    desk = actor.desk
    session = desk.calendar.session_of(actor.engine.clock.now())
    problem = why_guessed(desk.exposures, desk.age_of_exposures(session))
    if problem:
        logger.warning("session=%s: %s, so every symbol counts as market 1", session, problem)
    elif desk.exposures is not None and (unknown := sorted(caps.keys() - set(desk.exposures.factors))):
        logger.warning("session=%s: nothing is known of the capped factors=%s", session, ",".join(unknown))


def _assembled(
    settings: Settings,
    clock: Clock,
    book: Ledger,
    door: Broker,
    asked: Allocator,
    past: PriceHistory | None,
    kill_point: KillHook | None = None,
) -> Actor:
    from ordinis.clock import trading_calendar
    from ordinis.data.live_window import LiveWindow
    from ordinis.execution.actor import assemble
    from ordinis.execution.killpoints import survive

    rules, symbols = rulebook(settings), universe(settings)
    window = LiveWindow(symbols, trading_calendar())
    if past is not None:
        window.seed(past)
    return assemble(
        ledger=book,
        broker=door,
        clock=clock,
        calendar=trading_calendar(),
        instruments=instruments(settings),
        rulebook=rules,
        costs=costs(settings),
        allocator=asked,
        baseline=allocator_for(settings, settings.baseline),
        window=window,
        symbols=symbols,
        kill_flag=settings.kill_flag,
        kill_point=kill_point or survive,
    )
