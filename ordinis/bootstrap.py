"""Where concrete things are joined: settings in, stations out.

Every import of something concrete stands inside the function that needs it, so that a process loads what it uses and
nothing else: the command line's help loads no numerics, the execution actor neither Ray, Prefect nor torch.
"""

from __future__ import annotations

import logging
import os
import secrets
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ordinis.errors import ConfigurationError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ordinis.brokers.simulated import SimulatedBroker
    from ordinis.clock import ReplayClock
    from ordinis.data.bar_store import BarStore
    from ordinis.domain.decisions import Decision, Source
    from ordinis.domain.instruments import Instrument
    from ordinis.domain.limits import Limits
    from ordinis.evaluation.backtest import Market
    from ordinis.execution.actor import Actor
    from ordinis.execution.killpoints import KillHook
    from ordinis.execution.replay import Recomputed
    from ordinis.governance.rulebook import Rulebook
    from ordinis.persistence.records import Records
    from ordinis.persistence.unit_of_work import SqlLedger
    from ordinis.ports import Allocator, Broker, Clock, CostModel, DataSource, Ledger, PriceHistory
    from ordinis.serving.advisor import Advisor
    from ordinis.settings import Settings


def logging_to(stream: Any = sys.stderr, level: int = logging.INFO) -> None:
    """One line an event, key=value, secrets struck out, on `stream`."""
    import structlog

    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=[structlog.stdlib.add_log_level, structlog.processors.TimeStamper("iso", utc=True)],
        processors=[
            structlog.stdlib.ProcessorFormatter.remove_processors_meta,
            structlog.processors.format_exc_info,
            _strike_out_secrets,
            structlog.processors.KeyValueRenderer(key_order=["timestamp", "level", "event"]),
        ],
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(formatter)
    root = logging.getLogger("ordinis")
    root.handlers, root.propagate = [handler], False
    root.setLevel(level)


_SECRETS: set[str] = set()


def _strike_out_secrets(_logger: object, _name: str, event: Any) -> Any:
    """Last before rendering, after tracebacks are text, so that nothing slips by."""
    for key, value in event.items():
        if isinstance(value, str):
            for secret in _SECRETS:
                value = value.replace(secret, "***")
            event[key] = value
    return event


def token(settings: Settings) -> str:
    """The bearer token of the allocation service: from the settings, or a file that only its owner can read."""
    value = settings.token.get_secret_value()
    if not value:
        path = settings.home.absolute() / "token"
        if not path.exists():
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w", encoding="utf-8") as file:
                file.write(secrets.token_urlsafe(32))
        value = path.read_text(encoding="utf-8").strip()
    _SECRETS.add(value)
    return value


# data


def source(settings: Settings) -> DataSource:
    from ordinis.data.sample import SampleSource

    return SampleSource()


def instruments(settings: Settings) -> Mapping[str, Instrument]:
    from ordinis.data.reference import SAMPLE_INSTRUMENTS, load_instruments

    return load_instruments(SAMPLE_INSTRUMENTS)


def universe(settings: Settings) -> tuple[str, ...]:
    """What the book may hold: the tradable equities of the reference file."""
    from ordinis.domain.instruments import AssetClass

    return tuple(
        symbol
        for symbol, instrument in sorted(instruments(settings).items())
        if instrument.tradable and instrument.asset_class is AssetClass.EQUITY
    )


def sectors(settings: Settings) -> Mapping[str, str]:
    known = instruments(settings)
    return {symbol: known[symbol].sector for symbol in universe(settings)}


def bar_store(settings: Settings) -> BarStore:
    from ordinis.clock import trading_calendar
    from ordinis.data.bar_store import BarStore

    return BarStore(settings.lake_path, trading_calendar())


def records(settings: Settings) -> Records:
    from ordinis.persistence.engine import connect
    from ordinis.persistence.records import Records
    from ordinis.persistence.schema import upgrade

    engine = connect(settings.records_url)
    upgrade(engine, "records")
    return Records(engine)


def history(settings: Settings, as_of: datetime, session: date) -> PriceHistory:
    """The universe's sessions before `session`, as they were known at `as_of`, as far as a view looks back."""
    from ordinis.clock import trading_calendar
    from ordinis.features.view import VIEW_SESSIONS

    calendar = trading_calendar()
    last = calendar.previous_session(session)
    covered = calendar.between(calendar.sessions[0], last)
    first = covered[-VIEW_SESSIONS] if len(covered) >= VIEW_SESSIONS else covered[0]
    return bar_store(settings).history(universe(settings), first, last, as_of)


