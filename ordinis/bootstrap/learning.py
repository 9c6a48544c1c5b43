"""What a night learns from the book and its orders, and how it comes into force."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from ordinis.bootstrap.market import bar_store, evening_bars, feedback_records, instruments, universe
from ordinis.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ordinis.domain.executions import Execution
    from ordinis.feedback.executions import SizingAdvice
    from ordinis.feedback.nightly import Version
    from ordinis.feedback.paid import Paid
    from ordinis.monitoring.findings import Night
    from ordinis.ports import PriceHistory

CURRENCY = "USD"
LOOK_BACK = 30
"""Sessions before the first order: its volatility looks back on a month."""


@dataclass(frozen=True)
class CalibrationWork:
    """What a calibration is made from, and since when the model that it must beat is in force."""

    arguments: tuple[Any, ...]
    """Of `feedback.nightly.calibrate_session`."""
    executions: Sequence[Execution]
    history: PriceHistory
    since: date | None


def calibration_work(settings: Settings, session: date) -> CalibrationWork:
    """All orders up to `session`, the bars beside them, and what earlier nights promoted."""
    from ordinis.clock import trading_calendar
    from ordinis.costs.models import SquareRootCost
    from ordinis.feedback.nightly import version_of

    records = feedback_records(settings)
    executions = records.executions(settings.account, session)
    first = min((order.session for order in executions), default=session)
    before = trading_calendar().back(first, LOOK_BACK)
    history = evening_bars(settings, session).history(universe(settings), before, session)
    kept = records.in_force(settings.account, session)
    in_force = None if kept is None else version_of(kept.numbers)
    arguments = (session, executions, history, instruments(settings), in_force, SquareRootCost())
    return CalibrationWork(arguments, executions, history, None if kept is None else kept.session)


def calibrated(settings: Settings, session: date) -> tuple[Version, Paid] | None:
    """What the night of `session` made of the orders' costs, and those orders; None where it made nothing."""
    from ordinis.feedback.nightly import version_of
    from ordinis.feedback.paid import paid_costs

    kept = feedback_records(settings).calibration(settings.account, session)
    if kept is None:
        return None
    version, work = version_of(kept.numbers), calibration_work(settings, session)
    return version, paid_costs(work.executions, work.history, instruments(settings), version.bucket)


def keep_calibration(settings: Settings, version: Version) -> None:
    """Keep a version; the newest that was promoted is what is traded with from now on."""
    from ordinis.feedback.nightly import numbers_of
    from ordinis.persistence.feedback_records import CalibrationRecord

    records, made = feedback_records(settings), version.calibration
    records.keep_calibration(
        settings.account,
        CalibrationRecord(version.session, version.name, made.promoted, made.reason, numbers_of(version)),
    )
    _publish_in_force(settings)


def _publish_in_force(settings: Settings) -> None:
    """The file that others read says what the records say: a night that was done again may have changed its mind."""
    from ordinis.costs.models import publish
    from ordinis.feedback.nightly import version_of

    newest = feedback_records(settings).in_force(settings.account)
    model = None if newest is None else version_of(newest.numbers).model
    if model is None:
        settings.cost_model_path.unlink(missing_ok=True)
    else:
        publish(model, settings.cost_model_path)


def keep_exposures(settings: Settings, night: Night) -> None:
    """Publish the factor exposures that a night measured, unless there are those of a later one.

    A night whose factors are late, or that holds nothing, publishes none; so those of before grow old.
    """
    from ordinis.domain.exposures import FactorExposures, is_exposure
    from ordinis.errors import ConfigurationError
    from ordinis.governance.exposures import publish, published

    if night.factor_risk is None or not night.exposures:
        return
    try:
        there = published(settings.exposures_path)
    except ConfigurationError:
        there = None
    if there is not None and there.session > night.session:
        return
    factors = tuple(next(iter(night.exposures.values())))
    # A regression that found no number for a symbol knows nothing of it.
    known = {s: dict(row) for s, row in night.exposures.items() if all(is_exposure(value) for value in row.values())}
    publish(FactorExposures(night.session, factors, known), settings.exposures_path)


def promoted_version(settings: Settings, beginning: str) -> Version:
    """The promoted version whose name begins like this.

    Raises:
        NotFound: there is none, or more than one.
    """
    from ordinis.errors import NotFound
    from ordinis.feedback.nightly import version_of

    kept = feedback_records(settings).calibrations(settings.account)
    found = {row.version: row for row in kept if row.promoted and row.version.startswith(beginning)}
    if len(found) != 1:
        raise NotFound(
            "promoted cost model", beginning, f"{len(found)} begin like that; `ordinis costs history` lists them"
        )
    [row] = found.values()
    return version_of(row.numbers)


def use_version(settings: Settings, version: Version, by: str) -> None:
    """Put an earlier promoted version in force: those after it are set aside, so that nights are judged against it."""
    feedback_records(settings).set_aside(settings.account, version.session, f"set aside by {by}")
    _publish_in_force(settings)


def advice(settings: Settings, executions: Sequence[Execution]) -> dict[str, SizingAdvice]:
    """What to do about the size of orders, by symbol, against the cost model in force."""
    from ordinis.bootstrap.deciding import costs
    from ordinis.clock import trading_calendar
    from ordinis.domain.executions import BASIS_POINTS
    from ordinis.feedback.executions import sizing_advice
    from ordinis.feedback.paid import paid_costs

    if not executions:
        return {}
    model, calendar = costs(settings), trading_calendar()
    first, last = (pick(order.session for order in executions) for pick in (min, max))
    history = bar_store(settings).history(universe(settings), calendar.back(first, LOOK_BACK), last)
    paid = paid_costs(executions, history, instruments(settings), dict.fromkeys(history.symbols, 0))
    rows = zip(paid.orders, paid.costs.participation.tolist(), paid.costs.volatility.tolist(), strict=True)
    expected = {
        order.order_id: BASIS_POINTS * model.slippage(order.symbol, float(order.notional), participation, volatility)
        for order, participation, volatility in rows
    }
    of_book = getattr(model, "book", model)
    return sizing_advice(executions, expected, getattr(of_book, "delta", 1.0))
