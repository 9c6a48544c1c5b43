"""What happens to a session once it has closed: attribution, and the report."""

from __future__ import annotations

from datetime import date

from prefect import task

from ordinis import bootstrap
from ordinis.clock import trading_calendar
from ordinis.feedback.executions import by_symbol, quality_by
from ordinis.feedback.gathering import gather
from ordinis.feedback.nightly import calibrate_session
from ordinis.monitoring import artefacts, attribution, findings
from ordinis.monitoring.wording import plural
from ordinis.settings import load
from tasks.artefacts import publish
from tasks.cluster import on_ray


@task
def book_is_valued(session: date) -> bool:
    """Whether the actor has valued the book at the session's close."""
    return attribution.valued(bootstrap.ledger(load()), session)


@task(retries=1, retry_delay_seconds=10)
def attribute(session: date) -> str:
    """Find and keep where return and risk came from, and publish the exposures; the numbers are crunched on Ray."""
    settings = load()
    ledger, bars = bootstrap.ledger(settings), bootstrap.evening_bars(settings, session)
    known, why = bootstrap.factors(settings, session)
    book = attribution.read(
        ledger, bars, trading_calendar(), session, known, why, universe=bootstrap.universe(settings)
    )
    night = on_ray(settings, attribution.attribute, book, bootstrap.sectors(settings), bootstrap.shocks(settings))
    findings.save(bootstrap.records(settings), settings.account, night)
    bootstrap.keep_exposures(settings, night)
    publish(artefacts.of_attribution(night, bootstrap.CURRENCY))
    degraded = f"; {plural(len(night.remarks), 'remark')}: {night.remarks[0]}" if night.remarks else ""
    return f"{plural(len(book.returns), 'return')}, {plural(len(book.symbols), 'holding')}{degraded}"


@task(retries=1, retry_delay_seconds=10)
def gather_executions() -> str:
    """Keep what became of every order that something happened to since the last time."""
    settings = load()
    ledger, records = bootstrap.ledger(settings), bootstrap.feedback_records(settings)
    return plural(gather(ledger, records, settings.broker, trading_calendar()), "order") + " heard of"


@task(retries=1, retry_delay_seconds=10)
def calibrate_costs(session: date) -> str:
    """Calibrate the cost model on all orders up to a session; publish it where it was promoted."""
    settings = load()
    work = bootstrap.calibration_work(settings, session)
    version, paid = on_ray(settings, calibrate_session, *work.arguments)
    bootstrap.keep_calibration(settings, version)
    publish(artefacts.of_calibration(version, paid, quality_by(work.executions, by_symbol), work.since))
    return f"{'promoted' if version.calibration.promoted else 'not promoted'}, {version.calibration.reason}"


@task
def write_report(session: date) -> str:
    """Write the daily report; tell where it is."""
    return str(bootstrap.report(load(), session))
