"""Every weekday after the close: the daily risk report."""

from __future__ import annotations

from datetime import date

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.after_close import book_is_valued, write_report
from tasks.jobs import NothingToDo, once


@flow(name="report")
def report(session: date | None = None, again: bool = False) -> State:
    """The report as of a session; the last one when none is given."""
    return once("report", session, report_if_valued, again=again)


def report_if_valued(session: date) -> str:
    if not book_is_valued(session):
        raise NothingToDo("NotValued", f"the book has no value at the close of {session}")
    return write_report(session)
