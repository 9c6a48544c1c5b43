"""Where market data come from and go to."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from ordinis.errors import DataUnavailable

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from ordinis.data.bar_store import BarStore, EveningBars
    from ordinis.data.factors import FactorTable
    from ordinis.data.ingest import IngestReport
    from ordinis.domain.instruments import Instrument
    from ordinis.evaluation.backtest import Market
    from ordinis.persistence.feedback_records import FeedbackRecords
    from ordinis.persistence.jobs import Jobs
    from ordinis.persistence.records import Records
    from ordinis.ports import DataSource, PriceHistory
    from ordinis.risk.stress import Shock
    from ordinis.settings import Settings


def source(settings: Settings) -> DataSource:
    from ordinis.data.sample import SampleSource

    return SampleSource()


def instruments(settings: Settings) -> Mapping[str, Instrument]:
    from ordinis.data.reference import SAMPLE_INSTRUMENTS, load_instruments

    return load_instruments(SAMPLE_INSTRUMENTS)


def reference_volumes(settings: Settings) -> Mapping[str, float]:
    """Units of an average session by symbol, of those of which the reference file says it."""
    return {symbol: each.adv for symbol, each in instruments(settings).items() if each.adv is not None}


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


def evening_bars(settings: Settings, session: date) -> EveningBars:
    """The bars as the night of `session` had them: as they were known when the next session opened."""
    from ordinis.clock import trading_calendar
    from ordinis.data.bar_store import EveningBars

    calendar = trading_calendar()
    return EveningBars(bar_store(settings), calendar.opens(calendar.next_session(session)))


def records(settings: Settings) -> Records:
    from ordinis.persistence.records import Records

    return Records(_records_engine(settings))


def jobs(settings: Settings) -> Jobs:
    """What is done for which session, of the account and of the market."""
    from ordinis.persistence.jobs import Jobs

    return Jobs(_records_engine(settings), settings.account, of_market=("ingest",))


def feedback_records(settings: Settings) -> FeedbackRecords:
    """What the book has learned from its own orders, in the same database."""
    from ordinis.persistence.feedback_records import FeedbackRecords

    return FeedbackRecords(_records_engine(settings))


def _records_engine(settings: Settings) -> Engine:
    from ordinis.persistence.engine import connect
    from ordinis.persistence.schema import upgrade

    engine = connect(settings.records_url)
    upgrade(engine, "records")
    return engine


def shocks(settings: Settings) -> tuple[Shock, ...]:
    """What a night puts the book through besides the crises: two falls of the market, and a person's own shocks."""
    from ordinis.data.shocks import read_shocks
    from ordinis.monitoring.attribution import SHOCKS

    return SHOCKS if settings.shocks is None else (*SHOCKS, *read_shocks(settings.shocks))


def factors(settings: Settings, session: date) -> tuple[FactorTable | None, str]:
    """Factor returns up to `session`; None, and why, where they cannot be read: a night goes on without them."""
    from ordinis.data.factors import etf_factors, joined, read_french, read_parquet

    try:
        if not settings.factors:
            return etf_factors(evening_bars(settings, session), session), ""
        paths = [Path(name.strip()) for name in settings.factors.split(",")]
        return joined([read_parquet(p) if p.suffix == ".parquet" else read_french(p) for p in paths]), ""
    except DataUnavailable as error:
        return None, str(error)


def history(settings: Settings, as_of: datetime, session: date) -> PriceHistory:
    """The universe's sessions before `session`, as they were known at `as_of`, as far as a view looks back."""
    from ordinis.clock import trading_calendar
    from ordinis.features.view import VIEW_SESSIONS

    calendar = trading_calendar()
    last = calendar.previous_session(session)
    covered = calendar.between(calendar.sessions[0], last)
    first = covered[-VIEW_SESSIONS] if len(covered) >= VIEW_SESSIONS else covered[0]
    return bar_store(settings).history(universe(settings), first, last, as_of)


def backfill(settings: Settings, last: date, first: date | None = None) -> IngestReport:
    """Bring in every instrument's bars through their contract, up to `last`.

    Args:
        first: the earliest session; when None, as far back as a view of the first replayed session looks.
    """
    from ordinis.clock import SystemClock, trading_calendar
    from ordinis.data.ingest import ingest
    from ordinis.features.view import VIEW_SESSIONS

    first = first or trading_calendar().back(settings.replay_first, VIEW_SESSIONS)
    return ingest(
        source(settings),
        bar_store(settings),
        records(settings),
        settings.contracts,
        sorted(instruments(settings)),
        first,
        last,
        SystemClock(),
        instruments(settings),
    )


def sample_market(settings: Settings) -> Market:
    """The whole sample as a market to trade on, straight from its source."""
    from ordinis.clock import trading_calendar
    from ordinis.evaluation.backtest import Market

    return Market(venue_history(settings), dict(instruments(settings)), trading_calendar())


def venue_history(settings: Settings) -> PriceHistory:
    """What the simulated venue knows: every close of the universe that the sample has."""
    from ordinis.data.sample import SampleSource

    return SampleSource().prices(universe(settings))