def sample_market(settings: Settings) -> Market:
    """The whole sample as a market to trade on, straight from its source."""
    from ordinis.clock import trading_calendar
    from ordinis.evaluation.backtest import Market

    return Market(venue_history(settings), dict(instruments(settings)), trading_calendar())


def venue_history(settings: Settings) -> PriceHistory:
    """What the simulated venue knows: every close of the universe that the sample has."""
    from ordinis.data.sample import SampleSource

    return SampleSource().prices(universe(settings))


# decisions


def rulebook(settings: Settings) -> Rulebook:
    from ordinis.governance.rulebook import load_rulebook

    return load_rulebook(settings.profile, sectors(settings), settings.rulebook)


def costs(settings: Settings) -> CostModel:
    from ordinis.costs.models import ProportionalCost, SquareRootCost

    return ProportionalCost() if settings.profile == "research" else SquareRootCost()


ALLOCATORS = (
    "equal-weight",
    "inverse-volatility",
    "minimum-variance",
    "mean-cvar",
    "managed-inverse-volatility",
    "managed-minimum-variance",
)


def allocator(name: str, limits: Limits) -> Allocator:
    """An allocator by its name, or `path/to/file.py:ClassName` for one of your own.

    Raises:
        ConfigurationError: there is no such name, file or class.
    """
    from ordinis.allocation.exposure import ExposureControl
    from ordinis.allocation.naive import EqualWeight, InverseVolatility
    from ordinis.allocation.optimal import MeanCVaR, MinimumVariance

    match name:
        case "equal-weight":
            return EqualWeight(limits)
        case "inverse-volatility":
            return InverseVolatility(limits)
        case "minimum-variance":
            return MinimumVariance(limits)
        case "mean-cvar":
            return MeanCVaR(limits)
        case "managed-inverse-volatility":
            return ExposureControl(InverseVolatility(limits), limits, target_volatility=0.12, half_life=10)
        case "managed-minimum-variance":
            return ExposureControl(MinimumVariance(limits), limits, target_volatility=0.10, half_life=20)
    if ":" in name:
        return _own_allocator(name, limits)
    raise ConfigurationError("allocator", f"{name!r} is not {', '.join(ALLOCATORS)} or path/to/file.py:ClassName")


def _own_allocator(name: str, limits: Limits) -> Allocator:
    from importlib.util import module_from_spec, spec_from_file_location

    path, _, class_name = name.rpartition(":")
    spec = spec_from_file_location(Path(path).stem, path)
    if spec is None or spec.loader is None or not Path(path).is_file():
        raise ConfigurationError("allocator", f"there is no Python file {path!r}")
    module = module_from_spec(spec)
    # Dataclasses look their own module up by name.
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    made = getattr(module, class_name, None)
    if made is None:
        raise ConfigurationError("allocator", f"{path} has no class {class_name!r}")
    own: Allocator = made(limits)
    return own


def advisor(settings: Settings) -> Advisor:
    """What the allocation service asks: the configured allocator on the bar store."""
    from ordinis.clock import trading_calendar
    from ordinis.serving.advisor import Advisor

    calendar, store, symbols = trading_calendar(), bar_store(settings), universe(settings)

    def latest() -> datetime:
        """A replayed market has no now of its own: the closing window of the session after the last one stored."""
        return calendar.trading_instant(calendar.next_session(store.last_session(symbols)))

    return Advisor(
        allocator=allocator(settings.allocator, rulebook(settings).limits),
        history=lambda as_of, session: history(settings, as_of, session),
        calendar=calendar,
        symbols=symbols,
        now=latest,
    )


# execution


def ledger(settings: Settings) -> SqlLedger:
    from ordinis.persistence.unit_of_work import SqlLedger

    return SqlLedger(settings.ledger_url, settings.account)


