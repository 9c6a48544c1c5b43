"""The report of a running book, and of a back-test."""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

from ordinis.bootstrap.deciding import allocators, costs, rulebook, venue_costs
from ordinis.bootstrap.learning import CURRENCY, calibrated
from ordinis.bootstrap.market import evening_bars, records, reference_volumes, sample_market, sectors, universe
from ordinis.bootstrap.trading import ledger

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ordinis.evaluation.backtest import Backtest, Market
    from ordinis.feedback.nightly import Version
    from ordinis.feedback.paid import Paid
    from ordinis.monitoring.findings import Night
    from ordinis.monitoring.report_reading import Baseline
    from ordinis.ports import Ledger, PriceHistory
    from ordinis.settings import Settings

INDEX = "SP500"
LOOK_BACK = 30
COMPARED = ("equal-weight", "inverse-volatility")
NOTES = (
    "Prices: real daily closes of 20 large US stocks, chosen in hindsight, from skfolio; none is synthetic.",
    "Closes only: a close stands for the price through the closing window of its session.",
    "Daily volumes, and with them the impact part of costs, are assumptions of the reference file.",
    "Baselines trade the same stocks, dates and costs under the same limits; the index is held without costs.",
)


def report(settings: Settings, session: date) -> Path:
    """Write the report of the book as of the close of `session`.

    That of the last valued session replaces the one before; one of the past lies in a folder of its own beside it.
    """
    from ordinis.clock import trading_calendar
    from ordinis.monitoring.findings import nights

    book = ledger(settings)
    with book.begin(write=False) as unit:
        valued = [row.session for row in unit.book.valuations()]
    sessions = [each for each in valued if each <= session]
    closes = None
    if sessions:
        # The cost model looks back on a month of returns.
        before = trading_calendar().back(sessions[0], LOOK_BACK)
        closes = evening_bars(settings, sessions[-1]).history(universe(settings), before, sessions[-1])
    found = nights(records(settings), settings.account, sessions[0], session) if sessions else {}
    calibration = calibrated(settings, session)
    folder = settings.home.absolute() / "report"
    if sessions and sessions[-1] != valued[-1]:
        folder /= str(sessions[-1])
    compared = _compared(settings, sample_market(settings), sessions)
    return _write(settings, book, folder, compared, closes, found, calibration, session)


def backtest_report(settings: Settings, result: Backtest, market: Market, folder: Path) -> Path:
    """Write the report of a back-test into `folder`."""
    compared = _compared(settings, market, list(result.sessions))
    return _write(settings, result.ledger, folder, compared, market.history, {}, None, None)


def _write(
    settings: Settings,
    book: Ledger,
    folder: Path,
    compared: dict[str, Baseline],
    closes: PriceHistory | None,
    nights: Mapping[date, Night],
    calibration: tuple[Version, Paid] | None,
    last: date | None,
) -> Path:
    import numpy as np

    from ordinis.monitoring.report import collect, write_report

    data = collect(
        book,
        sectors(settings),
        compared,
        nights,
        calibration,
        closes=closes,
        costs=costs(settings),
        adv=reference_volumes(settings),
        currency=CURRENCY,
        rng=np.random.default_rng(20201121),
        last=last,
    )
    return write_report(data, folder, notes=NOTES)


def _compared(settings: Settings, market: Market, sessions: list[date]) -> dict[str, Baseline]:
    """What the book is compared with on its own sessions: simple allocators under its limits, and the index."""
    from ordinis.data.sample import SampleSource
    from ordinis.evaluation.backtest import backtest

    if len(sessions) < 2:
        return {}
    rules, asked = rulebook(settings), allocators(settings)
    compared: dict[str, Baseline] = {}
    for name in COMPARED:
        mine = asked(name, venue_costs(settings))
        result = backtest(
            market,
            mine,
            mine,
            rules,
            venue_costs(settings),
            first=sessions[0],
            last=sessions[-1],
            opening_cash=settings.opening_cash,
        )
        compared[name] = result.ledger
    index = SampleSource().prices([INDEX])
    rows = [index.sessions.index(session) for session in sessions]
    levels = index.closes[:, 0]
    compared["index"] = (tuple(sessions), levels[rows] / levels[[row - 1 for row in rows]] - 1.0)
    return compared
