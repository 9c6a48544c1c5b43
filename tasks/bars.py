"""Bars of one session: from the source, through the contract, into the store."""

from __future__ import annotations

from datetime import date

from prefect import task

from ordinis import bootstrap
from ordinis.clock import SystemClock
from ordinis.data.ingest import ingest
from ordinis.errors import DataUnavailable
from ordinis.settings import load


@task(retries=2, retry_delay_seconds=[5, 30])
def fetch_bars(session: date) -> str:
    """Bring one session's bars into the store; tell how many were new and how many were turned away.

    Raises:
        DataUnavailable: bars of the session have not come yet; trying again later may help.
    """
    settings = load()
    instruments = bootstrap.instruments(settings)
    report = ingest(
        bootstrap.source(settings),
        bootstrap.bar_store(settings),
        bootstrap.records(settings),
        settings.contracts,
        sorted(instruments),
        session,
        session,
        SystemClock(),
        instruments,
    )
    if report.missing and not report.rejected:
        late = ", ".join(symbol for symbol, _ in report.missing[:5])
        raise DataUnavailable(report.source, f"bars of {late} for {session}", "they may be late")
    return f"{report.rows} bars, {report.new} new, {report.rejected} in quarantine"