def simulated_broker(settings: Settings, clock: Clock, book: str = "") -> SimulatedBroker:
    """The venue in this process, with its book in a file of its own, or at `book`."""
    from ordinis.brokers.book import VenueBook
    from ordinis.brokers.simulated import SimulatedBroker
    from ordinis.brokers.tape import PriceTape
    from ordinis.clock import trading_calendar

    calendar = trading_calendar()
    venue_book = VenueBook(book or settings.home.absolute() / "venue.db", settings.account)
    tape = PriceTape(venue_history(settings))
    broker = SimulatedBroker(venue_book, tape, instruments(settings), costs(settings), clock, calendar)
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


def broker_for_control(settings: Settings) -> Broker:
    """The broker as the kill switch sees it: at the time the market is at, wherever that is."""
    return broker(settings, _market_clock(settings))


def reconcile_now(settings: Settings) -> str:
    """Compare ledger and broker without trading; the text says what was put right."""
    from ordinis.execution.reconcile import reconcile

    clock = _market_clock(settings)
    found = reconcile(actor(settings, clock, remote=False).engine)
    return f"ledger and broker agree; {found.fills} fills and {found.movements} movements were missing"


def _market_clock(settings: Settings) -> ReplayClock:
    from ordinis.clock import trading_calendar
    from ordinis.execution.replaying import resume_session, start_clock

    calendar = trading_calendar()
    first = resume_session(ledger(settings), calendar, settings.replay_first)
    return start_clock(calendar, first, venue_time(settings))


def actor(settings: Settings, clock: Clock, *, remote: bool = True, kill_point: KillHook | None = None) -> Actor:
    """The execution actor; it asks the allocation service over HTTP, or with `remote=False` an allocator of its own."""
    from ordinis.allocation.remote import RemoteAllocator
    from ordinis.clock import trading_calendar

    calendar = trading_calendar()
    asked: Allocator = (
        RemoteAllocator(settings.serve_url, token(settings), rulebook(settings).limits, settings.request_timeout)
        if remote
        else allocator(settings.allocator, rulebook(settings).limits)
    )
    past = history(settings, clock.now(), calendar.session_of(clock.now()))
    return _assembled(settings, clock, ledger(settings), broker(settings, clock), asked, past, kill_point)


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
        baseline=allocator(settings.baseline, rules.limits),
        window=window,
        symbols=symbols,
        kill_flag=settings.kill_flag,
        kill_point=kill_point or survive,
    )


# doing it again


def answering(settings: Settings) -> Mapping[Source, Allocator]:
    """Who answers to which source of a decision."""
    from ordinis.domain.decisions import Source

    limits = rulebook(settings).limits
    return {
        Source.MODEL: allocator(settings.allocator, limits),
        Source.BASELINE: allocator(settings.baseline, limits),
    }


def recompute(settings: Settings, decision: str) -> Recomputed:
    """Make one stored decision again; ReplayDiffers says what is not as it was."""
    from ordinis.clock import trading_calendar
    from ordinis.execution.decide import Desk
    from ordinis.execution.rebalance import Planner
    from ordinis.execution.replay import replay_decision

    rules = rulebook(settings)
    planner = Planner(instruments(settings), rules.trading, costs(settings), rules.limits.cash_buffer)
    return replay_decision(
        decision,
        ledger(settings),
        Desk(rules, planner, trading_calendar()),
        answering(settings),
        lambda as_of, session: history(settings, as_of, session),
    )


def replay_ledger(settings: Settings, on_decision: Callable[[Decision], None] = lambda decision: None) -> str:
    """Repeat the whole ledger at a fresh venue; its canonical text, which is the same to the byte."""
    from ordinis.clock import ReplayClock, trading_calendar
    from ordinis.domain.market import SessionClosed
    from ordinis.execution.replay import replay_ledger as repeat
    from ordinis.persistence.unit_of_work import SqlLedger

    calendar = trading_calendar()
    clock = ReplayClock(calendar.opens(settings.replay_first))
    answers = answering(settings)
    fresh = _assembled(
        settings.model_copy(update={"home": settings.home / "replay"}),
        clock,
        SqlLedger("sqlite://", settings.account),
        simulated_broker(settings, clock, ":memory:"),
        next(iter(answers.values())),
        None,
    )
    symbols, store = universe(settings), bar_store(settings)

    def closes(session: date) -> SessionClosed:
        return SessionClosed(session, calendar.closes(session), store.bars(symbols, session, calendar.closes(session)))

    return repeat(
        ledger(settings),
        fresh,
        clock,
        answers,
        lambda as_of, session: history(settings, as_of, session),
        closes,
        on_decision,
    )
