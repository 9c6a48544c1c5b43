"""What a night learns from the book's own orders, and how it comes into force."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from ordinis.bootstrap.market import bar_store, feedback_records, instruments, universe
from ordinis.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ordinis.domain.executions import Execution
    from ordinis.feedback.nightly import Version

CURRENCY = "USD"
LOOK_BACK = 30
"""Sessions before the first order: its volatility looks back on a month."""


@dataclass(frozen=True)
class CalibrationWork:
    """What a calibration is made from, and since when the model that it must beat is in force."""

    arguments: tuple[Any, ...]
    """Of `feedback.nightly.calibrate_session`."""
    executions: Sequence[Execution]
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
    history = bar_store(settings).history(universe(settings), before, session)
    kept = records.in_force(settings.account, session)
    in_force = None if kept is None else version_of(kept.numbers).calibration
    arguments = (session, executions, history, instruments(settings), in_force, SquareRootCost())
    return CalibrationWork(arguments, executions, None if kept is None else kept.session)


def keep_calibration(settings: Settings, version: Version) -> None:
    """Keep a version; the newest that was promoted is what is traded with from now on."""
    from ordinis.costs.models import publish
    from ordinis.feedback.nightly import numbers_of
    from ordinis.persistence.feedback_records import CalibrationRecord

    records, made = feedback_records(settings), version.calibration
    records.keep_calibration(
        settings.account,
        CalibrationRecord(version.session, version.name, made.promoted, made.reason, numbers_of(version)),
    )
    newest = records.in_force(settings.account)
    if version.model is not None and newest is not None and newest.session == version.session:
        publish(version.model, settings.cost_model_path)
